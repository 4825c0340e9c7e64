#include "sim/sim_text.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

/*
 * Each is one token: at most SIM_TOKEN_BYTES bytes, and letters only behind its space. Thus the
 * tokens of an answer that comes back as part of a prompt are the tokens that were generated.
 */
/* clang-format off */
static const char *const words[SIM_WORDS] = {
	" the",	  " of",    " and",   " to",	" in",	  " is",    " that",  " it",	" was",
	" for",	  " on",    " are",   " as",	" with",  " his",   " they",  " at",	" be",
	" this",  " from",  " have",  " or",	" by",	  " one",   " had",   " not",	" but",
	" what",  " all",   " were",  " when",	" we",	  " there", " can",   " an",	" your",
	" which", " their", " said",  " if",	" do",	  " will",  " each",  " about", " how",
	" up",	  " out",   " them",  " then",	" she",	  " many",  " some",  " so",	" these",
	" would", " other", " into",  " has",	" more",  " her",   " two",   " like",	" him",
	" see",	  " time",  " could", " no",	" make",  " than",  " first", " been",	" its",
	" who",	  " now",   " my",    " made",	" over",  " did",   " down",  " only",	" way",
	" find",  " use",   " may",   " water", " long",  " very",  " after", " just",	" where",
	" most",  " know",  " get",   " back",	" much",  " go",    " good",  " new",	" our",
	" me",	  " too",   " any",   " day",	" same",  " right", " look",  " think", " also",
	" came",  " come",  " three", " large", " must",  " big",   " even",  " such",	" turn",
	" here",  " why",   " ask",   " went",	" men",	  " read",  " need",  " land",	" home",
	" us",	  " move",  " try",   " kind",	" hand",  " away",  " play",  " air",	" off",
	" house", " point", " page",  " near",	" study", " still", " learn", " plant", " cover",
	" food",  " sun",   " four",  " state", " keep",  " eye",   " never", " last",	" let",
	" city",  " tree",  " cross", " farm",	" hard",  " start", " might", " story", " saw",
	" far",	  " sea",   " draw",  " left",	" late",  " run",   " while", " press", " close",
	" night", " real",  " life",  " few",	" north", " open",  " seem",  " next",	" white",
	" begin", " got",   " walk",  " paper", " group", " music", " those", " both",	" mark",
	" often", " until", " mile",  " river", " car",	  " feet",  " care",  " book",	" carry",
	" took",  " rain",  " eat",   " room",	" began", " idea",  " fish",  " once",	" base",
	" hear",  " horse", " cut",   " sure",	" watch", " color", " face",  " wood",	" main",
	" girl",  " usual", " young", " ready", " above", " ever",  " red",   " list",	" feel",
	" talk",  " bird",  " soon",  " body",	" dog",	  " song",  " door",  " black", " short",
	" class", " wind",  " ship",  " area",	" half",  " rock",  " order", " fire",	" south",
	" top",	  " whole", " king",  " space", " heard", " best",  " hour",  " true",	" glass",
	" green", " stone", " lake",  " moon",
};
/* clang-format on */

static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

/* ---- tokens ---- */

enum byte_class { BYTE_WORD, BYTE_DIGIT, BYTE_SPACE, BYTE_OTHER };

static enum byte_class byte_class(unsigned char c)
{
	if ((c | 32) >= 'a' && (c | 32) <= 'z')
		return BYTE_WORD;
	if (c >= 0x80)
		return BYTE_WORD;
	if (c >= '0' && c <= '9')
		return BYTE_DIGIT;
	if (c == ' ' || c == '\n' || c == '\t' || c == '\r')
		return BYTE_SPACE;
	return BYTE_OTHER;
}

static bool is_continuation(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

size_t sim_token_len(struct bb_str text)
{
	const unsigned char *p = (const unsigned char *)text.p;
	size_t n = 1;

	BB_ASSERT(text.len > 0);
	enum byte_class class = byte_class(p[0]);
	/* One space joins what follows it; other white space stands alone, so lines begin alike. */
	if (p[0] == ' ' && text.len > 1 && byte_class(p[1]) != BYTE_SPACE)
		class = byte_class(p[n++]);
	else if (class == BYTE_SPACE)
		return 1;
	while (n < text.len && n < SIM_TOKEN_BYTES && byte_class(p[n]) == class)
		n++;
	if (n < text.len && is_continuation(p[n])) {
		size_t back = n;
		while (back > 1 && is_continuation(p[back]))
			back--;
		if (back > 1 || !is_continuation(p[1]))
			n = back;
	}
	return n;
}

static uint32_t token_id(struct bb_str token)
{
	uint64_t x = 0;

	memcpy(&x, token.p, token.len);
	/* 31 bits: ids are also read as signed integers. */
	return (uint32_t)(mix(x | (uint64_t)token.len << 56) >> 33);
}

void sim_tokens_init(struct sim_tokens *t, uint32_t max)
{
	*t = (struct sim_tokens){ .max = max };
}

void sim_tokens_fini(struct sim_tokens *t)
{
	bb_free(t->ids);
	*t = (struct sim_tokens){ 0 };
}

int sim_tokens_add(struct sim_tokens *t, uint32_t id)
{
	if (t->count == t->cap) {
		uint32_t cap = t->cap ? t->cap * 2 : 1024;
		if (cap > t->max)
			cap = t->max;
		if (t->count >= cap)
			return -BB_ELIMIT;
		uint32_t *ids = bb_realloc(t->ids, cap * sizeof(*ids));
		if (!ids)
			return -BB_ENOMEM;
		t->ids = ids;
		t->cap = cap;
	}
	t->ids[t->count++] = id;
	return 0;
}

int sim_tokens_add_text(struct sim_tokens *t, struct bb_str text)
{
	while (text.len) {
		const struct bb_str token = { text.p, sim_token_len(text) };
		const int rc = sim_tokens_add(t, token_id(token));
		if (rc)
			return rc;
		text = bb_str_skip(text, token.len);
	}
	return 0;
}

/* ---- token texts that were seen ---- */

void sim_vocabulary_learn(struct sim_vocabulary *v, struct bb_str text)
{
	while (text.len) {
		const struct bb_str token = { text.p, sim_token_len(text) };
		const uint32_t id = token_id(token);
		struct sim_vocabulary_entry *e = &v->entries[id % SIM_VOCABULARY_SIZE];
		e->id = id;
		e->len = (uint8_t)token.len;
		memcpy(e->text, token.p, token.len);
		text = bb_str_skip(text, token.len);
	}
}

void sim_vocabulary_init(struct sim_vocabulary *v)
{
	memset(v, 0, sizeof(*v));
	for (size_t i = 0; i < SIM_WORDS; i++)
		sim_vocabulary_learn(v, bb_str_of(words[i]));
}

struct bb_str sim_vocabulary_text(const struct sim_vocabulary *v, uint32_t id)
{
	const struct sim_vocabulary_entry *e = &v->entries[id % SIM_VOCABULARY_SIZE];

	if (e->len == 0 || e->id != id)
		return (struct bb_str){ NULL, 0 };
	return (struct bb_str){ e->text, e->len };
}

/* ---- what the model answers ---- */

void sim_words_init(struct sim_words *out)
{
	for (size_t i = 0; i < SIM_WORDS; i++) {
		out->text[i] = bb_str_of(words[i]);
		out->id[i] = token_id(out->text[i]);
	}
}

void sim_writer_init(struct sim_writer *w, uint64_t seed, const struct sim_words *list)
{
	*w = (struct sim_writer){ .state = mix(seed + 0x9e3779b97f4a7c15u), .words = list };
}

static unsigned draw_word(const struct sim_writer *w)
{
	return mix(w->state ^ (uint64_t)w->variant << 40) & 255;
}

uint32_t sim_writer_read(struct sim_writer *w, const uint32_t *ids, uint32_t count)
{
	uint32_t own = 0;

	for (uint32_t i = 0; i < count; i++) {
		own = w->words->id[draw_word(w)] == ids[i] ? own + 1 : 0;
		w->state = (w->state ^ ids[i]) * 0x9e3779b97f4a7c15u ^ w->state >> 29;
	}
	return own;
}

struct bb_str sim_writer_next(struct sim_writer *w, uint32_t *id)
{
	const unsigned word = draw_word(w);
	const uint32_t token = w->words->id[word];

	w->state = (w->state ^ token) * 0x9e3779b97f4a7c15u ^ w->state >> 29;
	if (id)
		*id = token;
	return w->words->text[word];
}

double sim_fraction(uint64_t seed, uint64_t what, uint64_t index)
{
	return (double)(mix(mix(seed ^ what) + index) >> 11) * 0x1.0p-53;
}

/* ---- hints ---- */

/* "name=123" at the front of `s`; true when it stands there. */
static bool take_number(struct bb_str *s, struct bb_str name, uint64_t *out)
{
	size_t n = name.len;

	if (!bb_str_starts(*s, name))
		return false;
	while (n < s->len && s->p[n] >= '0' && s->p[n] <= '9')
		n++;
	if (bb_parse_u64((struct bb_str){ s->p + name.len, n - name.len }, out))
		return false;
	*s = bb_str_skip(*s, n);
	return true;
}

/* Between "[[" and "]]": any of "ttft=US", "itl=US", "tokens=N" with spaces between them. */
static void read_hint(struct bb_str s, struct sim_hints *h)
{
	struct sim_hints found = *h;
	uint64_t value;

	while (s.len) {
		if (s.p[0] == ' ')
			s = bb_str_skip(s, 1);
		else if (take_number(&s, BB_STR("ttft="), &value) && value < UINT32_MAX)
			found.ttft_ns = value * 1000;
		else if (take_number(&s, BB_STR("itl="), &value) && value < UINT32_MAX)
			found.itl_ns = value * 1000;
		else if (take_number(&s, BB_STR("tokens="), &value) && value < UINT32_MAX)
			found.tokens = (uint32_t)value;
		else
			return; /* not ours: the prompt may well hold other double brackets */
	}
	*h = found;
}

void sim_hints_read(struct bb_str body, struct sim_hints *h)
{
	*h = (struct sim_hints){ UINT64_MAX, UINT64_MAX, UINT32_MAX };
	if (body.len > 4096)
		body.len = 4096;
	for (;;) {
		const ptrdiff_t at = bb_str_find(body, BB_STR("[["));
		if (at < 0)
			return;
		body = bb_str_skip(body, (size_t)at + 2);
		const ptrdiff_t end = bb_str_find(body, BB_STR("]]"));
		if (end < 0)
			return;
		read_hint((struct bb_str){ body.p, (size_t)end }, h);
	}
}
