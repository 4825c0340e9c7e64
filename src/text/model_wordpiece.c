#include "text/model_wordpiece.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "text/byte_trie.h"
#include "text/component.h"
#include "text/vocab.h"
#include "wire/json.h"

#define NAMES_MAX 4096

struct wordpiece {
	enum wordpiece_kind kind;
	struct vocab vocab;
	bool has_vocab;
	struct byte_trie trie; /* of the ids; only for WordPiece */
	uint32_t continues;    /* the node behind the prefix of continuing pieces */
	uint32_t unknown;
	uint64_t chars_max;
};

static int add_entries(struct wordpiece *m)
{
	int rc = byte_trie_init(&m->trie);

	for (uint32_t id = 0; !rc && id < m->vocab.id_end; id++) {
		const struct bb_str content = vocab_content(&m->vocab, id);
		if (content.p)
			rc = byte_trie_put(&m->trie, content, id);
	}
	return rc;
}

static int load(struct wordpiece *m, const struct component *c)
{
	struct bb_arena names;
	struct bb_str unknown, prefix = BB_STR("");
	struct json_member vocab;

	if (!json_get(c->json, BB_STR("vocab"), &vocab) || vocab.type != JSON_OBJECT)
		return component_wrong(c, "'vocab' must be an object");
	bb_arena_init(&names, NAMES_MAX);
	int rc = component_string(c, "unk_token", &names, &unknown);
	if (!rc && m->kind == WORDPIECE)
		rc = component_string(c, "continuing_subword_prefix", &names, &prefix);
	if (!rc && m->kind == WORDPIECE)
		rc = component_u64(c, "max_input_chars_per_word", &m->chars_max);
	if (!rc)
		rc = vocab_init(&m->vocab, vocab.value, VOCAB_CHARS, c->error);
	if (!rc) {
		m->has_vocab = true;
		m->unknown = vocab_find_content(&m->vocab, unknown);
	}
	if (!rc && m->kind == WORDPIECE)
		rc = add_entries(m);
	if (!rc && m->kind == WORDPIECE)
		m->continues = byte_trie_walk(&m->trie, prefix);
	bb_arena_fini(&names);
	return rc;
}

int wordpiece_create(struct bb_str model, enum wordpiece_kind kind, struct wordpiece **out,
		     struct text_error *e)
{
	struct component c;
	int rc = component_init(&c, "model", model, e);

	if (rc)
		return rc;
	struct wordpiece *const m = bb_alloc_zero(1, sizeof(*m));
	if (!m)
		return -BB_ENOMEM;
	m->kind = kind;
	rc = load(m, &c);
	if (rc) {
		wordpiece_destroy(m);
		return rc;
	}
	*out = m;
	return 0;
}

void wordpiece_destroy(struct wordpiece *m)
{
	if (!m)
		return;
	if (m->has_vocab)
		vocab_fini(&m->vocab);
	byte_trie_fini(&m->trie);
	bb_free(m);
}

size_t wordpiece_size(const struct wordpiece *m)
{
	return sizeof(*m) + vocab_size(&m->vocab) +
	       (m->kind == WORDPIECE ? byte_trie_size(&m->trie) : 0);
}

uint32_t wordpiece_count(const struct wordpiece *m)
{
	return m->vocab.count;
}

uint32_t wordpiece_id_end(const struct wordpiece *m)
{
	return m->vocab.id_end;
}

uint32_t wordpiece_id(const struct wordpiece *m, struct bb_str content)
{
	return vocab_find_content(&m->vocab, content);
}

struct bb_str wordpiece_token(const struct wordpiece *m, uint32_t id)
{
	return vocab_content(&m->vocab, id);
}

static int unknown(const struct wordpiece *m, struct bb_str word, struct model_tokens *out)
{
	out->count = 0;
	if (m->unknown == VOCAB_NONE)
		return -BB_EINVALID;
	return model_tokens_add(out, m->unknown, 0, word.len);
}

/* The longest entry at `at`; its end, or `at` when there is none. */
static size_t longest(const struct wordpiece *m, struct bb_str word, size_t at, uint32_t *id)
{
	uint32_t node = at ? m->continues : BYTE_TRIE_ROOT;
	size_t end = at;

	for (size_t i = at; i < word.len && node != BYTE_TRIE_NONE;) {
		node = byte_trie_child(&m->trie, node, (uint8_t)word.p[i++]);
		if (node != BYTE_TRIE_NONE && m->trie.values[node] != BYTE_TRIE_NONE) {
			*id = m->trie.values[node];
			end = i;
		}
	}
	return end;
}

static bool is_too_long(const struct wordpiece *m, struct bb_str word)
{
	uint64_t chars = 0;

	if (word.len <= m->chars_max)
		return false;
	for (size_t i = 0; i < word.len; i++)
		chars += ((uint8_t)word.p[i] & 0xc0) != 0x80;
	return chars > m->chars_max;
}

int wordpiece_encode(const struct wordpiece *m, struct bb_str word, struct model_tokens *out)
{
	uint32_t id = 0;

	out->count = 0;
	if (m->kind == WORDLEVEL) {
		id = vocab_find_content(&m->vocab, word);
		return id == VOCAB_NONE ? unknown(m, word, out)
					: model_tokens_add(out, id, 0, word.len);
	}
	if (is_too_long(m, word))
		return unknown(m, word, out);
	for (size_t at = 0, end; at < word.len; at = end) {
		end = longest(m, word, at, &id);
		if (end == at)
			return unknown(m, word, out);
		const int rc = model_tokens_add(out, id, at, end);
		if (rc)
			return rc;
	}
	return 0;
}
