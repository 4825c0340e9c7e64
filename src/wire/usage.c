#include "wire/usage.h"

#include "wire/json.h"
#include "wire/json_run.h"

#define USAGE_TAIL_MAX 1024 /* how far from the end it is looked for before the whole is walked */

/* Above this a count is nonsense; below it sums of a few cannot overflow. */
#define COUNT_MAX ((uint64_t)1 << 53)

/* ---- a usage object ---- */

enum field {
	FIELD_PROMPT,
	FIELD_COMPLETION,
	FIELD_CACHED,
	FIELD_REASONING,
	FIELD_CACHE_READ,
	FIELD_CACHE_CREATION,
	FIELD_TOTAL,
	FIELD_COUNT,
	FIELD_DETAILS, /* an object with more fields */
};

static const struct {
	struct bb_str key;
	enum field field;
} fields[] = {
	{ BB_STR_INIT("prompt_tokens"), FIELD_PROMPT },
	{ BB_STR_INIT("input_tokens"), FIELD_PROMPT },
	{ BB_STR_INIT("completion_tokens"), FIELD_COMPLETION },
	{ BB_STR_INIT("output_tokens"), FIELD_COMPLETION },
	{ BB_STR_INIT("total_tokens"), FIELD_TOTAL },
	{ BB_STR_INIT("cached_tokens"), FIELD_CACHED },
	{ BB_STR_INIT("reasoning_tokens"), FIELD_REASONING },
	{ BB_STR_INIT("cache_read_input_tokens"), FIELD_CACHE_READ },
	{ BB_STR_INIT("cache_creation_input_tokens"), FIELD_CACHE_CREATION },
	{ BB_STR_INIT("prompt_tokens_details"), FIELD_DETAILS },
	{ BB_STR_INIT("input_tokens_details"), FIELD_DETAILS },
	{ BB_STR_INIT("completion_tokens_details"), FIELD_DETAILS },
	{ BB_STR_INIT("output_tokens_details"), FIELD_DETAILS },
};

struct counts {
	uint64_t value[FIELD_COUNT];
	bool has[FIELD_COUNT];
};

static enum field field_of(struct bb_str key)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (bb_str_eq(key, fields[i].key))
			return fields[i].field;
	}
	return FIELD_COUNT;
}

static void take_count(struct json_pull *j, struct counts *c, enum field field)
{
	struct bb_str raw;
	enum json_type type;
	uint64_t value;

	if (!json_pull_value(j, &raw, &type) || type != JSON_NUMBER)
		return;
	if (json_u64(raw, &value) == 0 && value <= COUNT_MAX) {
		c->value[field] = value;
		c->has[field] = true;
	}
}

/* Takes the two counts that details hold for us; their other counts are parts we do not need. */
static void take_details(struct json_pull *j, struct counts *c)
{
	struct bb_str key;

	if (!json_pull_object(j)) {
		json_pull_skip(j);
		return;
	}
	while (json_pull_key(j, &key)) {
		const enum field field = field_of(key);
		if (field == FIELD_CACHED || field == FIELD_REASONING)
			take_count(j, c, field);
		else
			json_pull_skip(j);
	}
}

int usage_parse(struct bb_str usage_object, struct usage *out)
{
	struct counts c = { .has = { false } };
	struct json_pull j;
	struct bb_str key;

	json_pull_init(&j, usage_object);
	if (!json_pull_object(&j))
		return -BB_ESYNTAX;
	while (json_pull_key(&j, &key)) {
		const enum field field = field_of(key);
		if (field < FIELD_COUNT)
			take_count(&j, &c, field);
		else if (field == FIELD_DETAILS)
			take_details(&j, &c);
		else
			json_pull_skip(&j);
	}
	if (j.failed)
		return -BB_ESYNTAX;
	if (!c.has[FIELD_PROMPT] && !c.has[FIELD_COMPLETION])
		c.value[FIELD_PROMPT] = c.value[FIELD_TOTAL];
	*out = (struct usage){
		.prompt = c.value[FIELD_PROMPT] + c.value[FIELD_CACHE_READ] +
			  c.value[FIELD_CACHE_CREATION],
		.completion = c.value[FIELD_COMPLETION],
		.cached = c.value[FIELD_CACHED] + c.value[FIELD_CACHE_READ],
		.reasoning = c.value[FIELD_REASONING],
		.has_cached = c.has[FIELD_CACHED] || c.has[FIELD_CACHE_READ],
		.known = c.has[FIELD_PROMPT] || c.has[FIELD_COMPLETION] || c.has[FIELD_TOTAL],
	};
	return 0;
}

/*
 * Are these the last members of an object, up to its end and the end of the text? Only members of
 * the outermost object are: inside of another one, more closing brackets would follow.
 */
static bool is_tail(struct bb_str text, struct bb_str *usage)
{
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;

	json_pull_init(&j, text);
	if (!json_pull_value(&j, usage, &type) || type != JSON_OBJECT)
		return false;
	for (;;) {
		while (j.p < j.end && (unsigned char)*j.p <= ' ')
			j.p++;
		if (j.p == j.end)
			return false;
		if (*j.p == '}')
			break;
		if (*j.p++ != ',' || !json_pull_value(&j, &raw, &type) || type != JSON_STRING)
			return false;
		while (j.p < j.end && (unsigned char)*j.p <= ' ')
			j.p++;
		if (j.p == j.end || *j.p++ != ':' || !json_pull_value(&j, &raw, &type))
			return false;
	}
	for (j.p++; j.p < j.end; j.p++)
		if ((unsigned char)*j.p > ' ')
			return false;
	return true;
}

bool usage_find(struct bb_str answer, struct bb_str *object)
{
	static const struct bb_str key = BB_STR_INIT("\"usage\":");
	struct json_member m;
	const size_t from = answer.len > USAGE_TAIL_MAX + key.len ? answer.len - USAGE_TAIL_MAX :
								    key.len;
	size_t at = answer.len;

	/* An unescaped quote in front makes it a key; a string cannot hold one. */
	while (at > from) {
		const char *const colon = memrchr(answer.p + from, ':', at - from);
		if (!colon)
			break;
		at = (size_t)(colon - answer.p);
		if (memcmp(colon + 1 - key.len, key.p, key.len) == 0 &&
		    answer.p[at - key.len] != '\\' &&
		    is_tail(bb_str_skip(answer, at + 1), object))
			return true;
	}
	if (!json_get(answer, BB_STR("usage"), &m) || m.type != JSON_OBJECT)
		return false;
	*object = m.value;
	return true;
}

void usage_merge(struct usage *into, const struct usage *from)
{
	into->prompt = from->prompt ? from->prompt : into->prompt;
	into->completion = from->completion ? from->completion : into->completion;
	into->cached = from->cached ? from->cached : into->cached;
	into->reasoning = from->reasoning ? from->reasoning : into->reasoning;
	into->known |= from->known;
	into->has_cached |= from->has_cached;
}

/* ---- the tap ---- */

/*
 * The top-level object is followed member by member; values are passed over by counting brackets
 * outside of strings. Each state takes some bytes and returns where it came to.
 */
#define TAP_STATES(X)                                                                              \
	X(START, tap_start)	      /* the object's '{' is to come */                            \
	X(KEY, tap_key)		      /* a key's quote is to come, or '}' */                       \
	X(KEY_TEXT, tap_key_text)     /* inside of a key */                                        \
	X(COLON, tap_colon)	      /* ':' is to come */                                         \
	X(VALUE, tap_value)	      /* a value's first byte is to come */                        \
	X(STRING, tap_string)	      /* inside of a string that is a value */                     \
	X(WORD, tap_word)	      /* inside of a number, true, false or null */                \
	X(NEST, tap_nest)	      /* inside of a container, outside of strings */              \
	X(NEST_STRING, tap_nest_text) /* inside of a string in a container */                      \
	X(END, tap_end)		      /* nothing more is looked at */

enum tap_state {
#define X(name, step) TAP_##name,
	TAP_STATES(X)
#undef X
};

enum tap_member { MEMBER_OTHER, MEMBER_USAGE, MEMBER_ERROR };

static inline bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Bytes of the value that passes by. */
static void tap_take(struct usage_tap *t, const char *p, size_t len)
{
	if (t->member != MEMBER_USAGE || t->is_too_long)
		return;
	if (len > USAGE_RAW_MAX - t->raw_len) {
		t->is_too_long = true;
		return;
	}
	memcpy(t->raw + t->raw_len, p, len);
	t->raw_len += len;
}

static void tap_value_ends(struct usage_tap *t)
{
	t->is_complete |= t->member == MEMBER_USAGE;
	t->member = MEMBER_OTHER;
	t->state = TAP_KEY;
}

static const char *tap_start(struct usage_tap *t, const char *p, const char *end)
{
	if (!is_space(*p))
		t->state = *p == '{' ? TAP_KEY : TAP_END;
	return p + 1;
}

static const char *tap_key(struct usage_tap *t, const char *p, const char *end)
{
	if (*p == '"') {
		t->key_len = 0;
		t->state = TAP_KEY_TEXT;
	} else if (*p != ',' && !is_space(*p)) {
		t->state = TAP_END;
	}
	return p + 1;
}

static void tap_key_ends(struct usage_tap *t)
{
	const struct bb_str key = { t->key, t->key_len };

	t->state = TAP_COLON;
	if (t->key_len > USAGE_KEY_MAX)
		return;
	if (bb_str_eq(key, BB_STR("usage"))) {
		t->member = MEMBER_USAGE;
		t->raw_len = 0;
		t->is_complete = t->is_too_long = false;
	} else if (bb_str_eq(key, BB_STR("error"))) {
		t->member = MEMBER_ERROR;
	}
}

static const char *tap_key_text(struct usage_tap *t, const char *p, const char *end)
{
	if (t->is_escaped) {
		t->is_escaped = false;
	} else if (*p == '"') {
		tap_key_ends(t);
		return p + 1;
	} else if (*p == '\\') {
		t->is_escaped = true;
	}
	if (t->key_len < USAGE_KEY_MAX)
		t->key[t->key_len++] = *p;
	else
		t->key_len = USAGE_KEY_MAX + 1;
	return p + 1;
}

static const char *tap_colon(struct usage_tap *t, const char *p, const char *end)
{
	if (!is_space(*p))
		t->state = *p == ':' ? TAP_VALUE : TAP_END;
	return p + 1;
}

static const char *tap_value(struct usage_tap *t, const char *p, const char *end)
{
	if (is_space(*p))
		return p + 1;
	t->has_error |= t->member == MEMBER_ERROR && *p != 'n';
	if (*p == '"') {
		t->state = TAP_STRING;
	} else if (*p == '{' || *p == '[') {
		t->depth = 1;
		t->state = TAP_NEST;
	} else {
		t->state = TAP_WORD;
		return p;
	}
	tap_take(t, p, 1);
	return p + 1;
}

/* Goes behind the closing quote, where *closed is set, or to the end. */
static const char *tap_text(struct usage_tap *t, const char *p, const char *end, bool *closed)
{
	const char *const start = p;

	while (p < end && !*closed) {
		if (t->is_escaped) {
			t->is_escaped = false;
			p++;
			continue;
		}
		p = json_run_string_inline(p, end);
		if (p == end)
			break;
		*closed = *p == '"';
		t->is_escaped = *p == '\\';
		p++;
	}
	tap_take(t, start, (size_t)(p - start));
	return p;
}

static const char *tap_string(struct usage_tap *t, const char *p, const char *end)
{
	bool closed = false;

	p = tap_text(t, p, end, &closed);
	if (closed)
		tap_value_ends(t);
	return p;
}

static const char *tap_nest_text(struct usage_tap *t, const char *p, const char *end)
{
	bool closed = false;

	p = tap_text(t, p, end, &closed);
	if (closed)
		t->state = TAP_NEST;
	return p;
}

static const char *tap_word(struct usage_tap *t, const char *p, const char *end)
{
	const char *const start = p;

	while (p < end && *p != ',' && *p != '}')
		p++;
	tap_take(t, start, (size_t)(p - start));
	if (p < end)
		tap_value_ends(t);
	return p;
}

static const char *tap_nest(struct usage_tap *t, const char *p, const char *end)
{
	const char *const start = p;

	p += json_run_flat(p, end);
	if (p == end) {
		tap_take(t, start, (size_t)(p - start));
		return p;
	}
	const char c = *p++;
	tap_take(t, start, (size_t)(p - start));
	if (c == '"')
		t->state = TAP_NEST_STRING;
	else if (c == '{' || c == '[')
		t->depth++;
	else if (--t->depth == 0)
		tap_value_ends(t);
	return p;
}

static const char *tap_end(struct usage_tap *t, const char *p, const char *end)
{
	return end;
}

void usage_tap_init(struct usage_tap *t)
{
	/* raw is not cleared: it is only read as far as it was written. */
	memset(t, 0, offsetof(struct usage_tap, raw));
}

void usage_tap_feed(struct usage_tap *t, const char *p, size_t len)
{
	static const char *(*const steps[])(struct usage_tap *, const char *, const char *) = {
#define X(name, step) [TAP_##name] = step,
		TAP_STATES(X)
#undef X
	};
	const char *const end = len ? p + len : p;

	while (p < end)
		p = steps[t->state](t, p, end);
}

int usage_tap_end(const struct usage_tap *t, struct usage *out)
{
	const struct bb_str raw = { t->raw, t->raw_len };

	if (!t->is_complete)
		return -BB_EABSENT;
	if (t->is_too_long)
		return -BB_ELIMIT;
	if (bb_str_eq(bb_str_trim(raw), BB_STR("null")))
		return -BB_EABSENT;
	return usage_parse(raw, out);
}
