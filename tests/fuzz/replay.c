/*
 * replay.c: a main for fuzz targets where there is no libFuzzer.
 *
 * For: the normal test run. Each file named on the command line goes through the target as it is,
 * then cut short at every length up to PREFIXES_MAX, then MUTATIONS times with a few bytes changed
 * by a generator that is seeded with the file's own bytes: a failure comes back in every run.
 * Memory: every input is a heap block of its exact size, so that AddressSanitizer sees one byte too
 * many.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define INPUT_MAX (4u << 20)
#define PREFIXES_MAX 1024
#define MUTATIONS 200
#define MUTATED_SIZE_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long runs;

static void run(const uint8_t *data, size_t size)
{
	uint8_t *exact = malloc(size ? size : 1);

	if (!exact)
		abort();
	if (size)
		memcpy(exact, data, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	runs++;
}

static void run_mutations(const uint8_t *data, size_t size)
{
	static const uint8_t odd[] = { 0x00, 0x0a, 0x0d, 0x20, 0x22, 0x2d, 0x3a, 0x5c, 0x7f, 0x80, 0xff };
	struct bb_rng rng;
	uint8_t *copy = malloc(size);

	if (!copy)
		abort();
	bb_rng_seed(&rng, bb_hash(data, size, 0));
	for (int i = 0; i < MUTATIONS; i++) {
		memcpy(copy, data, size);
		for (uint64_t n = 1 + bb_rng_below(&rng, 4); n; n--) {
			uint8_t *const at = &copy[bb_rng_below(&rng, size)];
			if (bb_rng_below(&rng, 2))
				*at = odd[bb_rng_below(&rng, sizeof(odd))];
			else
				*at ^= (uint8_t)(1u << bb_rng_below(&rng, 8));
		}
		run(copy, size);
	}
	free(copy);
}

static int run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(INPUT_MAX);

	if (!f || !data) {
		fprintf(stderr, "replay: %s cannot be read\n", path);
		return 1;
	}
	const size_t size = fread(data, 1, INPUT_MAX, f);
	fclose(f);
	run(data, size);
	for (size_t n = 0; n < size && n < PREFIXES_MAX; n++)
		run(data, n);
	if (size && size <= MUTATED_SIZE_MAX)
		run_mutations(data, size);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	int rc = 0;

	for (int i = 1; i < argc && !rc; i++)
		rc = run_file(argv[i]);
	printf("%d files, %lu runs\n", argc - 1, runs);
	return rc;
}
