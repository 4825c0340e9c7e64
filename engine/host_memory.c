#include "host_memory.h"

#include <ggml-backend.h>

#include "base/alloc.h"
#include "os/process.h"

#define PROC_TEXT_MAX (64 * 1024)

/* The number behind `label` (a whole file when it is empty). "max" and malformed ones are unknown.
 */
static uint64_t read_number(const char *path, struct bb_str label)
{
	char *text;
	size_t len;
	uint64_t value = UINT64_MAX;

	if (file_read(path, PROC_TEXT_MAX, &text, &len))
		return UINT64_MAX;
	const ptrdiff_t at = label.len ? bb_str_find((struct bb_str){ text, len }, label) : 0;
	if (at >= 0) {
		struct bb_str rest =
			bb_str_skip((struct bb_str){ text, len }, (size_t)at + label.len);
		struct bb_str line = bb_str_trim(bb_str_cut(&rest, '\n'));
		if (bb_parse_u64(bb_str_cut(&line, ' '), &value))
			value = UINT64_MAX;
	}
	bb_free(text);
	return value;
}

/* What a control group leaves: page cache that it counts can be reclaimed, so it is given back. */
static uint64_t group_free(const char *limit_path, const char *used_path, const char *stat_path)
{
	const uint64_t limit = read_number(limit_path, BB_STR(""));
	const uint64_t used = read_number(used_path, BB_STR(""));

	if (limit == UINT64_MAX || used == UINT64_MAX)
		return UINT64_MAX;
	const uint64_t cache = read_number(stat_path, BB_STR("inactive_file "));
	const uint64_t held = cache != UINT64_MAX && cache < used ? used - cache : used;
	return held < limit ? limit - held : 0;
}

uint64_t host_memory_free_bytes(void)
{
	const uint64_t kib = read_number("/proc/meminfo", BB_STR("MemAvailable:"));
	uint64_t bytes = kib == UINT64_MAX ? UINT64_MAX : kib * 1024;
	const uint64_t v2 = group_free("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current",
				       "/sys/fs/cgroup/memory.stat");
	const uint64_t v1 = group_free("/sys/fs/cgroup/memory/memory.limit_in_bytes",
				       "/sys/fs/cgroup/memory/memory.usage_in_bytes",
				       "/sys/fs/cgroup/memory/memory.stat");

	if (v2 < bytes)
		bytes = v2;
	return v1 < bytes ? v1 : bytes;
}

uint64_t gpu_memory_free_bytes(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
		ggml_backend_dev_t device = ggml_backend_dev_get(i);
		size_t free_bytes = 0, total_bytes = 0;
		if (ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_GPU)
			continue;
		ggml_backend_dev_memory(device, &free_bytes, &total_bytes);
		sum += free_bytes;
	}
	return sum;
}
