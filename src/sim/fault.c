#include "sim/fault.h"

static const struct {
	struct bb_str word;
	int arg;
} faults[SIM_FAULT_COUNT] = {
#define X(name, word, arg, text) { BB_STR_INIT(word), arg },
	SIM_FAULTS(X)
#undef X
};

static int parse_number(struct bb_str text, double max, double *out)
{
	double value;

	if (bb_parse_double(text, &value) || !(value >= 0 && value <= max))
		return -BB_EINVALID;
	*out = value;
	return 0;
}

static int parse_one(struct bb_str item, struct sim_faults *f, const char **why)
{
	double probability = 1, arg = -1;
	const ptrdiff_t at = bb_str_find(item, BB_STR("@"));
	int i;

	if (at >= 0) {
		if (parse_number(bb_str_skip(item, (size_t)at + 1), 1, &probability)) {
			*why = "what stands behind '@' must be a probability between 0 and 1";
			return -BB_EINVALID;
		}
		item.len = (size_t)at;
	}
	const bool has_arg = bb_str_find(item, BB_STR(":")) >= 0;
	struct bb_str rest = item;
	const struct bb_str word = bb_str_cut(&rest, ':');
	for (i = 0; i < SIM_FAULT_COUNT; i++)
		if (bb_str_eq(word, faults[i].word))
			break;
	if (i == SIM_FAULT_COUNT) {
		*why = "there is no such fault; docs/simulated-engine.md lists them";
		return -BB_EINVALID;
	}
	if (has_arg && (faults[i].arg == 0 || parse_number(rest, 1e9, &arg))) {
		*why = faults[i].arg == 0 ? "this fault takes no argument"
					  : "a fault's argument must be a number from 0 to 1e9";
		return -BB_EINVALID;
	}
	if (!has_arg && faults[i].arg == 2) {
		*why = "this fault needs an argument, as in slow:3";
		return -BB_EINVALID;
	}
	f->mask |= 1u << i;
	f->probability[i] = probability;
	f->arg[i] = arg;
	return 0;
}

int sim_faults_parse(struct bb_str spec, struct sim_faults *f, const char **why)
{
	struct sim_faults found = *f;

	spec = bb_str_trim(spec);
	while (spec.len) {
		const int rc = parse_one(bb_str_trim(bb_str_cut(&spec, ',')), &found, why);
		if (rc)
			return rc;
	}
	*f = found;
	return 0;
}

void sim_faults_draw(const struct sim_faults *f, struct bb_rng *rng, struct sim_fault_draw *out)
{
	*out = (struct sim_fault_draw){ 0 };
	for (int i = 0; i < SIM_FAULT_COUNT; i++) {
		if (!(f->mask >> i & 1))
			continue;
		/* One number for each fault that is set, whatever the others do. */
		if (bb_rng_unit(rng) >= f->probability[i])
			continue;
		out->mask |= 1u << i;
		out->arg[i] = f->arg[i];
	}
}
