#include "text/bpe_cut.h"

#include <string.h>

#include "base/alloc.h"
#include "text/model_bpe.h"

/* No byte of UTF-8. */
#define CODE_METASPACE 0xffu

static const char metaspace[] = "\xe2\x96\x81";
#define METASPACE_LEN (sizeof(metaspace) - 1)

static bool is_metaspace(const char *p, size_t len)
{
	return len >= METASPACE_LEN && memcmp(p, metaspace, METASPACE_LEN) == 0;
}

static uint8_t first_code(struct bb_str content)
{
	return is_metaspace(content.p, content.len) ? CODE_METASPACE : (uint8_t)content.p[0];
}

static uint8_t last_code(struct bb_str content)
{
	const size_t len = content.len;

	if (len >= METASPACE_LEN && is_metaspace(content.p + len - METASPACE_LEN, METASPACE_LEN))
		return CODE_METASPACE;
	return (uint8_t)content.p[len - 1];
}

static bool has_all_fallbacks(const struct bpe *b)
{
	bool has_all = b->has_byte_fallback;

	for (unsigned i = 0; i < 256; i++)
		has_all = has_all && b->byte_ids[i] != BPE_NONE;
	return has_all;
}

/* False when a part's spelling does not say what it stands for. */
static bool add_pair(struct bpe_cuts *c, const struct bpe *b, uint64_t key)
{
	const uint32_t left_id = (uint32_t)(key >> 44), right_id = (uint32_t)(key >> 24) & 0xfffff;
	const struct bb_str left = vocab_content(&b->vocab, left_id);
	const struct bb_str right = vocab_content(&b->vocab, right_id);

	if (!left.len || !right.len || left_id == b->unk || right_id == b->unk ||
	    bpe_is_special(b, left) || bpe_is_special(b, right))
		return false;
	const uint8_t code = first_code(right);
	c->joined[last_code(left)][code >> 6] |= (uint64_t)1 << (code & 63);
	return true;
}

/* Unknown characters side by side may be one token: only a blank surely ends them. */
static void join_unknown(struct bpe_cuts *c)
{
	for (unsigned i = 0; i < 256; i++) {
		for (unsigned k = 0; k < 3; k++)
			c->joined[i][k] = UINT64_MAX;
		c->joined[i][3] |= ~((uint64_t)1 << (CODE_METASPACE & 63));
	}
}

static bool fill(struct bpe_cuts *c, const struct bpe *b)
{
	for (uint64_t i = 0; i <= b->pairs.mask; i++)
		if (b->pairs.keys[i] != UINT64_MAX && !add_pair(c, b, b->pairs.keys[i]))
			return false;
	if (has_all_fallbacks(b))
		return true;
	join_unknown(c);
	return vocab_find(&b->vocab, BB_STR(metaspace)) != BPE_NONE;
}

int bpe_cuts_create(const struct bpe *b, struct bpe_cuts **out)
{
	*out = NULL;
	if (b->is_byte_level || b->ignore_merges || b->prefix || b->suffix)
		return 0;
	struct bpe_cuts *const c = bb_alloc_zero(1, sizeof(*c));
	if (!c)
		return -BB_ENOMEM;
	if (fill(c, b))
		*out = c;
	else
		bb_free(c);
	return 0;
}

void bpe_cuts_destroy(struct bpe_cuts *c)
{
	bb_free(c);
}

size_t bpe_cut(const struct bpe_cuts *c, struct bb_str text, size_t *at, size_t *ends, size_t max)
{
	const uint8_t *const begin = (const uint8_t *)text.p, *const end = begin + text.len;
	const uint8_t *p = begin + *at;
	unsigned left, right = 0;
	size_t n = 0;

	for (bool is_first = true; n < max && p < end; is_first = false) {
		left = right;
		right = *p;
		size_t len = 1;
		if (right >= 0x80) {
			len = right < 0xe0 ? 2 : right < 0xf0 ? 3 : 4;
			if (right == 0xe2 && p[1] == 0x96 && p[2] == 0x81)
				right = CODE_METASPACE;
		}
		if (!is_first && !(c->joined[left][right >> 6] >> (right & 63) & 1)) {
			ends[n++] = (size_t)(p - begin);
			if (n == max)
				break;
		}
		p += len;
		if (len > 1 && right != CODE_METASPACE)
			right = p[-1];
	}
	if (n < max && p == end && (n ? ends[n - 1] : *at) < text.len)
		ends[n++] = text.len;
	if (n)
		*at = ends[n - 1];
	return n;
}
