/*
 * unicode.h: general categories of characters, and walking over UTF-8.
 *
 * For: scanners, pre-tokenizers and normalizers. The data is libutf8proc's; one flat table of a
 * byte per code point is made of it at the first unicode_init (2 ms, 1.1 MB).
 * White space is the Unicode property White_Space; a word character is what `\w` of Unicode
 * regular expressions takes (UTS #18 annex C).
 * Threads: any, after unicode_init has returned in one of them. Memory: static.
 * Errors: none. The decoding functions want well-formed UTF-8 unless they say otherwise.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define UNICODE_END 0x110000u
#define UNICODE_REPLACEMENT 0xfffdu

/* The general categories, in the order of libutf8proc. */
enum unicode_category {
	UNICODE_CN,
	UNICODE_LU,
	UNICODE_LL,
	UNICODE_LT,
	UNICODE_LM,
	UNICODE_LO,
	UNICODE_MN,
	UNICODE_MC,
	UNICODE_ME,
	UNICODE_ND,
	UNICODE_NL,
	UNICODE_NO,
	UNICODE_PC,
	UNICODE_PD,
	UNICODE_PS,
	UNICODE_PE,
	UNICODE_PI,
	UNICODE_PF,
	UNICODE_PO,
	UNICODE_SM,
	UNICODE_SC,
	UNICODE_SK,
	UNICODE_SO,
	UNICODE_ZS,
	UNICODE_ZL,
	UNICODE_ZP,
	UNICODE_CC,
	UNICODE_CF,
	UNICODE_CS,
	UNICODE_CO,
};

#define UNICODE_BIT(category) (1u << (category))
/* Sets of categories, for unicode_is. */
#define UNICODE_L (0x1fu << UNICODE_LU)
#define UNICODE_M (0x7u << UNICODE_MN)
#define UNICODE_N (0x7u << UNICODE_ND)
#define UNICODE_P (0x7fu << UNICODE_PC)
#define UNICODE_S (0xfu << UNICODE_SM)
#define UNICODE_Z (0x7u << UNICODE_ZS)

#define UNICODE_CATEGORY_MASK 0x1f
#define UNICODE_SPACE_BIT 0x20
#define UNICODE_WORD_BIT 0x40

/* One byte a code point: the category, and the two bits above. */
extern uint8_t unicode_table[UNICODE_END];

void unicode_init(void);

static inline enum unicode_category unicode_category(uint32_t cp)
{
	return (enum unicode_category)(unicode_table[cp] & UNICODE_CATEGORY_MASK);
}

static inline bool unicode_is(uint32_t cp, uint32_t categories)
{
	return categories >> (unicode_table[cp] & UNICODE_CATEGORY_MASK) & 1;
}

static inline bool unicode_is_space(uint32_t cp)
{
	return unicode_table[cp] & UNICODE_SPACE_BIT;
}

static inline bool unicode_is_word(uint32_t cp)
{
	return unicode_table[cp] & UNICODE_WORD_BIT;
}

/* The character at p of well-formed text; *len gets its 1 to 4 bytes. */
static inline uint32_t unicode_at(const char *text, size_t *len)
{
	const uint8_t *const p = (const uint8_t *)text;

	if (p[0] < 0x80) {
		*len = 1;
		return p[0];
	}
	if (p[0] < 0xe0) {
		*len = 2;
		return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
	}
	if (p[0] < 0xf0) {
		*len = 3;
		return (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
	}
	*len = 4;
	return (p[0] & 0x7u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

/* The character at *p, which is moved behind it. */
static inline uint32_t unicode_next(const char **p)
{
	size_t len;
	const uint32_t cp = unicode_at(*p, &len);

	*p += len;
	return cp;
}

/* The last character that ends at `end`, and its length. `begin < end`. */
uint32_t unicode_before(const char *begin, const char *end, size_t *len);

/*
 * For any bytes: the length of the malformed sequence at the start of `s`, as decoders that
 * replace it by one U+FFFD count it (Unicode 15, section 3.9, "maximal subparts"); 0 when a
 * well-formed character stands there or `s` is empty.
 */
size_t unicode_malformed(struct bb_str s);
/*
 * The length of the first malformed sequence in `s`, 0 when there is none; *good: what stands
 * before it. Takes time for the bytes before it only.
 */
size_t unicode_find_malformed(struct bb_str s, size_t *good);
/* Appends `s` with each malformed sequence replaced by U+FFFD. */
int unicode_add_replaced(struct bb_buf *out, struct bb_str s);
