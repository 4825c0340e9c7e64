#include "wire/zmtp.h"

#include <string.h>

#include "base/log.h"

enum { FLAG_MORE = 1, FLAG_LONG = 2, FLAG_COMMAND = 4, FLAGS_KNOWN = 7 };

#define SIGNATURE_SIZE 10
#define MECHANISM_AT 12
#define MECHANISM_SIZE 20
#define CONTEXT_SIZE_MAX 16 /* of a PING, RFC 37 */

static const struct bb_str socket_names[] = {
#define X(name, peers) [ZMTP_##name] = BB_STR_INIT(#name),
	ZMTP_SOCKETS(X)
#undef X
};
static const struct bb_str socket_peers[] = {
#define X(name, peers) [ZMTP_##name] = BB_STR_INIT(peers),
	ZMTP_SOCKETS(X)
#undef X
};

void zmtp_session_init(struct zmtp_session *s, enum zmtp_socket self, size_t size_max)
{
	*s = (struct zmtp_session){ .self = self, .size_max = size_max };
}

/* ---- reading ---- */

/* Looked at as far as it has come: a peer that speaks something else is found out at its first
 * bytes. */
static int take_greeting(struct zmtp_session *s, struct bb_str in, struct zmtp_event *out)
{
	static const char null_mechanism[MECHANISM_SIZE] = "NULL";
	const uint8_t *p = (const uint8_t *)in.p;

	if ((in.len > 0 && p[0] != 0xff) || (in.len >= SIGNATURE_SIZE && p[9] != 0x7f))
		return -BB_ESYNTAX;
	if (in.len > SIGNATURE_SIZE && p[SIGNATURE_SIZE] < 3)
		return -BB_EINVALID;
	if (in.len < ZMTP_GREETING_SIZE)
		return 0;
	if (memcmp(p + MECHANISM_AT, null_mechanism, MECHANISM_SIZE) != 0)
		return -BB_EINVALID;
	s->peer_minor = p[SIGNATURE_SIZE] > 3 ? UINT8_MAX : p[SIGNATURE_SIZE + 1];
	s->state = ZMTP_HANDSHAKE;
	out->kind = ZMTP_GREETED;
	out->used = ZMTP_GREETING_SIZE;
	return 0;
}

struct frame {
	uint8_t flags;
	struct bb_str body;
	size_t size; /* with its head; 0: not all there yet */
};

static int read_frame(struct bb_str in, size_t body_max, struct frame *f)
{
	const uint8_t *p = (const uint8_t *)in.p;
	uint64_t len = 0;

	f->size = 0;
	if (in.len == 0)
		return 0;
	f->flags = p[0];
	if ((f->flags & ~FLAGS_KNOWN) || ((f->flags & FLAG_COMMAND) && (f->flags & FLAG_MORE)))
		return -BB_ESYNTAX;
	const size_t head = f->flags & FLAG_LONG ? 9 : 2;
	if (in.len < head)
		return 0;
	for (size_t i = 1; i < head; i++)
		len = len << 8 | p[i];
	if (len > body_max)
		return -BB_ELIMIT;
	if (len > in.len - head)
		return 0;
	f->body = (struct bb_str){ in.p + head, (size_t)len };
	f->size = head + (size_t)len;
	return 0;
}

/* Cuts a string with a length byte off the front. */
static bool cut_short(struct bb_str *rest, struct bb_str *out)
{
	if (rest->len == 0 || (uint8_t)rest->p[0] > rest->len - 1)
		return false;
	*out = (struct bb_str){ rest->p + 1, (uint8_t)rest->p[0] };
	*rest = bb_str_skip(*rest, 1 + out->len);
	return true;
}

/* ... and one with four bytes of length. */
static bool cut_long(struct bb_str *rest, struct bb_str *out)
{
	uint32_t len = 0;

	if (rest->len < 4)
		return false;
	for (size_t i = 0; i < 4; i++)
		len = len << 8 | (uint8_t)rest->p[i];
	if (len > rest->len - 4)
		return false;
	*out = (struct bb_str){ rest->p + 4, len };
	*rest = bb_str_skip(*rest, 4 + (size_t)len);
	return true;
}

static bool is_peer_of(enum zmtp_socket self, struct bb_str type)
{
	struct bb_str rest = socket_peers[self];

	while (rest.len)
		if (bb_str_eq(bb_str_cut(&rest, ' '), type))
			return true;
	return false;
}

static int take_ready(struct zmtp_session *s, struct bb_str rest, struct zmtp_event *out)
{
	struct bb_str name, value, type = { 0 };

	while (rest.len) {
		if (!cut_short(&rest, &name) || !cut_long(&rest, &value))
			return -BB_ESYNTAX;
		if (bb_str_eq_nocase(name, BB_STR("Socket-Type")))
			type = value;
	}
	if (!is_peer_of(s->self, type))
		return -BB_EINVALID;
	s->state = ZMTP_OPEN;
	out->kind = ZMTP_OPENED;
	return 0;
}

static void one_part(struct zmtp_event *out, enum zmtp_event_kind kind, struct bb_str part)
{
	out->kind = kind;
	out->part_count = 1;
	out->parts[0] = part;
}

static int take_command(struct zmtp_session *s, struct bb_str body, struct zmtp_event *out)
{
	struct bb_str name;

	if (!cut_short(&body, &name) || name.len == 0)
		return -BB_ESYNTAX;
	if (bb_str_eq(name, BB_STR("ERROR")))
		return -BB_EUPSTREAM;
	if (s->state == ZMTP_HANDSHAKE)
		return bb_str_eq(name, BB_STR("READY")) ? take_ready(s, body, out) : -BB_ESYNTAX;
	out->kind = ZMTP_IGNORED;
	if (bb_str_eq(name, BB_STR("PING"))) {
		if (body.len < 2 || body.len > 2 + CONTEXT_SIZE_MAX)
			return -BB_ESYNTAX;
		one_part(out, ZMTP_PING, bb_str_skip(body, 2));
	} else if (s->self == ZMTP_PUB && bb_str_eq(name, BB_STR("SUBSCRIBE"))) {
		one_part(out, ZMTP_SUBSCRIBE, body);
	} else if (s->self == ZMTP_PUB && bb_str_eq(name, BB_STR("CANCEL"))) {
		one_part(out, ZMTP_CANCEL, body);
	}
	return 0;
}

/* All frames of one message, or nothing as long as one is missing. */
static int take_message(struct zmtp_session *s, struct bb_str in, struct zmtp_event *out)
{
	struct frame f;
	size_t at = 0, size_left = s->size_max;
	uint32_t count = 0;

	do {
		if (count == ZMTP_PARTS_MAX)
			return -BB_ELIMIT;
		int rc = read_frame(bb_str_skip(in, at), size_left, &f);
		if (rc || f.size == 0)
			return rc;
		if (f.flags & FLAG_COMMAND)
			return -BB_ESYNTAX;
		out->parts[count++] = f.body;
		size_left -= f.body.len;
		at += f.size;
	} while (f.flags & FLAG_MORE);
	out->kind = ZMTP_MESSAGE;
	out->part_count = count;
	out->used = at;
	return 0;
}

/* Before ZMTP 3.1 a subscription is a message: a byte 1 or 0, then the prefix. */
static void message_to_subscription(struct zmtp_event *out)
{
	const struct bb_str m = out->parts[0];

	if (out->part_count == 1 && m.len && (uint8_t)m.p[0] <= 1)
		one_part(out, m.p[0] ? ZMTP_SUBSCRIBE : ZMTP_CANCEL, bb_str_skip(m, 1));
	else
		out->kind = ZMTP_IGNORED;
}

int zmtp_session_take(struct zmtp_session *s, struct bb_str in, struct zmtp_event *out)
{
	struct frame f;
	int rc;

	out->kind = ZMTP_NEED;
	out->part_count = 0;
	out->used = 0;
	if (in.len == 0)
		return 0;
	if (s->state == ZMTP_GREETING)
		return take_greeting(s, in, out);
	if ((uint8_t)in.p[0] & FLAG_COMMAND) {
		rc = read_frame(in, s->size_max, &f);
		if (rc || f.size == 0)
			return rc;
		out->used = f.size;
		return take_command(s, f.body, out);
	}
	if (s->state == ZMTP_HANDSHAKE)
		return -BB_ESYNTAX;
	rc = take_message(s, in, out);
	if (!rc && out->kind == ZMTP_MESSAGE && s->self == ZMTP_PUB)
		message_to_subscription(out);
	return rc;
}

/* ---- writing ---- */

void zmtp_add_greeting(struct bb_buf *b)
{
	char g[ZMTP_GREETING_SIZE] = { 0 };

	g[0] = (char)0xff;
	g[8] = 1; /* padding; libzmq puts 1 there, which a ZMTP 1 peer reads as a length */
	g[9] = 0x7f;
	g[SIGNATURE_SIZE] = 3;
	g[SIGNATURE_SIZE + 1] = 1;
	memcpy(g + MECHANISM_AT, "NULL", 4);
	bb_buf_add(b, g, sizeof(g));
}

static void add_head(struct bb_buf *b, uint8_t flags, size_t len)
{
	uint8_t head[ZMTP_HEAD_SIZE_MAX];

	if (len <= UINT8_MAX) {
		head[0] = flags;
		head[1] = (uint8_t)len;
		bb_buf_add(b, head, 2);
		return;
	}
	head[0] = flags | FLAG_LONG;
	for (size_t i = 8; i > 0; i--) {
		head[i] = (uint8_t)len;
		len >>= 8;
	}
	bb_buf_add(b, head, sizeof(head));
}

void zmtp_add_frame(struct bb_buf *b, struct bb_str body, enum zmtp_more more)
{
	add_head(b, more == ZMTP_MORE ? FLAG_MORE : 0, body.len);
	bb_buf_add_str(b, body);
}

static void add_short(struct bb_buf *b, struct bb_str s)
{
	const uint8_t len = (uint8_t)s.len;

	BB_ASSERT(s.len <= UINT8_MAX);
	bb_buf_add(b, &len, 1);
	bb_buf_add_str(b, s);
}

/* A command's head and name; `data_len` bytes are to follow. */
static void add_command(struct bb_buf *b, struct bb_str name, size_t data_len)
{
	add_head(b, FLAG_COMMAND, 1 + name.len + data_len);
	add_short(b, name);
}

static void add_property(struct bb_buf *b, struct bb_str name, struct bb_str value)
{
	const uint8_t len[4] = { 0, 0, (uint8_t)(value.len >> 8), (uint8_t)value.len };

	add_short(b, name);
	bb_buf_add(b, len, sizeof(len));
	bb_buf_add_str(b, value);
}

void zmtp_add_ready(struct bb_buf *b, enum zmtp_socket self)
{
	const struct bb_str type = socket_names[self];
	const struct bb_str type_name = BB_STR("Socket-Type"), identity_name = BB_STR("Identity");
	const bool has_identity = self == ZMTP_ROUTER || self == ZMTP_DEALER;
	size_t len = 1 + type_name.len + 4 + type.len;

	if (has_identity)
		len += 1 + identity_name.len + 4;
	add_command(b, BB_STR("READY"), len);
	add_property(b, type_name, type);
	if (has_identity) /* empty: the peer makes one up */
		add_property(b, identity_name, (struct bb_str){ 0 });
}

static void add_subscription(struct bb_buf *b, const struct zmtp_session *s, struct bb_str command,
			     char first_byte, struct bb_str prefix)
{
	if (s->peer_minor >= 1) {
		add_command(b, command, prefix.len);
	} else {
		add_head(b, 0, 1 + prefix.len);
		bb_buf_add(b, &first_byte, 1);
	}
	bb_buf_add_str(b, prefix);
}

void zmtp_add_subscribe(struct bb_buf *b, const struct zmtp_session *s, struct bb_str prefix)
{
	add_subscription(b, s, BB_STR("SUBSCRIBE"), 1, prefix);
}

void zmtp_add_cancel(struct bb_buf *b, const struct zmtp_session *s, struct bb_str prefix)
{
	add_subscription(b, s, BB_STR("CANCEL"), 0, prefix);
}

void zmtp_add_ping(struct bb_buf *b, uint16_t ttl_ds, struct bb_str context)
{
	const uint8_t ttl[2] = { (uint8_t)(ttl_ds >> 8), (uint8_t)ttl_ds };

	BB_ASSERT(context.len <= CONTEXT_SIZE_MAX);
	add_command(b, BB_STR("PING"), sizeof(ttl) + context.len);
	bb_buf_add(b, ttl, sizeof(ttl));
	bb_buf_add_str(b, context);
}

void zmtp_add_pong(struct bb_buf *b, struct bb_str context)
{
	add_command(b, BB_STR("PONG"), context.len);
	bb_buf_add_str(b, context);
}

/* ---- sequence numbers ---- */

void zmtp_sequence_put(uint64_t sequence, char out[8])
{
	for (int i = 7; i >= 0; i--) {
		out[i] = (char)sequence;
		sequence >>= 8;
	}
}

int zmtp_sequence_get(struct bb_str part, uint64_t *out)
{
	uint64_t v = 0;

	if (part.len != 8)
		return -BB_EINVALID;
	for (size_t i = 0; i < 8; i++)
		v = v << 8 | (uint8_t)part.p[i];
	*out = v;
	return 0;
}
