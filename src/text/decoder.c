#include "text/decoder.h"

#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "text/component.h"
#include "text/decode_steps.h"
#include "text/regex.h"
#include "text/unicode.h"
#include "text/vocab.h"
#include "wire/json.h"
#include "wire/utf8.h"

#define KNOWN                                                                                      \
	"ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip, WordPiece, BPEDecoder, CTC, "   \
	"Sequence"
#define TEXTS_MAX (1u << 20)
#define DEPTH_MAX 16
#define STEPS_MAX 32

enum kind {
	BYTE_LEVEL,
	METASPACE,
	REPLACE_TEXT,
	REPLACE_REGEX,
	BYTE_FALLBACK,
	FUSE,
	STRIP,
	WORD_PIECE,
	BPE_SUFFIX,
	CTC,
};

struct step {
	enum kind kind;
	struct bb_str from, to; /* pattern and content; prefix; suffix; pad and delimiter */
	struct regex *regex;
	uint64_t start, stop;
	bool drops_first; /* METASPACE: the first token's marks go */
	bool cleans;
};

struct decoder {
	struct step steps[STEPS_MAX];
	size_t count;
	size_t fuse; /* the first step that makes one token of all; count: none */
	struct bb_arena texts;
};

/* ---- loading ---- */

static int load_metaspace(struct decoder *d, const struct component *c, struct step *s)
{
	struct bb_str scheme = BB_STR("always");
	int rc = component_string(c, "replacement", &d->texts, &s->from);

	if (!rc)
		rc = component_string_or(c, "prepend_scheme", &d->texts, &scheme);
	s->drops_first = !bb_str_eq(scheme, BB_STR("never"));
	bool adds = true;
	if (!rc)
		rc = component_bool_or(c, "add_prefix_space", &adds);
	if (!rc && !adds && s->drops_first)
		return component_wrong(c,
				       "'add_prefix_space' is false, but 'prepend_scheme' is not "
				       "never");
	s->to = BB_STR(" ");
	return rc;
}

static int load_replace(struct decoder *d, const struct component *c, struct step *s)
{
	enum component_pattern kind;
	int rc = component_pattern(c, "pattern", &d->texts, &kind, &s->from);

	if (!rc)
		rc = component_string(c, "content", &d->texts, &s->to);
	if (rc)
		return rc;
	if (kind == COMPONENT_REGEX) {
		s->kind = REPLACE_REGEX;
		return regex_create(s->from, &s->regex, c->error);
	}
	return s->from.len ? 0 : component_wrong(c, "an empty pattern is not supported");
}

static int load_strip(struct decoder *d, const struct component *c, struct step *s)
{
	uint32_t ignored;
	int rc = component_char(c, "content", &ignored);

	if (!rc)
		rc = component_string(c, "content", &d->texts, &s->from);
	if (!rc)
		rc = component_u64(c, "start", &s->start);
	if (!rc)
		rc = component_u64(c, "stop", &s->stop);
	return rc;
}

static int load_word_piece(struct decoder *d, const struct component *c, struct step *s)
{
	const int rc = component_string(c, "prefix", &d->texts, &s->from);

	return rc ? rc : component_bool(c, "cleanup", &s->cleans);
}

static int load_ctc(struct decoder *d, const struct component *c, struct step *s)
{
	int rc = component_string(c, "pad_token", &d->texts, &s->from);

	if (!rc)
		rc = component_string(c, "word_delimiter_token", &d->texts, &s->to);
	if (!rc)
		rc = component_bool(c, "cleanup", &s->cleans);
	if (!rc && (!s->from.len || !s->to.len))
		return component_wrong(c, "empty tokens are not supported");
	return rc;
}

static int load_suffix(struct decoder *d, const struct component *c, struct step *s)
{
	const int rc = component_string(c, "suffix", &d->texts, &s->from);

	return !rc && !s->from.len ? component_wrong(c, "an empty suffix is not supported") : rc;
}

static int load_nothing(struct decoder *d, const struct component *c, struct step *s)
{
	return 0;
}

static const struct {
	const char *type;
	enum kind kind;
	int (*load)(struct decoder *d, const struct component *c, struct step *s);
} types[] = {
	{ "ByteLevel", BYTE_LEVEL, load_nothing },
	{ "Metaspace", METASPACE, load_metaspace },
	{ "Replace", REPLACE_TEXT, load_replace },
	{ "ByteFallback", BYTE_FALLBACK, load_nothing },
	{ "Fuse", FUSE, load_nothing },
	{ "Strip", STRIP, load_strip },
	{ "WordPiece", WORD_PIECE, load_word_piece },
	{ "BPEDecoder", BPE_SUFFIX, load_suffix },
	{ "CTC", CTC, load_ctc },
};

static int add_any(struct decoder *d, struct bb_str json, unsigned depth, struct text_error *e);

static int add_sequence(struct decoder *d, const struct component *c, unsigned depth)
{
	struct bb_str list, one;
	enum json_type type;
	struct json_pull j;
	int rc = component_array(c, "decoders", &list);

	if (rc)
		return rc;
	json_pull_init(&j, list);
	json_pull_array(&j);
	while (!rc && json_pull_more(&j) && json_pull_value(&j, &one, &type))
		rc = add_any(d, one, depth + 1, c->error);
	return rc;
}

/* `depth` bounds the recursion through chains in chains. */
static int add_any(struct decoder *d, struct bb_str json, unsigned depth, struct text_error *e)
{
	struct component c;
	const int rc = component_init(&c, "decoder", json, e);

	if (rc)
		return rc;
	if (depth > DEPTH_MAX)
		return component_wrong(&c, "more than %d chains in chains", DEPTH_MAX);
	if (component_is(&c, "Sequence"))
		return add_sequence(d, &c, depth);
	if (d->count == STEPS_MAX)
		return component_wrong(&c, "more than %d steps", STEPS_MAX);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (!component_is(&c, types[i].type))
			continue;
		struct step *const s = &d->steps[d->count++];
		*s = (struct step){ .kind = types[i].kind };
		return types[i].load(d, &c, s);
	}
	return component_unsupported(&c, KNOWN);
}

int decoder_create(struct bb_str json, struct decoder **out, struct text_error *e)
{
	if (json_type_of(json) == JSON_NULL) {
		*out = NULL;
		return 0;
	}
	struct decoder *const d = bb_alloc_zero(1, sizeof(*d));
	if (!d)
		return -BB_ENOMEM;
	bb_arena_init(&d->texts, TEXTS_MAX);
	const int rc = add_any(d, json, 0, e);
	if (rc) {
		decoder_destroy(d);
		return rc;
	}
	while (d->fuse < d->count && d->steps[d->fuse].kind != FUSE &&
	       d->steps[d->fuse].kind != BYTE_LEVEL)
		d->fuse++;
	for (size_t i = d->fuse + 1; i < d->count; i++) {
		if (d->steps[i].kind != BYTE_LEVEL)
			continue;
		decoder_destroy(d);
		return text_error_invalid(e, "tokenizer.json: decoder: ByteLevel behind Fuse or "
					     "ByteLevel is not supported");
	}
	*out = d;
	return 0;
}

void decoder_destroy(struct decoder *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->count; i++)
		regex_destroy(d->steps[i].regex);
	bb_arena_fini(&d->texts);
	bb_free(d);
}

bool decoder_is_byte_level(const struct decoder *d)
{
	return d && d->count == 1 && d->steps[0].kind == BYTE_LEVEL;
}

/* ---- running ---- */

struct step_run {
	struct bb_buf now;  /* what the token becomes */
	struct bb_buf held; /* bytes, a token, or the whole text */
	uint64_t seen;	    /* tokens */
	uint64_t to_strip;  /* characters that may still go at the start of the fused text */
	bool has_held;
};

struct decoder_run {
	const struct decoder *d;
	struct bb_buf *out;
	struct step_run steps[STEPS_MAX];
	bool streams; /* what follows the fusing step can be done as the text comes */
};

static void reset(struct decoder_run *r)
{
	for (size_t i = 0; i < STEPS_MAX; i++) {
		struct step_run *const s = &r->steps[i];
		bb_buf_clear(&s->now);
		bb_buf_clear(&s->held);
		s->seen = 0;
		s->has_held = false;
		s->to_strip = r->d && i < r->d->count ? r->d->steps[i].start : 0;
	}
}

int decoder_run_create(const struct decoder *d, struct bb_buf *out, struct decoder_run **r)
{
	struct decoder_run *const run = bb_alloc_zero(1, sizeof(*run));

	if (!run)
		return -BB_ENOMEM;
	run->d = d;
	run->out = out;
	for (size_t i = 0; i < STEPS_MAX; i++) {
		bb_buf_init(&run->steps[i].now, out->max);
		bb_buf_init(&run->steps[i].held, out->max);
	}
	run->streams = true;
	for (size_t i = d ? d->fuse + 1 : 0; d && i < d->count; i++)
		if (d->steps[i].kind != FUSE && !(d->steps[i].kind == STRIP && !d->steps[i].stop))
			run->streams = false;
	reset(run);
	*r = run;
	return 0;
}

void decoder_run_destroy(struct decoder_run *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < STEPS_MAX; i++) {
		bb_buf_fini(&r->steps[i].now);
		bb_buf_fini(&r->steps[i].held);
	}
	bb_free(r);
}

static int push(struct decoder_run *r, size_t i, struct bb_str token);

/* Text behind the fusing step, in whole characters, straight to the end. */
static int flow(struct decoder_run *r, struct bb_str text)
{
	for (size_t i = r->d->fuse + 1; i < r->d->count; i++) {
		const struct step *const s = &r->d->steps[i];
		struct step_run *const run = &r->steps[i];
		if (s->kind != STRIP)
			continue;
		for (; run->to_strip && bb_str_starts(text, s->from); run->to_strip--)
			text = bb_str_skip(text, s->from.len);
		if (text.len)
			run->to_strip = 0;
	}
	return bb_buf_add_str(r->out, text);
}

static int fuse(struct decoder_run *r, struct bb_str text)
{
	return r->streams ? flow(r, text) : bb_buf_add_str(&r->steps[r->d->fuse].held, text);
}

static int push_bytes(struct decoder_run *r, struct step_run *run, struct bb_str token)
{
	size_t left;
	int rc = bb_buf_reserve(&run->now, token.len + 1);

	if (rc)
		return rc;
	/* now: bytes that are not text yet. */
	const ptrdiff_t n = vocab_content_bytes(token, run->now.p + run->now.len);
	if (n >= 0)
		run->now.len += (size_t)n;
	else
		rc = bb_buf_add_str(&run->now, token);
	struct bb_buf text;
	bb_buf_init(&text, r->out->max);
	if (!rc)
		rc = decode_utf8(bb_buf_str(&run->now), &text, &left);
	if (!rc)
		bb_buf_consume(&run->now, run->now.len - left);
	if (!rc)
		rc = fuse(r, bb_buf_str(&text));
	bb_buf_fini(&text);
	return rc;
}

/* The row of <0xXX> tokens is over. */
static int flush_bytes(struct decoder_run *r, size_t i)
{
	struct step_run *const run = &r->steps[i];
	const struct bb_str bytes = bb_buf_str(&run->held);
	int rc = 0;

	if (!bytes.len)
		return 0;
	if (utf8_check(bytes) == bytes.len)
		rc = push(r, i + 1, bytes);
	else
		for (size_t k = 0; k < bytes.len && !rc; k++)
			rc = push(r, i + 1, BB_STR("\xef\xbf\xbd"));
	bb_buf_clear(&run->held);
	return rc;
}

static int push_fallback(struct decoder_run *r, size_t i, struct bb_str token)
{
	uint8_t byte;

	if (decode_is_byte(token, &byte))
		return bb_buf_add(&r->steps[i].held, &byte, 1);
	const int rc = flush_bytes(r, i);
	return rc ? rc : push(r, i + 1, token);
}

static int push_word_piece(struct decoder_run *r, size_t i, struct bb_str token, bool is_first)
{
	const struct step *const s = &r->d->steps[i];
	struct bb_buf spaced;
	int rc = 0;

	bb_buf_init(&spaced, r->out->max);
	if (!is_first && bb_str_starts(token, s->from)) {
		token = bb_str_skip(token, s->from.len);
	} else if (!is_first) {
		bb_buf_lit(&spaced, " ");
		rc = bb_buf_add_str(&spaced, token);
		token = bb_buf_str(&spaced);
	}
	if (!rc && s->cleans)
		rc = decode_cleanup(token, &r->steps[i].now);
	else if (!rc)
		rc = bb_buf_add_str(&r->steps[i].now, token);
	bb_buf_fini(&spaced);
	return rc ? rc : push(r, i + 1, bb_buf_str(&r->steps[i].now));
}

static int push_ctc(struct decoder_run *r, size_t i, struct bb_str token)
{
	const struct step *const s = &r->d->steps[i];
	struct step_run *const run = &r->steps[i];
	struct bb_buf a, b;

	if (run->has_held && bb_str_eq(token, bb_buf_str(&run->held)))
		return 0;
	run->has_held = true;
	bb_buf_clear(&run->held);
	bb_buf_init(&a, r->out->max);
	bb_buf_init(&b, r->out->max);
	int rc = bb_buf_add_str(&run->held, token);
	if (!rc)
		rc = decode_replace(token, s->from, BB_STR(""), &a);
	if (!rc && s->cleans)
		rc = decode_cleanup(bb_buf_str(&a), &b);
	if (!rc && s->cleans)
		rc = decode_replace(bb_buf_str(&b), s->to, BB_STR(" "), &run->now);
	else if (!rc)
		rc = bb_buf_add_str(&run->now, bb_buf_str(&a));
	bb_buf_fini(&a);
	bb_buf_fini(&b);
	return rc || !run->now.len ? rc : push(r, i + 1, bb_buf_str(&run->now));
}

/* The suffix of the last token goes; of all others it becomes a space: so one token waits. */
static int push_suffix(struct decoder_run *r, size_t i, struct bb_str token)
{
	const struct step *const s = &r->d->steps[i];
	struct step_run *const run = &r->steps[i];
	int rc = 0;

	if (run->has_held) {
		rc = decode_replace(bb_buf_str(&run->held), s->from, BB_STR(" "), &run->now);
		if (!rc)
			rc = push(r, i + 1, bb_buf_str(&run->now));
	}
	bb_buf_clear(&run->held);
	run->has_held = true;
	return rc ? rc : bb_buf_add_str(&run->held, token);
}

static int push_now(struct decoder_run *r, size_t i, int rc)
{
	return rc ? rc : push(r, i + 1, bb_buf_str(&r->steps[i].now));
}

/* Gives a token to step `i`; at most STEPS_MAX calls deep. */
static int push(struct decoder_run *r, size_t i, struct bb_str token)
{
	if (i == r->d->count)
		return bb_buf_add_str(r->out, token);
	const struct step *const s = &r->d->steps[i];
	struct step_run *const run = &r->steps[i];
	const bool is_first = run->seen++ == 0;
	if (s->kind != BYTE_LEVEL)
		bb_buf_clear(&run->now);
	switch (s->kind) {
	case BYTE_LEVEL: return push_bytes(r, run, token);
	case FUSE: return i == r->d->fuse ? fuse(r, token) : push(r, i + 1, token);
	case METASPACE:
		return push_now(r, i,
				decode_replace(token, s->from,
					       is_first && s->drops_first ? BB_STR("") : s->to,
					       &run->now));
	case REPLACE_TEXT: return push_now(r, i, decode_replace(token, s->from, s->to, &run->now));
	case REPLACE_REGEX:
		return push_now(r, i, decode_replace_regex(token, s->regex, s->to, &run->now));
	case BYTE_FALLBACK: return push_fallback(r, i, token);
	case STRIP: return push(r, i + 1, decode_strip(token, s->from, s->start, s->stop));
	case WORD_PIECE: return push_word_piece(r, i, token, is_first);
	case BPE_SUFFIX: return push_suffix(r, i, token);
	case CTC: return push_ctc(r, i, token);
	}
	return 0;
}

int decoder_run_push(struct decoder_run *r, struct bb_str token)
{
	if (r->d)
		return push(r, 0, token);
	if (r->steps[0].seen++)
		bb_buf_lit(r->out, " ");
	return bb_buf_add_str(r->out, token);
}

static int end_fuse(struct decoder_run *r)
{
	struct step_run *const run = &r->steps[r->d->fuse];
	int rc = 0;

	if (r->d->steps[r->d->fuse].kind == BYTE_LEVEL && run->now.len) /* cut off in a character */
		rc = fuse(r, BB_STR("\xef\xbf\xbd"));
	if (!rc && !r->streams)
		rc = push(r, r->d->fuse + 1, bb_buf_str(&run->held));
	return rc;
}

static int end_step(struct decoder_run *r, size_t i)
{
	struct step_run *const run = &r->steps[i];

	switch (r->d->steps[i].kind) {
	case BYTE_FALLBACK: return flush_bytes(r, i);
	case BPE_SUFFIX:
		if (!run->has_held)
			return 0;
		bb_buf_clear(&run->now);
		return push_now(r, i,
				decode_replace(bb_buf_str(&run->held), r->d->steps[i].from,
					       BB_STR(""), &run->now));
	case FUSE:
	case BYTE_LEVEL: return i == r->d->fuse ? end_fuse(r) : 0;
	case METASPACE:
	case REPLACE_TEXT:
	case REPLACE_REGEX:
	case STRIP:
	case WORD_PIECE:
	case CTC: break;
	}
	return 0;
}

int decoder_run_end(struct decoder_run *r)
{
	int rc = 0;

	for (size_t i = 0; r->d && i < r->d->count && !rc; i++)
		rc = end_step(r, i);
	reset(r);
	return rc;
}
