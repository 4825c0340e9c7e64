#include "text/model_unigram.h"

#include <math.h>

#include "base/alloc.h"
#include "text/component.h"
#include "text/scored_vocab.h"
#include "text/unicode.h"

#define UNKNOWN_PENALTY 10.0
#define NONE UINT32_MAX

struct unigram {
	struct scored_vocab vocab;
	uint32_t unknown; /* NONE: the model has none */
	double unknown_score;
	bool has_byte_fallback;
};

/* ---- loading ---- */

static int load(struct unigram *u, const struct component *c)
{
	uint64_t unknown = NONE;
	int rc = scored_vocab_init(&u->vocab, c);

	if (!rc)
		rc = component_bool_or(c, "byte_fallback", &u->has_byte_fallback);
	if (!rc && component_has(c, "unk_id"))
		rc = component_u64(c, "unk_id", &unknown);
	if (rc)
		return rc;
	if (unknown != NONE && unknown >= u->vocab.count)
		return component_wrong(c, "'unk_id' is no entry of the vocabulary");
	u->unknown = (uint32_t)unknown;
	double lowest = INFINITY;
	for (uint32_t i = 0; i < u->vocab.count; i++)
		lowest = u->vocab.scores[i] < lowest ? u->vocab.scores[i] : lowest;
	u->unknown_score = lowest - UNKNOWN_PENALTY;
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
	scored_vocab_fini(&u->vocab);
	bb_free(u);
}

/* ---- the vocabulary ---- */

size_t unigram_size(const struct unigram *u)
{
	return sizeof(*u) + scored_vocab_size(&u->vocab);
}

uint32_t unigram_count(const struct unigram *u)
{
	return u->vocab.count;
}

uint32_t unigram_id_end(const struct unigram *u)
{
	return u->vocab.count;
}

uint32_t unigram_id(const struct unigram *u, struct bb_str content)
{
	return byte_trie_get(&u->vocab.trie, content);
}

struct bb_str unigram_token(const struct unigram *u, uint32_t id)
{
	return scored_vocab_token(&u->vocab, id);
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
		node = byte_trie_child(&u->vocab.trie, node, (uint8_t)word.p[end++]);
		if (node == BYTE_TRIE_NONE)
			break;
		const uint32_t id = u->vocab.trie.values[node];
		if (id == BYTE_TRIE_NONE)
			continue;
		offer(&steps[end], u->vocab.scores[id] + here, at, id);
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
	const uint32_t id = byte_trie_get(&u->vocab.trie, text);
	bool has_bytes = u->has_byte_fallback;
	int rc = 0;

	if (id != BYTE_TRIE_NONE) /* as one it is an entry that no path could take */
		return model_tokens_add(out, id, begin, end);
	for (size_t i = 0; i < text.len && has_bytes; i++)
		has_bytes = u->vocab.bytes[(uint8_t)text.p[i]] != NONE;
	if (!has_bytes)
		return model_tokens_add(out, u->unknown, begin, end);
	for (size_t i = 0; i < text.len && !rc; i++)
		rc = model_tokens_add(out, u->vocab.bytes[(uint8_t)text.p[i]], begin, end);
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
