/*
 * A GGUF file's vocabulary is written out as a tokenizer.json that does what llama.cpp does with
 * it, and that is loaded. Sources: llama.cpp of July 2026, src/llama-vocab.cpp.
 */
#include <string.h>

#include "text/gguf.h"
#include "text/gguf_pre.h"
#include "text/tokenizer.h"
#include "wire/utf8.h"

#define META "\xe2\x96\x81" /* U+2581, which SentencePiece writes for a space */
#define NONE UINT64_MAX

/* tokenizer.ggml.token_type */
enum token_type {
	TOKEN_NORMAL = 1,
	TOKEN_UNKNOWN = 2,
	TOKEN_CONTROL = 3,
	TOKEN_USER_DEFINED = 4,
	TOKEN_UNUSED = 5,
	TOKEN_BYTE = 6,
};

enum family { FAMILY_BPE, FAMILY_SPM, FAMILY_WPM };

struct source {
	struct gguf gguf;
	enum family family;
	const struct gguf_pre *pre;
	const struct gguf_pair *tokens, *types, *scores, *merges;
	uint64_t bos, eos, unknown, separator;
	bool adds_bos, adds_eos, adds_prefix;
	bool lowers, strips_accents;
	bool strips_right; /* special tokens swallow white space behind them */
	struct bb_buf *out;
	struct text_error *error;
};

/* ---- reading ---- */

static int find_family(struct source *s)
{
	struct bb_str model = BB_STR(""), pre = BB_STR("");

	if (!gguf_string(&s->gguf, "tokenizer.ggml.model", &model))
		return text_error_invalid(s->error, "GGUF: there is no tokenizer.ggml.model");
	gguf_string(&s->gguf, "tokenizer.ggml.pre", &pre);
	if (bb_str_eq(model, BB_STR("llama"))) {
		s->family = FAMILY_SPM;
		return 0;
	}
	if (bb_str_eq(model, BB_STR("bert"))) {
		s->family = FAMILY_WPM;
		return 0;
	}
	if (bb_str_eq(model, BB_STR("gemma4")))
		pre = BB_STR("gemma4");
	else if (!bb_str_eq(model, BB_STR("gpt2")))
		return text_error_invalid(
			s->error,
			"GGUF: tokenizer.ggml.model '%.*s' is not supported; busbar "
			"knows: gpt2, gemma4, llama, bert",
			(int)(model.len > 32 ? 32 : model.len), model.p);
	s->family = FAMILY_BPE;
	s->pre = gguf_pre_find(pre);
	if (!s->pre)
		return text_error_invalid(s->error,
					  "GGUF: tokenizer.ggml.pre '%.*s' is not supported",
					  (int)(pre.len > 32 ? 32 : pre.len), pre.p);
	return 0;
}

static int find_arrays(struct source *s)
{
	s->tokens = gguf_array(&s->gguf, "tokenizer.ggml.tokens", GGUF_STRING);
	if (!s->tokens || !s->tokens->count)
		return text_error_invalid(s->error, "GGUF: there is no tokenizer.ggml.tokens");
	if (s->tokens->count > TOKENIZER_VOCAB_MAX)
		return text_error_invalid(s->error, "GGUF: more than %u tokens",
					  TOKENIZER_VOCAB_MAX);
	s->types = gguf_array(&s->gguf, "tokenizer.ggml.token_type", GGUF_I32);
	s->scores = gguf_array(&s->gguf, "tokenizer.ggml.scores", GGUF_F32);
	if (!s->scores)
		s->scores = gguf_array(&s->gguf, "tokenizer.ggml.scores", GGUF_I32);
	s->merges = gguf_array(&s->gguf, "tokenizer.ggml.merges", GGUF_STRING);
	if ((s->types && s->types->count < s->tokens->count) ||
	    (s->scores && s->scores->count < s->tokens->count))
		return text_error_invalid(s->error, "GGUF: fewer types or scores than tokens");
	if (s->family == FAMILY_BPE && !s->merges)
		return text_error_invalid(s->error, "GGUF: there is no tokenizer.ggml.merges");
	return 0;
}

/* A token's id by its key; one beyond the vocabulary is as good as none. */
static uint64_t find_id(const struct source *s, const char *key, uint64_t otherwise)
{
	uint64_t id = otherwise;

	if (!gguf_u64(&s->gguf, key, &id) || id >= s->tokens->count)
		id = otherwise;
	return id < s->tokens->count ? id : NONE;
}

static bool is_phi3(const struct source *s)
{
	struct bb_str name;

	if (!gguf_string(&s->gguf, "general.name", &name))
		return false;
	for (size_t i = 0; i < name.len; i++) {
		const struct bb_str rest = bb_str_skip(name, i);
		if ((rest.len >= 5 &&
		     bb_str_eq_nocase((struct bb_str){ rest.p, 5 }, BB_STR("phi-3"))) ||
		    (rest.len >= 4 &&
		     bb_str_eq_nocase((struct bb_str){ rest.p, 4 }, BB_STR("phi3"))))
			return true;
	}
	return false;
}

static int find_options(struct source *s)
{
	const struct gguf *const g = &s->gguf;

	const bool is_spm = s->family == FAMILY_SPM, is_wpm = s->family == FAMILY_WPM;
	const uint64_t bpe_default = s->pre && s->pre->flags & GGUF_PRE_CHARS ? NONE : 11;
	s->bos = find_id(s, "tokenizer.ggml.bos_token_id", is_spm ? 1 : is_wpm ? 101 : bpe_default);
	s->eos = find_id(s, "tokenizer.ggml.eos_token_id",
			 is_spm	  ? 2
			 : is_wpm ? NONE
				  : bpe_default);
	s->unknown = find_id(s, "tokenizer.ggml.unknown_token_id",
			     is_spm   ? 0
			     : is_wpm ? 100
				      : NONE);
	s->separator = find_id(s, "tokenizer.ggml.seperator_token_id", is_wpm ? 102 : NONE);
	s->adds_bos = is_spm || is_wpm || (s->pre && s->pre->flags & GGUF_PRE_ADD_BOS);
	s->adds_prefix = is_spm;
	s->lowers = true;
	if (!is_wpm) {
		gguf_bool(g, "tokenizer.ggml.add_bos_token", &s->adds_bos);
		gguf_bool(g, "tokenizer.ggml.add_eos_token", &s->adds_eos);
	}
	if (s->pre && s->pre->flags & GGUF_PRE_ALWAYS_BOS)
		s->adds_bos = true;
	gguf_bool(g, "tokenizer.ggml.add_space_prefix", &s->adds_prefix);
	gguf_bool(g, "tokenizer.ggml.normalizer.lowercase", &s->lowers);
	s->strips_accents = s->lowers;
	gguf_bool(g, "tokenizer.ggml.normalizer.strip_accents", &s->strips_accents);
	s->strips_right = is_phi3(s);
	if (s->adds_bos && s->bos == NONE)
		return text_error_invalid(s->error,
					  "GGUF: a text begins with a token that is not named");
	if ((s->adds_eos && s->eos == NONE) || (is_wpm && s->separator == NONE))
		return text_error_invalid(s->error,
					  "GGUF: a text ends with a token that is not named");
	if ((is_wpm || is_spm) && s->unknown == NONE)
		return text_error_invalid(s->error, "GGUF: there is no unknown token");
	return 0;
}

/* ---- the tokens ---- */

/* The text of token `id`, whose place in the array *at is. Empty ones get a name, as there. */
static struct bb_str next_token(struct source *s, uint64_t id, size_t *at,
				struct bb_buf *name)
{
	const struct bb_str text = gguf_array_text(s->tokens, at);

	if (text.len)
		return text;
	bb_buf_clear(name);
	const int rc = bb_buf_printf(name, "[EMPTY_%llu]", (unsigned long long)id);
	if (rc && !s->out->err)
		s->out->err = rc; /* found at the end of all writing */
	return bb_buf_str(name);
}

static enum token_type type_of(const struct source *s, uint64_t id)
{
	return s->types ? (enum token_type)gguf_array_int(s->types, id) : TOKEN_NORMAL;
}

/* Ends of turns are special in whatever way a file marks them. */
static bool is_end_of_turn(struct bb_str text)
{
	static const char *const names[] = {
		"<|eot_id|>",	 "<|im_end|>",	    "<|end|>",
		"<end_of_turn>", "<|endoftext|>",   "<EOT>",
		"_<EOT>",	 "<|end_of_text|>", "<end_of_utterance>",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (bb_str_eq(text, bb_str_of(names[i])))
			return true;
	return false;
}

static bool strips_right(const struct source *s, struct bb_str text)
{
	return s->strips_right && !bb_str_eq(text, BB_STR("<unk>")) &&
	       !bb_str_eq(text, BB_STR("<s>")) && !bb_str_eq(text, BB_STR("<|endoftext|>"));
}

static void write_bool(struct source *s, const char *name, int value)
{
	bb_buf_printf(s->out, ",\"%s\":%s", name, value ? "true" : "false");
}

static void write_added(struct source *s)
{
	struct bb_buf name;
	size_t at = 0;
	bool is_first = true;

	bb_buf_init(&name, 64);
	bb_buf_lit(s->out, "\"added_tokens\":[");
	for (uint64_t id = 0; id < s->tokens->count; id++) {
		const struct bb_str text = next_token(s, id, &at, &name);
		enum token_type type = type_of(s, id);
		if (type == TOKEN_NORMAL && is_end_of_turn(text))
			type = TOKEN_CONTROL;
		if (type != TOKEN_UNKNOWN && type != TOKEN_CONTROL && type != TOKEN_USER_DEFINED)
			continue;
		bb_buf_printf(s->out, "%s{\"id\":%llu,\"content\":", is_first ? "" : ",",
			      (unsigned long long)id);
		bb_buf_add_json(s->out, text);
		write_bool(s, "special", type != TOKEN_USER_DEFINED);
		write_bool(s, "normalized", false);
		write_bool(s, "single_word", false);
		write_bool(s, "lstrip", false);
		write_bool(s, "rstrip", strips_right(s, text));
		bb_buf_lit(s->out, "}");
		is_first = false;
	}
	bb_buf_lit(s->out, "]");
	bb_buf_fini(&name);
}

/* {"text": id, …} */
static void write_vocab_object(struct source *s)
{
	struct bb_buf name;
	size_t at = 0;

	bb_buf_init(&name, 64);
	bb_buf_lit(s->out, "\"vocab\":{");
	for (uint64_t id = 0; id < s->tokens->count; id++) {
		const struct bb_str text = next_token(s, id, &at, &name);
		if (id)
			bb_buf_lit(s->out, ",");
		bb_buf_add_json(s->out, text);
		bb_buf_printf(s->out, ":%llu", (unsigned long long)id);
	}
	bb_buf_lit(s->out, "}");
	bb_buf_fini(&name);
}

/* [["text", score], …] */
static void write_vocab_list(struct source *s)
{
	struct bb_buf name;
	size_t at = 0;

	bb_buf_init(&name, 64);
	bb_buf_lit(s->out, "\"vocab\":[");
	for (uint64_t id = 0; id < s->tokens->count; id++) {
		bb_buf_add_str(s->out, id ? BB_STR(",[") : BB_STR("["));
		bb_buf_add_json(s->out, next_token(s, id, &at, &name));
		bb_buf_printf(s->out, ",%.9g]", s->scores ? gguf_array_float(s->scores, id) : 0.0);
	}
	bb_buf_lit(s->out, "]");
	bb_buf_fini(&name);
}

static void write_merges(struct source *s)
{
	size_t at = 0;
	bool is_first = true;

	bb_buf_lit(s->out, "\"merges\":[");
	for (uint64_t i = 0; i < s->merges->count; i++) {
		const struct bb_str pair = gguf_array_text(s->merges, &at);
		const char *const space =
			pair.len > 1 ? memchr(pair.p + 1, ' ', pair.len - 1) : NULL;
		if (!space)
			continue;
		const size_t left = (size_t)(space - pair.p);
		bb_buf_add_str(s->out, is_first ? BB_STR("[") : BB_STR(",["));
		bb_buf_add_json(s->out, (struct bb_str){ pair.p, left });
		bb_buf_lit(s->out, ",");
		bb_buf_add_json(s->out, bb_str_skip(pair, left + 1));
		bb_buf_lit(s->out, "]");
		is_first = false;
	}
	bb_buf_lit(s->out, "]");
}

/* ---- the rest ---- */

static void write_post(struct source *s)
{
	const uint64_t last = s->family == FAMILY_WPM ? s->separator : s->eos;
	const bool has_last = s->family == FAMILY_WPM || s->adds_eos;

	if (!s->adds_bos && !has_last) {
		bb_buf_lit(s->out, ",\"post_processor\":null");
		return;
	}
	bb_buf_lit(s->out, ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[");
	if (s->adds_bos)
		bb_buf_lit(s->out, "{\"SpecialToken\":{\"id\":\"first\",\"type_id\":0}},");
	bb_buf_lit(s->out, "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}");
	if (has_last)
		bb_buf_lit(s->out, ",{\"SpecialToken\":{\"id\":\"last\",\"type_id\":0}}");
	bb_buf_lit(s->out, "],\"pair\":[],\"special_tokens\":{");
	if (s->adds_bos)
		bb_buf_printf(s->out,
			      "\"first\":{\"id\":\"first\",\"ids\":[%llu],\"tokens\":[\"\"]}",
			      (unsigned long long)s->bos);
	if (has_last)
		bb_buf_printf(s->out,
			      "%s\"last\":{\"id\":\"last\",\"ids\":[%llu],\"tokens\":[\"\"]}",
			      s->adds_bos ? "," : "", (unsigned long long)last);
	bb_buf_lit(s->out, "}}");
}

static void write_patterns(struct source *s)
{
	bb_buf_lit(s->out, ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[");
	for (size_t i = 0; i < GGUF_PRE_PATTERNS_MAX && s->pre->patterns[i]; i++) {
		if (i)
			bb_buf_lit(s->out, ",");
		bb_buf_lit(s->out, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
		bb_buf_add_json(s->out, bb_str_of(s->pre->patterns[i]));
		bb_buf_lit(s->out, "},\"behavior\":\"Isolated\",\"invert\":false}");
	}
	if (!(s->pre->flags & GGUF_PRE_CHARS))
		bb_buf_lit(s->out, ",{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
				   "\"trim_offsets\":false,\"use_regex\":false}");
	bb_buf_lit(s->out, "]}");
}

#define REPLACE(from, to)                                                                          \
	"{\"type\":\"Replace\",\"pattern\":{\"String\":\"" from "\"},\"content\":\"" to "\"}"

static void write_bpe(struct source *s)
{
	const bool is_chars = s->pre->flags & GGUF_PRE_CHARS;

	if (is_chars)
		bb_buf_lit(s->out, ",\"normalizer\":" REPLACE(" ", META));
	else
		bb_buf_lit(s->out, ",\"normalizer\":null");
	write_patterns(s);
	if (is_chars)
		bb_buf_lit(s->out,
			   ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[" REPLACE(
				   META, " ") ",{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]}");
	else
		bb_buf_lit(s->out,
			   ",\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
			   "\"trim_offsets\":false,\"use_regex\":false}");
	bb_buf_lit(s->out, ",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
			   "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
			   "\"fuse_unk\":false");
	write_bool(s, "byte_fallback", is_chars);
	write_bool(s, "ignore_merges", s->pre->flags & GGUF_PRE_IGNORE_MERGES);
	bb_buf_lit(s->out, ",");
	write_vocab_object(s);
	bb_buf_lit(s->out, ",");
	write_merges(s);
	bb_buf_lit(s->out, "}");
}

static void write_spm(struct source *s)
{
	bb_buf_lit(s->out, ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
	if (s->adds_prefix)
		bb_buf_lit(s->out, "{\"type\":\"Prepend\",\"prepend\":\"" META "\"},");
	bb_buf_lit(s->out,
		   REPLACE(" ", META) "]},\"pre_tokenizer\":null,"
				      "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[" REPLACE(
					      META, " ") ",{\"type\":\"ByteFallback\"},"
							 "{\"type\":\"Fuse\"}");
	if (s->adds_prefix)
		bb_buf_lit(s->out,
			   ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}");
	bb_buf_printf(s->out, "]},\"model\":{\"type\":\"SPM\",\"unk_id\":%llu,",
		      (unsigned long long)s->unknown);
	write_vocab_list(s);
	bb_buf_lit(s->out, "}");
}

static void write_unknown(struct source *s)
{
	struct bb_buf name;
	struct bb_str text = { 0 };
	size_t at = 0;

	bb_buf_init(&name, 64);
	for (uint64_t id = 0; id <= s->unknown; id++)
		text = next_token(s, id, &at, &name);
	bb_buf_add_json(s->out, text);
	bb_buf_fini(&name);
}

static void write_wpm(struct source *s)
{
	bb_buf_lit(s->out, ",\"normalizer\":{\"type\":\"GgufBert\"");
	write_bool(s, "strip_accents", s->strips_accents);
	write_bool(s, "lowercase", s->lowers);
	/* The normalizer has words begin with U+2581, as in this vocabulary. */
	bb_buf_lit(s->out,
		   "},\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},"
		   "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[" REPLACE(
			   META, " ") ",{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \","
				      "\"start\":1,\"stop\":0}]},"
				      "\"model\":{\"type\":\"WordPiece\","
				      "\"continuing_subword_prefix\":\"\","
				      "\"max_input_chars_per_word\":4294967295,\"unk_token\":");
	write_unknown(s);
	bb_buf_lit(s->out, ",");
	write_vocab_object(s);
	bb_buf_lit(s->out, "}");
}

static int write_all(struct source *s)
{
	bb_buf_lit(s->out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,");
	write_added(s);
	write_post(s);
	switch (s->family) {
	case FAMILY_BPE: write_bpe(s); break;
	case FAMILY_SPM: write_spm(s); break;
	case FAMILY_WPM: write_wpm(s); break;
	}
	bb_buf_lit(s->out, "}");
	return s->out->err;
}

/* Texts that are no UTF-8 would make a file that is none: they are refused by name. */
static int check_texts(const struct source *s, const struct gguf_pair *array, const char *what)
{
	size_t at = 0;

	for (uint64_t i = 0; array && i < array->count; i++) {
		const struct bb_str text = gguf_array_text(array, &at);
		if (utf8_check(text) != text.len)
			return text_error_invalid(s->error, "GGUF: %s %llu is not UTF-8", what,
						  (unsigned long long)i);
	}
	return 0;
}

static int read_all(struct source *s)
{
	int rc = find_family(s);

	if (!rc)
		rc = find_arrays(s);
	if (!rc)
		rc = find_options(s);
	if (!rc)
		rc = check_texts(s, s->tokens, "token");
	if (!rc)
		rc = check_texts(s, s->merges, "merge");
	return rc;
}

int tokenizer_create_gguf(struct bb_str file, struct tokenizer **out, struct text_error *e)
{
	struct bb_buf json;
	struct source s = { .out = &json, .error = e };
	int rc = gguf_open(file, &s.gguf, e);

	if (rc)
		return rc;
	bb_buf_init(&json, TOKENIZER_FILE_MAX);
	rc = read_all(&s);
	if (!rc)
		rc = write_all(&s);
	gguf_close(&s.gguf);
	if (!rc)
		rc = tokenizer_create_json(bb_buf_str(&json), out, e);
	bb_buf_fini(&json);
	return rc;
}
