/*
 * tokenizer_load.c: a tokenizer made of a tokenizer.json, and what can be asked of it.
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"
#include "wire/json.h"

#define FINGERPRINT_KEY 0x62757362617274u

struct members {
	struct bb_str added_tokens, normalizer, pre_tokenizer, post_processor, decoder, model;
};

static const struct {
	struct bb_str key;
	size_t offset;
} member_table[] = {
	{ BB_STR_INIT("added_tokens"), offsetof(struct members, added_tokens) },
	{ BB_STR_INIT("normalizer"), offsetof(struct members, normalizer) },
	{ BB_STR_INIT("pre_tokenizer"), offsetof(struct members, pre_tokenizer) },
	{ BB_STR_INIT("post_processor"), offsetof(struct members, post_processor) },
	{ BB_STR_INIT("decoder"), offsetof(struct members, decoder) },
	{ BB_STR_INIT("model"), offsetof(struct members, model) },
};

/* Others are about the file (version) or belong to the caller of the library (truncation, padding).
 */
static int on_member(void *user, const struct json_member *m)
{
	struct members *const members = user;

	for (size_t i = 0; i < sizeof(member_table) / sizeof(member_table[0]); i++)
		if (bb_str_eq(m->key, member_table[i].key))
			*(struct bb_str *)((char *)members + member_table[i].offset) = m->value;
	return 0;
}

static int read_members(struct bb_str json, struct members *m, struct text_error *e)
{
	struct json_error where;

	if (json.len > TOKENIZER_FILE_MAX)
		return text_error_invalid(e, "tokenizer.json: larger than %u MiB",
					  TOKENIZER_FILE_MAX >> 20);
	if (json_scan_object(json, JSON_DEPTH_MAX, on_member, m, &where))
		return text_error_invalid(e, "tokenizer.json: not valid JSON at byte %zu: %s",
					  where.offset, where.what);
	if (!m->model.p)
		return text_error_invalid(e,
					  "tokenizer.json: has no 'model'; is it the right file?");
	const struct bb_str null = BB_STR("null");
	for (size_t i = 0; i < sizeof(member_table) / sizeof(member_table[0]); i++) {
		struct bb_str *const s = (struct bb_str *)((char *)m + member_table[i].offset);
		if (!s->p)
			*s = null;
	}
	return 0;
}

static uint32_t model_id(const void *model, struct bb_str content)
{
	return token_model_id(model, content);
}

static int normalize(const void *normalizer, struct bb_str content, struct bb_buf *out)
{
	return normalizer_run(normalizer, content, out, NULL);
}

static int make_kinds(struct tokenizer *t)
{
	const uint32_t model_end = token_model_id_end(&t->model);

	t->id_end = model_end > t->added.id_end ? model_end : t->added.id_end;
	t->kinds = bb_alloc_zero((size_t)t->id_end + 1, 1);
	if (!t->kinds)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < t->added.count; i++) {
		const struct added_token *const a = added_by_id(&t->added, t->added.tokens[i].id);
		t->kinds[a->id] = a->flags & ADDED_SPECIAL ? KIND_SPECIAL : KIND_ADDED;
	}
	return 0;
}

static int make(struct tokenizer *t, const struct members *m, struct text_error *e)
{
	int rc = normalizer_create(m->normalizer, &t->normalizer, e);

	if (!rc)
		rc = pretokenizer_create(m->pre_tokenizer, &t->pretokenizer, e);
	if (!rc)
		rc = decoder_create(m->decoder, &t->decoder, e);
	if (!rc)
		rc = post_process_init(&t->post, m->post_processor, e);
	if (!rc)
		rc = token_model_create(
			&t->model, m->model,
			pretokenizer_is_byte_level(t->pretokenizer) ? VOCAB_BYTES : VOCAB_CHARS, e);
	if (rc)
		return rc;
	const struct added_source source = {
		.json = m->added_tokens,
		.model_id = model_id,
		.model = &t->model,
		.model_count = token_model_count(&t->model),
		.normalize = t->normalizer ? normalize : NULL,
		.normalizer = t->normalizer,
	};
	rc = added_init(&t->added, &source, e);
	if (!rc)
		rc = make_kinds(t);
	t->is_byte_decoder = decoder_is_byte_level(t->decoder) && t->model.type == MODEL_BPE &&
			     t->model.bpe->is_byte_level;
	t->split = pretokenizer_pattern(t->pretokenizer);
	t->is_cut_by_model = !t->pretokenizer &&
			     ((t->model.type == MODEL_BPE && t->model.bpe->cuts) ||
			      (t->model.type == MODEL_SPM && spm_cuts_metaspace(t->model.spm)));
	return rc;
}

int tokenizer_create_json(struct bb_str json, struct tokenizer **out, struct text_error *e)
{
	struct members m = { 0 };

	unicode_init();
	text_error_set(e, "%s", "");
	int rc = read_members(json, &m, e);
	if (rc)
		return rc;
	struct tokenizer *t = bb_alloc_zero(1, sizeof(*t));
	if (!t)
		return -BB_ENOMEM;
	t->magic = TOKENIZER_MAGIC;
	t->fingerprint = bb_hash(json.p, json.len, FINGERPRINT_KEY);
	rc = make(t, &m, e);
	if (rc)
		tokenizer_destroy(t);
	else
		*out = t;
	return rc;
}

void tokenizer_destroy(struct tokenizer *t)
{
	if (!t)
		return;
	BB_ASSERT(t->magic == TOKENIZER_MAGIC);
	t->magic = 0;
	normalizer_destroy(t->normalizer);
	pretokenizer_destroy(t->pretokenizer);
	decoder_destroy(t->decoder);
	token_model_destroy(&t->model);
	added_fini(&t->added);
	bb_free(t->kinds);
	bb_free(t);
}

void tokenizer_facts(const struct tokenizer *t, struct tokenizer_facts *out)
{
	*out = (struct tokenizer_facts){
		.model = token_model_name(&t->model),
		.split = t->split != SPLIT_NONE ? split_name(t->split)
						: pretokenizer_engine(t->pretokenizer),
		.vocab_count = token_model_count(&t->model),
		.added_count = t->added.count,
		.id_end = t->id_end,
		.bytes = sizeof(*t) + t->id_end + token_model_size(&t->model) +
			 added_size(&t->added),
		.fingerprint = t->fingerprint,
		.has_post = t->post.before_count + t->post.behind_count > 0,
	};
}

bool tokenizer_id(const struct tokenizer *t, struct bb_str content, uint32_t *id)
{
	const struct added_token *const added = added_by_content(&t->added, content);
	const uint32_t found = added ? added->id : token_model_id(&t->model, content);

	if (found == UINT32_MAX)
		return false;
	*id = found;
	return true;
}

struct bb_str tokenizer_token(const struct tokenizer *t, uint32_t id)
{
	const struct added_token *const added = added_by_id(&t->added, id);

	return added ? added_content(&t->added, added) : token_model_token(&t->model, id);
}

bool tokenizer_is_special(const struct tokenizer *t, uint32_t id)
{
	return id < t->id_end && t->kinds[id] == KIND_SPECIAL;
}
