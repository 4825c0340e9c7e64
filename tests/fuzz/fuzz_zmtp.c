/*
 * Goal: any bytes from a peer are taken without a step past their end, and it makes no difference
 * into which pieces the network cuts them. The first byte says who we are and how they are cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "wire/zmtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	uint64_t digest; /* of all that was handed over, in order */
	uint32_t events;
	int rc;
};

static void note(struct outcome *o, const struct zmtp_event *e)
{
	o->events++;
	o->digest = bb_hash(&e->kind, sizeof(e->kind), o->digest);
	for (uint32_t i = 0; i < e->part_count; i++) {
		o->digest = bb_hash(&e->parts[i].len, sizeof(size_t), o->digest);
		o->digest = bb_hash(e->parts[i].p, e->parts[i].len, o->digest);
	}
}

static struct outcome take_all(enum zmtp_socket self, const char *p, size_t size, size_t piece)
{
	struct zmtp_session s;
	struct zmtp_event e;
	struct outcome o = { 0 };
	size_t at = 0, end = 0;

	zmtp_session_init(&s, self, 4096);
	while (end < size) {
		end = size - end > piece ? end + piece : size;
		do {
			/* A copy of just this size, so that AddressSanitizer sees a step too far.
			 */
			char *exact = malloc(end - at + 1);
			if (!exact)
				abort();
			memcpy(exact + 1, p + at, end - at);
			o.rc = zmtp_session_take(&s, (struct bb_str){ exact + 1, end - at }, &e);
			if (o.rc == 0 && e.kind != ZMTP_NEED)
				note(&o, &e);
			free(exact);
			if (o.rc)
				return o;
			if (e.used > end - at || (e.kind == ZMTP_NEED) != (e.used == 0))
				abort();
			at += e.used;
		} while (e.kind != ZMTP_NEED);
	}
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	const enum zmtp_socket self = (enum zmtp_socket)(data[0] % 4);
	const size_t piece = (size_t)(data[0] / 4) + 1;
	const char *p = (const char *)data + 1;
	const struct outcome whole = take_all(self, p, size - 1, size);
	const struct outcome pieces = take_all(self, p, size - 1, piece);

	if (whole.events != pieces.events || whole.digest != pieces.digest ||
	    (whole.rc != 0) != (pieces.rc != 0))
		abort();
	return 0;
}
