#include "text/normal_forms.h"

#include <string.h>
#include <utf8proc.h>

#include "base/alloc.h"
#include "text/char_set.h"

/* Behind this no character decomposes or combines in Unicode 9. */
#define FLAGS_END 0x30000u
/* Pairs that compose: 940 in Unicode 9. A power of two. */
#define PAIR_SLOTS 4096u
/* utf8proc's longest decomposition is of 18 characters. */
#define DECOMPOSED_MAX 32

#define HANGUL_L 0x1100u
#define HANGUL_V 0x1161u
#define HANGUL_T 0x11a7u
#define HANGUL_S 0xac00u
#define HANGUL_L_COUNT 19u
#define HANGUL_V_COUNT 21u
#define HANGUL_T_COUNT 28u
#define HANGUL_S_COUNT (HANGUL_L_COUNT * HANGUL_V_COUNT * HANGUL_T_COUNT)

/* A set bit: the character may change in this form, or change what stands before it. */
#define FLAG(form) (1u << (form))

struct pair {
	uint32_t first, second, composed;
};

struct normal_forms {
	uint8_t flags[FLAGS_END];
	struct pair pairs[PAIR_SLOTS];
};

static uint8_t flags_of(const struct normal_forms *f, uint32_t cp)
{
	return cp < FLAGS_END ? f->flags[cp] : 0;
}

/* ---- tables ---- */

static size_t pair_slot(uint32_t first, uint32_t second)
{
	return ((first * 0x9e3779b1u) ^ (second * 0x85ebca6bu)) >> 13 & (PAIR_SLOTS - 1);
}

static uint32_t pair_get(const struct normal_forms *f, uint32_t first, uint32_t second)
{
	for (size_t i = pair_slot(first, second);; i = (i + 1) & (PAIR_SLOTS - 1)) {
		const struct pair *const p = &f->pairs[i];
		if (!p->composed)
			return 0;
		if (p->first == first && p->second == second)
			return p->composed;
	}
}

static void pair_add(struct normal_forms *f, uint32_t first, uint32_t second, uint32_t composed)
{
	size_t i = pair_slot(first, second);

	while (f->pairs[i].composed)
		i = (i + 1) & (PAIR_SLOTS - 1);
	f->pairs[i] = (struct pair){ first, second, composed };
	f->flags[second] |= FLAG(NORMAL_NFC) | FLAG(NORMAL_NFKC);
}

static size_t decompose(uint32_t cp, enum normal_form form, utf8proc_int32_t out[DECOMPOSED_MAX])
{
	const bool is_compatible = form == NORMAL_NFKC || form == NORMAL_NFKD;
	const utf8proc_option_t options =
		is_compatible ? UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT : UTF8PROC_DECOMPOSE;
	const utf8proc_ssize_t n =
		utf8proc_decompose_char((utf8proc_int32_t)cp, out, DECOMPOSED_MAX, options, NULL);

	if (n < 1 || n > DECOMPOSED_MAX) {
		out[0] = (utf8proc_int32_t)cp;
		return 1;
	}
	return (size_t)n;
}

/*
 * A primary composite goes into the table as the pair it decomposes to: the character that all
 * but the last part compose to, and the last part. `parts` says which are to be looked at, for a
 * longer one needs the shorter one's pair.
 */
static void add_composite(struct normal_forms *f, uint32_t cp, size_t parts)
{
	utf8proc_int32_t out[DECOMPOSED_MAX];
	const size_t n = decompose(cp, NORMAL_NFD, out);

	if (n != parts || utf8proc_get_property((utf8proc_int32_t)cp)->comp_exclusion)
		return;
	uint32_t first = (uint32_t)out[0];
	for (size_t i = 1; first && i + 1 < n; i++)
		first = pair_get(f, first, (uint32_t)out[i]);
	const uint32_t second = (uint32_t)out[n - 1];
	/* Those that begin with a mark do not compose, nor does what has a pair already. */
	if (first && !utf8proc_get_property((utf8proc_int32_t)cp)->combining_class &&
	    !utf8proc_get_property(out[0])->combining_class && !pair_get(f, first, second))
		pair_add(f, first, second, cp);
}

static void add_flags(struct normal_forms *f, uint32_t cp)
{
	const utf8proc_property_t *const p = utf8proc_get_property((utf8proc_int32_t)cp);
	const bool is_hangul = cp - HANGUL_S < HANGUL_S_COUNT;
	utf8proc_int32_t out[DECOMPOSED_MAX];
	uint8_t flags = 0;

	if (!p->combining_class && p->decomp_seqindex == UINT16_MAX && !is_hangul)
		return; /* most characters */
	if (char_set_has(UNICODE_SET_NORMAL_LATE, cp))
		return;
	if (p->combining_class)
		flags |=
			FLAG(NORMAL_NFC) | FLAG(NORMAL_NFD) | FLAG(NORMAL_NFKC) | FLAG(NORMAL_NFKD);
	const size_t n = decompose(cp, NORMAL_NFD, out);
	if (n != 1 || out[0] != (utf8proc_int32_t)cp)
		flags |= FLAG(NORMAL_NFD) | FLAG(NORMAL_NFKD);
	utf8proc_int32_t wide[DECOMPOSED_MAX];
	const size_t wide_n = is_hangul ? n : decompose(cp, NORMAL_NFKD, wide);
	if (!is_hangul && (wide_n != n || memcmp(wide, out, n * sizeof(out[0])) != 0))
		flags |= FLAG(NORMAL_NFKC) | FLAG(NORMAL_NFKD);
	f->flags[cp] |= flags;
}

/* What decomposes and does not compose back is not kept by NFC. */
static void add_excluded(struct normal_forms *f, uint32_t cp)
{
	utf8proc_int32_t out[DECOMPOSED_MAX];

	if (!(f->flags[cp] & FLAG(NORMAL_NFD)) || cp - HANGUL_S < HANGUL_S_COUNT)
		return;
	const size_t n = decompose(cp, NORMAL_NFD, out);
	uint32_t composed = (uint32_t)out[0];
	for (size_t i = 1; composed && i < n; i++)
		composed = pair_get(f, composed, (uint32_t)out[i]);
	if (composed != cp)
		f->flags[cp] |= FLAG(NORMAL_NFC) | FLAG(NORMAL_NFKC);
}

int normal_forms_create(struct normal_forms **out)
{
	struct normal_forms *const f = bb_alloc_zero(1, sizeof(*f));

	if (!f)
		return -BB_ENOMEM;
	for (uint32_t cp = 0xa0; cp < FLAGS_END; cp++)
		add_flags(f, cp);
	for (size_t parts = 2; parts <= 4; parts++)
		for (uint32_t cp = 0xa0; cp < FLAGS_END; cp++)
			if (f->flags[cp] & FLAG(NORMAL_NFD) && cp - HANGUL_S >= HANGUL_S_COUNT)
				add_composite(f, cp, parts);
	for (uint32_t cp = 0xa0; cp < FLAGS_END; cp++)
		add_excluded(f, cp);
	for (uint32_t i = 0; i < HANGUL_V_COUNT; i++)
		f->flags[HANGUL_V + i] |= FLAG(NORMAL_NFC) | FLAG(NORMAL_NFKC);
	for (uint32_t i = 1; i < HANGUL_T_COUNT; i++)
		f->flags[HANGUL_T + i] |= FLAG(NORMAL_NFC) | FLAG(NORMAL_NFKC);
	*out = f;
	return 0;
}

void normal_forms_destroy(struct normal_forms *f)
{
	bb_free(f);
}

uint32_t normal_forms_base(uint32_t cp)
{
	utf8proc_int32_t out[DECOMPOSED_MAX];

	if (cp < 0xc0)
		return cp;
	decompose(cp, NORMAL_NFD, out);
	return (uint32_t)out[0];
}

/* ---- the quick check ---- */

size_t normal_forms_ascii(const char *p, size_t len)
{
	size_t i = 0;

	for (; len - i >= 32; i += 32) {
		uint64_t w[4];
		memcpy(w, p + i, sizeof(w));
		if ((w[0] | w[1] | w[2] | w[3]) & 0x8080808080808080ull)
			break;
	}
	while (i < len && !(p[i] & 0x80))
		i++;
	return i;
}

/* The first character at or behind `at` that has the flag; text.len when there is none. */
static size_t find_flag(const struct normal_forms *f, enum normal_form form, struct bb_str text,
			size_t at)
{
	const uint8_t flag = FLAG(form);

	while (at < text.len) {
		if (!(text.p[at] & 0x80)) {
			at += normal_forms_ascii(text.p + at, text.len - at);
			continue;
		}
		size_t len;
		const uint32_t cp = unicode_at(text.p + at, &len);
		if (cp < FLAGS_END && f->flags[cp] & flag)
			return at;
		at += len;
	}
	return text.len;
}

bool normal_forms_holds(const struct normal_forms *f, enum normal_form form, struct bb_str text)
{
	return find_flag(f, form, text, 0) == text.len;
}

/* ---- the work ---- */

struct item {
	uint32_t cp;
	int32_t change;
	uint8_t class;
};

struct items {
	struct item *at;
	size_t count, cap;
	struct item small[32];
};

struct job {
	const struct normal_forms *f;
	enum normal_form form;
	struct rewrite *r;
	struct items marks;   /* not yet in order */
	struct items waiting; /* behind the starter, did not compose with it */
	struct item starter;
	bool has_starter;
	int last_class; /* of what waits; −1: nothing does */
	int err;
};

static void items_init(struct items *l)
{
	l->at = l->small;
	l->count = 0;
	l->cap = sizeof(l->small) / sizeof(l->small[0]);
}

static void items_fini(struct items *l)
{
	if (l->at != l->small)
		bb_free(l->at);
}

static int items_add(struct items *l, struct item item)
{
	if (l->count == l->cap) {
		struct item *const at = bb_alloc(2 * l->cap * sizeof(*at));
		if (!at)
			return -BB_ENOMEM;
		memcpy(at, l->at, l->count * sizeof(*at));
		items_fini(l);
		l->at = at;
		l->cap *= 2;
	}
	l->at[l->count++] = item;
	return 0;
}

/* By class; those of one class stay in their order. */
static int items_sort(struct items *l)
{
	if (l->count <= 16) {
		for (size_t i = 1; i < l->count; i++) {
			const struct item item = l->at[i];
			size_t j = i;
			for (; j && l->at[j - 1].class > item.class; j--)
				l->at[j] = l->at[j - 1];
			l->at[j] = item;
		}
		return 0;
	}
	size_t begin[257] = { 0 };
	struct item *const sorted = bb_alloc(l->count * sizeof(*sorted));
	if (!sorted)
		return -BB_ENOMEM;
	for (size_t i = 0; i < l->count; i++)
		begin[l->at[i].class + 1]++;
	for (size_t i = 1; i < 257; i++)
		begin[i] += begin[i - 1];
	for (size_t i = 0; i < l->count; i++)
		sorted[begin[l->at[i].class]++] = l->at[i];
	memcpy(l->at, sorted, l->count * sizeof(*sorted));
	bb_free(sorted);
	return 0;
}

static uint32_t compose(const struct normal_forms *f, uint32_t first, uint32_t second)
{
	if (first - HANGUL_L < HANGUL_L_COUNT && second - HANGUL_V < HANGUL_V_COUNT)
		return HANGUL_S +
		       ((first - HANGUL_L) * HANGUL_V_COUNT + second - HANGUL_V) * HANGUL_T_COUNT;
	if (first - HANGUL_S < HANGUL_S_COUNT && (first - HANGUL_S) % HANGUL_T_COUNT == 0 &&
	    second - HANGUL_T - 1 < HANGUL_T_COUNT - 1)
		return first + second - HANGUL_T;
	return pair_get(f, first, second);
}

static void emit(struct job *j, struct item item)
{
	rewrite_put(j->r, item.cp, item.change);
}

static void emit_starter(struct job *j)
{
	if (j->has_starter)
		emit(j, j->starter);
	for (size_t i = 0; i < j->waiting.count; i++)
		emit(j, j->waiting.at[i]);
	j->waiting.count = 0;
	j->has_starter = false;
	j->last_class = -1;
}

/* Takes characters in canonical order: the algorithm of UAX 15, section 1.3. */
static void take_ordered(struct job *j, struct item item)
{
	if (j->form == NORMAL_NFD || j->form == NORMAL_NFKD || (!j->has_starter && item.class)) {
		emit(j, item);
		return;
	}
	if (j->has_starter && j->last_class < (int)item.class + (j->last_class < 0)) {
		const uint32_t composed = compose(j->f, j->starter.cp, item.cp);
		if (composed) {
			j->starter.cp = composed;
			j->starter.change += item.change - 1;
			return;
		}
	}
	if (!item.class) {
		emit_starter(j);
		j->starter = item;
		j->has_starter = true;
		return;
	}
	j->last_class = item.class;
	if (items_add(&j->waiting, item))
		j->err = -BB_ENOMEM;
}

static void take_marks(struct job *j)
{
	if (j->marks.count > 1 && items_sort(&j->marks))
		j->err = -BB_ENOMEM;
	for (size_t i = 0; i < j->marks.count; i++)
		take_ordered(j, j->marks.at[i]);
	j->marks.count = 0;
}

static void take(struct job *j, uint32_t cp)
{
	utf8proc_int32_t parts[DECOMPOSED_MAX] = { (utf8proc_int32_t)cp };
	const size_t n = flags_of(j->f, cp) ? decompose(cp, j->form, parts) : 1;

	for (size_t i = 0; i < n; i++) {
		struct item item = { (uint32_t)parts[i], i > 0, 0 };
		if (flags_of(j->f, item.cp))
			item.class = (uint8_t)utf8proc_get_property(parts[i])->combining_class;
		if (item.class) {
			if (items_add(&j->marks, item))
				j->err = -BB_ENOMEM;
			continue;
		}
		take_marks(j);
		take_ordered(j, item);
	}
}

static void finish(struct job *j)
{
	take_marks(j);
	emit_starter(j);
}

int normal_forms_run(const struct normal_forms *f, enum normal_form form, struct rewrite *r)
{
	struct job j = { .f = f, .form = form, .r = r, .last_class = -1 };
	const struct bb_str text = r->old;
	size_t at = 0;

	items_init(&j.marks);
	items_init(&j.waiting);
	while (at < text.len && !j.err) {
		const size_t changes = find_flag(f, form, text, at);
		size_t len = 0;
		/* The character before may be what the next one combines with. */
		if (changes < text.len && changes > at)
			unicode_before(text.p + at, text.p + changes, &len);
		rewrite_keep(r, at, changes - len);
		for (at = changes - len; at < text.len && !j.err; at += len) {
			const uint32_t cp = unicode_at(text.p + at, &len);
			if (at > changes && !(flags_of(f, cp) & FLAG(form)))
				break;
			take(&j, cp);
		}
		finish(&j);
	}
	items_fini(&j.marks);
	items_fini(&j.waiting);
	return j.err;
}
