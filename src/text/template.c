#include "text/template.h"

#include "base/alloc.h"
#include "text/template_bind.h"
#include "text/template_content.h"
#include "text/template_eval.h"
#include "text/template_lex.h"
#include "text/template_parse.h"

#define COMPILED_MAX (256u << 20) /* bytes; a source of 1 MiB stays far below */
#define COMPILED_FIRST 8192
#define RENDER_FIRST 32768

static int compile(struct template *t, struct bb_str source, struct text_error *e)
{
	struct token_array tokens = { NULL, 0, 0 };
	int rc = template_source_copy(source, &t->mem, &t->source);

	if (!rc)
		rc = template_lex(t->source, &t->mem, &tokens, e);
	if (!rc)
		rc = template_parse(t, &tokens, e);
	bb_free(tokens.list);
	if (!rc)
		t->content = template_content_find(t->body);
	if (rc == -BB_ENOMEM)
		text_error_set(e, "there is no memory to compile the template");
	return rc;
}

int template_create(struct bb_str source, struct template **out, struct text_error *e)
{
	if (source.len > TEMPLATE_SOURCE_MAX) {
		text_error_set(e, "the template is larger than %u bytes", TEMPLATE_SOURCE_MAX);
		return -BB_ELIMIT;
	}
	struct template *const t = bb_alloc_zero(1, sizeof(*t));
	if (!t) {
		text_error_set(e, "there is no memory to compile the template");
		return -BB_ENOMEM;
	}
	tmem_init(&t->mem, COMPILED_MAX, COMPILED_FIRST);
	const int rc = compile(t, source, e);
	if (rc) {
		template_destroy(t);
		return rc;
	}
	*out = t;
	return 0;
}

void template_destroy(struct template *t)
{
	if (!t)
		return;
	tmem_fini(&t->mem);
	bb_free(t);
}

enum template_content template_content(const struct template *t)
{
	return t->content;
}

static int render(struct trun *r, const struct template_input *in)
{
	const size_t from = r->out->len;
	struct continuation c;
	const int rc = template_bind(r, in, &c);

	if (rc)
		return rc;
	r->frame = frame_create(r, &r->t->func, NULL);
	if (!r->frame || exec_body(r, r->t->body) == FLOW_FAIL)
		return r->rc;
	return template_continue(r, from, &c);
}

struct template_work {
	char *block;
	size_t size;
};

struct template_work *template_work_create(void)
{
	return bb_alloc_zero(1, sizeof(struct template_work));
}

void template_work_destroy(struct template_work *w)
{
	if (!w)
		return;
	bb_free(w->block);
	bb_free(w);
}

/* Takes a larger block when the last rendering needed more; without memory it stays as it is. */
static void work_grow(struct template_work *w, size_t more)
{
	size_t size = w->size + more + more / 4;

	if (!more || w->size == TEMPLATE_WORK_MAX)
		return;
	size = size > TEMPLATE_WORK_MAX ? TEMPLATE_WORK_MAX : size;
	char *const block = bb_alloc(size);
	if (!block)
		return;
	bb_free(w->block);
	*w = (struct template_work){ block, size };
}

static uint64_t steps_max(const struct template_input *in)
{
	if (in->steps_max)
		return in->steps_max;
	return TEMPLATE_STEPS_BASE + (uint64_t)TEMPLATE_STEPS_PER_BYTE * in->body.len;
}

static size_t memory_max(const struct template_input *in)
{
	const uint64_t size =
		TEMPLATE_MEMORY_BASE + (uint64_t)TEMPLATE_MEMORY_PER_BYTE * in->body.len;

	if (in->memory_max)
		return in->memory_max;
	return size < TEMPLATE_MEMORY_MAX ? size : TEMPLATE_MEMORY_MAX;
}

int template_render(const struct template *t, const struct template_input *in, struct bb_buf *out,
		    struct text_error *e)
{
	struct trun r = { .t = t, .out = out, .e = e, .raised = in->raised, .now = in->now };
	const size_t from = out->len;

	r.steps_max = steps_max(in);
	tmem_init(&r.mem, memory_max(in), RENDER_FIRST);
	r.mem.work_max = r.steps_max;
	/* Marks in it are pointers and lengths: it is never without memory. */
	r.rc = bb_buf_reserve(out, 1);
	if (r.rc) {
		text_error_set(e, "the prompt has no room");
		out->err = 0;
		return r.rc;
	}
	if (in->work && in->work->block)
		tmem_lend(&r.mem, in->work->block, in->work->size);
	const int rc = render(&r, in);
	const size_t more = r.mem.arena.total;
	tmem_fini(&r.mem);
	if (in->work)
		work_grow(in->work, more);
	if (rc) {
		out->len = from;
		out->err = 0;
	}
	return rc;
}
