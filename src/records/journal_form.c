#include "records/journal_form.h"

#include "base/hash.h"
#include "brain/pack.h"

#define MAGIC "busbarJ\1"
#define MAGIC_SIZE 8
#define FRAME_HEAD 16

static void put_le(uint8_t *out, uint64_t v, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		out[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get_le(const char *p, unsigned size)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)(uint8_t)p[i] << 8 * i;
	return v;
}

static uint64_t check_of(uint32_t number, struct bb_str payload)
{
	return bb_hash(payload.p, payload.len, (uint64_t)number << 32 | payload.len);
}

void journal_frame_head(uint8_t out[16], uint32_t number, struct bb_str payload)
{
	put_le(out, payload.len, 4);
	put_le(out + 4, number, 4);
	put_le(out + 8, check_of(number, payload), 8);
}

static void pack_head(struct pack *k, struct journal_head *h)
{
	uint64_t wall = (uint64_t)h->wall_ns;

	pack_u64(k, &h->version);
	if (h->version != JOURNAL_VERSION)
		return; /* what follows may be anything */
	pack_fixed(k, &h->process);
	pack_u64(k, &h->file);
	pack_fixed(k, &wall);
	h->wall_ns = (int64_t)wall;
	pack_str(k, &h->build);
	pack_str(k, &h->commit);
	pack_str(k, &h->variant);
}

int journal_write_head(struct bb_buf *out, const struct journal_head *head)
{
	struct journal_head h = *head;
	struct bb_buf payload;
	uint8_t frame[FRAME_HEAD];

	bb_buf_init(&payload, 4096);
	struct pack k = { .way = PACK_WRITE, .out = &payload };
	pack_head(&k, &h);
	if (!k.err) {
		journal_frame_head(frame, 0, bb_buf_str(&payload));
		bb_buf_add(out, MAGIC, MAGIC_SIZE);
		bb_buf_add(out, frame, sizeof(frame));
		bb_buf_add_str(out, bb_buf_str(&payload));
	}
	bb_buf_fini(&payload);
	return k.err ? k.err : out->err;
}

int journal_add_event(struct bb_buf *out, struct bb_str event)
{
	uint8_t head[JOURNAL_EVENT_HEAD_MAX];
	size_t n = 0;

	if (bb_buf_reserve(out, sizeof(head) + event.len)) /* all of it, or nothing */
		return -BB_ELIMIT;
	for (uint64_t len = event.len; len > 0x7f; len >>= 7)
		head[n++] = (uint8_t)(len | 0x80);
	head[n] = (uint8_t)(event.len >> 7 * n);
	bb_buf_add(out, head, n + 1);
	return bb_buf_add_str(out, event);
}

bool journal_next_event(struct bb_str *rest, struct bb_str *event)
{
	uint64_t len = 0;
	size_t n = 0;

	for (unsigned shift = 0; shift < 35; shift += 7) {
		if (n == rest->len)
			return false;
		const uint8_t byte = (uint8_t)rest->p[n++];
		len |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		if (len > rest->len - n)
			return false;
		*event = (struct bb_str){ rest->p + n, len };
		*rest = bb_str_skip(*rest, n + len);
		return true;
	}
	return false;
}

/* ---- reading ---- */

static enum journal_step bad(struct journal_reader *r, const char *why)
{
	r->why = why;
	return JOURNAL_BAD;
}

/* The next frame's payload; EVENT: there is one. */
static enum journal_step next_frame(struct journal_reader *r, struct bb_str *payload)
{
	const struct bb_str rest = bb_str_skip(r->bytes, r->next);

	r->at = r->next;
	if (rest.len == 0)
		return JOURNAL_END;
	if (rest.len < FRAME_HEAD)
		return JOURNAL_CUT_OFF;
	const uint64_t len = get_le(rest.p, 4), number = get_le(rest.p + 4, 4);
	if (len > JOURNAL_PAYLOAD_MAX)
		return bad(r, "a frame that is longer than any can be");
	if (number != r->number)
		return bad(r, "a frame that is not the next one");
	if (len > rest.len - FRAME_HEAD)
		return JOURNAL_CUT_OFF;
	*payload = (struct bb_str){ rest.p + FRAME_HEAD, len };
	if (check_of(r->number, *payload) != get_le(rest.p + 8, 8))
		return bad(r, "a frame whose check sum is wrong: bytes were changed");
	r->next += FRAME_HEAD + len;
	r->number++;
	return JOURNAL_EVENT;
}

bool journal_is_one(struct bb_str bytes)
{
	return bb_str_starts(bytes, (struct bb_str){ MAGIC, MAGIC_SIZE });
}

int journal_open(struct journal_reader *r, struct bb_str bytes)
{
	struct bb_str payload;

	const struct bb_str magic = { MAGIC, MAGIC_SIZE };

	*r = (struct journal_reader){ .bytes = bytes, .next = MAGIC_SIZE };
	r->is_cut_off = bytes.len < MAGIC_SIZE && bb_str_starts(magic, bytes);
	if (!r->is_cut_off && !journal_is_one(bytes)) {
		r->why = "this is no journal of busbar";
		return -BB_ESYNTAX;
	}
	const enum journal_step s = r->is_cut_off ? JOURNAL_CUT_OFF : next_frame(r, &payload);
	if (s != JOURNAL_EVENT) {
		r->is_cut_off = s != JOURNAL_BAD;
		if (r->is_cut_off)
			r->why = "the file ends within its head";
		return -BB_ESYNTAX;
	}
	struct pack k = { .way = PACK_READ,
			  .p = (const uint8_t *)payload.p,
			  .end = (const uint8_t *)payload.p + payload.len };
	pack_head(&k, &r->head);
	if (!k.err && r->head.version == JOURNAL_VERSION)
		return 0;
	r->why = k.err ? "a head that is malformed" : "the format of another version of busbar";
	return -BB_ESYNTAX;
}

enum journal_step journal_read(struct journal_reader *r, struct bb_str *event)
{
	while (r->events.len == 0) {
		const enum journal_step s = next_frame(r, &r->events);
		if (s != JOURNAL_EVENT)
			return s;
	}
	if (journal_next_event(&r->events, event))
		return JOURNAL_EVENT;
	return bad(r, "a frame whose events do not fill it");
}
