#include "text/gguf_pre.h"

#include <stdbool.h>
#include <string.h>

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SHORT_FORMS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SHORT_FORM "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define OTHER "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define WHITE "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 SHORT_FORMS "|" LEAD "\\p{L}+|\\p{N}{1,3}" OTHER WHITE
#define QWEN2 SHORT_FORMS "|" LEAD "\\p{L}+|\\p{N}" OTHER WHITE
#define QWEN35                                                                                     \
	SHORT_FORMS "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" WHITE
/* Letters but a-z, and but A-Z: how llama.cpp writes upper and lower case. */
#define NO_LOWER "[^\\P{L}a-z]"
#define NO_UPPER "[^\\P{L}A-Z]"
#define CASED(form) LEAD NO_LOWER "*" NO_UPPER "+" form "|" LEAD NO_LOWER "+" NO_UPPER "*" form
#define UPPERS "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWERS "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define TRULY_CASED LEAD UPPERS "*" LOWERS "+" SHORT_FORM "|" LEAD UPPERS "+" LOWERS "*" SHORT_FORM
#define OTHER_SLASH "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"
#define DEEPSEEK_WORDS                                                                             \
	"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"                                   \
	"[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|"                      \
	"\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
#define DEEPSEEK_CJK "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
#define OLD_CJK "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
#define CASED_LETTERS                                                                              \
	"A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293"            \
	"\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c"       \
	"\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5"           \
	"\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"           \
	"\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59"     \
	"\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"      \
	"\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107"            \
	"\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"       \
	"\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee"      \
	"\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e"            \
	"\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"                        \
	"\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb"                          \
	"\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
#define BLOOM_WORDS " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"

static const struct gguf_pre known[] = {
	{ " llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano ",
	  GGUF_PRE_IGNORE_MERGES | GGUF_PRE_ADD_BOS,
	  { LLAMA3 } },
	{ " dbrx smaug-bpe chatglm-bpe ", 0, { LLAMA3 } },
	{ " glm4 glm5 ", GGUF_PRE_IGNORE_MERGES, { LLAMA3 } },
	{ " qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 hunyuan solar-open megrez grok-2 ",
	  0,
	  { QWEN2 } },
	{ " qwen35 ", 0, { QWEN35 } },
	{ " gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert "
	  "mpt "
	  "olmo jais trillion granite-docling exaone4 jina-v1-en jina-v2-code roberta-bpe ",
	  0,
	  { GPT2 } },
	{ " starcoder refact command-r smollm codeshell exaone minerva-7b mellum2 ",
	  0,
	  { "\\p{N}", GPT2 } },
	{ " falcon ", 0, { "[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]" } },
	{ " default ", 0, { "[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]" } },
	{ " deepseek-llm ",
	  0,
	  { "[\r\n]", "\\s?[" CASED_LETTERS "]+",
	    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3001\u3002]+", "\\s+\\z", OLD_CJK,
	    "\\p{N}+" } },
	{ " deepseek-coder ", 0, { "[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", OLD_CJK, "\\p{N}" } },
	{ " deepseek-v3 hunyuan-dense joyai-llm hy_v4 ",
	  0,
	  { "\\p{N}{1,3}", DEEPSEEK_CJK, DEEPSEEK_WORDS } },
	{ " gpt-4o llama4 kanana2 talkie minimax-m2 ",
	  0,
	  { CASED(SHORT_FORM) "|\\p{N}{1,3}" OTHER_SLASH WHITE } },
	{ " tekken ",
	  GGUF_PRE_IGNORE_MERGES | GGUF_PRE_ADD_BOS,
	  { CASED("") "|\\p{N}" OTHER_SLASH WHITE } },
	{ " tiny_aya cohere2moe ",
	  0,
	  { "\\d{1,3}(?=(?:\\d{3})*\\b)", TRULY_CASED "|\\p{N}{1,3}" OTHER_SLASH WHITE } },
	{ " bailingmoe bailingmoe2 llada-moe ",
	  0,
	  { "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|" LEAD "\\p{L}+|\\p{N}" OTHER
	    "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" } },
	{ " seed-coder ",
	  0,
	  { SHORT_FORMS "|" LEAD "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" WHITE } },
	{ " ufakzeka ", 0, { LEAD "\\p{L}+|\\p{N}" OTHER WHITE } },
	{ " laguna ", 0, { "[^\\n]+|[\\n]+", QWEN2 } },
	{ " minicpm5 ",
	  GGUF_PRE_IGNORE_MERGES,
	  { "\\p{N}{1,3}", SHORT_FORMS "|" LEAD "\\p{L}+|\\p{N}+" OTHER WHITE } },
	{ " poro-chat bloom gpt3-finnish ", 0, { BLOOM_WORDS } },
	{ " viking ", 0, { BLOOM_WORDS, "\\p{N}" } },
	{ " gemma4 granite-embed-multi-311m ",
	  GGUF_PRE_CHARS | GGUF_PRE_ALWAYS_BOS,
	  { "[^\\n]+|[\\n]+" } },
	{ " sarvam-moe ", GGUF_PRE_CHARS, { "[^\\n]+|[\\n]+" } },
};

static bool has_name(const char *names, struct bb_str name)
{
	for (const char *p = names; (p = memmem(p, strlen(p), name.p, name.len)) != NULL; p++)
		if (p > names && p[-1] == ' ' && p[name.len] == ' ')
			return true;
	return false;
}

const struct gguf_pre *gguf_pre_find(struct bb_str name)
{
	if (!name.len)
		name = BB_STR("default");
	if (memchr(name.p, ' ', name.len))
		return NULL;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (has_name(known[i].names, name))
			return &known[i];
	return NULL;
}
