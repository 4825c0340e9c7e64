/*
 * Goal: metrics text from an engine, whatever it is, is read without harm, and what the reader
 * takes from a sample lies inside of the text; and the quick look-up by names finds the same
 * samples.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "wire/prometheus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct bb_str all, struct bb_str part)
{
	BB_ASSERT(part.p >= all.p && part.p + part.len <= all.p + all.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct bb_str names[] = { BB_STR_INIT("a"),
					       BB_STR_INIT("vllm:num_requests_running") };
	const struct bb_str all = { (const char *)data, size };
	struct bb_str rest = all, value;
	struct prom_sample s;
	int found = 0;

	if (size == 0)
		return 0;
	while (prom_next(&rest, &s)) {
		inside(all, s.name);
		inside(all, s.labels);
		BB_ASSERT(s.name.len > 0);
		if (prom_label(s.labels, "le", &value))
			inside(s.labels, value);
		found += bb_str_eq(s.name, names[0]) || bb_str_eq(s.name, names[1]);
	}
	rest = all;
	while (prom_next_of(&rest, names, 2, &s) >= 0)
		found--;
	BB_ASSERT(found == 0);
	return 0;
}
