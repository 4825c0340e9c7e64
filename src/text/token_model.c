#include "text/token_model.h"

#include "wire/json.h"

#define KNOWN "busbar knows: BPE, Unigram, WordPiece, WordLevel"

static const struct {
	struct bb_str name;
	enum token_model_type type;
} names[] = {
	{ BB_STR_INIT("BPE"), MODEL_BPE },
	{ BB_STR_INIT("Unigram"), MODEL_UNIGRAM },
	{ BB_STR_INIT("WordPiece"), MODEL_WORDPIECE },
	{ BB_STR_INIT("WordLevel"), MODEL_WORDLEVEL },
	{ BB_STR_INIT("SPM"), MODEL_SPM },
};

/* Files from before 2020 name no type; the library then tries them by their members, so here. */
static enum token_model_type type_of(struct bb_str json, struct json_member *type)
{
	struct json_member m;

	if (!json_get(json, BB_STR("type"), type)) {
		type->value = BB_STR("(none)");
		if (json_get(json, BB_STR("merges"), &m))
			return MODEL_BPE;
		return json_get(json, BB_STR("continuing_subword_prefix"), &m) ? MODEL_WORDPIECE
									       : MODEL_NONE;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (json_string_eq(type->value, names[i].name))
			return names[i].type;
	return MODEL_NONE;
}

int token_model_create(struct token_model *m, struct bb_str json, enum vocab_alphabet alphabet,
		       struct text_error *e)
{
	struct json_member type;
	struct token_model made = { .type = type_of(json, &type) };
	int rc = 0;

	switch (made.type) {
	case MODEL_BPE: rc = bpe_create(json, alphabet, &made.bpe, e); break;
	case MODEL_UNIGRAM: rc = unigram_create(json, &made.unigram, e); break;
	case MODEL_SPM: rc = spm_create(json, &made.spm, e); break;
	case MODEL_WORDPIECE: rc = wordpiece_create(json, WORDPIECE, &made.wordpiece, e); break;
	case MODEL_WORDLEVEL: rc = wordpiece_create(json, WORDLEVEL, &made.wordpiece, e); break;
	case MODEL_NONE:
		rc = text_error_invalid(e,
					"tokenizer.json: model: type %.*s is not supported; " KNOWN,
					BB_ARG(type.value));
		break;
	}
	if (!rc && alphabet == VOCAB_BYTES && made.type != MODEL_BPE) {
		token_model_destroy(&made);
		rc = text_error_invalid(
			e, "tokenizer.json: pre_tokenizer: ByteLevel is supported with BPE "
			   "only");
	}
	if (!rc)
		*m = made;
	return rc;
}

void token_model_destroy(struct token_model *m)
{
	switch (m->type) {
	case MODEL_BPE: bpe_destroy(m->bpe); break;
	case MODEL_UNIGRAM: unigram_destroy(m->unigram); break;
	case MODEL_SPM: spm_destroy(m->spm); break;
	case MODEL_WORDPIECE:
	case MODEL_WORDLEVEL: wordpiece_destroy(m->wordpiece); break;
	case MODEL_NONE: break;
	}
	*m = (struct token_model){ 0 };
}

const char *token_model_name(const struct token_model *m)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].type == m->type)
			return names[i].name.p;
	return "none";
}

size_t token_model_size(const struct token_model *m)
{
	switch (m->type) {
	case MODEL_BPE: return bpe_size(m->bpe);
	case MODEL_UNIGRAM: return unigram_size(m->unigram);
	case MODEL_SPM: return spm_size(m->spm);
	case MODEL_WORDPIECE:
	case MODEL_WORDLEVEL: return wordpiece_size(m->wordpiece);
	case MODEL_NONE: break;
	}
	return 0;
}

uint32_t token_model_count(const struct token_model *m)
{
	switch (m->type) {
	case MODEL_BPE: return m->bpe->vocab.count;
	case MODEL_UNIGRAM: return unigram_count(m->unigram);
	case MODEL_SPM: return spm_count(m->spm);
	case MODEL_WORDPIECE:
	case MODEL_WORDLEVEL: return wordpiece_count(m->wordpiece);
	case MODEL_NONE: break;
	}
	return 0;
}

uint32_t token_model_id_end(const struct token_model *m)
{
	switch (m->type) {
	case MODEL_BPE: return m->bpe->vocab.id_end;
	case MODEL_UNIGRAM: return unigram_id_end(m->unigram);
	case MODEL_SPM: return spm_id_end(m->spm);
	case MODEL_WORDPIECE:
	case MODEL_WORDLEVEL: return wordpiece_id_end(m->wordpiece);
	case MODEL_NONE: break;
	}
	return 0;
}

uint32_t token_model_id(const struct token_model *m, struct bb_str content)
{
	switch (m->type) {
	case MODEL_BPE: return vocab_find_content(&m->bpe->vocab, content);
	case MODEL_UNIGRAM: return unigram_id(m->unigram, content);
	case MODEL_SPM: return spm_id(m->spm, content);
	case MODEL_WORDPIECE:
	case MODEL_WORDLEVEL: return wordpiece_id(m->wordpiece, content);
	case MODEL_NONE: break;
	}
	return UINT32_MAX;
}

struct bb_str token_model_token(const struct token_model *m, uint32_t id)
{
	switch (m->type) {
	case MODEL_BPE: return vocab_content(&m->bpe->vocab, id);
	case MODEL_UNIGRAM: return unigram_token(m->unigram, id);
	case MODEL_SPM: return spm_token(m->spm, id);
	case MODEL_WORDPIECE:
	case MODEL_WORDLEVEL: return wordpiece_token(m->wordpiece, id);
	case MODEL_NONE: break;
	}
	return (struct bb_str){ 0 };
}

void token_model_work_init(struct token_model_work *w)
{
	bpe_work_init(&w->bpe);
	unigram_work_init(&w->unigram);
	spm_work_init(&w->spm);
	model_tokens_init(&w->tokens);
}

void token_model_work_fini(struct token_model_work *w)
{
	bpe_work_fini(&w->bpe);
	unigram_work_fini(&w->unigram);
	spm_work_fini(&w->spm);
	model_tokens_fini(&w->tokens);
}

static void take_tokens(const struct model_tokens *t, struct word_tokens *out)
{
	*out = (struct word_tokens){ t->ids, t->begins, t->ends, t->count };
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
	case MODEL_UNIGRAM:
		rc = unigram_encode(m->unigram, &w->unigram, word, &w->tokens);
		take_tokens(&w->tokens, out);
		break;
	case MODEL_SPM:
		rc = spm_encode(m->spm, &w->spm, word, &w->tokens);
		take_tokens(&w->tokens, out);
		break;
	case MODEL_WORDPIECE:
	case MODEL_WORDLEVEL:
		rc = wordpiece_encode(m->wordpiece, word, &w->tokens);
		take_tokens(&w->tokens, out);
		break;
	case MODEL_NONE: out->count = 0; break;
	}
	return rc;
}
