/*
 * work_azure.c: reads Azure's traces: CSV with times and lengths (see work_read.h).
 */
#include <stdio.h>

#include "sim/work_trace.h"
#include "wire/date.h"

#define SECOND_NS 1000000000ull
#define TIME_LEN 19 /* "2023-11-16 18:15:46" */
#define TIME_LEN_MAX 40
#define FRACTION_MAX 9
#define SINCE_UNIX_S 946684800ull /* times count from the year 2000, so that they fit */
#define COLUMNS_MAX 16

enum column { TIMESTAMP, CONTEXT, GENERATED, COLUMNS };

static const struct bb_str column_names[COLUMNS] = { BB_STR_INIT("TIMESTAMP"),
						     BB_STR_INIT("ContextTokens"),
						     BB_STR_INIT("GeneratedTokens") };

struct reader {
	struct workload *w;
	int place[COLUMNS]; /* of each in a line */
};

bool work_is_azure(struct bb_str text)
{
	return bb_str_find(bb_str_cut(&text, '\n'), column_names[CONTEXT]) >= 0;
}

static int read_head(struct reader *r, struct bb_str line, char why[WORK_WHY_SIZE])
{
	for (int c = 0; c < COLUMNS; c++)
		r->place[c] = -1;
	for (int i = 0; line.len && i < COLUMNS_MAX; i++) {
		const struct bb_str name = bb_str_trim(bb_str_cut(&line, ','));
		for (int c = 0; c < COLUMNS; c++)
			if (bb_str_eq(name, column_names[c]))
				r->place[c] = i;
	}
	for (int c = 0; c < COLUMNS; c++)
		if (r->place[c] < 0) {
			snprintf(why, WORK_WHY_SIZE, "line 1: there is no column %s",
				 column_names[c].p);
			return -BB_ESYNTAX;
		}
	return 0;
}

/* "2023-11-16 18:15:46.6805900", "2024-05-10T00:00:00.009+00:00": nanoseconds since the year 2000.
 */
static int read_time(struct bb_str text, uint64_t *out)
{
	char plain[TIME_LEN_MAX + 2];
	uint64_t unix_s, fraction_ns = 0;

	if (text.len < TIME_LEN || text.len > TIME_LEN_MAX)
		return -BB_EINVALID;
	struct bb_str rest = bb_str_skip(text, TIME_LEN);
	if (rest.len && rest.p[0] == '.') {
		uint64_t unit = SECOND_NS;
		rest = bb_str_skip(rest, 1);
		for (; rest.len && rest.p[0] >= '0' && rest.p[0] <= '9';
		     rest = bb_str_skip(rest, 1)) {
			unit /= 10;
			fraction_ns += unit * (uint64_t)(rest.p[0] - '0');
		}
	}
	snprintf(plain, sizeof(plain), "%.10sT%.8s%.*s", text.p, text.p + 11,
		 rest.len ? (int)rest.len : 1, rest.len ? rest.p : "Z");
	if ((text.p[10] != ' ' && text.p[10] != 'T') || date_parse(bb_str_of(plain), &unix_s) ||
	    unix_s < SINCE_UNIX_S || unix_s - SINCE_UNIX_S > WORK_DUE_MAX_NS / SECOND_NS - 1)
		return -BB_EINVALID;
	*out = (unix_s - SINCE_UNIX_S) * SECOND_NS + fraction_ns;
	return 0;
}

static int wrong(uint32_t number, enum column c, const char *what, char why[WORK_WHY_SIZE])
{
	snprintf(why, WORK_WHY_SIZE, "line %u: %s %s", number, column_names[c].p, what);
	return -BB_ESYNTAX;
}

static int read_line(struct reader *r, struct bb_str line, uint32_t number, char why[WORK_WHY_SIZE])
{
	struct work_request q = { .after = WORK_NONE, .session = r->w->count };
	struct bb_str fields[COLUMNS] = { { 0 } };
	uint64_t tokens[COLUMNS];

	for (int i = 0; line.len && i < COLUMNS_MAX; i++) {
		const struct bb_str field = bb_str_trim(bb_str_cut(&line, ','));
		for (int c = 0; c < COLUMNS; c++)
			if (r->place[c] == i)
				fields[c] = field;
	}
	if (read_time(fields[TIMESTAMP], &q.due_ns))
		return wrong(number, TIMESTAMP,
			     "is no time from the year 2000 on, as in 2023-11-16 18:15:46.680",
			     why);
	for (enum column c = CONTEXT; c < COLUMNS; c++)
		if (bb_parse_u64(fields[c], &tokens[c]) || tokens[c] > WORK_TOKENS_MAX)
			return wrong(number, c, "is not a whole number, 16777216 at most", why);
	q.output_tokens = tokens[GENERATED] ? (uint32_t)tokens[GENERATED] : 1;
	const int rc = workload_span(r->w, work_own(r->w->count), 0,
				     tokens[CONTEXT] ? (uint32_t)tokens[CONTEXT] : 1);
	return rc ? rc : workload_add(r->w, &q);
}

int work_azure(struct bb_str text, struct workload *w, char why[WORK_WHY_SIZE])
{
	struct reader r = { .w = w };
	uint32_t number = 1;
	int rc = read_head(&r, bb_str_trim(bb_str_cut(&text, '\n')), why);

	while (!rc && text.len) {
		const struct bb_str line = bb_str_trim(bb_str_cut(&text, '\n'));
		number++;
		if (line.len)
			rc = read_line(&r, line, number, why);
	}
	return rc;
}
