#include "text/model_spm.h"

#include "base/alloc.h"
#include "text/scored_vocab.h"
#include "text/unicode.h"

#define NONE UINT32_MAX

struct spm {
	struct scored_vocab vocab;
	size_t len_max;
	uint32_t unknown;
	bool cuts_metaspace;
};

struct spm_symbol {
	uint32_t begin, len; /* len 0: merged into the one before */
	uint32_t prev, next; /* NONE at the ends */
};

/* A pair that may become one: the best one is on top of the heap. */
struct spm_pair {
	float score;
	uint32_t left, right;
	uint32_t len; /* of both; when that has changed the pair is gone */
};

/* ---- loading ---- */

static bool has_inner_metaspace(struct bb_str text)
{
	static const struct bb_str mark = BB_STR_INIT("\xe2\x96\x81");

	while (bb_str_starts(text, mark))
		text = bb_str_skip(text, mark.len);
	return bb_str_find(text, mark) >= 0;
}

int spm_create(struct bb_str model, struct spm **out, struct text_error *e)
{
	struct component c;
	uint64_t unknown = 0;
	int rc = component_init(&c, "model", model, e);

	if (!rc && component_has(&c, "unk_id"))
		rc = component_u64(&c, "unk_id", &unknown);
	if (rc)
		return rc;
	struct spm *const s = bb_alloc_zero(1, sizeof(*s));
	if (!s)
		return -BB_ENOMEM;
	rc = scored_vocab_init(&s->vocab, &c);
	if (!rc && unknown >= s->vocab.count) {
		rc = component_wrong(&c, "'unk_id' is no entry of the vocabulary");
		scored_vocab_fini(&s->vocab);
	}
	if (rc) {
		bb_free(s);
		return rc;
	}
	s->unknown = (uint32_t)unknown;
	s->cuts_metaspace = true;
	for (uint32_t i = 0; i < s->vocab.count; i++) {
		if (s->vocab.tokens[i].len > s->len_max)
			s->len_max = s->vocab.tokens[i].len;
		if (has_inner_metaspace(s->vocab.tokens[i]))
			s->cuts_metaspace = false;
	}
	*out = s;
	return 0;
}

void spm_destroy(struct spm *s)
{
	if (!s)
		return;
	scored_vocab_fini(&s->vocab);
	bb_free(s);
}

size_t spm_size(const struct spm *s)
{
	return sizeof(*s) + scored_vocab_size(&s->vocab);
}

uint32_t spm_count(const struct spm *s)
{
	return s->vocab.count;
}

uint32_t spm_id_end(const struct spm *s)
{
	return s->vocab.count;
}

bool spm_cuts_metaspace(const struct spm *s)
{
	return s->cuts_metaspace;
}

uint32_t spm_id(const struct spm *s, struct bb_str content)
{
	return byte_trie_get(&s->vocab.trie, content);
}

struct bb_str spm_token(const struct spm *s, uint32_t id)
{
	return scored_vocab_token(&s->vocab, id);
}

/* ---- the heap ---- */

void spm_work_init(struct spm_work *w)
{
	*w = (struct spm_work){ 0 };
}

void spm_work_fini(struct spm_work *w)
{
	BB_FREE(w->symbols);
	BB_FREE(w->heap);
	w->symbol_cap = w->heap_cap = w->heap_count = 0;
}

static bool is_before(const struct spm_pair *a, const struct spm_pair *b)
{
	return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static int heap_push(struct spm_work *w, struct spm_pair pair)
{
	if (w->heap_count == w->heap_cap) {
		const size_t cap = w->heap_cap ? 2 * w->heap_cap : 256;
		struct spm_pair *const heap = bb_realloc(w->heap, cap * sizeof(*heap));
		if (!heap)
			return -BB_ENOMEM;
		w->heap = heap;
		w->heap_cap = cap;
	}
	size_t i = w->heap_count++;
	for (; i && is_before(&pair, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = pair;
	return 0;
}

static struct spm_pair heap_pop(struct spm_work *w)
{
	const struct spm_pair top = w->heap[0], last = w->heap[--w->heap_count];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < w->heap_count; i = child) {
		if (child + 1 < w->heap_count && is_before(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (!is_before(&w->heap[child], &last))
			break;
		w->heap[i] = w->heap[child];
	}
	w->heap[i] = last;
	return top;
}

/* ---- encoding ---- */

static int offer(const struct spm *s, struct spm_work *w, struct bb_str word, uint32_t left,
		 uint32_t right)
{
	if (left == NONE || right == NONE)
		return 0;
	const struct bb_str text = { word.p + w->symbols[left].begin,
				     (size_t)w->symbols[left].len + w->symbols[right].len };
	if (text.len > s->len_max)
		return 0;
	const uint32_t id = byte_trie_get(&s->vocab.trie, text);
	if (id == BYTE_TRIE_NONE)
		return 0;
	return heap_push(w, (struct spm_pair){ (float)s->vocab.scores[id], left, right,
					       (uint32_t)text.len });
}

static int cut(struct spm_work *w, struct bb_str word, uint32_t *count)
{
	size_t len;

	if (word.len > w->symbol_cap) {
		struct spm_symbol *const symbols = bb_alloc(word.len * sizeof(*symbols));
		if (!symbols)
			return -BB_ENOMEM;
		bb_free(w->symbols);
		w->symbols = symbols;
		w->symbol_cap = word.len;
	}
	*count = 0;
	for (size_t at = 0; at < word.len; at += len) {
		unicode_at(word.p + at, &len);
		w->symbols[*count] =
			(struct spm_symbol){ (uint32_t)at, (uint32_t)len, *count - 1, *count + 1 };
		++*count;
	}
	w->symbols[0].prev = NONE;
	w->symbols[*count - 1].next = NONE;
	return 0;
}

static int merge(const struct spm *s, struct spm_work *w, struct bb_str word)
{
	while (w->heap_count) {
		const struct spm_pair pair = heap_pop(w);
		struct spm_symbol *const left = &w->symbols[pair.left];
		struct spm_symbol *const right = &w->symbols[pair.right];
		if (!left->len || !right->len || left->len + right->len != pair.len)
			continue;
		left->len = pair.len;
		right->len = 0;
		left->next = right->next;
		if (right->next != NONE)
			w->symbols[right->next].prev = pair.left;
		int rc = offer(s, w, word, left->prev, pair.left);
		if (!rc)
			rc = offer(s, w, word, pair.left, left->next);
		if (rc)
			return rc;
	}
	return 0;
}

/* A character that is no token: the tokens of its bytes; of a single byte also the byte itself. */
static int add_bytes(const struct spm *s, struct bb_str text, size_t begin,
		     struct model_tokens *out)
{
	int rc = 0;

	for (size_t i = 0; i < text.len && !rc; i++) {
		uint32_t id = s->vocab.bytes[(uint8_t)text.p[i]];
		if (id == BYTE_TRIE_NONE)
			id = byte_trie_get(&s->vocab.trie, (struct bb_str){ text.p + i, 1 });
		if (id == BYTE_TRIE_NONE)
			id = s->unknown;
		rc = model_tokens_add(out, id, begin, begin + text.len);
	}
	return rc;
}

int spm_encode(const struct spm *s, struct spm_work *w, struct bb_str word,
	       struct model_tokens *out)
{
	uint32_t count;

	out->count = 0;
	w->heap_count = 0;
	if (!word.len)
		return 0;
	int rc = cut(w, word, &count);
	for (uint32_t i = 1; i < count && !rc; i++)
		rc = offer(s, w, word, i - 1, i);
	if (!rc)
		rc = merge(s, w, word);
	for (uint32_t i = 0; i != NONE && !rc; i = w->symbols[i].next) {
		const struct spm_symbol symbol = w->symbols[i];
		const struct bb_str text = { word.p + symbol.begin, symbol.len };
		const uint32_t id = byte_trie_get(&s->vocab.trie, text);
		rc = id == BYTE_TRIE_NONE
			     ? add_bytes(s, text, symbol.begin, out)
			     : model_tokens_add(out, id, symbol.begin, symbol.begin + symbol.len);
	}
	return rc;
}
