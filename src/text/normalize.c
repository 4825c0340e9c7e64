#include "text/normalize.h"

#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "text/char_set.h"
#include "text/charsmap.h"
#include "text/component.h"
#include "text/normal_forms.h"
#include "text/normalize_steps.h"
#include "text/regex.h"
#include "wire/json.h"

#define KNOWN                                                                                      \
	"NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, Precompiled, "    \
	"BertNormalizer, Nmt, ByteLevel, Sequence"
#define TEXTS_MAX (1u << 20)
#define DEPTH_MAX 16

struct normalizer {
	struct normalize_step steps[COMPONENT_STEPS_MAX];
	size_t count;
	struct normal_forms *forms; /* shared by the steps that need it */
	struct bb_arena texts;
};

/* ---- loading ---- */

static int add(struct normalizer *n, const struct component *c, enum normalize_kind kind,
	       struct normalize_step **out)
{
	if (n->count == COMPONENT_STEPS_MAX)
		return component_wrong(c, "more than %d steps", COMPONENT_STEPS_MAX);
	struct normalize_step *const s = &n->steps[n->count];
	*s = (struct normalize_step){ .kind = kind };
	if (kind == NORMALIZE_FORM && !n->forms && normal_forms_create(&n->forms))
		return -BB_ENOMEM;
	s->forms = n->forms;
	n->count++;
	if (out)
		*out = s;
	return 0;
}

static int add_form(struct normalizer *n, const struct component *c, enum normal_form form)
{
	struct normalize_step *s = NULL;
	const int rc = add(n, c, NORMALIZE_FORM, &s);

	if (!rc)
		s->form = form;
	return rc;
}

static int add_drop(struct normalizer *n, const struct component *c, enum unicode_set set)
{
	struct normalize_step *s = NULL;
	const int rc = add(n, c, NORMALIZE_DROP, &s);

	if (!rc)
		s->set = set;
	return rc;
}

static int add_strip(struct normalizer *n, const struct component *c)
{
	struct normalize_step *s = NULL;
	int rc = add(n, c, NORMALIZE_STRIP, &s);

	if (!rc)
		rc = component_bool(c, "strip_left", &s->strip_left);
	if (!rc)
		rc = component_bool(c, "strip_right", &s->strip_right);
	return rc;
}

static int add_replace(struct normalizer *n, const struct component *c)
{
	struct normalize_step *s = NULL;
	enum component_pattern kind;
	struct bb_str pattern;
	int rc = component_pattern(c, "pattern", &n->texts, &kind, &pattern);

	if (!rc)
		rc = add(n, c, kind == COMPONENT_STRING ? NORMALIZE_TEXT : NORMALIZE_REGEX, &s);
	if (!rc)
		rc = component_string(c, "content", &n->texts, &s->content);
	if (rc)
		return rc;
	if (kind == COMPONENT_REGEX)
		return regex_create(pattern, &s->regex, c->error);
	if (!pattern.len)
		return component_wrong(c, "an empty pattern is not supported");
	s->text = pattern;
	return 0;
}

static int add_charsmap(struct normalizer *n, const struct component *c)
{
	struct normalize_step *s = NULL;
	struct bb_arena arena;
	struct bb_str text;

	bb_arena_init(&arena, 2 * CHARSMAP_SIZE_MAX);
	int rc = component_string(c, "precompiled_charsmap", &arena, &text);
	if (!rc && text.len) { /* an empty one maps nothing */
		rc = add(n, c, NORMALIZE_CHARSMAP, &s);
		if (!rc)
			rc = charsmap_create_base64(text, &s->charsmap, c->error);
	}
	bb_arena_fini(&arena);
	return rc;
}

static int add_bert(struct normalizer *n, const struct component *c)
{
	bool cleans = true, spaces_han = true, lowers = true;
	int rc = component_bool(c, "clean_text", &cleans);

	if (!rc)
		rc = component_bool(c, "handle_chinese_chars", &spaces_han);
	if (!rc)
		rc = component_bool(c, "lowercase", &lowers);
	bool strips = lowers;
	if (!rc)
		rc = component_bool_or(c, "strip_accents", &strips);
	if (!rc && cleans)
		rc = add_drop(n, c, UNICODE_SET_BERT_REMOVED);
	if (!rc && cleans)
		rc = add(n, c, NORMALIZE_SPACES, NULL);
	if (!rc && spaces_han)
		rc = add(n, c, NORMALIZE_HAN, NULL);
	if (!rc && strips)
		rc = add_form(n, c, NORMAL_NFD);
	if (!rc && strips)
		rc = add_drop(n, c, UNICODE_SET_BERT_ACCENT);
	if (!rc && lowers)
		rc = add(n, c, NORMALIZE_LOWER, NULL);
	return rc;
}

/* Not of tokenizer.json: tokenizer_gguf.c writes it. */
static int add_gguf_bert(struct normalizer *n, const struct component *c)
{
	struct normalize_step *s = NULL;
	int rc = add(n, c, NORMALIZE_GGUF_BERT, &s);

	if (!rc)
		rc = component_bool(c, "lowercase", &s->lowers);
	return rc ? rc : component_bool(c, "strip_accents", &s->strips_accents);
}

static int add_prepend(struct normalizer *n, const struct component *c)
{
	struct normalize_step *s = NULL;
	int rc = add(n, c, NORMALIZE_PREPEND, &s);

	if (!rc)
		rc = component_string(c, "prepend", &n->texts, &s->content);
	return rc;
}

static int add_any(struct normalizer *n, struct bb_str json, unsigned depth, struct text_error *e);

static int add_sequence(struct normalizer *n, const struct component *c, unsigned depth)
{
	struct bb_str list, one;
	enum json_type type;
	struct json_pull j;
	int rc = component_array(c, "normalizers", &list);

	if (rc)
		return rc;
	json_pull_init(&j, list);
	json_pull_array(&j);
	while (!rc && json_pull_more(&j) && json_pull_value(&j, &one, &type))
		rc = add_any(n, one, depth + 1, c->error);
	return rc;
}

/* `depth` bounds the recursion through chains in chains. */
static int add_any(struct normalizer *n, struct bb_str json, unsigned depth, struct text_error *e)
{
	struct component c;
	const int rc = component_init(&c, "normalizer", json, e);

	if (rc)
		return rc;
	if (depth > DEPTH_MAX)
		return component_wrong(&c, "more than %d chains in chains", DEPTH_MAX);
	if (component_is(&c, "Sequence"))
		return add_sequence(n, &c, depth);
	if (component_is(&c, "NFC"))
		return add_form(n, &c, NORMAL_NFC);
	if (component_is(&c, "NFD"))
		return add_form(n, &c, NORMAL_NFD);
	if (component_is(&c, "NFKC"))
		return add_form(n, &c, NORMAL_NFKC);
	if (component_is(&c, "NFKD"))
		return add_form(n, &c, NORMAL_NFKD);
	if (component_is(&c, "Lowercase"))
		return add(n, &c, NORMALIZE_LOWER, NULL);
	if (component_is(&c, "Strip"))
		return add_strip(n, &c);
	if (component_is(&c, "StripAccents"))
		return add_drop(n, &c, UNICODE_SET_ACCENT);
	if (component_is(&c, "Replace"))
		return add_replace(n, &c);
	if (component_is(&c, "Prepend"))
		return add_prepend(n, &c);
	if (component_is(&c, "Precompiled"))
		return add_charsmap(n, &c);
	if (component_is(&c, "BertNormalizer"))
		return add_bert(n, &c);
	if (component_is(&c, "GgufBert"))
		return add_gguf_bert(n, &c);
	if (component_is(&c, "Nmt"))
		return add(n, &c, NORMALIZE_NMT, NULL);
	if (component_is(&c, "ByteLevel"))
		return add(n, &c, NORMALIZE_BYTES, NULL);
	return component_unsupported(&c, KNOWN);
}

/*
 * What a pattern of no characters puts at the very start of a text has no origin, and `tokenizers`
 * leaves such bytes out of every later rewriting but gives them to it: text comes out twice.
 */
static int check_order(const struct normalizer *n, struct text_error *e)
{
	bool is_open = false;

	for (size_t i = 0; i < n->count; i++) {
		const struct normalize_step *const s = &n->steps[i];
		if (s->kind == NORMALIZE_REGEX)
			is_open = is_open || regex_may_match_nothing(s->regex);
		else if (is_open && s->kind != NORMALIZE_TEXT && s->kind != NORMALIZE_PREPEND)
			return text_error_invalid(
				e, "tokenizer.json: normalizer: Replace: a pattern that matches no "
				   "characters is supported only as the last step");
	}
	return 0;
}

int normalizer_create(struct bb_str json, struct normalizer **out, struct text_error *e)
{
	if (json_type_of(json) == JSON_NULL) {
		*out = NULL;
		return 0;
	}
	struct normalizer *const n = bb_alloc_zero(1, sizeof(*n));
	if (!n)
		return -BB_ENOMEM;
	unicode_init();
	bb_arena_init(&n->texts, TEXTS_MAX);
	int rc = add_any(n, json, 0, e);
	if (!rc)
		rc = check_order(n, e);
	if (rc) {
		normalizer_destroy(n);
		return rc;
	}
	*out = n;
	return 0;
}

void normalizer_destroy(struct normalizer *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->count; i++) {
		regex_destroy(n->steps[i].regex);
		charsmap_destroy(n->steps[i].charsmap);
	}
	normal_forms_destroy(n->forms);
	bb_arena_fini(&n->texts);
	bb_free(n);
}

/* ---- use ---- */

bool normalizer_keeps(const struct normalizer *n, struct bb_str text)
{
	if (!n)
		return true;
	for (size_t i = 0; i < n->count; i++)
		if (!normalize_step_keeps(&n->steps[i], text))
			return false;
	return true;
}

/* Two texts in turn: each step reads one and writes the other. */
struct bench {
	struct bb_buf text[2];
	struct text_origins origins[2];
};

static int run(const struct normalizer *n, struct bb_str text, struct bench *b, unsigned *last)
{
	unsigned in = 0;
	int rc = bb_buf_add_str(&b->text[0], text);

	for (size_t i = 0; !rc && i < n->count; i++) {
		const struct bb_str old = bb_buf_str(&b->text[in]);
		if (normalize_step_keeps(&n->steps[i], old))
			continue;
		const bool is_traced = b->origins[in].at != NULL;
		bb_buf_clear(&b->text[!in]);
		b->origins[!in].count = 0;
		rc = normalize_step_run(&n->steps[i], old, is_traced ? &b->origins[in] : NULL,
					&b->text[!in], is_traced ? &b->origins[!in] : NULL);
		in = !in;
	}
	*last = in;
	return rc;
}

int normalizer_run(const struct normalizer *n, struct bb_str text, struct bb_buf *out,
		   struct text_origins *origins)
{
	struct bench b;
	unsigned last = 0;
	int rc = 0;

	if (n && n->count == 1 && !origins && !normalize_step_keeps(&n->steps[0], text))
		return normalize_step_run(&n->steps[0], text, NULL, out, NULL);
	for (int i = 0; i < 2; i++) {
		bb_buf_init(&b.text[i], out->max);
		text_origins_init(&b.origins[i]);
	}
	if (origins && text.len)
		rc = text_origins_identity(&b.origins[0], text.p, text.len, 0);
	if (!rc && origins && text.len) /* so that both are there */
		rc = text_origins_copy(&b.origins[1], b.origins[0].at, 1);
	if (!rc && n)
		rc = run(n, text, &b, &last);
	else if (!rc)
		rc = bb_buf_add_str(&b.text[0], text);
	if (!rc)
		rc = bb_buf_add_str(out, bb_buf_str(&b.text[last]));
	if (!rc && origins)
		rc = text_origins_copy(origins, b.origins[last].at, b.origins[last].count);
	for (int i = 0; i < 2; i++) {
		bb_buf_fini(&b.text[i]);
		text_origins_fini(&b.origins[i]);
	}
	return rc;
}
