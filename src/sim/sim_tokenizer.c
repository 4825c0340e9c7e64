#include "sim/sim_tokenizer.h"

#include "base/alloc.h"
#include "os/clock.h"

#define IDS_MAX (16u << 20)

struct sim_tokenizer {
	const struct tokenizer *tokenizer;
	const struct chat_text *chat;
	struct tokenizer_work *work;
	struct template_work *rendering;
	struct token_list ids;
	struct text_error error;
};

int sim_tokenizer_create(const struct tokenizer *tokenizer, const struct chat_text *chat,
			 struct sim_tokenizer **out)
{
	struct sim_tokenizer *t = bb_alloc_zero(1, sizeof(*t));

	if (!t)
		return -BB_ENOMEM;
	t->tokenizer = tokenizer;
	t->chat = chat;
	token_list_init(&t->ids, IDS_MAX, TOKEN_IDS);
	const int rc = tokenizer_work_create(tokenizer, &t->work);
	if (rc) {
		bb_free(t);
		return rc;
	}
	*out = t;
	return 0;
}

void sim_tokenizer_destroy(struct sim_tokenizer *t)
{
	if (!t)
		return;
	tokenizer_work_destroy(t->work);
	template_work_destroy(t->rendering);
	token_list_fini(&t->ids);
	bb_free(t);
}

int sim_tokenizer_words(struct sim_tokenizer *t, struct sim_words *words)
{
	struct sim_words all;
	uint32_t count = 0;

	sim_words_init(&all);
	for (uint32_t i = 0; i < SIM_WORDS; i++) {
		t->ids.count = 0;
		const int rc = tokenizer_encode(t->tokenizer, t->work, all.text[i],
						TOKENIZER_CONTINUES | TOKENIZER_MORE, &t->ids);
		if (rc)
			return rc;
		if (t->ids.count != 1)
			continue;
		words->text[count] = all.text[i];
		words->id[count++] = t->ids.ids[0];
	}
	if (count == 0)
		return -BB_EINVALID;
	for (uint32_t i = count; i < SIM_WORDS; i++) {
		words->text[i] = words->text[i % count];
		words->id[i] = words->id[i % count];
	}
	return 0;
}

int sim_tokenizer_add(struct sim_tokenizer *t, struct bb_str text, enum sim_special special,
		      struct sim_tokens *out)
{
	t->ids.count = 0;
	int rc = tokenizer_encode(t->tokenizer, t->work, text,
				  special == SIM_TEXT_WITH_SPECIAL ? TOKENIZER_SPECIAL : 0, &t->ids);

	for (size_t i = 0; i < t->ids.count && !rc; i++)
		rc = sim_tokens_add(out, t->ids.ids[i]);
	return rc;
}

bool sim_tokenizer_has_chat(const struct sim_tokenizer *t)
{
	return t->chat != NULL;
}

int sim_tokenizer_render(struct sim_tokenizer *t, struct bb_str body, struct bb_buf *out,
			 const char **why)
{
	if (!t->rendering)
		t->rendering = template_work_create();
	const struct template_input in = {
		.body = body,
		.work = t->rendering,
		.now = (time_t)(clock_wall_ns() / OS_SECOND),
		.messages = TEMPLATE_AS_VLLM,
	};
	const int rc = chat_text_render(t->chat, &in, out, &t->error);

	*why = t->error.message;
	return rc == 0 || rc == -BB_ENOMEM || rc == -BB_ELIMIT ? rc : -BB_EINVALID;
}
