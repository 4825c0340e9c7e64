/* exhaust.h: runs something again and again, each time with another allocation failing. */
#pragma once

#include "../unit.h"

#include "base/alloc.h"
#include "base/err.h"

typedef int exhaust_work(void);

/* `work` returns 0 or -BB_ENOMEM, gives everything back, and checks its own result when it is 0. */
static inline void exhaust(exhaust_work *work)
{
	for (uint64_t nth = 1; nth < 5000; nth++) {
		const uint64_t before = bb_alloc_failed_count();
		bb_alloc_fail_at(nth, BB_FAIL_ONCE);
		const int rc = work();
		const bool has_failed = bb_alloc_failed_count() > before;
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		/* PCRE2 goes without what it can go without. */
		assert_true(rc == 0 || (rc == -BB_ENOMEM && has_failed));
		if (!has_failed)
			return;
	}
	fail_msg("more than 5000 allocations");
}
