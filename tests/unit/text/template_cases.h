/*
 * template_cases.h: rendering a template in a test.
 *
 * Threads: one. Memory: the text is in a static buffer until the next call. Errors: rc and message.
 */
#pragma once

#include "text/template.h"
#include "unit.h"

struct rendering {
	int rc;
	struct bb_str text;
	struct text_error e;
};

static inline struct rendering render_as(const char *source, const char *body,
					 const struct template_input *more)
{
	static struct bb_buf out;
	struct rendering x = { .rc = 0 };
	struct template *t = NULL;
	struct template_input in = more ? *more : (struct template_input){ .now = 0 };

	if (!out.max)
		bb_buf_init(&out, 1u << 20);
	bb_buf_clear(&out);
	in.body = bb_str_of(body);
	x.rc = template_create(bb_str_of(source), &t, &x.e);
	if (!x.rc)
		x.rc = template_render(t, &in, &out, &x.e);
	template_destroy(t);
	x.text = bb_buf_str(&out);
	if (!x.text.p)
		x.text = BB_STR("");
	return x;
}

#define BODY                                                                                       \
	"{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\","           \
	"\"content\":\"Yo\\n\"}]}"

static inline void assert_renders(const char *source, const char *expected)
{
	const struct rendering x = render_as(source, BODY, NULL);

	if (x.rc || !bb_str_eq(x.text, bb_str_of(expected)))
		print_error("template: %s\n  error: %d %s\n", source, x.rc,
			    x.rc ? x.e.message : "");
	assert_int_equal(x.rc, 0);
	assert_str(x.text, expected);
}

static inline void assert_refused(const char *source, int rc, const char *message)
{
	const struct rendering x = render_as(source, BODY, NULL);

	if (x.rc != rc || !strstr(x.e.message, message))
		print_error("template: %s\n  rc %d, message: %s\n", source, x.rc,
			    x.rc ? x.e.message : "");
	assert_int_equal(x.rc, rc);
	assert_non_null(strstr(x.e.message, message));
}
