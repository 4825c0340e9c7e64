#include "wire/spelling.h"

void spelling_init(struct spelling *s, struct bb_str word)
{
	/* A third of the letters may be wrong, and one in the shortest words. */
	const uint32_t tolerance = word.len < 3 ? 1 : (uint32_t)(word.len / 3);

	*s = (struct spelling){ .word = word, .best_distance = tolerance + 1 };
}

/* A word that was cut short, or goes on ("alias" for "aliases"), is as good as one letter. */
static bool is_beginning(struct bb_str word, struct bb_str candidate)
{
	const size_t shorter = word.len < candidate.len ? word.len : candidate.len;

	return shorter >= 3 && memcmp(word.p, candidate.p, shorter) == 0;
}

void spelling_offer(struct spelling *s, struct bb_str candidate)
{
	uint32_t distance = spelling_distance(s->word, candidate);

	if (distance > 1 && is_beginning(s->word, candidate))
		distance = 1;

	if (distance >= s->best_distance || distance >= candidate.len)
		return;
	s->best = candidate;
	s->best_distance = distance;
}

static char folded(char c)
{
	/* '-' and '_' are the commonest mix-up, so they count as equal. */
	if (c == '-')
		return '_';
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static uint8_t least(uint8_t a, uint8_t b)
{
	return a < b ? a : b;
}

uint32_t spelling_distance(struct bb_str a, struct bb_str b)
{
	/* Three rows of the table: the one being filled and the two before it. */
	uint8_t rows[3][SPELLING_LEN_MAX + 1];

	if (a.len > SPELLING_LEN_MAX || b.len > SPELLING_LEN_MAX)
		return UINT32_MAX;
	for (size_t k = 0; k <= b.len; k++)
		rows[0][k] = (uint8_t)k;
	for (size_t i = 1; i <= a.len; i++) {
		uint8_t *row = rows[i % 3];
		const uint8_t *above = rows[(i + 2) % 3], *second = rows[(i + 1) % 3];
		const char x = folded(a.p[i - 1]);
		row[0] = (uint8_t)i;
		for (size_t k = 1; k <= b.len; k++) {
			const char y = folded(b.p[k - 1]);
			const uint8_t replaced = (uint8_t)(above[k - 1] + (x != y));
			const uint8_t gap = (uint8_t)(least(above[k], row[k - 1]) + 1);
			row[k] = least(replaced, gap);
			if (i > 1 && k > 1 && x == folded(b.p[k - 2]) && folded(a.p[i - 2]) == y)
				row[k] = least(row[k], (uint8_t)(second[k - 2] + 1));
		}
	}
	return rows[a.len % 3][b.len];
}
