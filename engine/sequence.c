#include "sequence.h"

#include "base/alloc.h"
#include "base/log.h"

#define PIECE_MAX (64 * 1024)

void sequence_news_init(struct sequence_news *n)
{
	*n = (struct sequence_news){ .stop_string = STOP_NONE, .stop_token = STOP_NONE };
	bb_buf_init(&n->text, SEQUENCE_TEXT_MAX);
	bb_buf_init(&n->logprobs, SEQUENCE_TEXT_MAX);
	bb_buf_init(&n->token_ids, SEQUENCE_TEXT_MAX);
}

void sequence_news_fini(struct sequence_news *n)
{
	bb_buf_fini(&n->text);
	bb_buf_fini(&n->logprobs);
	bb_buf_fini(&n->token_ids);
}

static void on_message(struct loop_message *m)
{
	struct sequence *s = BB_CONTAINER(m, struct sequence, message);

	/* First, so that what comes from now on makes a new message. */
	__atomic_store_n(&s->is_posted, false, __ATOMIC_SEQ_CST);
	if (s->owner)
		s->on_progress(s);
	sequence_put(s);
}

int sequence_create(const struct sequence_config *c, struct sequence **out)
{
	struct sequence *s = bb_alloc_zero(1, sizeof(*s));

	BB_ASSERT(c->prompt_len > 0 && c->salt.len <= KV_SALT_MAX);
	if (!s)
		return -BB_ENOMEM;
	s->token_room = c->prompt_len + 64;
	s->tokens = bb_alloc((size_t)s->token_room * sizeof(*s->tokens));
	if (!s->tokens) {
		bb_free(s);
		return -BB_ENOMEM;
	}
	memcpy(s->tokens, c->prompt, c->prompt_len * sizeof(*s->tokens));
	s->prompt_len = s->token_count = c->prompt_len;
	s->holders = 1;
	s->params = c->params ? request_params_get(c->params) : NULL;
	s->answer_max = c->answer_max;
	s->seed = c->seed;
	s->salt_len = (uint32_t)c->salt.len;
	if (c->salt.len)
		memcpy(s->salt, c->salt.p, c->salt.len);
	s->slot = KV_NO_SLOT;
	s->loop = c->loop;
	s->owner = c->owner;
	s->index = c->index;
	s->on_progress = c->on_progress;
	s->message.run = on_message;
	bb_list_init(&s->link);
	token_text_init(&s->text);
	bb_buf_init(&s->piece, PIECE_MAX);
	pthread_mutex_init(&s->lock, NULL);
	sequence_news_init(&s->fresh);
	*out = s;
	return 0;
}

void sequence_hold(struct sequence *s)
{
	__atomic_add_fetch(&s->holders, 1, __ATOMIC_RELAXED);
}

void sequence_put(struct sequence *s)
{
	if (__atomic_sub_fetch(&s->holders, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	sampler_fini(&s->sampler);
	token_text_fini(&s->text);
	bb_buf_fini(&s->piece);
	sequence_news_fini(&s->fresh);
	pthread_mutex_destroy(&s->lock);
	request_params_put(s->params);
	bb_free(s->tokens);
	bb_free(s);
}

static int push_token(struct sequence *s, int32_t token)
{
	if (s->token_count == s->token_room) {
		const uint32_t room = s->token_room * 2;
		int32_t *grown = bb_realloc(s->tokens, (size_t)room * sizeof(*grown));
		if (!grown)
			return -BB_ENOMEM;
		s->tokens = grown;
		s->token_room = room;
	}
	s->tokens[s->token_count++] = token;
	return 0;
}

static bool is_stop_token(const struct request_params *p, int32_t token)
{
	for (uint32_t i = 0; i < p->stop_token_count; i++)
		if (p->stop_tokens[i] == token)
			return true;
	return false;
}

/* The token's text goes to fresh.text, as far as it may be shown. Under the lock. */
static int add_text(struct sequence *s, const struct model *m, int32_t token,
		    enum finish_reason *finish)
{
	const struct request_params *p = s->params;
	const bool may_end = sequence_answer_len(s) >= p->min_tokens;
	struct bb_buf *out = &s->fresh.text;

	if (may_end && is_stop_token(p, token)) {
		*finish = FINISH_STOP;
		s->fresh.stop_token = token;
		return token_text_finish(&s->text, out);
	}
	if (may_end && !p->ignores_eos && model_is_eog(m, token)) {
		*finish = FINISH_STOP;
		return token_text_finish(&s->text, out);
	}
	bb_buf_clear(&s->piece);
	int rc = model_piece(m, token, PIECE_TEXT, &s->piece);
	if (!rc)
		rc = token_text_push(&s->text, may_end ? &p->stops : NULL, bb_buf_str(&s->piece),
				     out);
	if (rc < 0)
		return rc;
	if (rc > 0) {
		*finish = FINISH_STOP;
		s->fresh.stop_string = rc - 1;
		return 0;
	}
	if (sequence_answer_len(s) < s->answer_max)
		return 0;
	*finish = FINISH_LENGTH;
	return token_text_finish(&s->text, out);
}

int sequence_accept(struct sequence *s, const struct model *m, int32_t token,
		    const struct token_logprob *logprobs, uint32_t logprob_count,
		    enum finish_reason *finish)
{
	int rc = push_token(s, token);

	if (rc)
		return rc;
	*finish = FINISH_NOT_YET;
	pthread_mutex_lock(&s->lock);
	rc = add_text(s, m, token, finish);
	if (!rc)
		rc = bb_buf_add(&s->fresh.logprobs, logprobs, logprob_count * sizeof(*logprobs));
	if (!rc && s->params->wants_token_ids)
		rc = bb_buf_add(&s->fresh.token_ids, &token, sizeof(token));
	s->fresh.answer_tokens = sequence_answer_len(s);
	s->fresh.cached_tokens = s->cached_tokens;
	pthread_mutex_unlock(&s->lock);
	return rc;
}

void sequence_end(struct sequence *s, enum finish_reason why)
{
	pthread_mutex_lock(&s->lock);
	s->fresh.finish = why;
	pthread_mutex_unlock(&s->lock);
	sequence_publish(s);
}

int sequence_give_embedding(struct sequence *s, const float *values, uint32_t count)
{
	pthread_mutex_lock(&s->lock);
	const int rc = bb_buf_add(&s->fresh.text, values, count * sizeof(*values));
	pthread_mutex_unlock(&s->lock);
	return rc;
}

void sequence_publish(struct sequence *s)
{
	if (__atomic_exchange_n(&s->is_posted, true, __ATOMIC_SEQ_CST))
		return;
	sequence_hold(s);
	loop_post(s->loop, &s->message);
}

void sequence_take(struct sequence *s, struct sequence_news *out)
{
	struct bb_buf text = out->text, logprobs = out->logprobs, token_ids = out->token_ids;

	BB_ASSERT(text.len == 0 && logprobs.len == 0 && token_ids.len == 0);
	pthread_mutex_lock(&s->lock);
	*out = s->fresh;
	s->fresh.text = text;
	s->fresh.logprobs = logprobs;
	s->fresh.token_ids = token_ids;
	pthread_mutex_unlock(&s->lock);
}
