#include "os/siblings.h"

#include <glob.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"

/* The path as a pattern: signs that glob knows are taken as they are. */
static char *pattern_of(const char *path, const char *end)
{
	const size_t len = strlen(path), end_len = strlen(end);
	char *out = bb_alloc(2 * len + end_len + 1), *p = out;

	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		if (strchr("*?[\\", path[i]))
			*p++ = '\\';
		*p++ = path[i];
	}
	memcpy(p, end, end_len + 1);
	return out;
}

static bool add(glob_t *g, const char *path, const char *end, int flags)
{
	char *pattern = pattern_of(path, end);

	if (!pattern)
		return false;
	const int rc = glob(pattern, flags, NULL, g);
	bb_free(pattern);
	return rc == 0 || rc == GLOB_NOMATCH;
}

void siblings_find(const char *path, struct siblings *out)
{
	glob_t *g = bb_alloc_zero(1, sizeof(*g));

	*out = (struct siblings){ .state = g };
	if (g && add(g, path, ".*", 0) && add(g, path, "-*", GLOB_APPEND)) {
		out->names = g->gl_pathv;
		out->count = g->gl_pathc;
	}
}

void siblings_free(struct siblings *s)
{
	if (s->state)
		globfree(s->state);
	bb_free(s->state);
	*s = (struct siblings){ 0 };
}
