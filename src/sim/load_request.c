#include "sim/load_request.h"

#include "base/hash.h"

#define HEAD_MAX 65536
#define MARK "@@@@@@@@@@@@@@@@"
#define TEXT_SEED 7 /* the same text everywhere, so that instruction counts compare */

_Static_assert(sizeof(MARK) - 1 == LOAD_NONCE_SIZE, "the mark is as long as what replaces it");

/* Common words of 1 to 10 letters: a tokenizer and a compressor find what prose gives them. */
static const char *const words[] = {
	"a",	   "the",      "of",	  "to",	      "and",	 "in",	     "is",	"it",
	"water",   "river",    "bridge",  "engine",   "current", "station",  "line",	"wire",
	"between", "under",    "over",	  "through",  "without", "against",  "around",	"behind",
	"carries", "measures", "reaches", "returns",  "answers", "opens",    "closes",	"begins",
	"morning", "evening",  "winter",  "summer",   "minute",  "second",   "moment",	"century",
	"small",   "large",    "quiet",	  "heavy",    "narrow",  "distant",  "common",	"different",
	"people",  "question", "problem", "reason",   "number",  "measure", "letter",	"machine",
	"slowly",  "always",   "never",	  "sometimes", "already", "together", "perhaps", "however",
};

#define WORD_COUNT (sizeof(words) / sizeof(words[0]))

void load_request_init(struct load_request *r)
{
	*r = (struct load_request){ 0 };
	bb_buf_init(&r->bytes, LOAD_BODY_MAX + HEAD_MAX);
}

void load_request_fini(struct load_request *r)
{
	bb_buf_fini(&r->bytes);
}

/* Sentences, cut at exactly `size` bytes. */
static void add_text(struct bb_buf *out, size_t size)
{
	const size_t end = out->len + size;
	struct bb_rng rng;
	uint64_t words_left = 0;

	bb_rng_seed(&rng, TEXT_SEED);
	while (out->len < end && !out->err) {
		if (words_left == 0) {
			bb_buf_add_str(out, BB_STR(". "));
			words_left = 6 + bb_rng_below(&rng, 12);
		}
		words_left--;
		bb_buf_add_str(out, bb_str_of(words[bb_rng_below(&rng, WORD_COUNT)]));
		if (words_left)
			bb_buf_lit(out, " ");
	}
	if (!out->err)
		out->len = end;
}

int load_body_make(struct bb_buf *body, const struct load_body_shape *shape)
{
	static const char tail[] = "\"}]}";
	struct bb_buf prompt;

	bb_buf_init(&prompt, LOAD_BODY_MAX);
	bb_buf_lit(&prompt, MARK " ");
	bb_buf_add_str(&prompt, shape->prompt);
	bb_buf_lit(body, "{\"model\":");
	bb_buf_add_json(body, shape->model);
	bb_buf_printf(body, ",\"max_tokens\":%u,\"stream\":%s,\"temperature\":0.7",
		      shape->max_tokens, shape->stream == LOAD_STREAM ? "true" : "false");
	bb_buf_lit(body, ",\"messages\":[{\"role\":\"user\",\"content\":");
	bb_buf_add_json(body, bb_buf_str(&prompt));
	const int rc = prompt.err;
	bb_buf_fini(&prompt);
	if (rc || body->err)
		return rc ? rc : body->err;
	body->len--; /* the closing quote is in the tail, behind the filler */
	if (body->len + sizeof(tail) - 1 < shape->size)
		add_text(body, shape->size - body->len - (sizeof(tail) - 1));
	bb_buf_lit(body, tail);
	return body->err;
}

int load_request_build(struct load_request *r, struct bb_str host, struct bb_str path,
		       struct bb_str extra, struct bb_str body)
{
	struct bb_buf *b = &r->bytes;
	const ptrdiff_t mark = bb_str_find(body, BB_STR(MARK));

	bb_buf_clear(b);
	bb_buf_printf(b, "POST %.*s HTTP/1.1\r\nHost: %.*s\r\n", BB_ARG(path), BB_ARG(host));
	bb_buf_lit(b, "User-Agent: busbar-bench\r\nAccept: */*\r\n"
		      "Content-Type: application/json\r\n");
	bb_buf_add_str(b, extra);
	bb_buf_printf(b, "Content-Length: %zu\r\n\r\n", body.len);
	r->has_nonce = mark >= 0;
	r->nonce_at = r->has_nonce ? b->len + (size_t)mark : 0;
	return bb_buf_add_str(b, body) ? b->err : 0;
}
