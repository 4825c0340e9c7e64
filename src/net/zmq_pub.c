#include "net/zmq_pub.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"
#include "net/zmq_conn.h"
#include "os/clock.h"

#define BATCHES_MAX 10000
#define BYTES_MAX ((size_t)64 << 20)
#define PEERS_MAX 256
#define PING_NS (15 * OS_SECOND)
#define BACKLOG 64
#define INBOUND_SIZE_MAX 4096 /* subscriptions, replay requests, READY */
#define DELIMITER_SIZE 2      /* the empty frame in front of a ROUTER's answer */

/* A batch as it goes over the wire: the delimiter (for replays), topic, sequence, payload. */
struct batch {
	uint32_t refs; /* the kept batches' own, and one for each peer that is sending it */
	size_t len;
	char bytes[];
};

struct peer {
	struct bb_list link;
	struct zmq_pub *pub;
	struct zmq_conn conn;
	uint64_t next;	/* the sequence it gets next */
	uint64_t until; /* replay: one past the last */
	struct batch *current;
	size_t current_at;
	/* The prefixes subscribed to that cover the topic: they differ only in their length. */
	uint64_t prefixes[(ZMQ_TOPIC_SIZE_MAX + 1) / 64];
	bool is_replaying;
};

struct listener {
	struct loop_fd watch; /* fd −1: none */
	struct zmq_pub *pub;
	struct sock_addr addr;
	enum zmtp_socket kind;
};

struct zmq_pub {
	struct loop *loop;
	struct listener live;
	struct listener replay;
	struct loop_timer tick;
	uint64_t ping_ns;
	struct bb_list peers;
	uint32_t peer_count;
	uint32_t peers_max;
	/* Kept: [first, next), each at sequence % batches_max; NULL where one could not be kept. */
	struct batch **batches;
	uint32_t batches_max;
	size_t bytes;
	size_t bytes_max;
	uint64_t first;
	uint64_t next;
	uint64_t missed_count;
	size_t topic_len;
	char topic[ZMQ_TOPIC_SIZE_MAX];
};

int zmq_endpoint_parse(struct bb_str text, struct sock_addr *out, const char **why)
{
	char room[128];
	struct bb_str at;

	if (bb_str_starts(text, BB_STR("ipc://"))) {
		at = bb_str_skip(text, 6);
	} else if (bb_str_starts(text, BB_STR("tcp://"))) {
		at = bb_str_skip(text, 6);
		if (!bb_str_starts(at, BB_STR("*:")))
			return sock_addr_parse(at, out, why);
		at = bb_str_skip(at, 1);
	} else {
		*why = "a ZeroMQ endpoint is tcp://HOST:PORT or ipc://PATH";
		return -BB_EINVALID;
	}
	const struct bb_str front = text.p[0] == 'i' ? BB_STR("unix:") : BB_STR("0.0.0.0");
	if (front.len + at.len > sizeof(room)) {
		*why = "the endpoint is too long";
		return -BB_EINVALID;
	}
	memcpy(room, front.p, front.len);
	memcpy(room + front.len, at.p, at.len);
	return sock_addr_parse((struct bb_str){ room, front.len + at.len }, out, why);
}

/* ---- kept batches ---- */

static struct batch **slot(const struct zmq_pub *pub, uint64_t sequence)
{
	return &pub->batches[sequence % pub->batches_max];
}

static void batch_put(struct batch *b)
{
	if (b && --b->refs == 0)
		bb_free(b);
}

static void drop_first(struct zmq_pub *pub)
{
	struct batch **b = slot(pub, pub->first++);

	if (*b)
		pub->bytes -= (*b)->len;
	batch_put(*b);
	*b = NULL;
}

static int batch_make(struct zmq_pub *pub, struct bb_str payload, struct batch **out)
{
	char sequence[8];
	const size_t size = DELIMITER_SIZE + 3 * ZMTP_HEAD_SIZE_MAX + pub->topic_len +
			    sizeof(sequence) + payload.len;

	if (payload.len > pub->bytes_max || size > pub->bytes_max)
		return -BB_ELIMIT;
	struct batch *b = bb_alloc(sizeof(*b) + size);
	if (!b)
		return -BB_ENOMEM;
	struct bb_buf wire = { .p = b->bytes, .cap = size, .max = size };
	zmtp_sequence_put(pub->next, sequence);
	zmtp_add_frame(&wire, (struct bb_str){ 0 }, ZMTP_MORE);
	zmtp_add_frame(&wire, (struct bb_str){ pub->topic, pub->topic_len }, ZMTP_MORE);
	zmtp_add_frame(&wire, (struct bb_str){ sequence, sizeof(sequence) }, ZMTP_MORE);
	zmtp_add_frame(&wire, payload, ZMTP_LAST);
	BB_ASSERT(!wire.err && wire.p == b->bytes);
	b->refs = 1;
	b->len = wire.len;
	*out = b;
	return 0;
}

/* ---- peers ---- */

static bool is_subscribed(const struct peer *p)
{
	uint64_t any = 0;

	for (size_t i = 0; i < sizeof(p->prefixes) / sizeof(p->prefixes[0]); i++)
		any |= p->prefixes[i];
	return any != 0;
}

static void peer_close(struct peer *p)
{
	zmq_conn_close(&p->conn);
	batch_put(p->current);
	bb_list_remove(&p->link);
	p->pub->peer_count--;
	bb_free(p);
}

static void peer_subscribe(struct peer *p, struct bb_str prefix, enum zmtp_event_kind kind)
{
	const struct bb_str topic = { p->pub->topic, p->pub->topic_len };
	const bool was_subscribed = is_subscribed(p);

	if (!bb_str_starts(topic, prefix))
		return;
	const uint64_t bit = 1ull << prefix.len % 64;
	if (kind == ZMTP_SUBSCRIBE)
		p->prefixes[prefix.len / 64] |= bit;
	else
		p->prefixes[prefix.len / 64] &= ~bit;
	if (!was_subscribed)
		p->next = p->pub->next; /* what was published before is for the replay */
}

static int peer_request(struct peer *p, const struct zmtp_event *e)
{
	uint64_t start;

	if (e->part_count != 2 || e->parts[0].len || zmtp_sequence_get(e->parts[1], &start))
		return -BB_EINVALID;
	p->next = start;
	p->until = p->pub->next;
	p->is_replaying = true;
	return 0;
}

/* Takes what has come. While a replay is under way its peer's further requests stay unread. */
static int peer_read(struct peer *p)
{
	struct zmtp_event e;

	while (!p->is_replaying) {
		int rc = zmq_conn_next(&p->conn, &e);
		if (!rc && (e.kind == ZMTP_SUBSCRIBE || e.kind == ZMTP_CANCEL))
			peer_subscribe(p, e.parts[0], e.kind);
		else if (!rc && e.kind == ZMTP_MESSAGE)
			rc = peer_request(p, &e);
		if (rc)
			return rc;
		if (e.kind != ZMTP_NEED)
			continue;
		const enum io io = zmq_conn_fill(&p->conn);
		if (io != IO_DONE)
			return io == IO_AGAIN ? 0 : -BB_ECONNECT;
	}
	return 0;
}

static void add_end_of_replay(struct bb_buf *b)
{
	char end[8];

	zmtp_sequence_put(ZMTP_SEQUENCE_END, end);
	zmtp_add_frame(b, (struct bb_str){ 0 }, ZMTP_MORE);
	zmtp_add_frame(b, (struct bb_str){ 0 }, ZMTP_MORE);
	zmtp_add_frame(b, (struct bb_str){ end, sizeof(end) }, ZMTP_MORE);
	zmtp_add_frame(b, (struct bb_str){ 0 }, ZMTP_LAST);
}

/* Makes the next batch that this peer is to have its current one. */
static bool peer_advance(struct peer *p)
{
	struct zmq_pub *pub = p->pub;
	const bool is_live = p->conn.session.self == ZMTP_PUB;
	const uint64_t until = is_live ? pub->next : p->until;

	if (is_live ? !is_subscribed(p) : !p->is_replaying)
		return false;
	if (p->next < pub->first) {
		if (is_live)
			pub->missed_count += pub->first - p->next;
		p->next = pub->first;
	}
	while (p->next < until && !*slot(pub, p->next))
		p->next++;
	if (p->next >= until)
		return false;
	p->current = *slot(pub, p->next++);
	p->current->refs++;
	p->current_at = is_live ? DELIMITER_SIZE : 0;
	return true;
}

static enum io peer_write_current(struct peer *p)
{
	size_t put;

	while (p->current_at < p->current->len) {
		const enum io io = zmq_conn_write(&p->conn, p->current->bytes + p->current_at,
						  p->current->len - p->current_at, &put);
		if (io != IO_DONE)
			return io;
		p->current_at += put;
	}
	batch_put(p->current);
	p->current = NULL;
	return IO_DONE;
}

/* IO_DONE: it has everything there is for it. Commands go between messages, never into one. */
static enum io peer_write(struct peer *p)
{
	enum io io;

	for (;;) {
		if (p->current) {
			io = peer_write_current(p);
			if (io != IO_DONE)
				return io;
		}
		io = zmq_conn_flush(&p->conn);
		if (io != IO_DONE)
			return io;
		if (peer_advance(p))
			continue;
		if (!p->is_replaying)
			return IO_DONE;
		p->is_replaying = false;
		add_end_of_replay(&p->conn.out);
		if (p->conn.out.err)
			return IO_ERROR;
	}
}

static int peer_push(struct peer *p)
{
	const enum io io = peer_write(p);

	return io == IO_DONE || io == IO_AGAIN ? 0 : -BB_ECONNECT;
}

static void peer_fail(struct peer *p, int err)
{
	(void)BB_CHECK(err == -BB_ECONNECT || err == -BB_ENOMEM,
		       "a ZeroMQ peer broke the protocol");
	peer_close(p);
}

/* Reads and writes as far as both go; the peer may be gone afterwards. */
static void peer_run(struct peer *p)
{
	bool is_waiting; /* requests behind a replay were left unread */

	do {
		int rc = peer_read(p);
		is_waiting = p->is_replaying;
		if (!rc)
			rc = peer_push(p);
		if (rc) {
			peer_fail(p, rc);
			return;
		}
	} while (is_waiting && !p->is_replaying);
}

static void on_peer_ready(struct zmq_conn *c, unsigned events)
{
	struct peer *p = BB_CONTAINER(c, struct peer, conn);

	if (events & LOOP_BROKEN)
		peer_close(p);
	else
		peer_run(p);
}

static void peer_accept(struct listener *l, int fd)
{
	struct zmq_pub *pub = l->pub;
	struct peer *p = pub->peer_count < pub->peers_max ? bb_alloc_zero(1, sizeof(*p)) : NULL;

	if (!p) {
		BB_LOG(BB_LOG_WARN, "zmq_peer_refused", "%u ZeroMQ peers are connected already",
		       pub->peer_count);
		sock_close_hard(fd);
		return;
	}
	p->pub = pub;
	zmq_conn_init(&p->conn, pub->loop, on_peer_ready);
	if (zmq_conn_open(&p->conn, fd, l->kind, INBOUND_SIZE_MAX)) {
		bb_free(p);
		return;
	}
	bb_list_append(&pub->peers, &p->link);
	pub->peer_count++;
}

static void accept_all(struct listener *l)
{
	struct sock_addr from;

	while (l->watch.fd >= 0) {
		const int fd = sock_accept(l->watch.fd, &from);
		if (fd >= 0)
			peer_accept(l, fd);
		else if (errno != EINTR && errno != ECONNABORTED)
			break; /* none left, or no descriptors left: the tick tries again */
	}
}

static void on_listener(struct loop_fd *w, unsigned events)
{
	accept_all(BB_CONTAINER(w, struct listener, watch));
}

static void on_tick(struct loop_timer *t)
{
	struct zmq_pub *pub = BB_CONTAINER(t, struct zmq_pub, tick);

	accept_all(&pub->live);
	accept_all(&pub->replay);
	BB_LIST_EACH (it, safe, &pub->peers) {
		struct peer *p = BB_CONTAINER(it, struct peer, link);
		if (zmq_conn_tick(&p->conn))
			peer_close(p);
		else
			peer_run(p);
	}
	loop_timer_arm(t, loop_now_ns(pub->loop) + pub->ping_ns);
}

/* ---- the publisher ---- */

static int listener_open(struct listener *l, const struct sock_addr *addr, const char **why)
{
	const int fd = sock_listen(addr, SOCK_EXCLUSIVE, BACKLOG, why);

	if (fd < 0)
		return fd;
	l->watch = (struct loop_fd){ .fd = fd, .on_event = on_listener };
	int rc = sock_local_addr(fd, &l->addr);
	if (!rc)
		rc = loop_fd_add(l->pub->loop, &l->watch);
	if (rc) {
		*why = "the listening socket cannot be watched";
		sock_close(fd);
		l->watch.fd = -1;
	}
	return rc;
}

static void listener_close(struct listener *l)
{
	if (l->watch.fd < 0)
		return;
	loop_fd_del(l->pub->loop, &l->watch);
	sock_close(l->watch.fd);
	l->watch.fd = -1;
}

int zmq_pub_create(const struct zmq_pub_config *config, struct zmq_pub **out, const char **why)
{
	if (config->topic.len > ZMQ_TOPIC_SIZE_MAX) {
		*why = "a topic has at most 255 bytes";
		return -BB_EINVALID;
	}
	*why = "there is no memory for the publisher";
	struct zmq_pub *pub = bb_alloc_zero(1, sizeof(*pub));
	if (!pub)
		return -BB_ENOMEM;
	pub->loop = config->loop;
	pub->live = (struct listener){ .watch.fd = -1, .pub = pub, .kind = ZMTP_PUB };
	pub->replay = (struct listener){ .watch.fd = -1, .pub = pub, .kind = ZMTP_ROUTER };
	pub->ping_ns = config->ping_ns ? config->ping_ns : PING_NS;
	bb_list_init(&pub->peers);
	pub->peers_max = config->peers_max ? config->peers_max : PEERS_MAX;
	pub->batches_max = config->batches_max ? config->batches_max : BATCHES_MAX;
	pub->bytes_max = config->bytes_max ? config->bytes_max : BYTES_MAX;
	pub->topic_len = config->topic.len;
	if (pub->topic_len)
		memcpy(pub->topic, config->topic.p, pub->topic_len);
	int rc = -BB_ENOMEM;
	pub->batches = bb_alloc_zero(pub->batches_max, sizeof(struct batch *));
	if (!pub->batches)
		goto fail_pub;
	rc = loop_timer_init(pub->loop, &pub->tick, on_tick);
	if (rc)
		goto fail_batches;
	rc = listener_open(&pub->live, &config->listen, why);
	if (rc)
		goto fail_timer;
	if (config->replay)
		rc = listener_open(&pub->replay, config->replay, why);
	if (rc)
		goto fail_live;
	loop_timer_arm(&pub->tick, loop_now_ns(pub->loop) + pub->ping_ns);
	*out = pub;
	return 0;

fail_live:
	listener_close(&pub->live);
fail_timer:
	loop_timer_fini(&pub->tick);
fail_batches:
	bb_free(pub->batches);
fail_pub:
	bb_free(pub);
	return rc;
}

void zmq_pub_destroy(struct zmq_pub *pub)
{
	if (!pub)
		return;
	BB_LIST_EACH (it, safe, &pub->peers)
		peer_close(BB_CONTAINER(it, struct peer, link));
	listener_close(&pub->live);
	listener_close(&pub->replay);
	loop_timer_fini(&pub->tick);
	while (pub->first < pub->next)
		drop_first(pub);
	bb_free(pub->batches);
	bb_free(pub);
}

/* `b` NULL: nothing is kept under that number. */
static void batch_keep(struct zmq_pub *pub, struct batch *b)
{
	if (pub->next - pub->first == pub->batches_max)
		drop_first(pub);
	while (b && b->len > pub->bytes_max - pub->bytes)
		drop_first(pub);
	*slot(pub, pub->next++) = b;
	pub->bytes += b ? b->len : 0;
}

int zmq_pub_send(struct zmq_pub *pub, struct bb_str payload)
{
	struct batch *b = NULL;
	const int rc = batch_make(pub, payload, &b);

	batch_keep(pub, b);
	if (rc)
		return rc;
	BB_LIST_EACH (it, safe, &pub->peers) {
		struct peer *p = BB_CONTAINER(it, struct peer, link);
		if (is_subscribed(p) && !p->conn.is_blocked && peer_push(p))
			peer_fail(p, -BB_ECONNECT);
	}
	return 0;
}

int zmq_pub_send_lost(struct zmq_pub *pub, struct bb_str payload)
{
	struct batch *b = NULL;
	const int rc = batch_make(pub, payload, &b);

	batch_keep(pub, b);
	BB_LIST_EACH (it, safe, &pub->peers) {
		struct peer *p = BB_CONTAINER(it, struct peer, link);
		if (p->conn.session.self == ZMTP_PUB && p->next + 1 == pub->next)
			p->next = pub->next;
	}
	return rc;
}

void zmq_pub_skip(struct zmq_pub *pub)
{
	batch_keep(pub, NULL);
}

static uint16_t port_of(const struct listener *l)
{
	char text[SOCK_TEXT_SIZE];
	uint64_t port = 0;

	if (l->watch.fd < 0)
		return 0;
	sock_addr_text(&l->addr, text);
	struct bb_str rest = bb_str_of(text), part = rest;
	while (rest.len)
		part = bb_str_cut(&rest, ':');
	return bb_parse_u64(part, &port) == 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
}

const struct sock_addr *zmq_pub_addr(const struct zmq_pub *pub)
{
	return &pub->live.addr;
}

const struct sock_addr *zmq_pub_replay_addr(const struct zmq_pub *pub)
{
	return pub->replay.watch.fd < 0 ? NULL : &pub->replay.addr;
}

uint16_t zmq_pub_port(const struct zmq_pub *pub)
{
	return port_of(&pub->live);
}

uint16_t zmq_pub_replay_port(const struct zmq_pub *pub)
{
	return port_of(&pub->replay);
}

uint64_t zmq_pub_sequence(const struct zmq_pub *pub)
{
	return pub->next;
}

uint32_t zmq_pub_subscriber_count(const struct zmq_pub *pub)
{
	uint32_t count = 0;

	BB_LIST_EACH (it, safe, &pub->peers)
		count += is_subscribed(BB_CONTAINER(it, struct peer, link)) ? 1 : 0;
	return count;
}

uint64_t zmq_pub_missed_count(const struct zmq_pub *pub)
{
	return pub->missed_count;
}
