#include "text/scored_vocab.h"

#include <stdio.h>

#include "base/alloc.h"
#include "text/tokenizer.h"
#include "wire/json.h"

static int grow(struct scored_vocab *v)
{
	const uint32_t cap = v->cap ? 2 * v->cap : 1024;
	struct bb_str *const tokens = bb_realloc(v->tokens, cap * sizeof(*tokens));

	if (!tokens)
		return -BB_ENOMEM;
	v->tokens = tokens;
	double *const scores = bb_realloc(v->scores, cap * sizeof(*scores));
	if (!scores)
		return -BB_ENOMEM;
	v->scores = scores;
	v->cap = cap;
	return 0;
}

static int add(struct scored_vocab *v, const struct component *c, struct bb_str raw, double score)
{
	struct bb_str text;

	if (v->count == TOKENIZER_VOCAB_MAX)
		return component_wrong(c, "more than %u entries", TOKENIZER_VOCAB_MAX);
	if (v->count == v->cap && grow(v))
		return -BB_ENOMEM;
	int rc = json_string_decode(raw, &v->contents, &text);
	if (rc)
		return rc == -BB_EINVALID ? component_wrong(c, "entry %u has no text", v->count)
					  : rc;
	if (text.len > TOKENIZER_TOKEN_MAX)
		return component_wrong(c, "entry %u is longer than %d bytes", v->count,
				       TOKENIZER_TOKEN_MAX);
	if (text.p >= raw.p && text.p < raw.p + raw.len) /* it points into the JSON */
		text = bb_arena_dup(&v->contents, text);
	if (!text.p)
		return -BB_ENOMEM;
	v->tokens[v->count] = text;
	v->scores[v->count] = score;
	rc = byte_trie_put(&v->trie, text, v->count);
	if (rc == -BB_ELIMIT)
		return component_wrong(c, "the vocabulary is too large");
	v->count++;
	return rc;
}

/* One entry: ["text", score] */
static int add_entry(struct scored_vocab *v, const struct component *c, struct json_pull *j)
{
	struct bb_str text, number;
	enum json_type type, number_type;
	double score;

	if (!json_pull_array(j) || !json_pull_more(j) || !json_pull_value(j, &text, &type) ||
	    !json_pull_more(j) || !json_pull_value(j, &number, &number_type) || json_pull_more(j) ||
	    type != JSON_STRING || json_double(number, &score))
		return component_wrong(c, "entry %u is not [text, score]", v->count);
	return add(v, c, text, score);
}

static int add_vocab(struct scored_vocab *v, const struct component *c)
{
	struct json_pull j;
	struct bb_str list;
	int rc = component_array(c, "vocab", &list);

	if (rc)
		return rc;
	json_pull_init(&j, list);
	json_pull_array(&j);
	while (!rc && json_pull_more(&j))
		rc = add_entry(v, c, &j);
	return rc;
}

static void find_bytes(struct scored_vocab *v)
{
	char text[8];

	for (unsigned i = 0; i < 256; i++) {
		snprintf(text, sizeof(text), "<0x%02X>", i);
		v->bytes[i] = byte_trie_get(&v->trie, bb_str_of(text));
	}
}

int scored_vocab_init(struct scored_vocab *v, const struct component *model)
{
	*v = (struct scored_vocab){ 0 };
	bb_arena_init(&v->contents, TOKENIZER_FILE_MAX);
	int rc = byte_trie_init(&v->trie);
	if (!rc)
		rc = add_vocab(v, model);
	if (rc) {
		scored_vocab_fini(v);
		return rc;
	}
	find_bytes(v);
	return 0;
}

void scored_vocab_fini(struct scored_vocab *v)
{
	byte_trie_fini(&v->trie);
	bb_arena_fini(&v->contents);
	BB_FREE(v->tokens);
	BB_FREE(v->scores);
	v->count = v->cap = 0;
}

size_t scored_vocab_size(const struct scored_vocab *v)
{
	return byte_trie_size(&v->trie) + v->contents.total +
	       v->cap * (sizeof(*v->tokens) + sizeof(*v->scores));
}

struct bb_str scored_vocab_token(const struct scored_vocab *v, uint32_t id)
{
	return id < v->count ? v->tokens[id] : (struct bb_str){ 0 };
}
