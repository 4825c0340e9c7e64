#include "cmd/explain_log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "os/siblings.h"
#include "wire/json.h"

static bool member_is(struct bb_str record, struct bb_str key, struct bb_str *value)
{
	struct json_member m;

	if (!json_get(record, key, &m) || m.type != JSON_STRING || m.value.len < 2)
		return false;
	*value = (struct bb_str){ m.value.p + 1, m.value.len - 2 }; /* without the quotes */
	return true;
}

/* A line that may be it: its JSON is looked at. */
static int take(struct bb_str line, struct bb_str id, struct explain_found *out)
{
	struct bb_str found, time = BB_STR("");
	struct json_error at;

	if (json_check(line, JSON_DEPTH_MAX, &at) || !member_is(line, BB_STR("id"), &found) ||
	    !bb_str_eq(found, id))
		return 0;
	(void)member_is(line, BB_STR("time"), &time);
	char at_time[sizeof(out->time)];
	snprintf(at_time, sizeof(at_time), "%.*s", BB_ARG(time));
	/* ISO 8601: the later one is the greater text. */
	if (out->count++ && strcmp(at_time, out->time) < 0)
		return 0;
	memcpy(out->time, at_time, sizeof(at_time));
	bb_buf_clear(out->line);
	return bb_buf_add_str(out->line, line);
}

static int read_lines(FILE *f, const char *id, char *line, struct explain_found *out)
{
	bool is_whole = true; /* the line's beginning was seen */
	int rc = 0;

	while (!rc && fgets(line, EXPLAIN_LINE_MAX, f)) {
		const size_t len = strlen(line);
		const bool ends = len && line[len - 1] == '\n';
		if (is_whole && (ends || feof(f)) && strstr(line, id))
			rc = take((struct bb_str){ line, len - ends }, bb_str_of(id), out);
		is_whole = ends;
	}
	return rc ? rc : ferror(f) ? -BB_ESYSTEM : 0;
}

static bool is_compressed(const char *path)
{
	static const char *const ends[] = { ".gz", ".xz", ".zst", ".bz2" };

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (bb_str_ends(bb_str_of(path), bb_str_of(ends[i])))
			return true;
	return false;
}

static int read_file(const char *path, const char *id, char *line, struct explain_found *out)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");

	if (!f) {
		fprintf(stderr, "busbar explain: %s: %s\n", path, strerror(errno));
		return 1;
	}
	errno = 0;
	const int rc = read_lines(f, id, line, out);
	if (rc)
		fprintf(stderr, "busbar explain: %s: %s\n", path,
			rc == -BB_ESYSTEM && errno ? strerror(errno) : bb_error_info(rc)->text);
	if (f != stdin)
		fclose(f);
	out->files++;
	return rc ? 1 : 0;
}

static int read_rotated(const char *path, const char *id, char *line, struct explain_found *out)
{
	struct siblings rotated;
	int rc = 0;

	siblings_find(path, &rotated);
	for (size_t i = 0; i < rotated.count && !rc; i++) {
		if (is_compressed(rotated.names[i]))
			out->compressed++;
		else
			rc = read_file(rotated.names[i], id, line, out);
	}
	siblings_free(&rotated);
	return rc;
}

int explain_log_find(const char *path, const char *id, struct explain_found *out)
{
	char *line = bb_alloc(EXPLAIN_LINE_MAX);
	int rc = line ? 0 : 1;

	if (!line)
		fprintf(stderr, "busbar explain: no memory\n");
	if (!rc)
		rc = read_file(path, id, line, out);
	if (!rc && strcmp(path, "-") != 0)
		rc = read_rotated(path, id, line, out);
	bb_free(line);
	return rc;
}
