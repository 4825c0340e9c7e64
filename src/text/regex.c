#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "text/regex_syntax.h"
#include "text/unicode.h"

struct regex {
	pcre2_general_context *general;
	pcre2_code *code;
	pcre2_match_context *context;
	const char *engine;
};

static void *give(PCRE2_SIZE size, void *unused)
{
	(void)unused;
	return bb_alloc(size);
}

static void take_back(void *p, void *unused)
{
	(void)unused;
	bb_free(p);
}

/*
 * Is machine code there, and does it run? pcre2_jit_compile may succeed and leave none; where
 * memory must not become executable, allocation fails.
 */
static bool has_jit(struct regex *r)
{
	size_t size = 0;

	if (pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) != 0)
		return false;
	return pcre2_pattern_info(r->code, PCRE2_INFO_JITSIZE, &size) == 0 && size > 0;
}

static int compile(struct regex *r, struct bb_str pattern, struct text_error *e)
{
	int error;
	PCRE2_SIZE offset;
	pcre2_compile_context *const context = pcre2_compile_context_create(r->general);

	if (!context)
		return -BB_ENOMEM;
	pcre2_set_newline(context, PCRE2_NEWLINE_LF);
	r->code = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.len,
				PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_MULTILINE |
					PCRE2_NEVER_BACKSLASH_C,
				&error, &offset, context);
	pcre2_compile_context_free(context);
	if (r->code)
		return 0;
	if (error == PCRE2_ERROR_NOMEMORY || error == PCRE2_ERROR_HEAP_FAILED)
		return -BB_ENOMEM;
	char text[128] = "";
	pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof(text));
	return text_error_invalid(e, "regular expression: %s, near \"%.24s\"", text,
				  offset < pattern.len ? pattern.p + offset : "");
}

static int create(struct bb_str pattern, struct regex **out, struct text_error *e)
{
	struct regex *const r = bb_alloc_zero(1, sizeof(*r));
	int rc = -BB_ENOMEM;

	if (!r)
		return -BB_ENOMEM;
	r->general = pcre2_general_context_create(give, take_back, NULL);
	if (!r->general)
		goto fail;
	rc = compile(r, pattern, e);
	if (rc)
		goto fail;
	r->context = pcre2_match_context_create(r->general);
	if (!r->context) {
		rc = -BB_ENOMEM;
		goto fail;
	}
	pcre2_set_match_limit(r->context, REGEX_STEPS_MAX);
	pcre2_set_heap_limit(r->context, REGEX_HEAP_MAX);
	r->engine = has_jit(r) ? "PCRE2 (JIT)" : "PCRE2 (interpreter)";
	*out = r;
	return 0;
fail:
	regex_destroy(r);
	return rc;
}

int regex_create(struct bb_str pattern, struct regex **out, struct text_error *e)
{
	struct bb_buf translated;

	if (pattern.len > REGEX_PATTERN_MAX)
		return text_error_invalid(e, "regular expression: longer than %d bytes",
					  REGEX_PATTERN_MAX);
	unicode_init();
	bb_buf_init(&translated, REGEX_TRANSLATED_MAX);
	int rc = regex_syntax_translate(pattern, &translated, e);
	if (!rc)
		rc = bb_buf_add(&translated, "", 1); /* never NULL, and ended for messages */
	if (!rc)
		rc = create((struct bb_str){ translated.p, translated.len - 1 }, out, e);
	bb_buf_fini(&translated);
	return rc;
}

int regex_create_text(struct bb_str text, struct regex **out, struct text_error *e)
{
	struct bb_buf quoted;

	if (!text.len || text.len > REGEX_PATTERN_MAX)
		return text_error_invalid(e, "a text to look for must have 1 to %d bytes",
					  REGEX_PATTERN_MAX);
	bb_buf_init(&quoted, 2 * REGEX_PATTERN_MAX + 1);
	int rc = regex_syntax_quote(text, &quoted);
	if (!rc)
		rc = bb_buf_add(&quoted, "", 1);
	if (!rc)
		rc = create((struct bb_str){ quoted.p, quoted.len - 1 }, out, e);
	bb_buf_fini(&quoted);
	return rc;
}

void regex_destroy(struct regex *r)
{
	if (!r)
		return;
	pcre2_match_context_free(r->context);
	pcre2_code_free(r->code);
	pcre2_general_context_free(r->general);
	bb_free(r);
}

const char *regex_engine(const struct regex *r)
{
	return r->engine;
}

static int match(const struct regex_find *f)
{
	const PCRE2_SPTR text = (PCRE2_SPTR)(f->text.p ? f->text.p : "");
	int rc = pcre2_match(f->regex->code, text, f->text.len, f->at, PCRE2_NO_UTF_CHECK, f->data,
			     f->regex->context);

	/* Machine code has 32 KiB of stack; the interpreter has the heap. */
	if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
		rc = pcre2_match(f->regex->code, text, f->text.len, f->at,
				 PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, f->data, f->regex->context);
	return rc;
}

bool regex_may_match_nothing(const struct regex *r)
{
	uint32_t least = 0;

	return pcre2_pattern_info(r->code, PCRE2_INFO_MINLENGTH, &least) != 0 || least == 0;
}

int regex_find_init(struct regex_find *f, const struct regex *r, struct bb_str text)
{
	*f = (struct regex_find){ .regex = r, .text = text };
	f->data = pcre2_match_data_create(1, r->general);
	return f->data ? 0 : -BB_ENOMEM;
}

void regex_find_text(struct regex_find *f, struct bb_str text)
{
	f->text = text;
	f->at = f->last_end = 0;
	f->has_last = f->is_done = false;
}

void regex_find_fini(struct regex_find *f)
{
	pcre2_match_data_free(f->data);
	f->data = NULL;
}

static size_t behind_char(struct bb_str text, size_t at)
{
	for (at++; at < text.len && ((uint8_t)text.p[at] & 0xc0) == 0x80; at++)
		;
	return at;
}

int regex_find_next(struct regex_find *f, size_t *begin, size_t *end)
{
	while (!f->is_done && f->at <= f->text.len) {
		const int rc = match(f);
		if (rc == PCRE2_ERROR_NOMATCH)
			break;
		if (rc == PCRE2_ERROR_NOMEMORY)
			return -BB_ENOMEM;
		if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT ||
		    rc == PCRE2_ERROR_HEAPLIMIT)
			return -BB_ELIMIT;
		if (rc < 0)
			return -BB_EINVALID;
		const PCRE2_SIZE *const span = pcre2_get_ovector_pointer(f->data);
		*begin = span[0];
		*end = span[1];
		if (*end < *begin)
			return -BB_EINVALID; /* \K in a lookaround */
		f->at = *begin == *end ? behind_char(f->text, *end) : *end;
		/* An empty match right behind the last one does not count. */
		if (*begin == *end && f->has_last && f->last_end == *begin)
			continue;
		f->last_end = *end;
		f->has_last = true;
		return 1;
	}
	f->is_done = true;
	return 0;
}
