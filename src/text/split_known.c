#include "text/split_known.h"

#include "text/split_scan.h"

#define O (CLASS_OTHER)
#define U (CLASS_LETTER | CLASS_UPPER)
#define V (CLASS_LETTER | CLASS_LOWER)
#define B (CLASS_LETTER | CLASS_UPPER | CLASS_LOWER)
#define M (CLASS_OTHER | CLASS_MARK | CLASS_UPPER | CLASS_LOWER)
#define N (CLASS_NUMBER)
#define R (CLASS_NEWLINE)
#define S (CLASS_SPACE)

/* clang-format off */
const uint8_t split_ascii[128] = {
	O, O, O, O, O, O, O, O, O, S, R, S, S, R, O, O,
	O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
	S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
	N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O,
	O, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U,
	U, U, U, U, U, U, U, U, U, U, U, O, O, O, O, O,
	O, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
	V, V, V, V, V, V, V, V, V, V, V, O, O, O, O, O,
};

const uint8_t split_category[64] = {
	[UNICODE_CN] = O, [UNICODE_LU] = U, [UNICODE_LL] = V, [UNICODE_LT] = U, [UNICODE_LM] = B,
	[UNICODE_LO] = B, [UNICODE_MN] = M, [UNICODE_MC] = M, [UNICODE_ME] = M, [UNICODE_ND] = N,
	[UNICODE_NL] = N, [UNICODE_NO] = N, [UNICODE_PC] = O, [UNICODE_PD] = O, [UNICODE_PS] = O,
	[UNICODE_PE] = O, [UNICODE_PI] = O, [UNICODE_PF] = O, [UNICODE_PO] = O, [UNICODE_SM] = O,
	[UNICODE_SC] = O, [UNICODE_SK] = O, [UNICODE_SO] = O, [UNICODE_ZS] = O, [UNICODE_ZL] = O,
	[UNICODE_ZP] = O, [UNICODE_CC] = O, [UNICODE_CF] = O, [UNICODE_CS] = O, [UNICODE_CO] = O,
	/* White space, whatever its category; \r and \n are ASCII. */
	[UNICODE_SPACE_BIT ... 63] = S,
};
/* clang-format on */

#undef O
#undef U
#undef V
#undef B
#undef M
#undef N
#undef R
#undef S

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WHITE "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPERS "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWERS "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define PREFIX "[^\\r\\n\\p{L}\\p{N}]?"

typedef size_t split_function(struct bb_str text, size_t *at, size_t *ends, size_t max);

/* As the patterns stand in tokenizer.json files; a pattern may have been written in several ways.
 */
static const struct {
	enum split_pattern pattern;
	struct bb_str text;
} texts[] = {
	{ SPLIT_GPT2,
	  BB_STR_INIT("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
		      "\\s+(?!\\S)|\\s+") },
	{ SPLIT_GPT2, BB_STR_INIT("'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
				  "\\s+(?!\\S)|\\s+") },
	{ SPLIT_LLAMA3, BB_STR_INIT(CONTRACTIONS "|" PREFIX "\\p{L}+|\\p{N}{1,3}"
						 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" WHITE) },
	{ SPLIT_QWEN2, BB_STR_INIT(CONTRACTIONS "|" PREFIX "\\p{L}+|\\p{N}"
						"| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" WHITE) },
	{ SPLIT_QWEN35, BB_STR_INIT(CONTRACTIONS "|" PREFIX "[\\p{L}\\p{M}]+|\\p{N}"
						 "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" WHITE) },
	{ SPLIT_O200K, BB_STR_INIT(PREFIX UPPERS "*" LOWERS "+" CONTRACTIONS "?|" PREFIX UPPERS
						 "+" LOWERS "*" CONTRACTIONS "?|\\p{N}{1,3}"
						 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" WHITE) },
	{ SPLIT_TEKKEN,
	  BB_STR_INIT(PREFIX UPPERS "*" LOWERS "+|" PREFIX UPPERS "+" LOWERS
				    "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" WHITE) },
};

static const struct bb_str deepseek_texts[] = {
	BB_STR_INIT("\\p{N}{1,3}"),
	BB_STR_INIT("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
	BB_STR_INIT("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
		    "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|"
		    "\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
};

static const struct {
	const char *name;
	split_function *run;
} patterns[SPLIT_COUNT] = {
	[SPLIT_NONE] = { "none", NULL },
	[SPLIT_GPT2] = { "GPT-2", split_run_gpt2 },
	[SPLIT_LLAMA3] = { "Llama 3", split_run_llama3 },
	[SPLIT_QWEN2] = { "Qwen 2", split_run_qwen2 },
	[SPLIT_QWEN35] = { "Qwen 3.5", split_run_qwen35 },
	[SPLIT_O200K] = { "o200k", split_run_o200k },
	[SPLIT_TEKKEN] = { "Tekken", split_run_tekken },
	[SPLIT_DEEPSEEK_V3] = { "DeepSeek V3", split_run_deepseek },
};

enum split_pattern split_recognise(struct bb_str pattern)
{
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (bb_str_eq(pattern, texts[i].text))
			return texts[i].pattern;
	return SPLIT_NONE;
}

enum split_pattern split_recognise_sequence(const struct bb_str *list, size_t count)
{
	const size_t deepseek_count = sizeof(deepseek_texts) / sizeof(deepseek_texts[0]);

	if (count == 1)
		return split_recognise(list[0]);
	if (count != deepseek_count)
		return SPLIT_NONE;
	for (size_t i = 0; i < count; i++)
		if (!bb_str_eq(list[i], deepseek_texts[i]))
			return SPLIT_NONE;
	return SPLIT_DEEPSEEK_V3;
}

const char *split_name(enum split_pattern pattern)
{
	return patterns[pattern].name;
}

size_t split_run(enum split_pattern pattern, struct bb_str text, size_t *at, size_t *ends,
		 size_t max)
{
	/* No text may be no pointer either, which nothing may be added to. */
	return text.len ? patterns[pattern].run(text, at, ends, max) : 0;
}
