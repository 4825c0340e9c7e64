#include "text/token_model.h"

#include "wire/json.h"

#define KNOWN "busbar knows: BPE"

/* Files from before 2020 name no type: BPE has merges, the others are told by their members. */
static enum token_model_type type_of(struct bb_str json, struct json_member *type)
{
	struct json_member m;

	if (json_get(json, BB_STR("type"), type) && type->type == JSON_STRING)
		return json_string_eq(type->value, BB_STR("BPE")) ? MODEL_BPE : MODEL_NONE;
	type->value = BB_STR("(none)");
	return json_get(json, BB_STR("merges"), &m) ? MODEL_BPE : MODEL_NONE;
}

int token_model_create(struct token_model *m, struct bb_str json, enum vocab_alphabet alphabet,
		       struct text_error *e)
{
	struct json_member type;
	struct token_model made = { .type = type_of(json, &type) };
	int rc = 0;

	switch (made.type) {
	case MODEL_BPE: rc = bpe_create(json, alphabet, &made.bpe, e); break;
	case MODEL_NONE:
		rc = text_error_invalid(e,
					"tokenizer.json: model: type %.*s is not supported; " KNOWN,
					BB_ARG(type.value));
		break;
	}
	if (!rc)
		*m = made;
	return rc;
}

void token_model_destroy(struct token_model *m)
{
	switch (m->type) {
	case MODEL_BPE: bpe_destroy(m->bpe); break;
	case MODEL_NONE: break;
	}
	*m = (struct token_model){ 0 };
}

const char *token_model_name(const struct token_model *m)
{
	switch (m->type) {
	case MODEL_BPE: return "BPE";
	case MODEL_NONE: break;
	}
	return "none";
}

size_t token_model_size(const struct token_model *m)
{
	switch (m->type) {
	case MODEL_BPE: return bpe_size(m->bpe);
	case MODEL_NONE: break;
	}
	return 0;
}

uint32_t token_model_count(const struct token_model *m)
{
	switch (m->type) {
	case MODEL_BPE: return m->bpe->vocab.count;
	case MODEL_NONE: break;
	}
	return 0;
}

uint32_t token_model_id_end(const struct token_model *m)
{
	switch (m->type) {
	case MODEL_BPE: return m->bpe->vocab.id_end;
	case MODEL_NONE: break;
	}
	return 0;
}

uint32_t token_model_id(const struct token_model *m, struct bb_str content)
{
	switch (m->type) {
	case MODEL_BPE: return vocab_find_content(&m->bpe->vocab, content);
	case MODEL_NONE: break;
	}
	return UINT32_MAX;
}

struct bb_str token_model_token(const struct token_model *m, uint32_t id)
{
	switch (m->type) {
	case MODEL_BPE: return vocab_content(&m->bpe->vocab, id);
	case MODEL_NONE: break;
	}
	return (struct bb_str){ 0 };
}

void token_model_work_init(struct token_model_work *w)
{
	bpe_work_init(&w->bpe);
}

void token_model_work_fini(struct token_model_work *w)
{
	bpe_work_fini(&w->bpe);
}

int token_model_encode(const struct token_model *m, struct token_model_work *w, struct bb_str word,
		       struct word_tokens *out)
{
	int rc = 0;

	switch (m->type) {
	case MODEL_BPE:
		rc = bpe_encode(m->bpe, &w->bpe, word, &out->count);
		out->ids = w->bpe.out;
		out->begins = w->bpe.out_at;
		out->ends = w->bpe.out_at + 1;
		break;
	case MODEL_NONE: out->count = 0; break;
	}
	return rc;
}
