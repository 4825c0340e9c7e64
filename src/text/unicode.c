#include "text/unicode.h"

#include <pthread.h>
#include <utf8proc.h>

#include "wire/utf8.h"

/* Bytes that are checked at once behind a malformed sequence. */
#define CHECK_FIRST 32

uint8_t unicode_table[UNICODE_END];

static const struct {
	uint32_t first, last;
} space_ranges[] = {
	{ 0x9, 0xd },	    { 0x20, 0x20 },	{ 0x85, 0x85 },	    { 0xa0, 0xa0 },
	{ 0x1680, 0x1680 }, { 0x2000, 0x200a }, { 0x2028, 0x2029 }, { 0x202f, 0x202f },
	{ 0x205f, 0x205f }, { 0x3000, 0x3000 },
}, word_ranges[] = {
	/* Join_Control, and what is Other_Alphabetic without being a letter, a mark or Nl. */
	{ 0x200c, 0x200d },   { 0x24b6, 0x24e9 },   { 0x1f130, 0x1f149 },
	{ 0x1f150, 0x1f169 }, { 0x1f170, 0x1f189 },
};

/*
 * Assigned by Unicode 15.1 and 16.0, or changed by them: the regular expressions of the
 * `tokenizers` library know 16.0, and a distribution's libutf8proc may not.
 */
static const struct {
	uint32_t first, last;
	enum unicode_category category;
} newer_ranges[] = {
	/* clang-format off */
	{ 0x1171e, 0x1171e, UNICODE_MC },
	{ 0x897, 0x897, UNICODE_MN }, { 0x1b4e, 0x1b4f, UNICODE_PO },
	{ 0x1b7f, 0x1b7f, UNICODE_PO }, { 0x1c89, 0x1c89, UNICODE_LU },
	{ 0x1c8a, 0x1c8a, UNICODE_LL }, { 0x2427, 0x2429, UNICODE_SO },
	{ 0x2ffc, 0x2fff, UNICODE_SO }, { 0x31e4, 0x31e5, UNICODE_SO },
	{ 0x31ef, 0x31ef, UNICODE_SO }, { 0xa7cb, 0xa7cc, UNICODE_LU },
	{ 0xa7cd, 0xa7cd, UNICODE_LL }, { 0xa7da, 0xa7da, UNICODE_LU },
	{ 0xa7db, 0xa7db, UNICODE_LL }, { 0xa7dc, 0xa7dc, UNICODE_LU },
	{ 0x105c0, 0x105f3, UNICODE_LO }, { 0x10d40, 0x10d49, UNICODE_ND },
	{ 0x10d4a, 0x10d4d, UNICODE_LO }, { 0x10d4e, 0x10d4e, UNICODE_LM },
	{ 0x10d4f, 0x10d4f, UNICODE_LO }, { 0x10d50, 0x10d65, UNICODE_LU },
	{ 0x10d69, 0x10d6d, UNICODE_MN }, { 0x10d6e, 0x10d6e, UNICODE_PD },
	{ 0x10d6f, 0x10d6f, UNICODE_LM }, { 0x10d70, 0x10d85, UNICODE_LL },
	{ 0x10d8e, 0x10d8f, UNICODE_SM }, { 0x10ec2, 0x10ec4, UNICODE_LO },
	{ 0x10efc, 0x10efc, UNICODE_MN }, { 0x11380, 0x11389, UNICODE_LO },
	{ 0x1138b, 0x1138b, UNICODE_LO }, { 0x1138e, 0x1138e, UNICODE_LO },
	{ 0x11390, 0x113b5, UNICODE_LO }, { 0x113b7, 0x113b7, UNICODE_LO },
	{ 0x113b8, 0x113ba, UNICODE_MC }, { 0x113bb, 0x113c0, UNICODE_MN },
	{ 0x113c2, 0x113c2, UNICODE_MC }, { 0x113c5, 0x113c5, UNICODE_MC },
	{ 0x113c7, 0x113ca, UNICODE_MC }, { 0x113cc, 0x113cd, UNICODE_MC },
	{ 0x113ce, 0x113ce, UNICODE_MN }, { 0x113cf, 0x113cf, UNICODE_MC },
	{ 0x113d0, 0x113d0, UNICODE_MN }, { 0x113d1, 0x113d1, UNICODE_LO },
	{ 0x113d2, 0x113d2, UNICODE_MN }, { 0x113d3, 0x113d3, UNICODE_LO },
	{ 0x113d4, 0x113d5, UNICODE_PO }, { 0x113d7, 0x113d8, UNICODE_PO },
	{ 0x113e1, 0x113e2, UNICODE_MN }, { 0x116d0, 0x116e3, UNICODE_ND },
	{ 0x11bc0, 0x11be0, UNICODE_LO }, { 0x11be1, 0x11be1, UNICODE_PO },
	{ 0x11bf0, 0x11bf9, UNICODE_ND }, { 0x11f5a, 0x11f5a, UNICODE_MN },
	{ 0x13460, 0x143fa, UNICODE_LO }, { 0x16100, 0x1611d, UNICODE_LO },
	{ 0x1611e, 0x16129, UNICODE_MN }, { 0x1612a, 0x1612c, UNICODE_MC },
	{ 0x1612d, 0x1612f, UNICODE_MN }, { 0x16130, 0x16139, UNICODE_ND },
	{ 0x16d40, 0x16d42, UNICODE_LM }, { 0x16d43, 0x16d6a, UNICODE_LO },
	{ 0x16d6b, 0x16d6c, UNICODE_LM }, { 0x16d6d, 0x16d6f, UNICODE_PO },
	{ 0x16d70, 0x16d79, UNICODE_ND }, { 0x18cff, 0x18cff, UNICODE_LO },
	{ 0x1cc00, 0x1ccef, UNICODE_SO }, { 0x1ccf0, 0x1ccf9, UNICODE_ND },
	{ 0x1cd00, 0x1ceb3, UNICODE_SO }, { 0x1e5d0, 0x1e5ed, UNICODE_LO },
	{ 0x1e5ee, 0x1e5ef, UNICODE_MN }, { 0x1e5f0, 0x1e5f0, UNICODE_LO },
	{ 0x1e5f1, 0x1e5fa, UNICODE_ND }, { 0x1e5ff, 0x1e5ff, UNICODE_PO },
	{ 0x1f8b2, 0x1f8bb, UNICODE_SO }, { 0x1f8c0, 0x1f8c1, UNICODE_SO },
	{ 0x1fa89, 0x1fa89, UNICODE_SO }, { 0x1fa8f, 0x1fa8f, UNICODE_SO },
	{ 0x1fabe, 0x1fabe, UNICODE_SO }, { 0x1fac6, 0x1fac6, UNICODE_SO },
	{ 0x1fadc, 0x1fadc, UNICODE_SO }, { 0x1fadf, 0x1fadf, UNICODE_SO },
	{ 0x1fae9, 0x1fae9, UNICODE_SO }, { 0x1fbcb, 0x1fbef, UNICODE_SO },
	{ 0x2ebf0, 0x2ee5d, UNICODE_LO },
	/* clang-format on */
};

#define WORD_CATEGORIES                                                                            \
	(UNICODE_L | UNICODE_M | UNICODE_BIT(UNICODE_ND) | UNICODE_BIT(UNICODE_NL) |               \
	 UNICODE_BIT(UNICODE_PC))

static void make_table(void)
{
	for (uint32_t cp = 0; cp < UNICODE_END; cp++)
		unicode_table[cp] = (uint8_t)utf8proc_category((utf8proc_int32_t)cp);
	for (size_t i = 0; i < sizeof(newer_ranges) / sizeof(newer_ranges[0]); i++)
		for (uint32_t cp = newer_ranges[i].first; cp <= newer_ranges[i].last; cp++)
			unicode_table[cp] = (uint8_t)newer_ranges[i].category;
	for (uint32_t cp = 0; cp < UNICODE_END; cp++)
		if (WORD_CATEGORIES >> unicode_table[cp] & 1)
			unicode_table[cp] |= UNICODE_WORD_BIT;
	for (size_t i = 0; i < sizeof(space_ranges) / sizeof(space_ranges[0]); i++)
		for (uint32_t cp = space_ranges[i].first; cp <= space_ranges[i].last; cp++)
			unicode_table[cp] |= UNICODE_SPACE_BIT;
	for (size_t i = 0; i < sizeof(word_ranges) / sizeof(word_ranges[0]); i++)
		for (uint32_t cp = word_ranges[i].first; cp <= word_ranges[i].last; cp++)
			unicode_table[cp] |= UNICODE_WORD_BIT;
}

void unicode_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_table);
}

uint32_t unicode_before(const char *begin, const char *end, size_t *len)
{
	const char *p = end - 1;

	while (p > begin && (*p & 0xc0) == 0x80)
		p--;
	*len = (size_t)(end - p);
	size_t ignored;
	return unicode_at(p, &ignored);
}

static bool is_continuation(uint8_t b)
{
	return (b & 0xc0) == 0x80;
}

/* May `second` follow the lead byte? Here overlong forms, surrogates and > U+10FFFF fall out. */
static bool is_second(uint8_t lead, uint8_t second)
{
	switch (lead) {
	case 0xe0: return second >= 0xa0 && second <= 0xbf;
	case 0xed: return second >= 0x80 && second <= 0x9f;
	case 0xf0: return second >= 0x90 && second <= 0xbf;
	case 0xf4: return second >= 0x80 && second <= 0x8f;
	default: return is_continuation(second);
	}
}

size_t unicode_malformed(struct bb_str s)
{
	const uint8_t *const p = (const uint8_t *)s.p;

	if (!s.len || p[0] < 0x80)
		return 0;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 1;
	const size_t len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (s.len < 2 || !is_second(p[0], p[1]))
		return 1;
	for (size_t i = 2; i < len; i++)
		if (i >= s.len || !is_continuation(p[i]))
			return i;
	return 0;
}

size_t unicode_find_malformed(struct bb_str s, size_t *good)
{
	size_t at = 0, bad = 0;

	/* The fast check may look at all it is given, so it gets more only when all was well. */
	for (size_t step = CHECK_FIRST; at < s.len && !bad; step *= 2) {
		const struct bb_str rest = bb_str_skip(s, at);
		at += utf8_check((struct bb_str){ rest.p, rest.len < step ? rest.len : step });
		bad = unicode_malformed(bb_str_skip(s, at));
	}
	*good = at;
	return bad;
}

int unicode_add_replaced(struct bb_buf *out, struct bb_str s)
{
	size_t good, bad;

	do {
		bad = unicode_find_malformed(s, &good);
		bb_buf_add(out, s.p, good);
		if (bad)
			bb_buf_lit(out, "\xef\xbf\xbd");
		s = bb_str_skip(s, good + bad);
	} while (bad && !out->err);
	return out->err;
}
