#include "text/added.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "wire/json.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define NODE_NONE UINT32_MAX
#define NODES_MAX (8u << 20)
/* First bytes that are searched side by side. */
#define FIRST_MAX 4

/* Children are found in one table by parent and byte. */
struct trie_edge {
	uint32_t parent; /* NODE_NONE: free */
	uint32_t child : 24, byte : 8;
};

struct added_trie {
	struct trie_edge *edges;
	uint32_t mask, edge_count;
	uint32_t *tokens; /* by node: index of the token that ends there, or NODE_NONE */
	uint32_t node_count, node_cap;
	uint32_t roots[256]; /* the nodes of the first bytes */
	uint8_t firsts[FIRST_MAX];
	unsigned first_count; /* above FIRST_MAX: see roots */
};

/* ---- the trie ---- */

static uint32_t edge_slot(const struct added_trie *t, uint32_t parent, uint8_t byte)
{
	const uint64_t key = (uint64_t)parent << 8 | byte;

	return (uint32_t)(key * 0x9e3779b97f4a7c15u >> 32) & t->mask;
}

static uint32_t child_of(const struct added_trie *t, uint32_t parent, uint8_t byte)
{
	for (uint32_t i = edge_slot(t, parent, byte);; i = (i + 1) & t->mask) {
		const struct trie_edge edge = t->edges[i];
		if (edge.parent == NODE_NONE)
			return NODE_NONE;
		if (edge.parent == parent && edge.byte == byte)
			return edge.child;
	}
}

static void put_edge(struct added_trie *t, struct trie_edge edge)
{
	uint32_t i = edge_slot(t, edge.parent, edge.byte);

	while (t->edges[i].parent != NODE_NONE)
		i = (i + 1) & t->mask;
	t->edges[i] = edge;
}

static int resize_edges(struct added_trie *t, uint32_t size)
{
	struct trie_edge *const old = t->edges;
	const uint32_t old_size = old ? t->mask + 1 : 0;
	struct trie_edge *const edges = bb_alloc(size * sizeof(*edges));

	if (!edges)
		return -BB_ENOMEM;
	memset(edges, 0xff, size * sizeof(*edges));
	t->edges = edges;
	t->mask = size - 1;
	for (uint32_t i = 0; i < old_size; i++)
		if (old[i].parent != NODE_NONE)
			put_edge(t, old[i]);
	bb_free(old);
	return 0;
}

static int new_node(struct added_trie *t, uint32_t *node)
{
	if (t->node_count == t->node_cap) {
		const uint32_t cap = t->node_cap ? t->node_cap * 2 : 256;
		uint32_t *const tokens = bb_realloc(t->tokens, cap * sizeof(*tokens));
		if (!tokens)
			return -BB_ENOMEM;
		t->tokens = tokens;
		t->node_cap = cap;
	}
	if (t->node_count >= NODES_MAX)
		return -BB_ELIMIT;
	t->tokens[t->node_count] = NODE_NONE;
	*node = t->node_count++;
	return 0;
}

static int add_child(struct added_trie *t, uint32_t parent, uint8_t byte, uint32_t *child)
{
	int rc = 0;

	if (t->edge_count * 2 >= t->mask)
		rc = resize_edges(t, (t->mask + 1) * 2);
	if (!rc)
		rc = new_node(t, child);
	if (rc)
		return rc;
	put_edge(t, (struct trie_edge){ .parent = parent, .child = *child, .byte = byte });
	t->edge_count++;
	return 0;
}

static int take_first(struct added_trie *t, uint8_t byte)
{
	if (t->roots[byte] != NODE_NONE)
		return 0;
	const int rc = new_node(t, &t->roots[byte]);
	if (rc)
		return rc;
	if (t->first_count < FIRST_MAX)
		t->firsts[t->first_count] = byte;
	t->first_count++;
	return 0;
}

/* Of two tokens with the same text, the first one keeps it. */
static int trie_insert(struct added_trie *t, struct bb_str text, uint32_t token)
{
	int rc = take_first(t, (uint8_t)text.p[0]);
	uint32_t node = rc ? NODE_NONE : t->roots[(uint8_t)text.p[0]];

	for (size_t i = 1; !rc && i < text.len; i++) {
		const uint8_t byte = (uint8_t)text.p[i];
		uint32_t child = child_of(t, node, byte);
		if (child == NODE_NONE)
			rc = add_child(t, node, byte, &child);
		node = child;
	}
	if (!rc && t->tokens[node] == NODE_NONE)
		t->tokens[node] = token;
	return rc;
}

static void trie_destroy(struct added_trie *t)
{
	if (!t)
		return;
	bb_free(t->edges);
	bb_free(t->tokens);
	bb_free(t);
}

static int trie_create(struct added_trie **out)
{
	struct added_trie *const t = bb_alloc_zero(1, sizeof(*t));

	if (!t)
		return -BB_ENOMEM;
	memset(t->roots, 0xff, sizeof(t->roots));
	const int rc = resize_edges(t, 256);
	if (rc)
		trie_destroy(t);
	else
		*out = t;
	return rc;
}

/* ---- reading ---- */

struct added_reading {
	struct added *a;
	const struct added_source *source;
	struct bb_buf contents;
	uint32_t cap;
	struct text_error *e;
};

static const struct {
	struct bb_str key;
	unsigned flag;
} flag_keys[] = {
	{ BB_STR_INIT("special"), ADDED_SPECIAL },
	{ BB_STR_INIT("normalized"), ADDED_NORMALIZED },
	{ BB_STR_INIT("single_word"), ADDED_SINGLE_WORD },
	{ BB_STR_INIT("lstrip"), ADDED_LSTRIP },
	{ BB_STR_INIT("rstrip"), ADDED_RSTRIP },
};

static int take_flag(struct added_token *t, struct bb_str key, struct bb_str raw,
		     struct text_error *e)
{
	bool value;

	for (size_t i = 0; i < sizeof(flag_keys) / sizeof(flag_keys[0]); i++) {
		if (!bb_str_eq(key, flag_keys[i].key))
			continue;
		if (json_bool(raw, &value))
			return text_error_invalid(
				e,
				"tokenizer.json: added_tokens: %.*s: must be true "
				"or false",
				BB_ARG(key));
		t->flags |= value ? flag_keys[i].flag : 0;
	}
	return 0;
}

static int read_members(struct added_reading *r, struct bb_str object, struct added_token *t)
{
	struct json_pull j;
	struct bb_str key, raw;
	enum json_type type;

	json_pull_init(&j, object);
	if (!json_pull_object(&j))
		return text_error_invalid(r->e, "tokenizer.json: added_tokens: must be an array of "
						"objects");
	while (json_pull_key(&j, &key) && json_pull_value(&j, &raw, &type)) {
		int rc = take_flag(t, key, raw, r->e);
		if (!rc && bb_str_eq(key, BB_STR("content"))) {
			t->content_at = (uint32_t)r->contents.len;
			rc = json_string_decode_buf(raw, &r->contents);
			t->content_len = (uint32_t)(r->contents.len - t->content_at);
		}
		if (rc == -BB_EINVALID && type != JSON_STRING && bb_str_eq(key, BB_STR("content")))
			text_error_set(r->e,
				       "tokenizer.json: added_tokens: content: must be a text");
		if (rc)
			return rc;
	}
	return 0;
}

static uint32_t id_of(struct added_reading *r, struct bb_str content)
{
	struct added *const a = r->a;
	uint32_t max = 0;

	for (uint32_t i = 0; i < a->count; i++) {
		if (bb_str_eq((struct bb_str){ r->contents.p + a->tokens[i].content_at,
					       a->tokens[i].content_len },
			      content))
			return a->tokens[i].id;
		if (a->tokens[i].id >= max)
			max = a->tokens[i].id + 1;
	}
	const uint32_t id = r->source->model_id(r->source->model, content);
	if (id != UINT32_MAX)
		return id;
	return max > r->source->model_count ? max : r->source->model_count;
}

/* The library takes no ids from the file but gives them: the model's own, or the next free one. */
static int take_token(struct added_reading *r, struct bb_str object)
{
	struct added *const a = r->a;
	struct added_token t = { 0 };

	int rc = read_members(r, object, &t);
	if (rc)
		return rc;
	if (t.content_len == 0)
		return 0;
	const struct bb_str content = { r->contents.p + t.content_at, t.content_len };
	if (t.content_len > TOKENIZER_TOKEN_MAX)
		return text_error_invalid(r->e,
					  "tokenizer.json: added_tokens: a content is longer than "
					  "%u bytes",
					  TOKENIZER_TOKEN_MAX);
	t.id = id_of(r, content);
	if (t.id >= TOKENIZER_VOCAB_MAX)
		return text_error_invalid(r->e, "tokenizer.json: added_tokens: more than %u ids",
					  TOKENIZER_VOCAB_MAX);
	if (a->count == r->cap) {
		const uint32_t cap = r->cap ? r->cap * 2 : 64;
		struct added_token *const tokens = bb_realloc(a->tokens, cap * sizeof(*tokens));
		if (!tokens)
			return -BB_ENOMEM;
		a->tokens = tokens;
		r->cap = cap;
	}
	if (a->count >= TOKENIZER_ADDED_MAX)
		return text_error_invalid(r->e, "tokenizer.json: added_tokens: more than %u",
					  TOKENIZER_ADDED_MAX);
	a->tokens[a->count++] = t;
	if (t.id >= a->id_end)
		a->id_end = t.id + 1;
	return 0;
}

static int by_id(const void *x, const void *y)
{
	const struct added_token *const a = x, *const b = y;

	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return a->content_at < b->content_at ? -1 : a->content_at > b->content_at;
}

/* Special tokens stand before others where both have the same text. */
static int fill_tries(struct added_reading *r)
{
	struct added *const a = r->a;
	struct bb_buf text;
	int rc = 0;

	bb_buf_init(&text, 64 * TOKENIZER_TOKEN_MAX);
	for (uint32_t n = 0; !rc && n < 2 * a->count; n++) {
		const uint32_t i = n % a->count;
		const struct added_token *const t = &a->tokens[i];
		const bool is_normalized = t->flags & ADDED_NORMALIZED;
		if ((n < a->count) != !!(t->flags & ADDED_SPECIAL))
			continue;
		struct added_trie **const trie = is_normalized ? &a->normalized : &a->raw;
		if (!*trie)
			rc = trie_create(trie);
		bb_buf_clear(&text);
		if (!rc && is_normalized && r->source->normalize)
			rc = r->source->normalize(r->source->normalizer, added_content(a, t),
						  &text);
		else if (!rc)
			rc = bb_buf_add_str(&text, added_content(a, t));
		if (!rc && text.len)
			rc = trie_insert(*trie, bb_buf_str(&text), i);
		a->raw_flags |= is_normalized ? 0 : t->flags;
	}
	bb_buf_fini(&text);
	return rc;
}

static int read_tokens(struct added_reading *r)
{
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;
	int rc = 0;

	if (!r->source->json.p || json_type_of(r->source->json) == JSON_NULL)
		return 0;
	json_pull_init(&j, r->source->json);
	if (!json_pull_array(&j))
		return text_error_invalid(r->e, "tokenizer.json: added_tokens: must be an array");
	while (!rc && json_pull_more(&j) && json_pull_value(&j, &raw, &type))
		rc = take_token(r, raw);
	return rc;
}

int added_init(struct added *a, const struct added_source *source, struct text_error *e)
{
	struct added_reading r = { .a = a, .source = source, .e = e };

	*a = (struct added){ 0 };
	bb_buf_init(&r.contents, TOKENIZER_ADDED_MAX * (size_t)TOKENIZER_TOKEN_MAX);
	int rc = read_tokens(&r);
	a->contents = r.contents.p;
	if (!rc && a->count) {
		qsort(a->tokens, a->count, sizeof(*a->tokens), by_id);
		rc = fill_tries(&r);
	}
	if (rc)
		added_fini(a);
	return rc;
}

void added_fini(struct added *a)
{
	trie_destroy(a->raw);
	trie_destroy(a->normalized);
	bb_free(a->tokens);
	bb_free(a->contents);
	*a = (struct added){ 0 };
}

static size_t trie_size(const struct added_trie *t)
{
	return t ? sizeof(*t) + ((size_t)t->mask + 1) * sizeof(*t->edges) +
			       t->node_cap * sizeof(*t->tokens)
		 : 0;
}

size_t added_size(const struct added *a)
{
	size_t size = trie_size(a->raw) + trie_size(a->normalized) + a->count * sizeof(*a->tokens);

	for (uint32_t i = 0; i < a->count; i++)
		size += a->tokens[i].content_len;
	return size;
}

/* ---- looking up ---- */

const struct added_token *added_by_id(const struct added *a, uint32_t id)
{
	uint32_t low = 0, high = a->count;

	/* Of those with the same id, the last one in the file. */
	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;
		if (a->tokens[middle].id <= id)
			low = middle + 1;
		else
			high = middle;
	}
	return low && a->tokens[low - 1].id == id ? &a->tokens[low - 1] : NULL;
}

const struct added_token *added_by_content(const struct added *a, struct bb_str content)
{
	for (uint32_t i = 0; i < a->count; i++)
		if (bb_str_eq(added_content(a, &a->tokens[i]), content))
			return added_by_id(a, a->tokens[i].id);
	return NULL;
}

/* ---- searching ---- */

void added_search_init(struct added_search *s, const struct added *a, const struct added_trie *trie,
		       struct bb_str text)
{
	*s = (struct added_search){ .a = a, .trie = trie, .text = text };
}

#if defined(__SSE2__)
static size_t skip16(const struct added_trie *t, struct bb_str text, size_t at)
{
	const __m128i a = _mm_set1_epi8((char)t->firsts[0]), b = _mm_set1_epi8((char)t->firsts[1]),
		      c = _mm_set1_epi8((char)t->firsts[2]), d = _mm_set1_epi8((char)t->firsts[3]);

	for (; text.len - at >= 16; at += 16) {
		const __m128i v = _mm_loadu_si128((const __m128i *)(text.p + at));
		const __m128i hit =
			_mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, a), _mm_cmpeq_epi8(v, b)),
				     _mm_or_si128(_mm_cmpeq_epi8(v, c), _mm_cmpeq_epi8(v, d)));
		const unsigned mask = (unsigned)_mm_movemask_epi8(hit);
		if (mask)
			return at + (unsigned)__builtin_ctz(mask);
	}
	return at;
}
#else
static size_t skip16(const struct added_trie *t, struct bb_str text, size_t at)
{
	return at;
}
#endif

/* The next byte from `at` on with which a token may begin. */
static size_t find_first(const struct added_trie *t, struct bb_str text, size_t at)
{
	if (at >= text.len)
		return text.len;
	if (t->first_count == 1) {
		const char *const p = memchr(text.p + at, t->firsts[0], text.len - at);
		return p ? (size_t)(p - text.p) : text.len;
	}
	if (t->first_count <= FIRST_MAX)
		at = skip16(t, text, at);
	while (at < text.len && t->roots[(uint8_t)text.p[at]] == NODE_NONE)
		at++;
	return at;
}

/* The longest token at `at`, and its end. */
static uint32_t longest_at(const struct added_trie *t, struct bb_str text, size_t at, size_t *end)
{
	uint32_t node = t->roots[(uint8_t)text.p[at++]], found = NODE_NONE;

	while (node != NODE_NONE) {
		if (t->tokens[node] != NODE_NONE) {
			found = t->tokens[node];
			*end = at;
		}
		if (at >= text.len)
			break;
		node = child_of(t, node, (uint8_t)text.p[at++]);
	}
	return found;
}

static bool is_word_before(struct bb_str text, size_t at)
{
	size_t len;

	return at > 0 && unicode_is_word(unicode_before(text.p, text.p + at, &len));
}

static bool is_word_at(struct bb_str text, size_t at)
{
	size_t len;

	return at < text.len && unicode_is_word(unicode_at(text.p + at, &len));
}

static void strip_left(struct added_search *s, struct added_match *m)
{
	size_t len;

	while (m->begin > 0 &&
	       unicode_is_space(unicode_before(s->text.p, s->text.p + m->begin, &len)))
		m->begin -= len;
	if (m->begin < s->settled)
		m->begin = s->settled;
}

static void strip_right(struct added_search *s, struct added_match *m)
{
	size_t len;

	while (m->end < s->text.len && unicode_is_space(unicode_at(s->text.p + m->end, &len)))
		m->end += len;
}

bool added_search_next(struct added_search *s, struct added_match *m)
{
	for (;;) {
		s->at = find_first(s->trie, s->text, s->at);
		if (s->at >= s->text.len)
			return false;
		size_t end = 0;
		const uint32_t found = longest_at(s->trie, s->text, s->at, &end);
		if (found == NODE_NONE) {
			s->at++;
			continue;
		}
		/* The flags are those of the last token with this id. */
		const struct added_token *t = &s->a->tokens[found];
		const struct added_token *const last = &s->a->tokens[s->a->count - 1];
		while (t < last && t[1].id == t->id)
			t++;
		*m = (struct added_match){ t, s->at, end, s->at, end };
		s->at = end;
		if (t->flags & ADDED_SINGLE_WORD &&
		    (is_word_before(s->text, m->begin) || is_word_at(s->text, end)))
			continue;
		if (t->flags & ADDED_LSTRIP)
			strip_left(s, m);
		if (t->flags & ADDED_RSTRIP)
			strip_right(s, m);
		s->settled = m->end;
		return true;
	}
}

bool added_is_cut(const struct added *a, struct bb_str text, const struct added_match *m)
{
	size_t len;
	const uint32_t first = unicode_at(text.p + m->match_begin, &len);

	if (m->token->flags & (ADDED_SINGLE_WORD | ADDED_LSTRIP) || m->begin != m->match_begin)
		return false;
	if (a->raw_flags & ADDED_RSTRIP && unicode_is_space(first))
		return false;
	return !(a->raw_flags & ADDED_SINGLE_WORD && unicode_is_word(first));
}
