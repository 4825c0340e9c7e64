#include "text/prompt_cache.h"

#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"

#define SEGMENTS_AT_HAND 64 /* on the stack: longer prompts take memory */
#define BYTES_A_BUCKET 1024 /* of the cache: a usual segment and its tokens */

/* What must be the same for tokens to be the same, and for them to be given out. */
struct partition {
	uint64_t owner;
	uint64_t tokenizer; /* its fingerprint */
	uint64_t flags;
};

struct entry {
	struct bb_list lru;   /* most recently used first; a parent stands before its children */
	struct entry *next;   /* in its bucket */
	struct entry *parent; /* what comes before it; NULL: the text begins with it */
	uint64_t hash;	      /* of the partition and all text up to its end */
	struct partition partition;
	uint32_t uses; /* children, and calls that read it now: it stays */
	uint32_t text_len;
	uint32_t id_count;
	uint32_t ids[]; /* and behind them the text */
};

struct prompt_cache {
	pthread_mutex_t lock;
	struct entry **buckets;
	size_t bucket_mask;
	uint64_t secret;
	struct bb_list lru;
	struct prompt_cache_stats stats;
};

/* A piece of the text between two cuts. */
struct segment {
	size_t end;
	uint64_t hash;
	struct entry *entry; /* of the cache, or made for it; NULL: there was no memory */
};

/* One call. */
struct walk {
	struct bb_str text;
	struct partition partition;
	unsigned flags;
	struct segment at_hand[SEGMENTS_AT_HAND];
	struct segment *list;
	size_t count, room;
	size_t found; /* segments whose tokens are there */
};

int prompt_cache_create(size_t bytes_max, uint64_t secret, struct prompt_cache **out)
{
	size_t buckets = 64;

	BB_ASSERT(bytes_max >= PROMPT_CACHE_MIN);
	while (buckets < bytes_max / BYTES_A_BUCKET)
		buckets *= 2;
	struct prompt_cache *c = bb_alloc_zero(1, sizeof(*c));
	if (!c)
		return -BB_ENOMEM;
	c->buckets = bb_alloc_zero(buckets, sizeof(struct entry *));
	if (!c->buckets) {
		bb_free(c);
		return -BB_ENOMEM;
	}
	pthread_mutex_init(&c->lock, NULL);
	c->bucket_mask = buckets - 1;
	c->secret = secret;
	bb_list_init(&c->lru);
	c->stats.bytes_max = bytes_max;
	c->stats.bytes = sizeof(*c) + buckets * sizeof(struct entry *);
	*out = c;
	return 0;
}

void prompt_cache_destroy(struct prompt_cache *c)
{
	if (!c)
		return;
	BB_LIST_EACH (it, safe, &c->lru)
		bb_free(BB_CONTAINER(it, struct entry, lru));
	pthread_mutex_destroy(&c->lock);
	bb_free(c->buckets);
	bb_free(c);
}

void prompt_cache_stats(struct prompt_cache *c, struct prompt_cache_stats *out)
{
	pthread_mutex_lock(&c->lock);
	*out = c->stats;
	pthread_mutex_unlock(&c->lock);
}

/* ---- entries; under the lock ---- */

static size_t entry_size(size_t id_count, size_t text_len)
{
	return sizeof(struct entry) + id_count * sizeof(uint32_t) + text_len;
}

static char *entry_text(struct entry *e)
{
	return (char *)(e->ids + e->id_count);
}

static bool partition_eq(const struct partition *a, const struct partition *b)
{
	return a->owner == b->owner && a->tokenizer == b->tokenizer && a->flags == b->flags;
}

static struct entry *entry_find(const struct prompt_cache *c, const struct entry *parent,
				const struct partition *partition, uint64_t hash, size_t text_len)
{
	struct entry *e = c->buckets[hash & c->bucket_mask];

	while (e && (e->hash != hash || e->parent != parent || e->text_len != text_len ||
		     !partition_eq(&e->partition, partition)))
		e = e->next;
	return e;
}

static void entry_drop(struct prompt_cache *c, struct entry *e)
{
	struct entry **at = &c->buckets[e->hash & c->bucket_mask];

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	if (e->parent)
		e->parent->uses--;
	bb_list_remove(&e->lru);
	c->stats.bytes -= entry_size(e->id_count, e->text_len);
	c->stats.entries--;
	c->stats.evictions++;
	bb_free(e);
}

/* Makes room; false when what is oldest is in use, or it will never fit. */
static bool room_make(struct prompt_cache *c, size_t size)
{
	while (size > c->stats.bytes_max - c->stats.bytes) {
		if (bb_list_is_empty(&c->lru))
			return false;
		struct entry *last = BB_CONTAINER(c->lru.prev, struct entry, lru);
		if (last->uses)
			return false;
		entry_drop(c, last);
	}
	return true;
}

static void entry_link(struct prompt_cache *c, struct entry *e)
{
	struct entry **bucket = &c->buckets[e->hash & c->bucket_mask];

	e->next = *bucket;
	*bucket = e;
	if (e->parent)
		e->parent->uses++;
	bb_list_push(&c->lru, &e->lru);
	c->stats.bytes += entry_size(e->id_count, e->text_len);
	c->stats.entries++;
}

/* ---- segments ---- */

static size_t segment_begin(const struct walk *k, size_t i)
{
	return i ? k->list[i - 1].end : 0;
}

static struct bb_str segment_text(const struct walk *k, size_t i)
{
	const size_t begin = segment_begin(k, i);

	return (struct bb_str){ k->text.p + begin, k->list[i].end - begin };
}

static struct entry *segment_parent(const struct walk *k, size_t i)
{
	return i ? k->list[i - 1].entry : NULL;
}

/* The same segment under these flags gives other tokens than under those. */
static unsigned segment_flags(const struct walk *k, size_t i)
{
	const unsigned first = i ? TOKENIZER_CONTINUES : k->flags & TOKENIZER_CONTINUES;

	return (k->flags & TOKENIZER_SPECIAL) | first | TOKENIZER_MORE;
}

static bool segment_add(struct walk *k, size_t end, uint64_t hash)
{
	if (k->count == k->room) {
		const size_t size = k->room * sizeof(*k->list);
		struct segment *more =
			k->list == k->at_hand ? bb_alloc(2 * size) : bb_realloc(k->list, 2 * size);
		if (!more)
			return false;
		if (k->list == k->at_hand)
			memcpy(more, k->at_hand, size);
		k->list = more;
		k->room *= 2;
	}
	k->list[k->count++] = (struct segment){ .end = end, .hash = hash };
	return true;
}

/* What follows the last segment is tokenized anew each time. */
static void cut(struct walk *k, const struct prompt_cache *c, const struct tokenizer *t)
{
	uint64_t hash = bb_hash(&k->partition, sizeof(k->partition), c->secret);
	size_t begin = 0, end = 0;

	while (tokenizer_cut(t, k->text, end, &end) == 0) {
		if (end - begin < PROMPT_SEGMENT_MIN)
			continue;
		if (end - begin > UINT32_MAX)
			return;
		hash = bb_hash(k->text.p + begin, end - begin, hash);
		if (!segment_add(k, end, hash))
			return;
		begin = end;
	}
}

/* The longest beginning that is there; its last entry is held, and by it all before. */
static void find(struct walk *k, struct prompt_cache *c)
{
	pthread_mutex_lock(&c->lock);
	while (k->found < k->count) {
		struct segment *s = &k->list[k->found];
		s->entry = entry_find(c, segment_parent(k, k->found), &k->partition, s->hash,
				      segment_text(k, k->found).len);
		if (!s->entry)
			break;
		k->found++;
	}
	if (k->found)
		k->list[k->found - 1].entry->uses++;
	pthread_mutex_unlock(&c->lock);
}

static int ids_add(struct token_list *out, const struct entry *e)
{
	const int rc = token_list_reserve(out, e->id_count);

	if (!rc) {
		memcpy(out->ids + out->count, e->ids, e->id_count * sizeof(*e->ids));
		out->count += e->id_count;
	}
	return rc;
}

/* Takes what was found, as far as it is the same text. */
static int take(struct walk *k, struct token_list *out)
{
	int rc = 0;

	for (size_t i = 0; i < k->found && !rc; i++) {
		struct entry *e = k->list[i].entry;
		if (memcmp(entry_text(e), segment_text(k, i).p, e->text_len) != 0)
			k->count = k->found =
				i; /* two texts fell together: the rest is not cached */
		else
			rc = ids_add(out, e);
	}
	return rc;
}

static struct entry *entry_make(const struct walk *k, size_t i, const struct token_list *out,
				size_t from)
{
	const struct bb_str text = segment_text(k, i);
	const size_t ids = out->count - from;
	struct entry *e = ids < UINT32_MAX ? bb_alloc(entry_size(ids, text.len)) : NULL;

	if (!e)
		return NULL;
	*e = (struct entry){
		.hash = k->list[i].hash,
		.partition = k->partition,
		.text_len = (uint32_t)text.len,
		.id_count = (uint32_t)ids,
	};
	bb_list_init(&e->lru);
	memcpy(e->ids, out->ids + from, ids * sizeof(*e->ids));
	memcpy(entry_text(e), text.p, text.len);
	return e;
}

static int encode_rest(struct walk *k, const struct tokenizer *t, struct tokenizer_work *w,
		       struct token_list *out)
{
	int rc = 0;

	for (size_t i = k->found; i < k->count && !rc; i++) {
		const size_t from = out->count;
		rc = tokenizer_encode(t, w, segment_text(k, i), segment_flags(k, i), out);
		k->list[i].entry = rc ? NULL : entry_make(k, i, out, from);
	}
	if (rc)
		return rc;
	return tokenizer_encode(t, w, bb_str_skip(k->text, segment_begin(k, k->count)),
				k->flags | (k->count ? TOKENIZER_CONTINUES : 0), out);
}

/* One new segment; false: it and what follows stay outside. */
static bool insert(struct walk *k, struct prompt_cache *c, size_t i)
{
	struct segment *s = &k->list[i];

	if (!s->entry)
		return false;
	struct entry *other =
		entry_find(c, segment_parent(k, i), &k->partition, s->hash, s->entry->text_len);
	if (other) {
		/* Another thread was quicker. */
		if (memcmp(entry_text(other), entry_text(s->entry), other->text_len) != 0)
			return false;
		bb_free(s->entry);
		s->entry = other;
		return true;
	}
	if (!room_make(c, entry_size(s->entry->id_count, s->entry->text_len)))
		return false;
	s->entry->parent = segment_parent(k, i);
	entry_link(c, s->entry);
	return true;
}

/* Each parent ends up in front of its children, so that the last of all has none. */
static void touch(struct walk *k, struct prompt_cache *c, size_t count)
{
	for (size_t i = count; i-- > 0;) {
		struct entry *e = k->list[i].entry;
		bb_list_remove(&e->lru);
		bb_list_push(&c->lru, &e->lru);
	}
}

/* What was tokenized goes into the cache, unless that failed; what was held may go again. */
static void keep(struct walk *k, struct prompt_cache *c, struct entry *held, size_t reused, int rc)
{
	size_t last = k->found;

	pthread_mutex_lock(&c->lock);
	/* While room is made for one segment, those before it must not go. */
	while (!rc && last < k->count && insert(k, c, last))
		k->list[last++].entry->uses++;
	for (size_t i = k->found; i < last; i++)
		k->list[i].entry->uses--;
	if (held)
		held->uses--;
	touch(k, c, last);
	c->stats.text_bytes += k->text.len;
	c->stats.reused_bytes += reused;
	pthread_mutex_unlock(&c->lock);
	for (size_t i = last; i < k->count; i++)
		BB_FREE(k->list[i].entry);
}

static int encode_cached(struct walk *k, struct prompt_cache *c, const struct tokenizer *t,
			 struct tokenizer_work *w, struct token_list *out, size_t *reused)
{
	const size_t before = out->count;

	find(k, c);
	struct entry *held = k->found ? k->list[k->found - 1].entry : NULL;
	int rc = take(k, out);
	*reused = segment_begin(k, k->found);
	if (!rc)
		rc = encode_rest(k, t, w, out);
	if (rc)
		out->count = before;
	keep(k, c, held, *reused, rc);
	return rc;
}

int prompt_cache_encode(struct prompt_cache *c, const struct tokenizer *t, struct tokenizer_work *w,
			uint64_t owner, struct bb_str text, unsigned flags, struct token_list *out,
			size_t *reused)
{
	struct tokenizer_facts facts;
	struct walk k = { .text = text, .flags = flags, .room = SEGMENTS_AT_HAND };
	size_t bytes = 0;
	int rc;

	k.list = k.at_hand;
	if (c && !(flags & TOKENIZER_NO_ADDED) && out->want == TOKEN_IDS) {
		tokenizer_facts(t, &facts);
		k.partition =
			(struct partition){ owner, facts.fingerprint,
					    flags & (TOKENIZER_SPECIAL | TOKENIZER_CONTINUES) };
		cut(&k, c, t);
	}
	if (k.count)
		rc = encode_cached(&k, c, t, w, out, &bytes);
	else
		rc = tokenizer_encode(t, w, text, flags, out);
	if (k.list != k.at_hand)
		bb_free(k.list);
	if (reused)
		*reused = bytes;
	return rc;
}
