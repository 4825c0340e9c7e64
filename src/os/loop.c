#include "os/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"

#define LOOP_EVENTS 256
#define HEAP_ARITY 4

struct loop {
	int epoll;
	struct loop_fd wake; /* eventfd: messages and stop */
	uint64_t now_ns;
	bool stopping; /* atomic */
	struct epoll_event events[LOOP_EVENTS];
	int event_count;
	int event_at;
	struct loop_timer **heap;
	uint32_t heap_len;
	uint32_t heap_cap;
	uint32_t timer_count; /* initialised timers: heap_cap is never below it */
	struct bb_list tasks;
	struct loop_message *inbox; /* atomic, newest first */
	uint64_t busy_ns;           /* atomic */
	uint64_t turns;             /* atomic */
};

/* The loop whose turn this thread is in. */
static _Thread_local struct loop *turning;

/* It has only ended the wait: the turn looks into the inbox. */
static void on_wake(struct loop_fd *w, unsigned events)
{
	uint64_t ignored;

	(void)events;
	while (read(w->fd, &ignored, sizeof(ignored)) < 0 && errno == EINTR)
		;
}

static bool has_messages(const struct loop *l)
{
	return __atomic_load_n(&l->inbox, __ATOMIC_RELAXED) != NULL;
}

static void run_messages(struct loop *l)
{
	struct loop_message *m, *ordered = NULL;

	if (!has_messages(l))
		return;
	m = __atomic_exchange_n(&l->inbox, NULL, __ATOMIC_ACQUIRE);
	while (m) {
		struct loop_message *next = m->next;
		m->next = ordered;
		ordered = m;
		m = next;
	}
	while (ordered) {
		m = ordered;
		ordered = m->next;
		m->run(m);
	}
}

int loop_create(struct loop **out)
{
	int rc = -BB_ESYSTEM;
	struct loop *l = bb_alloc_zero(1, sizeof(*l));

	if (!l)
		return -BB_ENOMEM;
	bb_list_init(&l->tasks);
	l->now_ns = clock_now_ns();
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		goto fail_free;
	l->wake.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	l->wake.on_event = on_wake;
	if (l->wake.fd < 0)
		goto fail_epoll;
	rc = loop_fd_add(l, &l->wake);
	if (rc)
		goto fail_wake;
	*out = l;
	return 0;

fail_wake:
	close(l->wake.fd);
fail_epoll:
	close(l->epoll);
fail_free:
	bb_free(l);
	return rc;
}

void loop_destroy(struct loop *l)
{
	if (!l)
		return;
	close(l->wake.fd);
	close(l->epoll);
	bb_free(l->heap);
	bb_free(l);
}

uint64_t loop_now_ns(const struct loop *l)
{
	return l->now_ns;
}

uint64_t loop_update_now_ns(struct loop *l)
{
	return l->now_ns = clock_now_ns();
}

static void loop_wake(struct loop *l)
{
	const uint64_t one = 1;

	while (write(l->wake.fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void loop_stop(struct loop *l)
{
	__atomic_store_n(&l->stopping, true, __ATOMIC_RELEASE);
	loop_wake(l);
}

void loop_post(struct loop *l, struct loop_message *m)
{
	struct loop_message *head = __atomic_load_n(&l->inbox, __ATOMIC_RELAXED);

	do {
		m->next = head;
	} while (!__atomic_compare_exchange_n(&l->inbox, &head, m, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	/* Else someone has woken it for the messages before ours, or it is awake and will look. */
	if (!head && turning != l)
		loop_wake(l);
}

int loop_fd_add(struct loop *l, struct loop_fd *w)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				 .data.ptr = w };

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, w->fd, &e) < 0 ? -BB_ESYSTEM : 0;
}

void loop_fd_del(struct loop *l, struct loop_fd *w)
{
	epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL);
	for (int i = l->event_at; i < l->event_count; i++)
		if (l->events[i].data.ptr == w)
			l->events[i].data.ptr = NULL;
}

/* ---- timers: a 4-ary heap with lazy postponement ---- */

static void heap_set(struct loop *l, uint32_t i, struct loop_timer *t)
{
	l->heap[i] = t;
	t->heap_index = i;
}

static void heap_up(struct loop *l, uint32_t i, struct loop_timer *t)
{
	while (i > 0) {
		const uint32_t parent = (i - 1) / HEAP_ARITY;
		if (l->heap[parent]->heap_ns <= t->heap_ns)
			break;
		heap_set(l, i, l->heap[parent]);
		i = parent;
	}
	heap_set(l, i, t);
}

static void heap_down(struct loop *l, uint32_t i, struct loop_timer *t)
{
	for (;;) {
		const uint32_t first = i * HEAP_ARITY + 1;
		uint32_t least = first;
		if (first >= l->heap_len)
			break;
		for (uint32_t k = first + 1; k < first + HEAP_ARITY && k < l->heap_len; k++)
			if (l->heap[k]->heap_ns < l->heap[least]->heap_ns)
				least = k;
		if (l->heap[least]->heap_ns >= t->heap_ns)
			break;
		heap_set(l, i, l->heap[least]);
		i = least;
	}
	heap_set(l, i, t);
}

static void heap_remove(struct loop *l, struct loop_timer *t)
{
	const uint32_t i = t->heap_index;
	struct loop_timer *last = l->heap[--l->heap_len];

	t->heap_index = UINT32_MAX;
	if (last == t)
		return;
	if (i > 0 && l->heap[(i - 1) / HEAP_ARITY]->heap_ns > last->heap_ns)
		heap_up(l, i, last);
	else
		heap_down(l, i, last);
}

int loop_timer_init(struct loop *l, struct loop_timer *t, void (*on_timer)(struct loop_timer *t))
{
	if (l->timer_count == l->heap_cap) {
		const uint32_t cap = l->heap_cap ? l->heap_cap * 2 : 64;
		struct loop_timer **heap = bb_realloc(l->heap, cap * sizeof(struct loop_timer *));
		if (!heap)
			return -BB_ENOMEM;
		l->heap = heap;
		l->heap_cap = cap;
	}
	l->timer_count++;
	*t = (struct loop_timer){ .loop = l,
				  .deadline_ns = UINT64_MAX,
				  .heap_index = UINT32_MAX,
				  .on_timer = on_timer };
	return 0;
}

void loop_timer_fini(struct loop_timer *t)
{
	if (!t->loop)
		return;
	if (t->heap_index != UINT32_MAX)
		heap_remove(t->loop, t);
	t->loop->timer_count--;
	t->loop = NULL;
	t->deadline_ns = UINT64_MAX;
}

void loop_timer_arm(struct loop_timer *t, uint64_t deadline_ns)
{
	struct loop *l = t->loop;

	BB_ASSERT(deadline_ns != UINT64_MAX);
	t->deadline_ns = deadline_ns;
	if (t->heap_index == UINT32_MAX) {
		t->heap_ns = deadline_ns;
		heap_up(l, l->heap_len++, t);
	} else if (deadline_ns < t->heap_ns) {
		t->heap_ns = deadline_ns;
		heap_up(l, t->heap_index, t);
	}
	/* Later than its place in the heap: put right when that place comes up. */
}

void loop_timer_cancel(struct loop_timer *t)
{
	t->deadline_ns = UINT64_MAX;
}

static void run_timers(struct loop *l)
{
	/* What a timer arms anew for now waits for the next turn: descriptors come in between. */
	uint32_t runs_left = l->heap_len;

	while (runs_left && l->heap_len && l->heap[0]->heap_ns <= l->now_ns) {
		struct loop_timer *t = l->heap[0];
		if (t->deadline_ns > l->now_ns && t->deadline_ns != UINT64_MAX) {
			t->heap_ns = t->deadline_ns;
			heap_down(l, 0, t);
			continue;
		}
		heap_remove(l, t);
		if (t->deadline_ns == UINT64_MAX)
			continue;
		t->deadline_ns = UINT64_MAX;
		runs_left--;
		t->on_timer(t);
	}
}

/* ---- tasks ---- */

void loop_task_init(struct loop_task *t, void (*run)(struct loop_task *t))
{
	bb_list_init(&t->link);
	t->run = run;
}

void loop_defer(struct loop *l, struct loop_task *t)
{
	if (bb_list_is_empty(&t->link))
		bb_list_append(&l->tasks, &t->link);
}

void loop_task_cancel(struct loop_task *t)
{
	if (t->link.next)
		bb_list_remove(&t->link);
}

static void run_tasks(struct loop *l)
{
	struct bb_list batch;

	if (bb_list_is_empty(&l->tasks))
		return;
	/* What a task queues anew waits for the next turn. */
	batch = l->tasks;
	batch.next->prev = &batch;
	batch.prev->next = &batch;
	bb_list_init(&l->tasks);
	while (!bb_list_is_empty(&batch)) {
		struct loop_task *t = BB_CONTAINER(batch.next, struct loop_task, link);
		bb_list_remove(&t->link);
		t->run(t);
	}
}

/* ---- turning ---- */

static int wait_events(struct loop *l, uint64_t wait_ns)
{
	static bool has_no_pwait2; /* before Linux 5.11; the same answer for every thread */

	if (!__atomic_load_n(&has_no_pwait2, __ATOMIC_RELAXED)) {
		const struct timespec ts = { .tv_sec = (time_t)(wait_ns / OS_SECOND),
					     .tv_nsec = (long)(wait_ns % OS_SECOND) };
		const int n = epoll_pwait2(l->epoll, l->events, LOOP_EVENTS,
					   wait_ns == UINT64_MAX ? NULL : &ts, NULL);
		if (n >= 0 || errno != ENOSYS)
			return n;
		__atomic_store_n(&has_no_pwait2, true, __ATOMIC_RELAXED);
	}
	int ms = -1;
	if (wait_ns != UINT64_MAX)
		ms = wait_ns / OS_MS > 60000 ? 60000 : (int)((wait_ns + OS_MS - 1) / OS_MS);
	return epoll_wait(l->epoll, l->events, LOOP_EVENTS, ms);
}

static unsigned loop_events(uint32_t e)
{
	unsigned events = 0;

	if (e & EPOLLIN)
		events |= LOOP_READ;
	if (e & EPOLLOUT)
		events |= LOOP_WRITE;
	if (e & EPOLLRDHUP)
		events |= LOOP_PEER | LOOP_READ;
	if (e & (EPOLLERR | EPOLLHUP))
		events |= LOOP_BROKEN | LOOP_READ;
	return events;
}

void loop_turn(struct loop *l, uint64_t wait_ns)
{
	const uint64_t before_ns = clock_now_ns();

	if (l->turns)
		__atomic_store_n(&l->busy_ns, l->busy_ns + (before_ns - l->now_ns),
				 __ATOMIC_RELAXED);
	struct loop *const outer = turning;
	turning = l;
	if (!bb_list_is_empty(&l->tasks) || has_messages(l))
		wait_ns = 0;
	if (l->heap_len) {
		const uint64_t next_ns = l->heap[0]->heap_ns;
		const uint64_t until_ns = next_ns > before_ns ? next_ns - before_ns : 0;
		if (until_ns < wait_ns)
			wait_ns = until_ns;
	}
	const int n = wait_events(l, wait_ns);
	l->now_ns = clock_now_ns();
	l->event_count = n > 0 ? n : 0;
	for (l->event_at = 0; l->event_at < l->event_count;) {
		const struct epoll_event e = l->events[l->event_at++];
		struct loop_fd *w = e.data.ptr;
		if (w)
			w->on_event(w, loop_events(e.events));
	}
	l->event_count = 0;
	run_messages(l);
	run_timers(l);
	run_tasks(l);
	turning = outer;
	__atomic_store_n(&l->turns, l->turns + 1, __ATOMIC_RELAXED);
}

void loop_run(struct loop *l)
{
	while (!__atomic_load_n(&l->stopping, __ATOMIC_ACQUIRE))
		loop_turn(l, UINT64_MAX);
	__atomic_store_n(&l->stopping, false, __ATOMIC_RELAXED);
}

uint64_t loop_busy_ns(const struct loop *l)
{
	return __atomic_load_n(&l->busy_ns, __ATOMIC_RELAXED);
}

uint64_t loop_turns(const struct loop *l)
{
	return __atomic_load_n(&l->turns, __ATOMIC_RELAXED);
}
