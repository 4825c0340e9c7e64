#include "wire/orca.h"

#include "wire/json.h"

#define DEPTH_MAX 4

static uint32_t count_of(double value)
{
	if (!(value > 0))
		return 0;
	return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

static void take(struct orca_load *l, struct bb_str name, double value)
{
	if (bb_str_eq(name, BB_STR("num_requests_waiting"))) {
		l->has_waiting = true;
		l->waiting = count_of(value);
	} else if (bb_str_eq(name, BB_STR("num_requests_running"))) {
		l->has_running = true;
		l->running = count_of(value);
	} else if (bb_str_eq(name, BB_STR("kv_cache_usage_perc"))) {
		l->has_usage = true;
		l->kv_usage = value > 0 ? value < 1 ? value : 1 : 0;
	}
}

static int read_json(struct bb_str text, struct orca_load *l)
{
	struct json_member metrics;
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;
	double value;

	if (json_check(text, DEPTH_MAX, NULL) ||
	    !json_get(text, BB_STR("named_metrics"), &metrics) || metrics.type != JSON_OBJECT)
		return -BB_ESYNTAX;
	json_pull_init(&j, metrics.value);
	json_pull_object(&j);
	while (json_pull_key(&j, &key) && json_pull_value(&j, &raw, &type))
		if (type == JSON_NUMBER && !json_double(raw, &value))
			take(l, key, value);
	return 0;
}

static int read_text(struct bb_str text, struct orca_load *l)
{
	static const struct bb_str section = BB_STR_INIT("named_metrics.");
	double value;

	while (text.len) {
		struct bb_str rest = bb_str_trim(bb_str_cut(&text, ','));
		const struct bb_str name = bb_str_trim(bb_str_cut(&rest, '='));
		if (bb_str_starts(name, section) && !bb_parse_double(bb_str_trim(rest), &value))
			take(l, bb_str_skip(name, section.len), value);
	}
	return 0;
}

int orca_read(struct bb_str field, struct orca_load *out)
{
	struct orca_load l = { 0 };
	int rc = -BB_ESYNTAX;

	if (field.len > ORCA_SIZE_MAX)
		return rc;
	struct bb_str rest = bb_str_trim(field);
	const struct bb_str format = bb_str_cut(&rest, ' ');
	if (bb_str_eq_nocase(format, BB_STR("json")))
		rc = read_json(bb_str_trim(rest), &l);
	else if (bb_str_eq_nocase(format, BB_STR("text")))
		rc = read_text(rest, &l);
	if (!rc && !l.has_running && !l.has_waiting && !l.has_usage)
		rc = -BB_ESYNTAX;
	if (!rc)
		*out = l;
	return rc;
}
