#include "text/model_unigram.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "text/byte_trie.h"
#include "text/component.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "wire/json.h"

#define UNKNOWN_PENALTY 10.0
#define NONE UINT32_MAX

struct unigram {
	struct byte_trie trie; /* of ids */
	struct bb_arena contents;
	struct bb_str *tokens;
	double *scores;
	uint32_t count, cap;
	uint32_t unknown; /* NONE: the model has none */
	double unknown_score;
	uint32_t bytes[256]; /* ids of <0x00> … <0xFF>, or NONE */
	bool has_byte_fallback;
};

/* ---- loading ---- */

static int grow(struct unigram *u)
{
	const uint32_t cap = u->cap ? 2 * u->cap : 1024;
	struct bb_str *const tokens = bb_realloc(u->tokens, cap * sizeof(*tokens));

	if (!tokens)
		return -BB_ENOMEM;
	u->tokens = tokens;
	double *const scores = bb_realloc(u->scores, cap * sizeof(*scores));
	if (!scores)
		return -BB_ENOMEM;
	u->scores = scores;
	u->cap = cap;
	return 0;
}

static int add(struct unigram *u, const struct component *c, struct bb_str raw, double score)
{
	struct bb_str text;

	if (u->count == TOKENIZER_VOCAB_MAX)
		return component_wrong(c, "more than %u entries", TOKENIZER_VOCAB_MAX);
	if (u->count == u->cap && grow(u))
		return -BB_ENOMEM;
	int rc = json_string_decode(raw, &u->contents, &text);
	if (rc)
		return rc == -BB_EINVALID ? component_wrong(c, "entry %u has no text", u->count)
					  : rc;
	if (text.len > TOKENIZER_TOKEN_MAX)
		return component_wrong(c, "entry %u is longer than %d bytes", u->count,
				       TOKENIZER_TOKEN_MAX);
	if (text.p >= raw.p && text.p < raw.p + raw.len) /* it points into the JSON */
		text = bb_arena_dup(&u->contents, text);
	if (!text.p)
		return -BB_ENOMEM;
	u->tokens[u->count] = text;
	u->scores[u->count] = score;
	rc = byte_trie_put(&u->trie, text, u->count);
	if (rc == -BB_ELIMIT)
		return component_wrong(c, "the vocabulary is too large");
	u->count++;
	return rc;
}

/* One entry: ["text", score] */
static int add_entry(struct unigram *u, const struct component *c, struct json_pull *j)
{
	struct bb_str text, number;
	enum json_type type, number_type;
	double score;

	if (!json_pull_array(j) || !json_pull_more(j) || !json_pull_value(j, &text, &type) ||
	    !json_pull_more(j) || !json_pull_value(j, &number, &number_type) || json_pull_more(j) ||
	    type != JSON_STRING || json_double(number, &score))
		return component_wrong(c, "entry %u is not [text, score]", u->count);
	return add(u, c, text, score);
}

static int add_vocab(struct unigram *u, const struct component *c)
{
	struct json_pull j;
	struct bb_str list;
	int rc = component_array(c, "vocab", &list);

	if (rc)
		return rc;
	json_pull_init(&j, list);
	json_pull_array(&j);
	while (!rc && json_pull_more(&j))
		rc = add_entry(u, c, &j);
	return rc;
}

static void find_bytes(struct unigram *u)
{
	char text[8];

	for (unsigned i = 0; i < 256; i++) {
		snprintf(text, sizeof(text), "<0x%02X>", i);
		u->bytes[i] = byte_trie_get(&u->trie, bb_str_of(text));
	}
}

static int load(struct unigram *u, const struct component *c)
{
	uint64_t unknown = NONE;
	int rc = add_vocab(u, c);

	if (!rc)
		rc = component_bool_or(c, "byte_fallback", &u->has_byte_fallback);
	if (!rc && component_has(c, "unk_id"))
		rc = component_u64(c, "unk_id", &unknown);
	if (rc)
		return rc;
	if (unknown != NONE && unknown >= u->count)
		return component_wrong(c, "'unk_id' is no entry of the vocabulary");
	u->unknown = (uint32_t)unknown;
	double lowest = INFINITY;
	for (uint32_t i = 0; i < u->count; i++)
		lowest = u->scores[i] < lowest ? u->scores[i] : lowest;
	u->unknown_score = lowest - UNKNOWN_PENALTY;
	find_bytes(u);
	return 0;
}

int unigram_create(struct bb_str model, struct unigram **out, struct text_error *e)
{
	struct component c;
	int rc = component_init(&c, "model", model, e);

	if (rc)
		return rc;
	struct unigram *const u = bb_alloc_zero(1, sizeof(*u));
	if (!u)
		return -BB_ENOMEM;
	bb_arena_init(&u->contents, TOKENIZER_FILE_MAX);
	rc = byte_trie_init(&u->trie);
	if (!rc)
		rc = load(u, &c);
	if (rc) {
		unigram_destroy(u);
		return rc;
	}
	*out = u;
	return 0;
}

void unigram_destroy(struct unigram *u)
{
	if (!u)
		return;
	byte_trie_fini(&u->trie);
	bb_arena_fini(&u->contents);
	bb_free(u->tokens);
	bb_free(u->scores);
	bb_free(u);
}

/* ---- the vocabulary ---- */

size_t unigram_size(const struct unigram *u)
{
	return sizeof(*u) + byte_trie_size(&u->trie) + u->contents.total +
	       u->cap * (sizeof(*u->tokens) + sizeof(*u->scores));
}

uint32_t unigram_count(const struct unigram *u)
{
	return u->count;
}

uint32_t unigram_id_end(const struct unigram *u)
{
	return u->count;
}

uint32_t unigram_id(const struct unigram *u, struct bb_str content)
{
	return byte_trie_get(&u->trie, content);
}

struct bb_str unigram_token(const struct unigram *u, uint32_t id)
{
	return id < u->count ? u->tokens[id] : (struct bb_str){ 0 };
}

/* ---- encoding ---- */

void unigram_work_init(struct unigram_work *w)
{
	*w = (struct unigram_work){ 0 };
}

void unigram_work_fini(struct unigram_work *w)
{
	BB_FREE(w->steps);
	w->cap = 0;
}

static int reserve(struct unigram_work *w, size_t len)
{
	if (len < w->cap)
		return 0;
	size_t cap = w->cap ? w->cap : 256;
	while (cap <= len)
		cap *= 2;
	/* What is there is not needed any more. */
	unigram_work_fini(w);
	w->steps = bb_alloc(cap * sizeof(*w->steps));
	if (!w->steps)
		return -BB_ENOMEM;
	w->cap = cap;
	return 0;
}

static void offer(struct unigram_step *to, double score, size_t begin, uint32_t id)
{
	if (to->begin != NONE && !(score > to->score))
		return;
	*to = (struct unigram_step){ score, (uint32_t)begin, id };
}

/* All entries that begin at `at`, and the character alone when it is none. */
static int offer_from(const struct unigram *u, struct unigram_step *steps, struct bb_str word,
		      size_t at, size_t char_len)
{
	const double here = steps[at].score;
	uint32_t node = BYTE_TRIE_ROOT;
	bool has_single = false;

	for (size_t end = at; end < word.len;) {
		node = byte_trie_child(&u->trie, node, (uint8_t)word.p[end++]);
		if (node == BYTE_TRIE_NONE)
			break;
		const uint32_t id = u->trie.values[node];
		if (id == BYTE_TRIE_NONE)
			continue;
		offer(&steps[end], u->scores[id] + here, at, id);
		has_single |= end - at == char_len;
	}
	if (has_single)
		return 0;
	struct unigram_step *const to = &steps[at + char_len];
	offer(to, u->unknown_score + here, at, u->unknown);
	return to->begin == at && to->id == NONE ? -BB_EINVALID : 0;
}

static int find_path(const struct unigram *u, struct unigram_work *w, struct bb_str word)
{
	size_t len;
	int rc = reserve(w, word.len);

	if (rc)
		return rc;
	for (size_t i = 0; i <= word.len; i++)
		w->steps[i] = (struct unigram_step){ 0, NONE, NONE };
	for (size_t at = 0; at < word.len && !rc; at += len) {
		unicode_at(word.p + at, &len);
		rc = offer_from(u, w->steps, word, at, len);
	}
	return rc;
}

static int add_unknown(const struct unigram *u, struct bb_str word, size_t begin, size_t end,
		       struct model_tokens *out)
{
	const struct bb_str text = { word.p + begin, end - begin };
	const uint32_t id = byte_trie_get(&u->trie, text);
	bool has_bytes = u->has_byte_fallback;
	int rc = 0;

	if (id != BYTE_TRIE_NONE) /* as one it is an entry that no path could take */
		return model_tokens_add(out, id, begin, end);
	for (size_t i = 0; i < text.len && has_bytes; i++)
		has_bytes = u->bytes[(uint8_t)text.p[i]] != NONE;
	if (!has_bytes)
		return model_tokens_add(out, u->unknown, begin, end);
	for (size_t i = 0; i < text.len && !rc; i++)
		rc = model_tokens_add(out, u->bytes[(uint8_t)text.p[i]], begin, end);
	return rc;
}

/* Turns the links around, so that each step knows the end of the piece that begins there. */
static void reverse(struct unigram_step *steps, size_t len)
{
	uint32_t end = (uint32_t)len, id = NONE;

	for (uint32_t at = (uint32_t)len;;) {
		const struct unigram_step step = steps[at];
		steps[at] = (struct unigram_step){ 0, end, id };
		if (!at)
			return;
		end = at;
		id = step.id;
		at = step.begin;
	}
}

int unigram_encode(const struct unigram *u, struct unigram_work *w, struct bb_str word,
		   struct model_tokens *out)
{
	out->count = 0;
	if (!word.len)
		return 0;
	int rc = find_path(u, w, word);
	if (rc)
		return rc;
	reverse(w->steps, word.len);
	for (size_t at = 0, end; at < word.len && !rc; at = end) {
		const uint32_t id = w->steps[at].id;
		end = w->steps[at].begin;
		if (id != u->unknown) {
			rc = model_tokens_add(out, id, at, end);
			continue;
		}
		while (end < word.len && w->steps[end].id == u->unknown)
			end = w->steps[end].begin;
		rc = add_unknown(u, word, at, end, out);
	}
	return rc;
}
