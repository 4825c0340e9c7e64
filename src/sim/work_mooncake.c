/*
 * work_mooncake.c: reads traces in the format that Mooncake published (see work_read.h).
 */
#include <stdio.h>

#include "base/map.h"
#include "sim/work_trace.h"
#include "wire/json.h"

#define DEPTH_MAX 8
#define MS_NS 1e6
#define TIME_MAX_MS 1e12 /* 31 years */
#define SESSION_LEN_MAX 256
#define OWNER_MAX 65535u

enum member { TIMESTAMP, DELAY, INPUT, OUTPUT, HASH_IDS, SESSION, TENANT, ADAPTER, AFTER, MEMBERS };

static const struct bb_str member_names[MEMBERS] = {
	BB_STR_INIT("timestamp"),     BB_STR_INIT("delay"),    BB_STR_INIT("input_length"),
	BB_STR_INIT("output_length"), BB_STR_INIT("hash_ids"), BB_STR_INIT("session_id"),
	BB_STR_INIT("tenant"),	      BB_STR_INIT("adapter"),  BB_STR_INIT("after"),
};

struct reader {
	struct workload *w;
	struct bb_str found[MEMBERS]; /* raw values of the line in work; p == NULL: absent */
	struct bb_map sessions;	      /* to the session's last request */
	const char *what;	      /* is wrong with the line */
	const char *where;	      /* the member */
};

static int on_member(void *user, const struct json_member *m)
{
	struct reader *const r = user;

	for (int i = 0; i < MEMBERS; i++)
		if (bb_str_eq(m->key, member_names[i]))
			r->found[i] = m->value;
	return 0;
}

static int wrong(struct reader *r, enum member member, const char *what)
{
	r->where = member_names[member].p;
	r->what = what;
	return -BB_ESYNTAX;
}

static int read_length(struct reader *r, enum member member, uint32_t *out)
{
	uint64_t value;

	if (!r->found[member].p)
		return wrong(r, member, "is missing");
	if (json_u64(r->found[member], &value) || value > WORK_TOKENS_MAX)
		return wrong(r, member, "is not a whole number of tokens, 16777216 at most");
	*out = value ? (uint32_t)value : 1;
	return 0;
}

static int read_ms(struct reader *r, enum member member, uint64_t *out)
{
	double ms;

	if (json_double(r->found[member], &ms) || !(ms >= 0 && ms <= TIME_MAX_MS))
		return wrong(r, member, "is not a number of milliseconds from 0 to 1e12");
	*out = (uint64_t)(ms * MS_NS + 0.5);
	return 0;
}

static int read_ids(struct reader *r, uint32_t tokens)
{
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;
	uint64_t id;
	uint32_t done = 0;
	int rc = 0;

	if (r->found[HASH_IDS].p) {
		json_pull_init(&j, r->found[HASH_IDS]);
		if (!json_pull_array(&j))
			return wrong(r, HASH_IDS, "is not an array of whole numbers");
		while (!rc && json_pull_more(&j)) {
			const uint32_t left = tokens - done;
			const uint32_t n = left < WORK_MOONCAKE_BLOCK ? left : WORK_MOONCAKE_BLOCK;
			if (!json_pull_value(&j, &raw, &type) || json_u64(raw, &id) ||
			    id >= WORK_STREAM_MAX)
				return wrong(r, HASH_IDS,
					     "is not an array of whole numbers below 2^62");
			rc = workload_span(r->w, id, 0, n);
			done += n;
		}
	}
	return rc ? rc : workload_span(r->w, work_own(r->w->count), done, tokens - done);
}

/* A session's next request follows its last when it has a delay. */
static int read_session(struct reader *r, struct work_request *q)
{
	struct bb_str id = r->found[SESSION];

	q->session = r->w->count;
	if (!id.p || bb_str_eq(id, BB_STR("null")))
		return r->found[DELAY].p && !r->found[TIMESTAMP].p && !r->found[AFTER].p
			       ? wrong(r, SESSION,
				       "is missing, and a delay has a meaning only with it")
			       : 0;
	if (id.len > SESSION_LEN_MAX)
		return wrong(r, SESSION, "is longer than 256 bytes");
	const uint32_t last = bb_map_get(&r->sessions, id);
	if (last != BB_MAP_NONE) {
		q->session = r->w->requests[last].session;
		if (!r->found[TIMESTAMP].p)
			q->after = last;
	}
	return bb_map_put(&r->sessions, id, r->w->count);
}

static int read_times(struct reader *r, struct work_request *q)
{
	if (r->found[TIMESTAMP].p && q->after == WORK_NONE)
		return read_ms(r, TIMESTAMP, &q->due_ns);
	if (q->after != WORK_NONE && r->found[DELAY].p)
		return read_ms(r, DELAY, &q->due_ns);
	if (q->after != WORK_NONE)
		return 0;
	return wrong(r, TIMESTAMP, "is missing");
}

static int read_owner(struct reader *r, struct work_request *q)
{
	static const struct bb_str none = BB_STR_INIT("0");
	uint64_t tenant, adapter;

	if (json_u64(r->found[TENANT].p ? r->found[TENANT] : none, &tenant) || tenant > OWNER_MAX)
		return wrong(r, TENANT, "is not a whole number from 0 to 65535");
	if (json_u64(r->found[ADAPTER].p ? r->found[ADAPTER] : none, &adapter) ||
	    adapter > OWNER_MAX)
		return wrong(r, ADAPTER, "is not a whole number from 0 to 65535");
	q->tenant = (uint32_t)tenant;
	q->adapter = (uint32_t)adapter;
	return 0;
}

static int read_after(struct reader *r, struct work_request *q)
{
	uint64_t after;

	if (!r->found[AFTER].p)
		return 0;
	if (json_u64(r->found[AFTER], &after) || after >= r->w->count)
		return wrong(r, AFTER, "is not the number of an earlier request, from 0");
	q->after = (uint32_t)after;
	return 0;
}

static int read_request(struct reader *r)
{
	struct work_request q = { .after = WORK_NONE };
	uint32_t prompt;
	int rc = read_length(r, INPUT, &prompt);

	if (!rc)
		rc = read_length(r, OUTPUT, &q.output_tokens);
	if (!rc)
		rc = read_owner(r, &q);
	if (!rc)
		rc = read_session(r, &q);
	if (!rc)
		rc = read_after(r, &q);
	if (!rc)
		rc = read_times(r, &q);
	if (!rc)
		rc = read_ids(r, prompt);
	return rc ? rc : workload_add(r->w, &q);
}

static int read_line(struct reader *r, struct bb_str line, uint32_t number, char why[WORK_WHY_SIZE])
{
	struct json_error e = { 0 };

	memset(r->found, 0, sizeof(r->found));
	r->what = NULL;
	int rc = json_scan_object(line, DEPTH_MAX, on_member, r, &e);
	if (rc == -BB_ESYNTAX || rc == -BB_EINVALID) {
		snprintf(why, WORK_WHY_SIZE, "line %u, byte %zu: %s", number, e.offset + 1,
			 e.what ? e.what : "not a JSON object");
		return -BB_ESYNTAX;
	}
	if (!rc)
		rc = read_request(r);
	if (rc && r->what)
		snprintf(why, WORK_WHY_SIZE, "line %u: %s %s", number, r->where, r->what);
	else if (rc)
		snprintf(why, WORK_WHY_SIZE, "line %u: %s", number, bb_error_info(rc)->text);
	return rc;
}

int work_mooncake(struct bb_str text, struct workload *w, char why[WORK_WHY_SIZE])
{
	struct reader r = { .w = w };
	uint32_t number = 0;
	int rc = 0;

	bb_map_init(&r.sessions, 0);
	while (!rc && text.len) {
		const struct bb_str line = bb_str_trim(bb_str_cut(&text, '\n'));
		number++;
		if (line.len)
			rc = read_line(&r, line, number, why);
	}
	bb_map_fini(&r.sessions);
	return rc;
}
