/* Goal: any bytes are taken or refused as a load report without a step past their end. */
#include <stdint.h>
#include <stdlib.h>

#include "wire/orca.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct orca_load l = { 0 };
	const int rc = orca_read((struct bb_str){ (const char *)data, size }, &l);

	if (rc ? l.has_running || l.has_waiting || l.has_usage
	       : !(l.kv_usage >= 0 && l.kv_usage <= 1))
		abort();
	return 0;
}
