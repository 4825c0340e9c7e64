/*
 * tokenizer_words.c: words to ids, through the word cache. The hot path of tokenizing.
 */
#include "base/log.h"
#include "text/tokenizer_parts.h"

/* Words that are cut and then encoded together. */
#define BATCH 128
/* Ids that a batch may give, words longer than WORD_LONG_MAX left aside. */
#define BATCH_IDS (BATCH * WORD_LONG_MAX + WORD_LONG_IDS)

static const char metaspace[] = "\xe2\x96\x81";

int encoder_settle(struct encoder *e)
{
	if (e->is_count) {
		e->counted += e->out->count;
		e->out->count = 0;
		return e->counted > e->max ? -BB_ELIMIT : 0;
	}
	return e->out->count > e->max ? -BB_ELIMIT : 0;
}

/* ---- with spans ---- */

/* Bytes of the text at hand as bytes of the text that was given. */
static struct token_span span_of(const struct encoder *e, size_t begin, size_t end)
{
	if (e->origins) {
		const size_t last = end > begin ? end - 1 : begin;
		if (end == begin)
			return (struct token_span){ 0, 0 };
		begin = e->origins[begin].begin;
		end = e->origins[last].end;
	}
	begin += e->segment_at;
	end += e->segment_at;
	if (e->valid && end > begin) {
		begin = e->valid->at[begin].begin;
		end = e->valid->at[end - 1].end;
	}
	return (struct token_span){ (uint32_t)begin, (uint32_t)end };
}

int encoder_add(struct encoder *e, uint32_t id, size_t begin, size_t end)
{
	struct token_list *const l = e->out;
	const int rc = token_list_room(l, 1);

	if (rc)
		return rc;
	if (l->want == TOKEN_IDS_AND_SPANS)
		l->spans[l->count] = span_of(e, begin, end);
	l->ids[l->count++] = id;
	return 0;
}

/* Any word, without the cache. `at`: its place in the text at hand. */
static int add_word(struct encoder *e, struct bb_str word, size_t at)
{
	struct word_tokens tokens;
	struct token_list *const l = e->out;

	int rc = token_model_encode(&e->t->model, &e->w->model, word, &tokens);
	if (!rc)
		rc = token_list_room(l, tokens.count);
	if (rc)
		return rc;
	if (tokens.count)
		memcpy(l->ids + l->count, tokens.ids, tokens.count * sizeof(*tokens.ids));
	if (l->want == TOKEN_IDS_AND_SPANS)
		for (size_t i = 0; i < tokens.count; i++)
			l->spans[l->count + i] =
				span_of(e, at + tokens.begins[i], at + tokens.ends[i]);
	l->count += tokens.count;
	return 0;
}

static int add_words_with_spans(struct encoder *e, struct bb_str text, size_t begin,
				const size_t *ends, size_t count)
{
	for (size_t i = 0; i < count; begin = ends[i++]) {
		const int rc =
			add_word(e, (struct bb_str){ text.p + begin, ends[i] - begin }, begin);
		if (rc)
			return rc;
	}
	return encoder_settle(e);
}

/* ---- through the cache ---- */

/* A word of at most WORD_LONG_MAX bytes that the cache does not have. */
static int encode_missed(struct encoder *e, const char *p, size_t len, uint64_t hash, uint32_t *ids,
			 uint32_t *count)
{
	const struct token_model *const m = &e->t->model;
	struct word_tokens tokens;

	if (m->type == MODEL_BPE && m->bpe->has_all_bytes) {
		*count = bpe_encode_short(m->bpe, p, (uint32_t)len, hash, ids);
		return 0;
	}
	const int rc = token_model_encode(m, &e->w->model, (struct bb_str){ p, len }, &tokens);
	if (rc)
		return rc;
	BB_ASSERT(tokens.count <= len);
	if (tokens.count)
		memcpy(ids, tokens.ids, tokens.count * sizeof(*ids));
	*count = (uint32_t)tokens.count;
	return 0;
}

/*
 * A word's way through the cache. A batch takes each step with all of its words, since what a step
 * needs of memory is seldom near: it is fetched by the step before. What is found stays where it is
 * until the batch is through; only then the cache takes the words that it did not have.
 */
struct word_probe {
	struct word_key key;		/* of a long word: its vocab_hash, as `low` */
	struct word_short *places;	/* NULL: a long word */
	const struct word_short *found; /* or NULL */
};

/* A short word that the cache does not have. */
struct word_missed {
	const struct word_probe *probe;
	uint64_t hash; /* vocab_hash */
	size_t at;     /* of its ids in the list */
	uint32_t count;
};

struct word_batch {
	struct word_probe probes[BATCH];
	struct word_missed missed[BATCH];
	size_t missed_count;
};

/* A word that is long, or that has too many ids to be kept among the short ones. */
static int add_by_long(struct encoder *e, const char *p, size_t len, uint64_t hash, uint32_t *count)
{
	struct token_list *const l = e->out;
	struct word_long *const slot = word_long_slot(e->w->cache, hash);

	if (word_long_is(slot, p, len)) {
		memcpy(l->ids + l->count, slot->ids, sizeof(slot->ids));
		*count = slot->count;
	} else {
		const int rc = encode_missed(e, p, len, hash, l->ids + l->count, count);
		if (rc)
			return rc;
		if (len > WORD_SHORT_MAX || *count > WORD_SHORT_IDS)
			word_long_put(slot, p, len, l->ids + l->count, *count);
	}
	l->count += *count;
	return 0;
}

static __attribute__((noinline)) int add_missed(struct encoder *e, const char *p, size_t len,
						struct word_missed *missed)
{
	missed->at = e->out->count;
	return add_by_long(e, p, len, missed->hash, &missed->count);
}

static __attribute__((noinline)) int add_long(struct encoder *e, const char *p, size_t len,
					      uint64_t hash)
{
	uint32_t count;

	if (len <= WORD_LONG_MAX)
		return add_by_long(e, p, len, hash, &count);
	const int rc = add_word(e, (struct bb_str){ p, len }, 0);
	return rc ? rc : token_list_room(e->out, BATCH_IDS);
}

static __attribute__((noinline)) void find_long(struct word_cache *cache, const char *p, size_t len,
						struct word_probe *probe)
{
	probe->places = NULL;
	if (len <= WORD_LONG_MAX) {
		probe->key.low = vocab_hash(p, len);
		word_long_fetch(cache, probe->key.low);
	}
}

static void find_places(struct word_cache *cache, struct bb_str text, size_t begin,
			const size_t *ends, size_t count, struct word_probe *probes)
{
	const char *const limit = text.p + text.len;

	for (size_t i = 0; i < count; begin = ends[i++]) {
		const size_t len = ends[i] - begin;
		if (__builtin_expect(len > WORD_SHORT_MAX, 0)) {
			find_long(cache, text.p + begin, len, probes + i);
			continue;
		}
		probes[i].key = word_key(text.p + begin, len, limit);
		probes[i].places = word_short_places(cache, probes[i].key);
		__builtin_prefetch(probes[i].places);
	}
}

/*
 * Words that the cache does not have are looked for among the long ones, where they are when they
 * have many ids, and then in the vocabulary.
 */
static void find_words(struct word_cache *cache, const struct vocab *v, struct bb_str text,
		       size_t begin, const size_t *ends, size_t count, struct word_batch *batch)
{
	batch->missed_count = 0;
	for (size_t i = 0; i < count; begin = ends[i++]) {
		struct word_probe *const p = batch->probes + i;
		p->found = NULL;
		if (__builtin_expect(!p->places, 0))
			continue;
		const struct word_short *const found = word_short_find(p->places, p->key);
		if (__builtin_expect(word_short_is(found, p->key), 1)) {
			p->found = found;
			continue;
		}
		const uint64_t hash = vocab_hash(text.p + begin, ends[i] - begin);
		batch->missed[batch->missed_count++] =
			(struct word_missed){ .probe = p, .hash = hash };
		word_long_fetch(cache, hash);
		if (v)
			vocab_fetch(v, hash);
	}
	for (size_t i = 0; v && i < batch->missed_count; i++)
		vocab_fetch_bytes(v, batch->missed[i].hash);
}

static void keep_words(const struct token_list *l, const struct word_batch *batch)
{
	for (size_t i = 0; i < batch->missed_count; i++) {
		const struct word_missed *const m = batch->missed + i;
		word_short_put(m->probe->places, m->probe->key, l->ids + m->at, m->count);
	}
}

static int add_words(struct encoder *e, struct bb_str text, size_t begin, const size_t *ends,
		     size_t count)
{
	struct token_list *const l = e->out;
	const struct token_model *const m = &e->t->model;
	struct word_batch batch;

	if (l->want == TOKEN_IDS_AND_SPANS)
		return add_words_with_spans(e, text, begin, ends, count);
	int rc = token_list_room(l, BATCH_IDS);
	if (rc)
		return rc;
	find_places(e->w->cache, text, begin, ends, count, batch.probes);
	find_words(e->w->cache, m->type == MODEL_BPE ? &m->bpe->vocab : NULL, text, begin, ends,
		   count, &batch);
	struct word_missed *missed = batch.missed;
	uint32_t *to = l->ids + l->count;
	for (size_t i = 0; i < count; i++) {
		const struct word_probe *const p = batch.probes + i;
		if (__builtin_expect(p->found != NULL, 1)) {
			to += word_short_ids(p->found, to);
			continue;
		}
		const size_t at = i ? ends[i - 1] : begin, len = ends[i] - at;
		l->count = (size_t)(to - l->ids);
		rc = p->places ? add_missed(e, text.p + at, len, missed++)
			       : add_long(e, text.p + at, len, p->key.low);
		if (rc)
			return rc;
		to = l->ids + l->count;
	}
	l->count = (size_t)(to - l->ids);
	keep_words(l, &batch);
	return encoder_settle(e);
}

/* ---- cutting ---- */

/* Ends a word before each metaspace that does not follow another one. */
static size_t cut_metaspace(struct bb_str text, size_t *at, size_t *ends, size_t max)
{
	const size_t len = sizeof(metaspace) - 1;
	size_t n = 0, begin = *at;

	while (n < max && begin < text.len) {
		size_t i = begin;
		while (bb_str_starts(bb_str_skip(text, i), BB_STR(metaspace)))
			i += len;
		for (;; i++) {
			const char *const p =
				i < text.len ? memchr(text.p + i, metaspace[0], text.len - i)
					     : NULL;
			i = p ? (size_t)(p - text.p) : text.len;
			if (!p || (text.len - i >= len && memcmp(p, metaspace, len) == 0))
				break;
		}
		ends[n++] = begin = i;
	}
	*at = begin;
	return n;
}

static size_t cut(const struct tokenizer *t, struct bb_str text, size_t *at, size_t *ends)
{
	if (t->split != SPLIT_NONE)
		return split_run(t->split, text, at, ends, BATCH);
	if (t->model.type == MODEL_BPE)
		return bpe_cut(t->model.bpe->cuts, text, at, ends, BATCH);
	return cut_metaspace(text, at, ends, BATCH);
}

/* From `at` on. */
static int scan(struct encoder *e, struct bb_str text, size_t at)
{
	size_t ends[BATCH], begin = at, n;

	while ((n = cut(e->t, text, &at, ends))) {
		const int rc = add_words(e, text, begin, ends, n);
		if (rc)
			return rc;
		begin = at;
	}
	return 0;
}

int encoder_scan(struct encoder *e, struct bb_str text)
{
	return scan(e, text, 0);
}

int encoder_pieces(struct encoder *e, struct bb_str text, const struct piece *pieces, size_t count)
{
	const bool is_cut = e->t->model.type == MODEL_BPE && e->t->model.bpe->cuts;

	for (size_t i = 0; i < count; i++) {
		const size_t begin = pieces[i].begin, end = pieces[i].end;
		int rc = 0;
		if (begin == end)
			continue;
		if (is_cut)
			rc = scan(e, (struct bb_str){ text.p, end }, begin);
		else
			rc = add_words(e, text, begin, &end, 1);
		if (rc)
			return rc;
	}
	return 0;
}
