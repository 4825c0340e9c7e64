/* Goal: any bytes are taken or refused as a load report without a step past their end. */
#include <stdint.h>
#include <stdlib.h>

#include "wire/load_stat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct load_stat s, again;
	struct bb_buf b;

	if (load_stat_decode((struct bb_str){ (const char *)data, size }, &s))
		return 0;
	bb_buf_init(&b, 256);
	load_stat_encode(&b, &s);
	if (b.err || load_stat_decode(bb_buf_str(&b), &again) || again.running != s.running ||
	    again.tokens_total != s.tokens_total || again.prefill_busy_us != s.prefill_busy_us)
		abort();
	bb_buf_fini(&b);
	return 0;
}
