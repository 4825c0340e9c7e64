/* replay_fleet_values.c: what the values of `busbar replay --engines` mean: engines, policies,
 * faults. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "brain/policy/policy.h"
#include "cmd/replay_fleet.h"
#include "os/process.h"

#define PROFILE_FILE_MAX (1u << 20)

int replay_fleet_wrong(const char *option, const char *value, const char *what)
{
	fprintf(stderr, "busbar replay: --%s %s: %s\n", option, value, what);
	return 2;
}

/* ---- engines ---- */

static int profile_file(const char *path, struct step_profile *out)
{
	char why[STEP_WHY_SIZE];
	char *bytes;
	size_t len;

	if (file_read(path, PROFILE_FILE_MAX, &bytes, &len))
		return replay_fleet_wrong(
			"profile", path,
			"neither a name (mock, 8b, 70b, GPU:MODEL) nor a file that can be read");
	const int rc = step_profile_read((struct bb_str){ bytes, len }, out, why);
	bb_free(bytes);
	if (rc)
		return replay_fleet_wrong("profile", path, why);
	snprintf(out->name, sizeof(out->name), "%s", path);
	return 0;
}

static int profile_of(const char *option, struct bb_str name, struct step_profile *out)
{
	char text[STEP_NAME_SIZE];

	snprintf(text, sizeof(text), "%.*s", BB_ARG(name));
	switch (step_profile_named(name, out)) {
	case 0: break;
	case -BB_ELIMIT:
		return replay_fleet_wrong(option, text,
					  "the model does not fit into the GPU's memory");
	default:
		if (strcmp(option, "profile") != 0)
			return replay_fleet_wrong(option, text, "no such profile, GPU or model");
		const int rc = profile_file(text, out);
		if (rc)
			return rc;
	}
	if (out->params.block_tokens % 16)
		return replay_fleet_wrong(option, text, "block_tokens must be a multiple of 16");
	return 0;
}

int replay_fleet_engines(struct replay_fleet *f, const char *spec, const char *profile)
{
	struct bb_str rest = bb_str_of(spec);
	uint64_t n = 0;

	if (bb_parse_u64(rest, &n) == 0) {
		const int rc = profile_of("profile", bb_str_of(profile), &f->groups[0].profile);
		if (rc)
			return rc;
		f->groups[0].count = (uint32_t)(n < FLEET_ENGINES_MAX ? n : FLEET_ENGINES_MAX + 1);
		f->group_count = 1;
		rest.len = 0;
	}
	while (rest.len) {
		const struct bb_str one = bb_str_cut(&rest, ',');
		struct bb_str name = one;
		const struct bb_str count = bb_str_cut(&name, 'x');
		uint64_t each = 1;
		if (f->group_count == REPLAY_GROUPS_MAX)
			return replay_fleet_wrong("engines", spec, "more than 16 kinds");
		if (bb_parse_u64(count, &each))
			name = one, each = 1;
		struct fleet_group *const g = &f->groups[f->group_count++];
		const int rc = profile_of("engines", name, &g->profile);
		if (rc)
			return rc;
		g->count = (uint32_t)(each < FLEET_ENGINES_MAX ? each : FLEET_ENGINES_MAX + 1);
	}
	for (uint32_t i = 0; i < f->group_count; i++)
		f->engine_count += f->groups[i].count;
	if (f->engine_count == 0 || f->engine_count > FLEET_ENGINES_MAX)
		return replay_fleet_wrong("engines", spec, "must be 1 to 3840 engines");
	return 0;
}

/* ---- policies ---- */

static int add_rival(struct replay_fleet *f, struct bb_str text)
{
	if (f->rival_count == REPLAY_RIVALS_MAX || text.len >= REPLAY_RIVAL_SIZE)
		return replay_fleet_wrong("policy", "", "too many, or too long a name");
	struct replay_rival *const v = &f->rivals[f->rival_count++];
	snprintf(v->text, sizeof(v->text), "%.*s", BB_ARG(text));
	struct bb_str how = text;
	const struct bb_str name = bb_str_cut(&how, '@');
	char policy[REPLAY_RIVAL_SIZE];
	snprintf(policy, sizeof(policy), "%.*s", BB_ARG(name));
	const struct policy *p = policy_find(policy);
	if (!p) {
		fprintf(stderr,
			"busbar replay: there is no policy '%s'; `busbar check --keys` lists "
			"them\n",
			policy);
		return 2;
	}
	v->policy = p->name;
	v->is_at_once = bb_str_eq(how, BB_STR("once")) || f->is_at_once;
	v->knows_output = bb_str_eq(how, BB_STR("oracle"));
	if (how.len && !bb_str_eq(how, BB_STR("once")) && !v->knows_output)
		return replay_fleet_wrong("policy", v->text,
					  "only @once and @oracle may follow a name");
	return 0;
}

int replay_fleet_policies(struct replay_fleet *f, const char *list)
{
	struct bb_str rest = bb_str_of(list);
	int rc = 0;

	while (rest.len && !rc)
		rc = add_rival(f, bb_str_cut(&rest, ','));
	return rc;
}

/* ---- faults ---- */

int replay_fleet_fault(struct replay_fleet *f, const char *text)
{
	struct bb_str rest = bb_str_of(text);
	const struct bb_str word = bb_str_cut(&rest, ':');
	const struct bb_str engine = bb_str_cut(&rest, '@');
	const struct bb_str at = bb_str_cut(&rest, '+');
	const struct bb_str length = bb_str_cut(&rest, ':');
	struct fleet_fault fault = { .arg = 4 };
	uint64_t number;
	int kind = 0;

	while (kind < FLEET_FAULT_KINDS &&
	       !bb_str_eq(word, bb_str_of(fleet_fault_word((enum fleet_fault_kind)kind))))
		kind++;
	if (kind == FLEET_FAULT_KINDS || bb_parse_u64(engine, &number) ||
	    bb_parse_duration_ns(at, &fault.at_ns) || bb_parse_duration_ns(length, &fault.for_ns) ||
	    (rest.len && (bb_parse_double(rest, &fault.arg) || !(fault.arg > 0.001))))
		return replay_fleet_wrong("fault", text,
					  "must be like crash:0@60s+30s or slow:1@60s+30s:4");
	if (f->config.fault_count == REPLAY_FAULTS_MAX)
		return replay_fleet_wrong("fault", text, "more than 64");
	fault.kind = (enum fleet_fault_kind)kind;
	fault.engine = (uint32_t)(number < FLEET_ENGINES_MAX ? number : FLEET_ENGINES_MAX);
	f->faults[f->config.fault_count++] = fault;
	return 0;
}
