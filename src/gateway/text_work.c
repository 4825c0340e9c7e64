/* text_work.c: one thread's scratch for the texts of models. See model_text.h. */
#include "gateway/model_text.h"

#include "base/alloc.h"
#include "os/clock.h"
#include "wire/json.h"

/* What stays between two requests. */
#define PROMPT_KEEP (256u << 10)
#define IDS_KEEP (64u << 10)

struct slot {
	struct model_text *text; /* a reference; NULL: free */
	struct tokenizer_work *work;
	uint64_t used; /* the tick of its last use */
};

struct text_work {
	struct slot slots[TEXT_WORKS];
	uint64_t tick;
	struct token_list ids;
	struct bb_buf prompt;
	struct template_work *rendering; /* NULL: made when it is needed, or there is no memory */
};

int text_work_create(struct text_work **out)
{
	struct text_work *w = bb_alloc_zero(1, sizeof(*w));

	if (!w)
		return -BB_ENOMEM;
	token_list_init(&w->ids, TEXT_TOKENS_MAX, TOKEN_IDS);
	bb_buf_init(&w->prompt, TEXT_PROMPT_MAX);
	*out = w;
	return 0;
}

static void slot_clear(struct slot *s)
{
	tokenizer_work_destroy(s->work);
	model_text_put(s->text);
	*s = (struct slot){ 0 };
}

void text_work_forget(struct text_work *w)
{
	for (int i = 0; i < TEXT_WORKS; i++)
		slot_clear(&w->slots[i]);
}

void text_work_destroy(struct text_work *w)
{
	if (!w)
		return;
	text_work_forget(w);
	token_list_fini(&w->ids);
	bb_buf_fini(&w->prompt);
	template_work_destroy(w->rendering);
	bb_free(w);
}

void text_work_trim(struct text_work *w)
{
	if (w->prompt.cap > PROMPT_KEEP) {
		bb_buf_fini(&w->prompt);
		bb_buf_init(&w->prompt, TEXT_PROMPT_MAX);
	}
	if (w->ids.cap > IDS_KEEP) {
		token_list_fini(&w->ids);
		token_list_init(&w->ids, TEXT_TOKENS_MAX, TOKEN_IDS);
	}
}

struct token_list *text_ids(struct text_work *w)
{
	return &w->ids;
}

/* The scratch for this text: what is there, else instead of what was not used for longest. */
static int slot_for(struct text_work *w, struct model_text *m, struct tokenizer_work **out)
{
	struct slot *oldest = &w->slots[0];

	for (int i = 0; i < TEXT_WORKS; i++) {
		struct slot *s = &w->slots[i];
		if (s->text == m) {
			s->used = ++w->tick;
			*out = s->work;
			return 0;
		}
		if (s->used < oldest->used)
			oldest = s;
	}
	struct tokenizer_work *work;
	const int rc = tokenizer_work_create(m->tokenizer, &work);
	if (rc)
		return rc;
	slot_clear(oldest);
	*oldest = (struct slot){ model_text_get(m), work, ++w->tick };
	*out = work;
	return 0;
}

int model_text_encode(struct model_text *m, struct text_work *w, struct prompt_cache *cache,
		      uint64_t owner, struct bb_str text, unsigned flags)
{
	struct tokenizer_work *work;
	const int rc = slot_for(w, m, &work);

	if (rc)
		return rc;
	return prompt_cache_encode(cache, m->tokenizer, work, owner, text, flags, &w->ids, NULL);
}

int model_text_render(const struct model_text *m, struct text_work *w, struct bb_str body,
		      enum template_messages how, struct bb_str *prompt, struct text_error *e)
{
	if (!w->rendering)
		w->rendering = template_work_create();
	const struct template_input in = {
		.body = body,
		.work = w->rendering,
		.now = (time_t)(clock_wall_ns() / OS_SECOND),
		.messages = how,
	};

	bb_buf_clear(&w->prompt);
	const int rc = chat_text_render(m->chat, &in, &w->prompt, e);
	*prompt = bb_buf_str(&w->prompt);
	return rc;
}

unsigned model_text_chat_flags(const struct model_text *m, struct bb_str prompt,
			       enum chat_begin begin)
{
	const struct bb_str bos = chat_text_bos(m->chat);
	const bool has_it = bos.len && bb_str_starts(prompt, bos);

	return begin == CHAT_BEGIN_WITH_TOKEN && !has_it ? TOKENIZER_SPECIAL : 0;
}

int text_decode(struct text_work *w, struct bb_str raw, struct bb_str *out)
{
	const struct bb_str inner = json_string_inner(raw);

	if (json_type_of(raw) != JSON_STRING)
		return -BB_EINVALID;
	if (!memchr(inner.p ? inner.p : "", '\\', inner.len)) {
		*out = inner;
		return 0;
	}
	bb_buf_clear(&w->prompt);
	const int rc = json_string_decode_buf(raw, &w->prompt);
	*out = bb_buf_str(&w->prompt);
	return rc;
}
