/*
 * siblings.h: files that a file was rotated to.
 *
 * For: `busbar explain --log`. logrotate and its like put a number or a date behind a log's name:
 * "access.log.1", "access.log-20261124".
 * Threads: pure. Memory: `names` is freed by siblings_free. Errors: none; what cannot be read has
 * no siblings.
 */
#pragma once

#include <stddef.h>

struct siblings {
	char **names; /* whole paths, sorted: first those with ".", then those with "-" */
	size_t count;
	void *state; /* its own */
};

/* Files whose names are `path` and go on with "." or "-". */
void siblings_find(const char *path, struct siblings *out);
void siblings_free(struct siblings *s);
