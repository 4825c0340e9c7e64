#include "wire/prometheus.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "wire/utf8.h"

/* ---- writing ---- */

static const char *const type_names[] = {
	[PROM_COUNTER] = "counter",
	[PROM_GAUGE] = "gauge",
	[PROM_HISTOGRAM] = "histogram",
};

static bool name_is_valid(struct bb_str name, enum prom_type type)
{
	static const struct bb_str reserved[] = { BB_STR_INIT("_count"), BB_STR_INIT("_sum"),
						  BB_STR_INIT("_bucket") };

	if (name.len == 0 || (name.p[0] >= '0' && name.p[0] <= '9'))
		return false;
	for (size_t i = 0; i < name.len; i++) {
		const char c = name.p[i];
		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != ':')
			return false;
	}
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (bb_str_ends(name, reserved[i]))
			return false;
	return bb_str_ends(name, BB_STR("_total")) == (type == PROM_COUNTER);
}

/* Escapes backslash and line feed, and quotes too in a label's value. */
static void escape_write(struct bb_buf *out, struct bb_str s, const char *special)
{
	size_t from = 0;

	if (s.len == 0)
		return;
	const bool is_text = utf8_check(s) == s.len;
	for (size_t i = 0; i < s.len; i++) {
		const char c = s.p[i];
		const bool is_odd = !is_text && (unsigned char)c >= 0x80;
		if (!is_odd && (c == '\0' || !strchr(special, c)))
			continue;
		bb_buf_add(out, s.p + from, i - from);
		from = i + 1;
		if (is_odd)
			bb_buf_lit(out, "?");
		else if (c == '\n')
			bb_buf_lit(out, "\\n");
		else
			bb_buf_add(out, (const char[2]){ '\\', c }, 2);
	}
	bb_buf_add(out, s.p + from, s.len - from);
}

/* The shortest form that reads back as the same number. */
static void value_write(struct bb_buf *out, double value)
{
	char text[40];

	if (isnan(value)) {
		bb_buf_lit(out, "NaN");
	} else if (isinf(value)) {
		bb_buf_add_str(out, value > 0 ? BB_STR("+Inf") : BB_STR("-Inf"));
	} else if (fabs(value) < 9007199254740992.0 && value == (double)(int64_t)value) {
		bb_buf_printf(out, "%lld", (long long)value);
	} else {
		int digits = 15;
		do {
			snprintf(text, sizeof(text), "%.*g", digits, value);
		} while (strtod(text, NULL) != value && ++digits <= 17);
		bb_buf_add_str(out, bb_str_of(text));
	}
}

/* Labels in braces, or nothing when there are none. `le` is NULL or the bucket's bound. */
static void labels_write(struct bb_buf *out, const struct prom_label *labels, uint32_t count,
			 const double *le)
{
	if (count == 0 && !le)
		return;
	bb_buf_lit(out, "{");
	for (uint32_t i = 0; i < count; i++) {
		if (i)
			bb_buf_lit(out, ",");
		bb_buf_add_str(out, bb_str_of(labels[i].name));
		bb_buf_lit(out, "=\"");
		escape_write(out, labels[i].value, "\\\n\"");
		bb_buf_lit(out, "\"");
	}
	if (le) {
		bb_buf_add_str(out, count ? BB_STR(",le=\"") : BB_STR("le=\""));
		value_write(out, *le);
		bb_buf_lit(out, "\"");
	}
	bb_buf_lit(out, "}");
}

void prom_family(struct bb_buf *out, const char *name, const char *help, enum prom_type type)
{
	const struct bb_str n = bb_str_of(name);

	BB_ASSERT(name_is_valid(n, type));
	bb_buf_lit(out, "# HELP ");
	bb_buf_add_str(out, n);
	bb_buf_lit(out, " ");
	escape_write(out, bb_str_of(help), "\\\n");
	bb_buf_lit(out, "\n# TYPE ");
	bb_buf_add_str(out, n);
	bb_buf_lit(out, " ");
	bb_buf_add_str(out, bb_str_of(type_names[type]));
	bb_buf_lit(out, "\n");
}

void prom_sample(struct bb_buf *out, const char *name, const struct prom_label *labels,
		 uint32_t label_count, double value)
{
	bb_buf_add_str(out, bb_str_of(name));
	labels_write(out, labels, label_count, NULL);
	bb_buf_lit(out, " ");
	value_write(out, value);
	bb_buf_lit(out, "\n");
}

void prom_sample_u64(struct bb_buf *out, const char *name, const struct prom_label *labels,
		     uint32_t label_count, uint64_t value)
{
	bb_buf_add_str(out, bb_str_of(name));
	labels_write(out, labels, label_count, NULL);
	bb_buf_lit(out, " ");
	bb_buf_add_u64(out, value);
	bb_buf_lit(out, "\n");
}

static void bucket_write(struct bb_buf *out, const char *name, const struct prom_label *labels,
			 uint32_t label_count, double le, uint64_t count)
{
	bb_buf_add_str(out, bb_str_of(name));
	bb_buf_lit(out, "_bucket");
	labels_write(out, labels, label_count, &le);
	bb_buf_lit(out, " ");
	bb_buf_add_u64(out, count);
	bb_buf_lit(out, "\n");
}

void prom_histogram(struct bb_buf *out, const char *name, const struct prom_label *labels,
		    uint32_t label_count, const struct prom_histogram *h)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < h->bound_count; i++) {
		BB_ASSERT(i == 0 || h->bounds[i - 1] < h->bounds[i]);
		count += h->counts[i];
		bucket_write(out, name, labels, label_count, h->bounds[i], count);
	}
	count += h->counts[h->bound_count];
	bucket_write(out, name, labels, label_count, INFINITY, count);
	bb_buf_add_str(out, bb_str_of(name));
	bb_buf_lit(out, "_sum");
	labels_write(out, labels, label_count, NULL);
	bb_buf_lit(out, " ");
	value_write(out, h->sum);
	bb_buf_lit(out, "\n");
	bb_buf_add_str(out, bb_str_of(name));
	bb_buf_lit(out, "_count");
	labels_write(out, labels, label_count, NULL);
	bb_buf_lit(out, " ");
	bb_buf_add_u64(out, count);
	bb_buf_lit(out, "\n");
}

/* ---- reading ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct bb_str blanks_skip(struct bb_str s)
{
	size_t i = 0;

	while (i < s.len && is_blank(s.p[i]))
		i++;
	return bb_str_skip(s, i);
}

/* The offset of the quote that ends a value which begins at s.p[0]; s.len when there is none. */
static size_t quote_find(struct bb_str s)
{
	size_t i = 0;

	while (i < s.len && s.p[i] != '"')
		i += s.p[i] == '\\' ? 2 : 1;
	return i < s.len ? i : s.len;
}

/* Cuts the labels off; `s` begins behind the opening brace. */
static bool labels_cut(struct bb_str *s, struct bb_str *labels)
{
	size_t i = 0;

	while (i < s->len && s->p[i] != '}') {
		if (s->p[i] == '"')
			i += 1 + quote_find(bb_str_skip(*s, i + 1));
		i++;
	}
	if (i >= s->len)
		return false;
	*labels = (struct bb_str){ s->p, i };
	*s = bb_str_skip(*s, i + 1);
	return true;
}

static bool value_read(struct bb_str s, double *out)
{
	if (bb_str_eq_nocase(s, BB_STR("NaN")))
		*out = NAN;
	else if (bb_str_eq_nocase(s, BB_STR("+Inf")) || bb_str_eq_nocase(s, BB_STR("Inf")))
		*out = INFINITY;
	else if (bb_str_eq_nocase(s, BB_STR("-Inf")))
		*out = -INFINITY;
	else
		return bb_parse_double(s, out) == 0;
	return true;
}

/* A line that is no comment. What follows the value (time stamp, exemplar) is passed over. */
static bool sample_read(struct bb_str line, struct prom_sample *out)
{
	struct prom_sample s = { .labels = { line.p, 0 } };
	size_t n = 0;

	while (n < line.len && line.p[n] != '{' && !is_blank(line.p[n]))
		n++;
	if (n == 0)
		return false;
	s.name = (struct bb_str){ line.p, n };
	line = blanks_skip(bb_str_skip(line, n));
	if (line.len && line.p[0] == '{') {
		line = bb_str_skip(line, 1);
		if (!labels_cut(&line, &s.labels))
			return false;
		line = blanks_skip(line);
	}
	for (n = 0; n < line.len && !is_blank(line.p[n]);)
		n++;
	if (!value_read((struct bb_str){ line.p, n }, &s.value))
		return false;
	*out = s;
	return true;
}

bool prom_next(struct bb_str *rest, struct prom_sample *out)
{
	while (rest->len) {
		const struct bb_str line = blanks_skip(bb_str_cut(rest, '\n'));
		if (line.len && line.p[0] != '#' && sample_read(line, out))
			return true;
	}
	return false;
}

static bool line_has_name(struct bb_str line, struct bb_str name)
{
	return line.len > name.len && bb_str_starts(line, name) &&
	       (line.p[name.len] == '{' || is_blank(line.p[name.len]));
}

int prom_next_of(struct bb_str *rest, const struct bb_str *names, uint32_t count,
		 struct prom_sample *out)
{
	while (rest->len) {
		const struct bb_str line = blanks_skip(bb_str_cut(rest, '\n'));
		for (uint32_t i = 0; i < count; i++)
			if (line_has_name(line, names[i]) && sample_read(line, out))
				return (int)i;
	}
	return -1;
}

bool prom_label(struct bb_str labels, const char *name, struct bb_str *value)
{
	const struct bb_str wanted = bb_str_of(name);

	while (labels.len) {
		struct bb_str rest = labels;
		const struct bb_str key = bb_str_trim(bb_str_cut(&rest, '='));
		rest = blanks_skip(rest);
		if (rest.len == 0 || rest.p[0] != '"')
			return false;
		rest = bb_str_skip(rest, 1);
		const size_t n = quote_find(rest);
		if (n == rest.len)
			return false;
		if (bb_str_eq(key, wanted)) {
			*value = (struct bb_str){ rest.p, n };
			return true;
		}
		labels = bb_str_skip(rest, n + 1);
		labels = blanks_skip(labels);
		if (labels.len && labels.p[0] == ',')
			labels = bb_str_skip(labels, 1);
	}
	return false;
}
