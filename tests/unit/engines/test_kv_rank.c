/*
 * Goal: a rank's reader applies what a publisher on a real socket sends, in bundles, and lives
 * with garbage, silence, restarts and want of memory; lag, bundles and budget are counted right.
 */
#include "unit.h"

#include <math.h>

#include "base/alloc.h"
#include "engines/kv_changes.h"
#include "engines/kv_lag.h"
#include "engines/kv_poll.h"
#include "engines/kv_rank.h"
#include "engines/load_push.h"
#include "net/zmq_pub.h"
#include "os/clock.h"
#include "wire/kv_events.h"
#include "wire/load_stat.h"

#define PATIENCE_NS (20 * OS_SECOND)
#define BLOCK 16

static struct loop *loop;

#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		const uint64_t until_ns = clock_now_ns() + PATIENCE_NS;                            \
		while (!(condition)) {                                                             \
			loop_turn(loop, OS_MS);                                                    \
			if (clock_now_ns() > until_ns)                                             \
				fail_msg("never came: %s", #condition);                            \
		}                                                                                  \
	} while (0)

static int setup(void **state)
{
	return loop_create(&loop);
}

static int teardown(void **state)
{
	loop_destroy(loop);
	return 0;
}

/* ---- the small parts ---- */

static void lag(void **state)
{
	struct kv_lag l = { 0 };

	assert_true(kv_lag_median(&l) == 0 && kv_lag_max(&l) == 0);
	for (int i = 0; i < 100; i++) /* their clock is 1000 s ahead */
		kv_lag_add(&l, OS_SECOND, 2000, 1000 + (i == 50 ? 3 : i % 2 ? 0.5 : 0.25));
	assert_true(fabs(kv_lag_median(&l) - 0.25) < 1e-6 || kv_lag_median(&l) == 0);
	assert_true(fabs(kv_lag_max(&l) - 2.75) < 1e-6);
	kv_lag_add(&l, OS_SECOND, NAN, 1000);
	kv_lag_add(&l, OS_SECOND, INFINITY, 1000);
	assert_int_equal(l.count, 100);
	/* Clocks drift: after two windows the old least is forgotten. */
	for (int minute = 1; minute < 20; minute++)
		kv_lag_add(&l, (uint64_t)minute * 60 * OS_SECOND, 2000, 1100);
	assert_true(fabs(l.samples[(l.count - 1) % KV_LAG_SAMPLES]) < 1e-6);
}

struct taken {
	uint32_t calls, changes, hashes, clears;
	uint64_t sum;
};

static void on_bundle(void *user, const struct kv_change *list, uint32_t count)
{
	struct taken *t = user;

	t->calls++;
	t->changes += count;
	for (uint32_t i = 0; i < count; i++) {
		t->clears += list[i].kind == KV_CHANGE_CLEAR;
		for (uint32_t k = 0; k < list[i].count; k++) {
			t->sum += list[i].hashes[k];
			t->hashes++;
		}
	}
}

static void bundles(void **state)
{
	static struct kv_changes c;
	uint64_t hashes[KV_CHANGE_MAX];
	struct taken t = { 0 };
	uint64_t sum = 0;

	kv_changes_init(&c, on_bundle, &t);
	for (uint32_t i = 0; i < KV_CHANGE_MAX; i++)
		hashes[i] = i;
	for (uint32_t i = 0; i < 5000; i++) {
		const struct kv_change change = { KV_CHANGE_STORE, INDEX_DEVICE, i, hashes,
						  i % KV_CHANGE_MAX + 1 };
		kv_changes_add(&c, &change);
		sum += (uint64_t)change.count * (change.count - 1) / 2;
	}
	kv_changes_flush(&c);
	assert_int_equal(t.changes, 5000);
	assert_int_equal(t.sum, sum);
	assert_int_equal(t.hashes, c.told);
	assert_true(t.hashes / t.calls > 400);
	kv_changes_flush(&c);
	/* What comes before a CLEAR need not be told. */
	const struct kv_change store = { KV_CHANGE_STORE, INDEX_DEVICE, 0, hashes, 9 };
	const struct kv_change clear = { .kind = KV_CHANGE_CLEAR };
	t = (struct taken){ 0 };
	kv_changes_add(&c, &store);
	kv_changes_add(&c, &clear);
	kv_changes_add(&c, &store);
	kv_changes_flush(&c);
	assert_int_equal(t.calls, 1);
	assert_int_equal(t.changes, 2);
	assert_int_equal(t.clears, 1);
}

static void budget(void **state)
{
	uint32_t feeds = 1;
	struct kv_budget b = { .feeds = &feeds };
	uint64_t now_ns = 5 * OS_SECOND, spent = 0;

	assert_int_equal(kv_budget_limit_ns(&b), KV_BUDGET_OWN_NS);
	while (kv_budget_spend(&b, now_ns, OS_MS))
		spent += OS_MS;
	assert_in_range(spent, KV_BUDGET_OWN_NS - 2 * OS_MS, KV_BUDGET_OWN_NS);
	assert_int_equal(b.throttled, 1);
	assert_false(kv_budget_spend(&b, now_ns + KV_BUDGET_WINDOW_NS / 2, 0));
	assert_int_equal(b.throttled, 1);
	assert_true(kv_budget_spend(&b, now_ns + KV_BUDGET_WINDOW_NS, OS_MS));
	feeds = 100;
	assert_int_equal(kv_budget_limit_ns(&b), KV_BUDGET_SHARE_NS / 100);
	feeds = 1000000;
	assert_int_equal(kv_budget_limit_ns(&b), KV_BUDGET_LEAST_NS);
	feeds = 0;
	assert_int_equal(kv_budget_limit_ns(&b), KV_BUDGET_OWN_NS);
}

static void poll_numbers(void **state)
{
	struct kv_poll_answer a;

	assert_int_equal(kv_poll_look(BB_STR("[]"), &a), 0);
	assert_int_equal(a.count, 0);
	assert_int_equal(
		kv_poll_look(BB_STR("[{\"event_id\":7,\"data\":{}},{\"event_id\":8}]"), &a), 0);
	assert_int_equal(a.count, 2);
	assert_int_equal(a.first, 7);
	assert_int_equal(a.last, 8);
	assert_int_equal(a.holes, 0);
	/* Another rank has numbers of its own. */
	assert_int_equal(
		kv_poll_look(BB_STR("[{\"event_id\":7},{\"event_id\":90,"
				    "\"attention_dp_rank\":1},{\"event_id\":9,"
				    "\"attention_dp_rank\":0},{\"x\":1},{\"event_id\":-1}]"),
			     &a),
		0);
	assert_int_equal(a.count, 2);
	assert_int_equal(a.holes, 1);
	assert_int_equal(kv_poll_look(BB_STR("{}"), &a), -BB_ESYNTAX);
	assert_int_equal(kv_poll_look(BB_STR("[{"), &a), -BB_ESYNTAX);
}

/* ---- a publisher and a reader ---- */

struct world {
	struct zmq_pub *pub;
	struct kv_rank *rank;
	struct kv_source source;
	struct kv_budget budget;
	uint32_t feeds;
	struct taken taken;
	enum kv_mode mode;
	char why[KV_WHY_SIZE];
	uint32_t modes;
	uint64_t next; /* block to store */
};

static void on_changes(void *user, uint32_t rank, const struct kv_change *list, uint32_t count)
{
	struct world *w = user;

	assert_int_equal(rank, 3);
	assert_int_equal(w->mode, KV_EXACT); /* told before the first change */
	on_bundle(&w->taken, list, count);
}

static void on_mode(void *user, uint32_t rank, enum kv_mode mode, const char *why)
{
	struct world *w = user;

	w->mode = mode;
	w->modes++;
	bb_text_copy(w->why, sizeof(w->why), why);
}

enum replays { WITH_REPLAY, WITHOUT_REPLAY };

static void publish_from(struct world *w, const struct sock_addr *live,
			 const struct sock_addr *replay)
{
	const char *why = "";
	struct zmq_pub_config c = { .loop = loop, .listen = *live, .replay = replay };

	assert_int_equal(zmq_pub_create(&c, &w->pub, &why), 0);
	w->source.live = *zmq_pub_addr(w->pub);
	if (replay)
		w->source.replay = *zmq_pub_replay_addr(w->pub);
	w->source.has_replay = replay != NULL;
}

static struct kv_rank_config rank_config(struct world *w)
{
	return (struct kv_rank_config){
		.loop = loop,
		.name = "http://engine",
		.rank = 3,
		.source = &w->source,
		.topic = "",
		.mirror_bytes = 4 << 20,
		.block_tokens = BLOCK,
		.secret = 7,
		.budget = &w->budget,
		.user = w,
		.on_changes = on_changes,
		.on_mode = on_mode,
	};
}

static void world_open(struct world *w, enum replays replays)
{
	struct sock_addr any;
	const char *why;

	*w = (struct world){ .feeds = 1 };
	w->budget.feeds = &w->feeds;
	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:0"), &any, &why), 0);
	publish_from(w, &any, replays == WITH_REPLAY ? &any : NULL);
	const struct kv_rank_config c = rank_config(w);
	assert_int_equal(kv_rank_create(&c, &w->rank), 0);
}

static void world_close(struct world *w)
{
	kv_rank_destroy(w->rank);
	zmq_pub_destroy(w->pub);
}

/* A batch with one chain of so many blocks. */
static void store(struct world *w, uint32_t count, struct bb_buf *out)
{
	static uint32_t tokens[64 * BLOCK];
	static uint64_t hashes[64];
	struct kv_encoder e;

	assert_true(count <= 64);
	for (uint32_t i = 0; i < count; i++)
		hashes[i] = 1000 + ++w->next * 8;
	for (uint32_t i = 0; i < count * BLOCK; i++)
		tokens[i] = (uint32_t)(w->next * 131 + i);
	const struct kv_store s = { .hashes = hashes,
				    .hash_count = count,
				    .block_size = BLOCK,
				    .tokens = tokens,
				    .medium = BB_STR("GPU") };
	bb_buf_init(out, 1 << 20);
	kv_batch_begin(&e, out, (double)clock_wall_ns() / 1e9);
	kv_add_stored(&e, &s);
	assert_int_equal(kv_batch_end(&e, 0), 0);
}

static void publish(struct world *w, uint32_t blocks)
{
	struct bb_buf b;

	store(w, blocks, &b);
	assert_int_equal(zmq_pub_send(w->pub, bb_buf_str(&b)), 0);
	bb_buf_fini(&b);
}

static struct kv_figures figures(const struct world *w)
{
	struct kv_figures f = { 0 };

	kv_rank_figures(w->rank, &f);
	return f;
}

static void follows(void **state)
{
	struct world w;

	world_open(&w, WITH_REPLAY);
	for (int i = 0; i < 300; i++)
		publish(&w, 4);
	UNTIL(figures(&w).batches == 300);
	UNTIL(w.taken.hashes == 1200);
	assert_int_equal(w.mode, KV_EXACT);
	assert_int_equal(figures(&w).blocks, 1200);
	assert_int_equal(figures(&w).told_blocks, 1200);
	assert_int_equal(figures(&w).block_tokens, BLOCK);
	/* Not a call for each block, even where each turn is short. */
	assert_true(w.taken.calls < 200);
	publish(&w, 4);
	UNTIL(w.taken.hashes == 1204);
	assert_int_equal(figures(&w).gaps + figures(&w).odd + figures(&w).restarts, 0);
	world_close(&w);
}

static void lost_ones_come_again(void **state)
{
	struct world w;
	struct bb_buf b;

	world_open(&w, WITH_REPLAY);
	publish(&w, 1);
	UNTIL(figures(&w).batches == 1 && zmq_pub_subscriber_count(w.pub) == 1);
	for (int i = 0; i < 50; i++) {
		store(&w, 2, &b);
		assert_int_equal(zmq_pub_send_lost(w.pub, bb_buf_str(&b)), 0);
		bb_buf_fini(&b);
	}
	publish(&w, 1);
	UNTIL(figures(&w).blocks == 102);
	assert_int_equal(figures(&w).gaps, 1);
	assert_int_equal(figures(&w).lost_gaps, 0);
	/* These are nowhere. */
	zmq_pub_skip(w.pub);
	publish(&w, 5);
	UNTIL(figures(&w).lost_gaps == 1);
	UNTIL(figures(&w).blocks == 5);
	assert_int_equal(w.mode, KV_EXACT);
	assert_int_equal(w.taken.clears, 1);
	world_close(&w);
}

static void without_replay(void **state)
{
	struct world w;

	world_open(&w, WITHOUT_REPLAY);
	publish(&w, 9); /* before anybody listened */
	UNTIL(zmq_pub_subscriber_count(w.pub) == 1);
	publish(&w, 3);
	UNTIL(figures(&w).blocks == 3);
	zmq_pub_skip(w.pub);
	publish(&w, 2);
	UNTIL(figures(&w).lost_gaps == 1);
	assert_int_equal(figures(&w).blocks, 2);
	assert_int_equal(figures(&w).replays, 0);
	world_close(&w);
}

static void begins_anew(void **state)
{
	struct world w;

	world_open(&w, WITH_REPLAY);
	for (int i = 0; i < 10; i++)
		publish(&w, 2);
	UNTIL(figures(&w).blocks == 20);
	const struct sock_addr live = w.source.live, replay = w.source.replay;
	zmq_pub_destroy(w.pub);
	publish_from(&w, &live, &replay);
	for (int i = 0; i < 15; i++)
		publish(&w, 1);
	UNTIL(figures(&w).restarts == 1);
	UNTIL(figures(&w).blocks == 15);
	assert_int_equal(figures(&w).lost_gaps, 0);
	world_close(&w);
}

/* It does not come back: after a while what was known is void. */
static void gone(void **state)
{
	struct world w;

	world_open(&w, WITH_REPLAY);
	publish(&w, 2);
	UNTIL(w.mode == KV_EXACT);
	zmq_pub_destroy(w.pub);
	w.pub = NULL;
	UNTIL(w.mode == KV_APPROXIMATE);
	assert_non_null(strstr(w.why, "5 s"));
	assert_int_equal(figures(&w).blocks, 0);
	assert_int_equal(w.taken.clears, 1);
	world_close(&w);
}

static void garbage(void **state)
{
	struct world w;

	world_open(&w, WITH_REPLAY);
	UNTIL(zmq_pub_subscriber_count(w.pub) == 1);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(zmq_pub_send(w.pub, BB_STR("\xc1 nonsense")), 0);
	UNTIL(figures(&w).odd == 1000);
	assert_int_equal(w.mode, KV_APPROXIMATE);
	assert_int_equal(w.taken.calls, 0);
	publish(&w, 2); /* and yet it goes on */
	UNTIL(w.mode == KV_EXACT && w.taken.hashes == 2);
	world_close(&w);
}

/* No time is left: nothing more is read in this second, and everything in the end. */
static void throttled(void **state)
{
	struct world w;

	world_open(&w, WITH_REPLAY);
	publish(&w, 1);
	UNTIL(figures(&w).batches == 1);
	while (kv_budget_spend(&w.budget, loop_now_ns(loop), OS_MS))
		;
	for (int i = 0; i < 20; i++)
		publish(&w, 1);
	for (int i = 0; i < 50; i++)
		loop_turn(loop, 0);
	assert_true(figures(&w).batches < 10);
	UNTIL(figures(&w).batches == 21);
	assert_true(w.budget.throttled >= 1);
	assert_int_equal(figures(&w).gaps, 0);
	world_close(&w);
}

static void no_memory(void **state)
{
	struct world w;
	uint64_t n = 0;
	int rc;

	world_open(&w, WITH_REPLAY);
	kv_rank_destroy(w.rank);
	w.rank = NULL;
	const struct kv_rank_config c = rank_config(&w);
	for (;;) { /* each allocation of its creation fails once */
		const uint64_t failed = bb_alloc_failed_count();
		bb_alloc_fail_at(++n, BB_FAIL_ONCE);
		rc = kv_rank_create(&c, &w.rank);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		if (bb_alloc_failed_count() == failed)
			break;
		assert_int_equal(rc, -BB_ENOMEM);
	}
	assert_int_equal(rc, 0);
	for (uint64_t k = 1; k < 60;
	     k++) { /* and each of its work: it ends up right all the same */
		struct bb_buf b;
		store(&w, 3, &b);
		bb_alloc_fail_at(k % 13 + 1, BB_FAIL_ONCE);
		(void)!zmq_pub_send(w.pub, bb_buf_str(&b));
		for (int i = 0; i < 10; i++)
			loop_turn(loop, 0);
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		bb_buf_fini(&b);
	}
	publish(&w, 1);
	UNTIL(figures(&w).batches > 0);
	world_close(&w);
}

/* ---- pushed load ---- */

static struct engine_load told;
static uint32_t told_count;

static void on_load(void *user, const struct engine_load *l)
{
	told = *l;
	told_count++;
}

static void load_is_pushed(void **state)
{
	struct sock_addr any, addrs[2];
	struct zmq_pub *pubs[2];
	struct load_push *push;
	struct bb_buf b;
	const char *why;

	assert_int_equal(sock_addr_parse(BB_STR("127.0.0.1:0"), &any, &why), 0);
	const struct zmq_pub_config c = { .loop = loop, .listen = any, .topic = BB_STR("load") };
	for (int i = 0; i < 2; i++) {
		assert_int_equal(zmq_pub_create(&c, &pubs[i], &why), 0);
		addrs[i] = *zmq_pub_addr(pubs[i]);
	}
	const struct load_push_config pc = {
		.loop = loop, .addrs = addrs, .count = 2, .topic = "load", .on_load = on_load
	};
	told_count = 0;
	assert_int_equal(load_push_create(&pc, &push), 0);
	UNTIL(zmq_pub_subscriber_count(pubs[0]) && zmq_pub_subscriber_count(pubs[1]));
	const struct load_stat stat = {
		.running = 3, .waiting = 2, .tokens = 50, .tokens_max = 200, .waiting_uncached = 70
	};
	bb_buf_init(&b, 256);
	load_stat_encode(&b, &stat);
	assert_int_equal(zmq_pub_send(pubs[0], bb_buf_str(&b)), 0);
	assert_int_equal(zmq_pub_send(pubs[0], BB_STR("nonsense")), 0);
	assert_int_equal(zmq_pub_send(pubs[1], bb_buf_str(&b)), 0);
	UNTIL(told_count);
	assert_int_equal(told.running, 6);
	assert_int_equal(told.waiting, 4);
	assert_int_equal(told.waiting_tokens, 140);
	assert_true(told.kv_usage == 0.25 && told.has_all);
	/* A flood is told a few times a second. */
	const uint64_t end_ns = clock_now_ns() + 300 * OS_MS;
	told_count = 0;
	while (clock_now_ns() < end_ns) {
		for (int i = 0; i < 100; i++)
			assert_int_equal(zmq_pub_send(pubs[1], bb_buf_str(&b)), 0);
		loop_turn(loop, 0);
	}
	assert_in_range(told_count, 1, 10);
	bb_buf_fini(&b);
	load_push_destroy(push);
	zmq_pub_destroy(pubs[0]);
	zmq_pub_destroy(pubs[1]);
}

#define LOOPED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lag),
		cmocka_unit_test(bundles),
		cmocka_unit_test(budget),
		cmocka_unit_test(poll_numbers),
		LOOPED(follows),
		LOOPED(lost_ones_come_again),
		LOOPED(without_replay),
		LOOPED(begins_anew),
		LOOPED(gone),
		LOOPED(garbage),
		LOOPED(throttled),
		LOOPED(no_memory),
		LOOPED(load_is_pushed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
