#include "text/charsmap.h"

#include <string.h>
#include <utf8proc.h>

#include "base/alloc.h"
#include "text/unicode.h"
#include "wire/base64url.h"
#include "wire/utf8.h"

#define GRAPHEME_MAX 6

struct charsmap {
	const uint32_t *trie; /* in `map` */
	size_t trie_len;
	struct bb_str texts; /* in `map` */
	uint8_t ascii_mapped[128];
	uint32_t map[]; /* aligned for the trie */
};

/* ---- the trie: a unit is | offset 22 | 1: offset << 8 | 1: has a leaf | label 8 | ---- */

static uint32_t unit_offset(uint32_t unit)
{
	return unit >> 10 << ((unit & 1u << 9) >> 6);
}

static bool texts_at(const struct charsmap *c, uint32_t value, struct bb_str *out)
{
	if (value >= c->texts.len)
		return false;
	const char *const begin = c->texts.p + value;
	const char *const end = memchr(begin, 0, c->texts.len - value);
	*out = (struct bb_str){ begin, end ? (size_t)(end - begin) : c->texts.len - value };
	/* An offset into the middle of a character cannot be meant. */
	return ((uint8_t)*begin & 0xc0) != 0x80;
}

/* Calls for each prefix in the trie, shorter ones first, would be too general: one or the longest.
 */
static bool find(const struct charsmap *c, struct bb_str key, bool wants_longest, size_t *len,
		 struct bb_str *out)
{
	bool is_found = false;
	size_t at = unit_offset(c->trie[0]);

	for (size_t i = 0; i < key.len && key.p[i]; i++) {
		at ^= (uint8_t)key.p[i];
		if (at >= c->trie_len)
			break;
		const uint32_t unit = c->trie[at];
		if ((unit & (1u << 31 | 0xff)) != (uint8_t)key.p[i])
			break;
		at ^= unit_offset(unit);
		if (at >= c->trie_len)
			break;
		if (unit & 1u << 8 && texts_at(c, c->trie[at] & 0x7fffffff, out)) {
			*len = i + 1;
			is_found = true;
			if (!wants_longest)
				break;
		}
	}
	return is_found;
}

bool charsmap_find(const struct charsmap *c, struct bb_str key, struct bb_str *replacement)
{
	size_t len;

	return find(c, key, false, &len, replacement);
}

bool charsmap_find_longest(const struct charsmap *c, struct bb_str key, size_t *len,
			   struct bb_str *replacement)
{
	return find(c, key, true, len, replacement);
}

/* ---- loading ---- */

static int check(struct charsmap *c, size_t size, struct text_error *e)
{
	uint32_t trie_size = 0;

	if (size >= 4)
		memcpy(&trie_size, c->map, 4);
	if (size < 8 || trie_size < 4 || trie_size % 4 || trie_size > size - 4)
		return text_error_invalid(
			e, "precompiled_charsmap: its length is not that of its parts");
	c->trie = c->map + 1;
	c->trie_len = trie_size / 4;
	c->texts = (struct bb_str){ (const char *)c->map + 4 + trie_size, size - 4 - trie_size };
	if (utf8_check(c->texts) != c->texts.len)
		return text_error_invalid(e, "precompiled_charsmap: its texts are not UTF-8");
	struct bb_str unused;
	for (int i = 0; i < 128; i++) {
		const char key = (char)i;
		c->ascii_mapped[i] = charsmap_find(c, (struct bb_str){ &key, 1 }, &unused);
	}
	/* CR LF is one grapheme; a map for it alone makes both bytes worth a look. */
	if (charsmap_find(c, BB_STR("\r\n"), &unused))
		c->ascii_mapped['\r'] = 1;
	return 0;
}

int charsmap_create(struct bb_str map, struct charsmap **out, struct text_error *e)
{
	if (map.len > CHARSMAP_SIZE_MAX)
		return text_error_invalid(e, "precompiled_charsmap: larger than %u bytes",
					  CHARSMAP_SIZE_MAX);
	struct charsmap *const c = bb_alloc(sizeof(*c) + map.len + 4);
	if (!c)
		return -BB_ENOMEM;
	if (map.len)
		memcpy(c->map, map.p, map.len);
	const int rc = check(c, map.len, e);
	if (rc) {
		bb_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

int charsmap_create_base64(struct bb_str text, struct charsmap **out, struct text_error *e)
{
	while (text.len && text.p[text.len - 1] == '=')
		text.len--;
	if (text.len > CHARSMAP_SIZE_MAX / 3 * 4)
		return text_error_invalid(e, "precompiled_charsmap: larger than %u bytes",
					  CHARSMAP_SIZE_MAX);
	const size_t size = BASE64URL_SIZE(text.len);
	uint8_t *const bytes = bb_alloc(size + 1);
	size_t len;
	if (!bytes)
		return -BB_ENOMEM;
	const int rc = base64_decode(text, bytes, size, &len)
			       ? text_error_invalid(e, "precompiled_charsmap: not base64")
			       : charsmap_create((struct bb_str){ (char *)bytes, len }, out, e);
	bb_free(bytes);
	return rc;
}

void charsmap_destroy(struct charsmap *c)
{
	bb_free(c);
}

/* ---- applying ---- */

bool charsmap_keeps(const struct charsmap *c, struct bb_str text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.p[i] & 0x80 || c->ascii_mapped[(uint8_t)text.p[i]])
			return false;
	return true;
}

static size_t count_chars(struct bb_str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += ((uint8_t)s.p[i] & 0xc0) != 0x80;
	return n;
}

static void put_replacement(struct rewrite *r, struct bb_str old, struct bb_str new)
{
	const size_t old_count = count_chars(old), new_count = count_chars(new);
	size_t i = 0;

	for (const char *p = new.p; p < new.p + new.len; i++)
		rewrite_put(r, unicode_next(&p), i < old_count ? 0 : 1);
	if (new_count < old_count)
		rewrite_adjust(r, (long)new_count - (long)old_count);
}

static size_t grapheme_end(struct bb_str text, size_t at)
{
	utf8proc_int32_t state = 0;
	size_t len;
	uint32_t cp = unicode_at(text.p + at, &len);

	for (at += len; at < text.len; at += len) {
		const uint32_t next = unicode_at(text.p + at, &len);
		if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)cp, (utf8proc_int32_t)next,
						     &state))
			break;
		cp = next;
	}
	return at;
}

static void put_grapheme(const struct charsmap *c, struct rewrite *r, size_t at, size_t end)
{
	struct bb_str whole = { r->old.p + at, end - at }, new;

	if (whole.len < GRAPHEME_MAX && charsmap_find(c, whole, &new)) {
		put_replacement(r, whole, new);
		return;
	}
	while (at < end) {
		struct bb_str one = { r->old.p + at, 0 };
		const uint32_t cp = unicode_at(one.p, &one.len);
		if (charsmap_find(c, one, &new))
			put_replacement(r, one, new);
		else
			rewrite_put(r, cp, 0);
		at += one.len;
	}
}

void charsmap_run(const struct charsmap *c, struct rewrite *r)
{
	for (size_t at = 0, end; at < r->old.len; at = end) {
		/* ASCII that nothing maps and no mark follows: most text. */
		for (end = at; end < r->old.len && !(r->old.p[end] & 0x80) &&
			       !c->ascii_mapped[(uint8_t)r->old.p[end]];
		     end++)
			;
		if (end - at > 1) {
			end -= end < r->old.len;
			rewrite_keep(r, at, end);
			continue;
		}
		end = grapheme_end(r->old, at);
		put_grapheme(c, r, at, end);
	}
}
