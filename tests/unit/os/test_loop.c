/*
 * Goal: descriptors, timers, tasks and messages run when they should, once, in order, and an owner
 * may go away inside of its own callback.
 */
#include "unit.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "os/clock.h"
#include "os/loop.h"
#include "os/process.h"
#include "os/sock.h"

static struct loop *loop;

static int setup(void **state)
{
	return loop_create(&loop);
}

static int teardown(void **state)
{
	loop_destroy(loop);
	loop = NULL;
	return 0;
}

/* ---- timers ---- */

#define TIMERS 2000

static struct loop_timer timers[TIMERS];
static uint32_t fired[TIMERS];
static uint64_t last_turn_ns;
static uint64_t expected_ns[TIMERS];

static void on_ordered(struct loop_timer *t)
{
	const size_t i = (size_t)(t - timers);

	fired[i]++;
	assert_true(expected_ns[i] > last_turn_ns); /* else it was due a turn ago */
	assert_true(expected_ns[i] <= loop_now_ns(loop));
	assert_false(loop_timer_is_armed(t));
}

/* Random deadlines, moved and cancelled: each armed one fires once, in the first turn it is due. */
static void timers_fire_once_and_in_time(void **state)
{
	struct bb_rng rng;
	const uint64_t begin_ns = loop_update_now_ns(loop);
	uint32_t armed = 0, count = 0;

	bb_rng_seed(&rng, 5);
	last_turn_ns = 0;
	memset(fired, 0, sizeof(fired));
	for (int i = 0; i < TIMERS; i++)
		assert_int_equal(loop_timer_init(loop, &timers[i], on_ordered), 0);
	for (int k = 0; k < 4 * TIMERS; k++) {
		const size_t i = (size_t)bb_rng_below(&rng, TIMERS);
		if (bb_rng_below(&rng, 4) == 0) {
			loop_timer_cancel(&timers[i]);
		} else {
			expected_ns[i] = begin_ns + bb_rng_below(&rng, 50 * OS_MS);
			loop_timer_arm(&timers[i], expected_ns[i]);
		}
	}
	for (int i = 0; i < TIMERS; i++)
		armed += loop_timer_is_armed(&timers[i]);
	assert_true(armed > 100);
	while (loop_now_ns(loop) < begin_ns + 50 * OS_MS) {
		loop_turn(loop, 10 * OS_MS);
		last_turn_ns = loop_now_ns(loop);
	}
	for (int i = 0; i < TIMERS; i++) {
		assert_true(fired[i] <= 1);
		count += fired[i];
		loop_timer_fini(&timers[i]);
	}
	assert_int_equal(count, armed);
}

static void on_count(struct loop_timer *t)
{
	fired[t - timers]++;
}

static void a_later_deadline_holds(void **state)
{
	const uint64_t begin_ns = loop_update_now_ns(loop);

	fired[0] = 0;
	assert_int_equal(loop_timer_init(loop, &timers[0], on_count), 0);
	loop_timer_arm(&timers[0], begin_ns + OS_MS);
	loop_timer_arm(&timers[0], begin_ns + 20 * OS_MS); /* lazily: its place in the heap is the old one */
	while (loop_now_ns(loop) < begin_ns + 10 * OS_MS) {
		loop_turn(loop, OS_MS);
		if (loop_now_ns(loop) < begin_ns + 20 * OS_MS)
			assert_int_equal(fired[0], 0);
	}
	while (!fired[0] && loop_now_ns(loop) < begin_ns + 10 * OS_SECOND)
		loop_turn(loop, OS_SECOND);
	assert_int_equal(fired[0], 1);
	assert_true(loop_now_ns(loop) >= begin_ns + 20 * OS_MS);
	loop_timer_fini(&timers[0]);
	loop_timer_fini(&timers[0]); /* twice is harmless */
}

static void on_again(struct loop_timer *t)
{
	fired[0]++;
	loop_timer_arm(t, loop_now_ns(loop));
}

/* A timer that wants to run again at once must not keep the loop from its descriptors. */
static void a_timer_without_delay_does_not_hold_the_loop(void **state)
{
	fired[0] = 0;
	assert_int_equal(loop_timer_init(loop, &timers[0], on_again), 0);
	loop_timer_arm(&timers[0], loop_now_ns(loop));
	for (int i = 0; i < 5; i++)
		loop_turn(loop, UINT64_MAX);
	assert_in_range(fired[0], 1, 5);
	loop_timer_fini(&timers[0]);
}

static void on_free(struct loop_timer *t)
{
	fired[0]++;
	loop_timer_fini(t);
	free(t);
}

static void a_timer_may_free_its_owner(void **state)
{
	fired[0] = 0;
	for (int i = 0; i < 3; i++) {
		struct loop_timer *t = malloc(sizeof(*t));
		assert_non_null(t);
		assert_int_equal(loop_timer_init(loop, t, on_free), 0);
		loop_timer_arm(t, loop_now_ns(loop));
	}
	loop_turn(loop, 0);
	assert_int_equal(fired[0], 3);
}

static void no_memory_for_a_timer(void **state)
{
	bb_alloc_fail_at(1, BB_FAIL_FOREVER);
	assert_int_equal(loop_timer_init(loop, &timers[0], on_count), -BB_ENOMEM);
	struct loop *l = NULL;
	assert_int_equal(loop_create(&l), -BB_ENOMEM);
	bb_alloc_fail_at(0, BB_FAIL_ONCE);
	assert_null(l);
}

/* ---- tasks ---- */

struct counted_task {
	struct loop_task task;
	unsigned runs;
	bool again;
	struct counted_task *cancels;
};

static void run_counted(struct loop_task *t)
{
	struct counted_task *c = BB_CONTAINER(t, struct counted_task, task);

	c->runs++;
	if (c->again)
		loop_defer(loop, t);
	if (c->cancels)
		loop_task_cancel(&c->cancels->task);
}

static void tasks_run_once_at_the_end_of_the_turn(void **state)
{
	struct counted_task a = { .again = true }, b = { 0 }, c = { 0 };

	loop_task_init(&a.task, run_counted);
	loop_task_init(&b.task, run_counted);
	loop_task_init(&c.task, run_counted);
	a.cancels = &c;
	loop_defer(loop, &a.task);
	loop_defer(loop, &b.task);
	loop_defer(loop, &b.task); /* queued once */
	loop_defer(loop, &c.task);
	loop_turn(loop, UINT64_MAX); /* a queued task means: do not wait */
	assert_int_equal(a.runs, 1); /* queued anew by itself: next turn */
	assert_int_equal(b.runs, 1);
	assert_int_equal(c.runs, 0); /* taken back by a */
	a.again = false;
	loop_turn(loop, UINT64_MAX);
	assert_int_equal(a.runs, 2);
	assert_int_equal(b.runs, 1);
	loop_task_cancel(&(struct loop_task){ 0 }); /* never initialised */
}

/* ---- descriptors ---- */

struct pipe_end {
	struct loop_fd watch;
	unsigned events, calls;
	struct pipe_end *deletes;
};

static void on_pipe(struct loop_fd *w, unsigned events)
{
	struct pipe_end *p = BB_CONTAINER(w, struct pipe_end, watch);
	char c;

	p->calls++;
	p->events |= events;
	while (read(w->fd, &c, 1) == 1)
		;
	if (p->deletes)
		loop_fd_del(loop, &p->deletes->watch);
}

static void make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
}

static void events_come_once_for_each_edge(void **state)
{
	int pair[2];
	struct pipe_end p = { .watch.on_event = on_pipe };

	make_pair(pair);
	p.watch.fd = pair[0];
	assert_int_equal(loop_fd_add(loop, &p.watch), 0);
	assert_int_equal(loop_fd_add(loop, &p.watch), -BB_ESYSTEM); /* it is there already */
	loop_turn(loop, OS_SECOND);
	assert_int_equal(p.events, LOOP_WRITE);
	loop_turn(loop, 0);
	assert_int_equal(p.calls, 1); /* edge-triggered: still writable is no news */
	assert_int_equal(write(pair[1], "x", 1), 1);
	loop_turn(loop, OS_SECOND);
	assert_true(p.events & LOOP_READ);
	close(pair[1]);
	loop_turn(loop, OS_SECOND);
	assert_true(p.events & LOOP_PEER);
	assert_true(p.events & LOOP_BROKEN);
	loop_fd_del(loop, &p.watch);
	close(pair[0]);
}

static void a_deleted_descriptor_gets_no_event_of_this_turn(void **state)
{
	int one[2], two[2];
	struct pipe_end a = { .watch.on_event = on_pipe }, b = { .watch.on_event = on_pipe };

	make_pair(one);
	make_pair(two);
	a.watch.fd = one[0];
	b.watch.fd = two[0];
	a.deletes = &b;
	b.deletes = &a;
	assert_int_equal(loop_fd_add(loop, &a.watch), 0);
	assert_int_equal(loop_fd_add(loop, &b.watch), 0);
	loop_turn(loop, OS_SECOND); /* both are writable: whoever comes first takes the other out */
	assert_int_equal(a.calls + b.calls, 1);
	for (int i = 0; i < 2; i++) {
		close(one[i]);
		close(two[i]);
	}
}

/* ---- messages ---- */

#define SENDERS 4
#define MESSAGES 5000

struct numbered_message {
	struct loop_message message;
	unsigned sender, number;
};

static struct numbered_message messages[SENDERS][MESSAGES];
static unsigned next_number[SENDERS];
static unsigned received;

static void run_numbered(struct loop_message *m)
{
	const struct numbered_message *n = BB_CONTAINER(m, struct numbered_message, message);

	assert_int_equal(n->number, next_number[n->sender]++);
	if (++received == SENDERS * MESSAGES)
		loop_stop(loop);
}

static void send_all(void *arg)
{
	struct numbered_message *mine = arg;

	for (unsigned i = 0; i < MESSAGES; i++)
		loop_post(loop, &mine[i].message);
}

/* Four threads at once: nothing is lost, each sender's messages keep their order. */
static void messages_of_a_sender_arrive_in_order(void **state)
{
	struct thread threads[SENDERS];

	received = 0;
	for (unsigned s = 0; s < SENDERS; s++) {
		next_number[s] = 0;
		for (unsigned i = 0; i < MESSAGES; i++)
			messages[s][i] = (struct numbered_message){
				.message.run = run_numbered, .sender = s, .number = i
			};
		threads[s] = (struct thread){ .name = "sender", .run = send_all, .arg = messages[s] };
		assert_int_equal(thread_start(&threads[s]), 0);
	}
	loop_run(loop);
	for (unsigned s = 0; s < SENDERS; s++)
		thread_join(&threads[s]);
	assert_int_equal(received, SENDERS * MESSAGES);
}

struct own_message {
	struct loop_message message;
	unsigned runs;
};

static void run_own(struct loop_message *m)
{
	struct own_message *own = BB_CONTAINER(m, struct own_message, message);

	if (++own->runs < 3)
		loop_post(loop, m); /* to itself: in the next turn, and not for ever in this one */
}

/* Without waking itself: the next turn knows without being told, and does not wait. */
static void a_loop_may_post_to_itself(void **state)
{
	struct own_message own = { .message.run = run_own };

	loop_post(loop, &own.message);
	for (unsigned i = 1; i <= 3; i++) {
		loop_turn(loop, UINT64_MAX);
		assert_int_equal(own.runs, i);
	}
	loop_turn(loop, 0);
	assert_int_equal(own.runs, 3);
}

static void stop_before_run_returns_at_once(void **state)
{
	loop_stop(loop);
	loop_run(loop);
	const uint64_t turns = loop_turns(loop);
	loop_turn(loop, 0);
	assert_int_equal(loop_turns(loop), turns + 1);
	assert_true(loop_busy_ns(loop) < 60 * OS_SECOND);
}

static void waiting_ends_in_time(void **state)
{
	const uint64_t begin_ns = clock_now_ns();

	loop_turn(loop, 0); /* the first event of the loop's own descriptor */
	loop_turn(loop, 5 * OS_MS);
	assert_true(clock_now_ns() - begin_ns >= 4 * OS_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(timers_fire_once_and_in_time, setup, teardown),
		cmocka_unit_test_setup_teardown(a_later_deadline_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(a_timer_without_delay_does_not_hold_the_loop, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_timer_may_free_its_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory_for_a_timer, setup, teardown),
		cmocka_unit_test_setup_teardown(tasks_run_once_at_the_end_of_the_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(events_come_once_for_each_edge, setup, teardown),
		cmocka_unit_test_setup_teardown(a_deleted_descriptor_gets_no_event_of_this_turn, setup,
						teardown),
		cmocka_unit_test_setup_teardown(messages_of_a_sender_arrive_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(a_loop_may_post_to_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(stop_before_run_returns_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(waiting_ends_in_time, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
