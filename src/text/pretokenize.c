#include "text/pretokenize.h"

#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "text/component.h"
#include "text/pretokenize_steps.h"
#include "text/regex.h"
#include "text/unicode.h"
#include "wire/json.h"
#include "wire/utf8.h"

#define KNOWN                                                                                      \
	"Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, "          \
	"BertPreTokenizer, CharDelimiterSplit, FixedLength, Sequence"
#define TEXTS_MAX (1u << 20)
#define DEPTH_MAX 16
/* A component makes up to three steps. */
#define STEPS_MAX (3 * COMPONENT_STEPS_MAX)

struct pretokenizer {
	struct pretokenize_step steps[STEPS_MAX];
	size_t count;
	size_t component_count;
	struct bb_arena texts;
	enum split_pattern pattern;
	bool is_byte_level;
	bool wants_origins;
	bool rewrites_before_first; /* a text is rewritten ahead of a Metaspace that looks at
				       origins */
};

/* ---- loading ---- */

static struct pretokenize_step *add(struct pretokenizer *p, enum pretokenize_kind kind)
{
	struct pretokenize_step *const s = &p->steps[p->count++];

	*s = (struct pretokenize_step){ .kind = kind, .behavior = SPLIT_ISOLATED };
	return s;
}

static int add_split(struct pretokenizer *p, const struct component *c)
{
	enum component_pattern kind;
	struct bb_str behavior;
	struct pretokenize_step *const s = add(p, PRETOKENIZE_TEXT);
	int rc = component_pattern(c, "pattern", &p->texts, &kind, &s->text);

	if (!rc)
		rc = component_string(c, "behavior", &p->texts, &behavior);
	if (!rc && !split_behavior_of(behavior, &s->behavior))
		rc = component_wrong(c, "behavior '%.*s' is not known",
				     (int)(behavior.len > 32 ? 32 : behavior.len), behavior.p);
	if (!rc)
		rc = component_bool(c, "invert", &s->is_inverted);
	if (rc)
		return rc;
	if (kind == COMPONENT_STRING)
		return s->text.len ? 0 : component_wrong(c, "an empty pattern is not supported");
	s->kind = PRETOKENIZE_REGEX;
	/* A known one needs no PCRE2; should it stand beside others, it is compiled then. */
	return split_recognise(s->text) ? 0 : regex_create(s->text, &s->regex, c->error);
}

static int add_byte_level(struct pretokenizer *p, const struct component *c)
{
	bool has_prefix = true, has_regex = true;
	int rc = component_bool(c, "add_prefix_space", &has_prefix);

	if (!rc)
		rc = component_bool_or(c, "use_regex", &has_regex);
	if (rc)
		return rc;
	if (p->is_byte_level)
		return component_wrong(c, "two of these are not supported");
	if (has_prefix)
		add(p, PRETOKENIZE_PREFIX);
	if (has_regex)
		add(p, PRETOKENIZE_GPT2);
	add(p, PRETOKENIZE_TO_CHARS);
	p->is_byte_level = true;
	return 0;
}

static int set_character(struct pretokenize_step *s, const struct component *c, const char *name)
{
	const int rc = component_char(c, name, &s->character);

	if (!rc)
		s->character_len = (uint32_t)utf8_encode(s->character, s->character_bytes);
	return rc;
}

static int scheme_of(const struct component *c, struct bb_arena *arena,
		     enum pretokenize_prepend *out)
{
	struct bb_str name = BB_STR("always");
	bool adds = true;
	int rc = component_string_or(c, "prepend_scheme", arena, &name);

	if (!rc)
		rc = component_bool_or(c, "add_prefix_space", &adds);
	if (rc)
		return rc;
	if (bb_str_eq(name, BB_STR("always")))
		*out = PREPEND_ALWAYS;
	else if (bb_str_eq(name, BB_STR("first")))
		*out = PREPEND_FIRST;
	else if (bb_str_eq(name, BB_STR("never")))
		*out = PREPEND_NEVER;
	else
		return component_wrong(c, "'prepend_scheme' must be always, first or never");
	if (!adds && *out != PREPEND_NEVER)
		return component_wrong(c,
				       "'add_prefix_space' is false, but 'prepend_scheme' is not "
				       "never");
	return 0;
}

static int add_metaspace(struct pretokenizer *p, const struct component *c)
{
	bool splits = true;
	struct pretokenize_step *const s = add(p, PRETOKENIZE_METASPACE);
	int rc = set_character(s, c, "replacement");

	if (!rc)
		rc = scheme_of(c, &p->texts, &s->prepend);
	if (!rc)
		rc = component_bool_or(c, "split", &splits);
	if (rc)
		return rc;
	p->wants_origins |= s->prepend == PREPEND_FIRST;
	if (!splits)
		return 0;
	struct pretokenize_step *const after = add(p, PRETOKENIZE_CHAR);
	after->character = s->character;
	after->behavior = SPLIT_NEXT;
	return 0;
}

static int add_digits(struct pretokenizer *p, const struct component *c)
{
	bool is_individual = false;
	struct pretokenize_step *const s = add(p, PRETOKENIZE_NUMBERS);
	const int rc = component_bool(c, "individual_digits", &is_individual);

	s->behavior = is_individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
	return rc;
}

static int add_punctuation(struct pretokenizer *p, const struct component *c)
{
	struct bb_str behavior = BB_STR("Isolated");
	struct pretokenize_step *const s = add(p, PRETOKENIZE_PUNCTUATION);
	const int rc = component_string_or(c, "behavior", &p->texts, &behavior);

	if (!rc && !split_behavior_of(behavior, &s->behavior))
		return component_wrong(c, "behavior '%.*s' is not known",
				       (int)(behavior.len > 32 ? 32 : behavior.len), behavior.p);
	return rc;
}

static int add_spaces(struct pretokenizer *p)
{
	add(p, PRETOKENIZE_SPACES)->behavior = SPLIT_REMOVED;
	return 0;
}

static int add_delimiter(struct pretokenizer *p, const struct component *c)
{
	struct pretokenize_step *const s = add(p, PRETOKENIZE_CHAR);

	s->behavior = SPLIT_REMOVED;
	return set_character(s, c, "delimiter");
}

static int add_fixed(struct pretokenizer *p, const struct component *c)
{
	struct pretokenize_step *const s = add(p, PRETOKENIZE_FIXED);
	int rc = 0;

	s->length = 5;
	if (component_has(c, "length"))
		rc = component_u64(c, "length", &s->length);
	return !rc && !s->length ? component_wrong(c, "'length' must not be 0") : rc;
}

static int add_any(struct pretokenizer *p, struct bb_str json, unsigned depth,
		   struct text_error *e);

static int add_sequence(struct pretokenizer *p, const struct component *c, unsigned depth)
{
	struct bb_str list, one;
	enum json_type type;
	struct json_pull j;
	int rc = component_array(c, "pretokenizers", &list);

	if (rc)
		return rc;
	json_pull_init(&j, list);
	json_pull_array(&j);
	while (!rc && json_pull_more(&j) && json_pull_value(&j, &one, &type))
		rc = add_any(p, one, depth + 1, c->error);
	return rc;
}

/* `depth` bounds the recursion through chains in chains. */
static int add_any(struct pretokenizer *p, struct bb_str json, unsigned depth, struct text_error *e)
{
	struct component c;
	const int rc = component_init(&c, "pre_tokenizer", json, e);

	if (rc)
		return rc;
	if (depth > DEPTH_MAX)
		return component_wrong(&c, "more than %d chains in chains", DEPTH_MAX);
	if (component_is(&c, "Sequence"))
		return add_sequence(p, &c, depth);
	if (p->component_count++ == COMPONENT_STEPS_MAX)
		return component_wrong(&c, "more than %d steps", COMPONENT_STEPS_MAX);
	if (component_is(&c, "Split"))
		return add_split(p, &c);
	if (component_is(&c, "ByteLevel"))
		return add_byte_level(p, &c);
	if (component_is(&c, "Metaspace"))
		return add_metaspace(p, &c);
	if (component_is(&c, "Digits"))
		return add_digits(p, &c);
	if (component_is(&c, "Punctuation"))
		return add_punctuation(p, &c);
	if (component_is(&c, "Whitespace")) {
		add(p, PRETOKENIZE_WORDS);
		return 0;
	}
	if (component_is(&c, "WhitespaceSplit"))
		return add_spaces(p);
	if (component_is(&c, "BertPreTokenizer")) {
		add_spaces(p);
		add(p, PRETOKENIZE_PUNCTUATION);
		return 0;
	}
	if (component_is(&c, "CharDelimiterSplit"))
		return add_delimiter(p, &c);
	if (component_is(&c, "FixedLength"))
		return add_fixed(p, &c);
	return component_unsupported(&c, KNOWN);
}

/* Bytes are what comes out: a change to characters that nothing looks at is left out. */
static void finish_bytes(struct pretokenizer *p)
{
	if (!p->is_byte_level)
		return;
	if (p->steps[p->count - 1].kind == PRETOKENIZE_TO_CHARS)
		p->count--;
	else
		add(p, PRETOKENIZE_TO_BYTES);
}

static void find_pattern(struct pretokenizer *p)
{
	struct bb_str patterns[STEPS_MAX];

	for (size_t i = 0; i < p->count; i++) {
		const struct pretokenize_step *const s = &p->steps[i];
		if (s->kind == PRETOKENIZE_GPT2 && p->count == 1) {
			p->pattern = SPLIT_GPT2;
			return;
		}
		if (s->kind != PRETOKENIZE_REGEX)
			return;
		/* Keeping the matches alone is the same for patterns that match every character. */
		const bool keeps_matches = s->behavior == SPLIT_REMOVED && s->is_inverted;
		if (!keeps_matches && (s->behavior != SPLIT_ISOLATED || s->is_inverted))
			return;
		if (keeps_matches && p->count > 1)
			return; /* the patterns of a sequence leave gaps */
		patterns[i] = s->text;
	}
	if (p->count)
		p->pattern = split_recognise_sequence(patterns, p->count);
}

/* Known patterns that stand beside something else run by PCRE2 as well. */
static int compile_rest(struct pretokenizer *p, struct text_error *e)
{
	for (size_t i = 0; i < p->count; i++) {
		struct pretokenize_step *const s = &p->steps[i];
		if (s->kind != PRETOKENIZE_REGEX || s->regex)
			continue;
		const int rc = regex_create(s->text, &s->regex, e);
		if (rc)
			return rc;
	}
	return 0;
}

static void find_order(struct pretokenizer *p)
{
	bool rewrites = false;

	for (size_t i = 0; i < p->count; i++) {
		const struct pretokenize_step *const s = &p->steps[i];
		if (s->kind == PRETOKENIZE_METASPACE && s->prepend == PREPEND_FIRST && rewrites)
			p->rewrites_before_first = true;
		rewrites |= pretokenize_step_rewrites(s);
	}
}

int pretokenizer_create(struct bb_str json, struct pretokenizer **out, struct text_error *e)
{
	if (json_type_of(json) == JSON_NULL) {
		*out = NULL;
		return 0;
	}
	struct pretokenizer *const p = bb_alloc_zero(1, sizeof(*p));
	if (!p)
		return -BB_ENOMEM;
	unicode_init();
	bb_arena_init(&p->texts, TEXTS_MAX);
	p->pattern = SPLIT_NONE;
	int rc = add_any(p, json, 0, e);
	if (!rc) {
		finish_bytes(p);
		find_pattern(p);
		find_order(p);
		if (p->pattern == SPLIT_NONE)
			rc = compile_rest(p, e);
	}
	if (rc) {
		pretokenizer_destroy(p);
		return rc;
	}
	*out = p;
	return 0;
}

void pretokenizer_destroy(struct pretokenizer *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->count; i++)
		regex_destroy(p->steps[i].regex);
	bb_arena_fini(&p->texts);
	bb_free(p);
}

/* ---- use ---- */

enum split_pattern pretokenizer_pattern(const struct pretokenizer *p)
{
	return p ? p->pattern : SPLIT_NONE;
}

bool pretokenizer_is_byte_level(const struct pretokenizer *p)
{
	return p && p->is_byte_level;
}

bool pretokenizer_wants_origins(const struct pretokenizer *p)
{
	return p && p->wants_origins;
}

const char *pretokenizer_engine(const struct pretokenizer *p)
{
	if (!p || !p->count)
		return "none";
	if (p->pattern != SPLIT_NONE)
		return split_name(p->pattern);
	for (size_t i = 0; i < p->count; i++)
		if (p->steps[i].regex)
			return regex_engine(p->steps[i].regex);
	return "characters";
}

/* Puts the given text into the list, as one piece. */
static int begin(struct piece_list *l, struct bb_str text, const struct text_origins *origins,
		 bool keeps_origins)
{
	piece_list_clear(l);
	l->text = text;
	l->keeps_origins = keeps_origins;
	int rc = piece_list_add(l, 0, text.len);
	if (!rc && keeps_origins && text.len)
		rc = origins ? text_origins_copy(&l->origins, origins->at, origins->count)
			     : text_origins_identity(&l->origins, text.p, text.len, 0);
	return rc;
}

static void swap(struct piece_list *a, struct piece_list *b)
{
	const struct piece_list c = *a;

	*a = *b;
	*b = c;
}

/* Runs the step from `l` by way of `other` back to `l`. */
static int run_step(const struct pretokenize_step *s, bool is_start, struct piece_list *l,
		    struct piece_list *other)
{
	const struct pretokenize_input in = { s, l, other, is_start };

	piece_list_clear(other);
	other->keeps_origins = l->keeps_origins;
	const int rc = pretokenize_step_run(&in);
	if (rc)
		return rc;
	if (pretokenize_step_rewrites(s)) {
		other->text = bb_buf_str(&other->own);
		swap(l, other);
		return 0;
	}
	/* Only the pieces are new: the text and its origins stay where they are. */
	const struct piece_list old = *l;
	l->at = other->at;
	l->count = other->count;
	l->cap = other->cap;
	other->at = old.at;
	other->count = old.count;
	other->cap = old.cap;
	return 0;
}

int pretokenizer_run(const struct pretokenizer *p, struct bb_str text,
		     const struct text_origins *origins, enum pretokenize_place place,
		     enum pretokenize_want want, struct piece_list *out)
{
	const bool keeps = want == PRETOKENIZE_PIECES_AND_ORIGINS ||
			   (p && p->wants_origins && (origins || p->rewrites_before_first));
	struct piece_list other;
	int rc = begin(out, text, origins, keeps);

	piece_list_init(&other, out->own.max);
	for (size_t i = 0; !rc && p && i < p->count; i++)
		rc = run_step(&p->steps[i], place == PRETOKENIZE_START, out, &other);
	piece_list_fini(&other);
	return rc;
}
