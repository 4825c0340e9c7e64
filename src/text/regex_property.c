#include "text/regex_property.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/unicode_sets.h"

/* From 10.40 on \p{Han} takes script extensions too, and sc: is the script alone. */
#if PCRE2_MAJOR > 10 || PCRE2_MINOR >= 40
#define SCRIPT "sc:"
#else
#define SCRIPT ""
#endif

#define CATEGORY_COUNT 30
#define ALL_CATEGORIES ((1u << CATEGORY_COUNT) - 1)

struct category_name {
	const char *name, *word;
	uint32_t set;
};

static const struct category_name categories[] = {
	{ "L", "Letter", UNICODE_L },
	{ "M", "Mark", UNICODE_M },
	{ "N", "Number", UNICODE_N },
	{ "P", "Punctuation", UNICODE_P },
	{ "S", "Symbol", UNICODE_S },
	{ "Z", "Separator", UNICODE_Z },
	{ "Cn", "Unassigned", UNICODE_BIT(UNICODE_CN) },
	{ "Lu", "Uppercase_Letter", UNICODE_BIT(UNICODE_LU) },
	{ "Ll", "Lowercase_Letter", UNICODE_BIT(UNICODE_LL) },
	{ "Lt", "Titlecase_Letter", UNICODE_BIT(UNICODE_LT) },
	{ "Lm", "Modifier_Letter", UNICODE_BIT(UNICODE_LM) },
	{ "Lo", "Other_Letter", UNICODE_BIT(UNICODE_LO) },
	{ "Mn", "Nonspacing_Mark", UNICODE_BIT(UNICODE_MN) },
	{ "Mc", "Spacing_Mark", UNICODE_BIT(UNICODE_MC) },
	{ "Me", "Enclosing_Mark", UNICODE_BIT(UNICODE_ME) },
	{ "Nd", "Decimal_Number", UNICODE_BIT(UNICODE_ND) },
	{ "Nl", "Letter_Number", UNICODE_BIT(UNICODE_NL) },
	{ "No", "Other_Number", UNICODE_BIT(UNICODE_NO) },
	{ "Pc", "Connector_Punctuation", UNICODE_BIT(UNICODE_PC) },
	{ "Pd", "Dash_Punctuation", UNICODE_BIT(UNICODE_PD) },
	{ "Ps", "Open_Punctuation", UNICODE_BIT(UNICODE_PS) },
	{ "Pe", "Close_Punctuation", UNICODE_BIT(UNICODE_PE) },
	{ "Pi", "Initial_Punctuation", UNICODE_BIT(UNICODE_PI) },
	{ "Pf", "Final_Punctuation", UNICODE_BIT(UNICODE_PF) },
	{ "Po", "Other_Punctuation", UNICODE_BIT(UNICODE_PO) },
	{ "Sm", "Math_Symbol", UNICODE_BIT(UNICODE_SM) },
	{ "Sc", "Currency_Symbol", UNICODE_BIT(UNICODE_SC) },
	{ "Sk", "Modifier_Symbol", UNICODE_BIT(UNICODE_SK) },
	{ "So", "Other_Symbol", UNICODE_BIT(UNICODE_SO) },
	{ "Zs", "Space_Separator", UNICODE_BIT(UNICODE_ZS) },
	{ "Zl", "Line_Separator", UNICODE_BIT(UNICODE_ZL) },
	{ "Zp", "Paragraph_Separator", UNICODE_BIT(UNICODE_ZP) },
	{ "Cc", "Control", UNICODE_BIT(UNICODE_CC) },
	{ "Cf", "Format", UNICODE_BIT(UNICODE_CF) },
	{ "Co", "Private_Use", UNICODE_BIT(UNICODE_CO) },
};

/* What Unicode 14 has not yet. */
static const struct {
	const char *name, *added;
} scripts[] = {
	{ "Han", "\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}" },
	{ "Hiragana", "\\x{1b132}" },
	{ "Katakana", "\\x{1b155}" },
	{ "Hangul", "" },
	{ "Bopomofo", "" },
	{ "Latin", "\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{1df25}-\\x{1df2a}" },
	{ "Cyrillic", "\\x{1c89}\\x{1c8a}\\x{1e030}-\\x{1e06d}\\x{1e08f}" },
	{ "Greek", "" },
	{ "Arabic", "\\x{897}\\x{10ec2}-\\x{10ec4}\\x{10efc}-\\x{10eff}" },
	{ "Hebrew", "" },
	{ "Thai", "" },
	{ "Lao", "\\x{ece}" },
	{ "Khmer", "" },
	{ "Myanmar", "\\x{116d0}-\\x{116e3}" },
	{ "Tibetan", "" },
	{ "Devanagari", "\\x{11b00}-\\x{11b09}" },
	{ "Bengali", "" },
	{ "Gurmukhi", "" },
	{ "Gujarati", "" },
	{ "Tamil", "" },
	{ "Telugu", "" },
	{ "Kannada", "\\x{cf3}" },
	{ "Malayalam", "" },
	{ "Sinhala", "" },
	{ "Armenian", "" },
	{ "Georgian", "" },
	{ "Ethiopic", "" },
	{ "Mongolian", "" },
};

static void add_range(struct bb_buf *out, uint32_t first, uint32_t last)
{
	if (first == last)
		bb_buf_printf(out, "\\x{%x}", first);
	else
		bb_buf_printf(out, "\\x{%x}-\\x{%x}", first, last);
}

/* Within brackets: the property as PCRE2 knows it, and what is newer. */
static void add_newer(struct bb_buf *out, uint32_t set)
{
	for (size_t i = 0; i < unicode_late_count; i++)
		if (set >> unicode_lates[i].category & 1)
			add_range(out, unicode_lates[i].first, unicode_lates[i].last);
}

/* Within brackets a set cannot be taken away: it is written out, but for the surrogates. */
static void add_ranges(struct bb_buf *out, uint32_t set)
{
	uint32_t first = UNICODE_END;

	for (uint32_t cp = 0; cp <= UNICODE_END; cp++) {
		const bool is_in =
			cp < UNICODE_END && (cp < 0xd800 || cp > 0xdfff) && unicode_is(cp, set);
		if (is_in && first == UNICODE_END) {
			first = cp;
		} else if (!is_in && first != UNICODE_END) {
			add_range(out, first, cp - 1);
			first = UNICODE_END;
		}
	}
}

static int add_category(struct bb_buf *out, const struct category_name *c, enum regex_sense sense,
			enum regex_where where)
{
	if (where == REGEX_IN_CLASS && sense == REGEX_IS_NOT) {
		add_ranges(out, ALL_CATEGORIES & ~c->set);
		return out->err;
	}
	if (where == REGEX_ALONE)
		bb_buf_add_str(out, bb_str_of(sense == REGEX_IS ? "[" : "[^"));
	if (c->set == UNICODE_BIT(UNICODE_CN))
		add_ranges(out, c->set); /* here newer means fewer */
	else
		bb_buf_printf(out, "\\p{%s}", c->name);
	add_newer(out, c->set);
	if (where == REGEX_ALONE)
		bb_buf_lit(out, "]");
	return out->err;
}

static int add_script(struct bb_buf *out, const char *name, const char *added,
		      enum regex_sense sense, enum regex_where where)
{
	if (where == REGEX_IN_CLASS && sense == REGEX_IS_NOT)
		return -BB_EABSENT;
	if (where == REGEX_IN_CLASS)
		return bb_buf_printf(out, "\\p{" SCRIPT "%s}%s", name, added);
	return bb_buf_printf(out, "[%s\\p{" SCRIPT "%s}%s]", sense == REGEX_IS ? "" : "^", name,
			     added);
}

int regex_property_add(struct bb_buf *out, struct bb_str name, enum regex_sense sense,
		       enum regex_where where)
{
	for (size_t i = 0; i < sizeof(categories) / sizeof(categories[0]); i++)
		if (bb_str_eq_nocase(name, bb_str_of(categories[i].name)) ||
		    bb_str_eq_nocase(name, bb_str_of(categories[i].word)))
			return add_category(out, &categories[i], sense, where);
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++)
		if (bb_str_eq_nocase(name, bb_str_of(scripts[i].name)))
			return add_script(out, scripts[i].name, scripts[i].added, sense, where);
	return -BB_EABSENT;
}

int regex_property_word(struct bb_buf *out, enum regex_sense sense, enum regex_where where)
{
	if (where == REGEX_IN_CLASS && sense == REGEX_IS_NOT)
		return -BB_EABSENT;
	if (where == REGEX_ALONE)
		bb_buf_add_str(out, bb_str_of(sense == REGEX_IS ? "[" : "[^"));
	/* Other_Alphabetic that is no letter, mark or number. */
	bb_buf_lit(out, "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"
			"\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}");
	add_newer(out, UNICODE_L | UNICODE_M | UNICODE_BIT(UNICODE_ND) | UNICODE_BIT(UNICODE_NL) |
			       UNICODE_BIT(UNICODE_PC));
	/* Outside of brackets Oniguruma's \w has Latin-1's numbers too. */
	if (where == REGEX_ALONE)
		bb_buf_lit(out, "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]");
	return out->err;
}
