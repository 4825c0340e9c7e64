#include "answer.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"

static void on_job_writable(struct api_job *j);
static void on_job_closed(struct api_job *j);

int answer_create(struct api_request *r, struct request_params *params, enum request_kind kind,
		  struct answer **out)
{
	struct answer *a = bb_alloc_zero(1, sizeof(*a));

	if (!a)
		return -BB_ENOMEM;
	a->job = (struct api_job){ .on_writable = on_job_writable, .on_closed = on_job_closed };
	a->api = r->api;
	a->exchange = r->exchange;
	a->params = request_params_get(params);
	a->kind = kind;
	a->created_s = clock_wall_ns() / OS_SECOND;
	bb_buf_init(&a->out, ANSWER_SIZE_MAX);
	snprintf(a->request_id, sizeof(a->request_id), "%s", r->id);
	snprintf(a->id, sizeof(a->id), "%s-%s", kind == REQUEST_CHAT ? "chatcmpl" : "cmpl", r->id);
	*out = a;
	return 0;
}

void answer_destroy(struct answer *a)
{
	if (!a)
		return;
	for (uint32_t i = 0; i < a->choice_count; i++) {
		struct choice *c = &a->choices[i];
		c->sequence->owner = NULL;
		if (!c->is_over)
			scheduler_cancel(a->api->scheduler, c->sequence);
		sequence_put(c->sequence);
		sequence_news_fini(&c->news);
	}
	bb_buf_fini(&a->out);
	request_params_put(a->params);
	bb_free(a);
}

/* Ends the answer with an error: as a status while that is possible, else as an event. */
static void fail(struct answer *a)
{
	struct api_error e;
	const bool stops = a->api->is_draining;

	api_error_set(&e, stops ? 503 : 500, NULL,
		      stops ? "The engine is shutting down before the answer was complete."
			    : "The engine failed before the answer was complete.");
	a->is_over = true;
	if (!a->has_begun) {
		api_exchange_error(a->api, a->exchange, a->request_id, &e);
		return;
	}
	bb_buf_clear(&a->out);
	bb_buf_lit(&a->out, "data: ");
	api_error_write(&e, &a->out);
	bb_buf_lit(&a->out, "\n\n");
	if (a->out.err) {
		exchange_abort(a->exchange);
		return;
	}
	/* Whether it is taken makes no difference: the connection ends either way. */
	if (exchange_write(a->exchange, bb_buf_str(&a->out)) != IO_ERROR)
		exchange_end(a->exchange);
}

static void begin_stream(struct answer *a)
{
	struct bb_buf headers;

	bb_buf_init(&headers, 1024);
	api_headers(a->request_id, "Cache-Control: no-cache\r\n", &headers);
	exchange_begin(a->exchange, 200, BB_STR("text/event-stream; charset=utf-8"),
		       bb_buf_str(&headers), EXCHANGE_CHUNKED);
	bb_buf_fini(&headers);
	a->has_begun = true;
}

/* Takes what is new. False: the sequence ended with an error. */
static bool take_news(struct choice *c)
{
	c->has_news = false;
	bb_buf_clear(&c->news.text);
	bb_buf_clear(&c->news.logprobs);
	bb_buf_clear(&c->news.token_ids);
	sequence_take(c->sequence, &c->news);
	if (c->news.finish != FINISH_NOT_YET)
		c->is_over = true;
	return c->news.finish != FINISH_ERROR && c->news.finish != FINISH_ABORT;
}

static bool is_complete(const struct answer *a)
{
	for (uint32_t i = 0; i < a->choice_count; i++)
		if (!a->choices[i].is_over)
			return false;
	return true;
}

static void flush_stream(struct answer *a)
{
	bb_buf_clear(&a->out);
	for (uint32_t i = 0; i < a->choice_count; i++) {
		struct choice *c = &a->choices[i];
		if (!c->has_news)
			continue;
		if (!take_news(c)) {
			fail(a);
			return;
		}
		answer_write_chunk(a, c);
	}
	const bool is_last = is_complete(a);
	if (is_last) {
		if (a->params->wants_usage)
			answer_write_usage_chunk(a);
		bb_buf_lit(&a->out, "data: [DONE]\n\n");
	}
	if (a->out.err) {
		fail(a);
		return;
	}
	if (a->out.len == 0)
		return;
	if (!a->has_begun)
		begin_stream(a);
	const enum io io = exchange_write(a->exchange, bb_buf_str(&a->out));
	a->is_blocked = io == IO_AGAIN;
	a->is_over = is_last || io == IO_ERROR;
	if (is_last && io != IO_ERROR)
		exchange_end(a->exchange);
}

/* Not a stream: the pieces are put together until all choices are over. */
static void collect(struct answer *a, struct choice *c)
{
	struct sequence_news fresh;

	sequence_news_init(&fresh);
	c->has_news = false;
	sequence_take(c->sequence, &fresh);
	bb_buf_add_str(&c->news.text, bb_buf_str(&fresh.text));
	bb_buf_add_str(&c->news.logprobs, bb_buf_str(&fresh.logprobs));
	bb_buf_add_str(&c->news.token_ids, bb_buf_str(&fresh.token_ids));
	c->is_over = fresh.finish != FINISH_NOT_YET;
	c->news.finish = fresh.finish;
	c->news.answer_tokens = fresh.answer_tokens;
	c->news.cached_tokens = fresh.cached_tokens;
	c->news.stop_string = fresh.stop_string;
	c->news.stop_token = fresh.stop_token;
	sequence_news_fini(&fresh);
	if (c->news.text.err || c->news.logprobs.err || c->news.token_ids.err ||
	    fresh.finish == FINISH_ERROR || fresh.finish == FINISH_ABORT) {
		fail(a);
		return;
	}
	if (!is_complete(a))
		return;
	answer_write_whole(a);
	if (a->out.err) {
		fail(a);
		return;
	}
	struct bb_buf headers;
	bb_buf_init(&headers, 1024);
	api_headers(a->request_id, "", &headers);
	a->is_over = true;
	exchange_reply(a->exchange, 200, BB_STR("application/json"), bb_buf_str(&headers),
		       bb_buf_str(&a->out));
	bb_buf_fini(&headers);
}

static void on_progress(struct sequence *s)
{
	struct answer *a = s->owner;
	struct choice *c = &a->choices[s->index];

	if (a->is_over)
		return;
	c->has_news = true;
	if (!a->params->streams)
		collect(a, c);
	else if (!a->is_blocked)
		flush_stream(a);
}

static void on_job_writable(struct api_job *j)
{
	struct answer *a = BB_CONTAINER(j, struct answer, job);

	a->is_blocked = false;
	if (!a->is_over && a->params->streams)
		flush_stream(a);
}

static void on_job_closed(struct api_job *j)
{
	answer_destroy(BB_CONTAINER(j, struct answer, job));
}

int answer_add(struct answer *a, const struct sequence_config *config)
{
	struct sequence_config own = *config;
	struct choice *c = &a->choices[a->choice_count];

	BB_ASSERT(a->choice_count < ANSWER_CHOICES_MAX);
	own.owner = a;
	own.index = a->choice_count;
	own.on_progress = on_progress;
	const int rc = sequence_create(&own, &c->sequence);
	if (rc)
		return rc;
	c->prompt_len = config->prompt_len;
	sequence_news_init(&c->news);
	a->choice_count++;
	return 0;
}

int answer_start(struct answer *a)
{
	struct sequence *sequences[ANSWER_CHOICES_MAX];

	for (uint32_t i = 0; i < a->choice_count; i++)
		sequences[i] = a->choices[i].sequence;
	const int rc = scheduler_submit(a->api->scheduler, sequences, a->choice_count);
	if (!rc)
		a->exchange->user = &a->job;
	return rc;
}
