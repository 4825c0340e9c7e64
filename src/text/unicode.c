#include "text/unicode.h"

#include <pthread.h>
#include <string.h>
#include <utf8proc.h>

#include "text/unicode_sets.h"
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

#define WORD_CATEGORIES                                                                            \
	(UNICODE_L | UNICODE_M | UNICODE_BIT(UNICODE_ND) | UNICODE_BIT(UNICODE_NL) |               \
	 UNICODE_BIT(UNICODE_PC))

/*
 * Whole planes have one category (Unicode, section 2.8) and take no look at each character: of the
 * planes 4 to 13 nothing is assigned, nor of plane 14 but its first page of 4,096; planes 15 and 16
 * are for private use, but for their last two, which are no characters.
 */
#define PLANE_4 0x40000u
#define PLANE_14 0xe0000u
#define PLANE_14_USED 0xe1000u
#define PLANE_15 0xf0000u
#define PLANE_16 0x100000u
#define PLANE_SIZE 0x10000u

static void take_categories(uint32_t begin, uint32_t end)
{
	for (uint32_t cp = begin; cp < end; cp++)
		unicode_table[cp] = (uint8_t)utf8proc_category((utf8proc_int32_t)cp);
}

static void add_word_bits(uint32_t begin, uint32_t end)
{
	for (uint32_t cp = begin; cp < end; cp++)
		unicode_table[cp] |=
			(uint8_t)((WORD_CATEGORIES >> unicode_table[cp] & 1) * UNICODE_WORD_BIT);
}

static void make_table(void)
{
	take_categories(0, PLANE_4);
	take_categories(PLANE_14, PLANE_14_USED);
	memset(unicode_table + PLANE_15, UNICODE_CO, PLANE_SIZE - 2);
	memset(unicode_table + PLANE_16, UNICODE_CO, PLANE_SIZE - 2);
	/* The regular expressions of `tokenizers` know Unicode 16; a distribution's library need
	 * not. */
	for (size_t i = 0; i < unicode_late_count; i++)
		for (uint32_t cp = unicode_lates[i].first; cp <= unicode_lates[i].last; cp++)
			unicode_table[cp] = (uint8_t)unicode_lates[i].category;
	add_word_bits(0, PLANE_4);
	add_word_bits(PLANE_14, PLANE_14_USED);
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
