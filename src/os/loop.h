/*
 * loop.h: the event loop of one thread: descriptors, timers, tasks, messages from other threads.
 *
 * For: everything that waits. Descriptors are edge-triggered and registered once for reading and
 * writing: whoever gets an event goes on until the kernel says "would block" (a short read counts).
 * Threads: a loop belongs to the thread that runs it; only loop_post and loop_stop may be called
 * from elsewhere.
 * Memory: fds, timers and tasks are embedded in their owners; the loop keeps a heap of pointers.
 * An owner may be freed inside its own callback after loop_fd_del / loop_timer_fini.
 * Errors: -BB_ENOMEM, -BB_ESYSTEM from init and add; arming a timer cannot fail, since room for
 * it is taken when it is initialised.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

struct loop;

enum {
	LOOP_READ = 1,   /* bytes, a connection, or the end of the stream can be read */
	LOOP_WRITE = 2,  /* there is room to write */
	LOOP_PEER = 4,   /* the peer has shut down its sending side */
	LOOP_BROKEN = 8, /* error or full hang-up */
};

struct loop_fd {
	int fd;
	void (*on_event)(struct loop_fd *w, unsigned events);
};

struct loop_timer {
	struct loop *loop;
	uint64_t deadline_ns; /* UINT64_MAX: not armed */
	uint64_t heap_ns;     /* the key it has in the heap; never later than deadline_ns */
	uint32_t heap_index;  /* UINT32_MAX: not in the heap */
	void (*on_timer)(struct loop_timer *t);
};

struct loop_task {
	struct bb_list link;
	void (*run)(struct loop_task *t);
};

/* A message from another thread; the receiver owns it once its `run` is called. */
struct loop_message {
	struct loop_message *next;
	void (*run)(struct loop_message *m);
};

BB_MUST int loop_create(struct loop **out);
void loop_destroy(struct loop *l);
/* Runs until loop_stop. */
void loop_run(struct loop *l);
/* One turn; waits at most `wait_ns` (UINT64_MAX: until something happens). */
void loop_turn(struct loop *l, uint64_t wait_ns);
/* Any thread: loop_run returns after its present turn. */
void loop_stop(struct loop *l);
/* The time at which this turn began, monotonic nanoseconds. Cheap: no system call. */
uint64_t loop_now_ns(const struct loop *l);
/* Reads the clock again, for callbacks that took long. */
uint64_t loop_update_now_ns(struct loop *l);

BB_MUST int loop_fd_add(struct loop *l, struct loop_fd *w);
/* Forgets it, also for the rest of this turn. Does not close it. */
void loop_fd_del(struct loop *l, struct loop_fd *w);

BB_MUST int loop_timer_init(struct loop *l, struct loop_timer *t,
			    void (*on_timer)(struct loop_timer *t));
void loop_timer_fini(struct loop_timer *t);
/* Sets or moves the deadline; moving it later costs nothing. Timers due in one turn run in any order. */
void loop_timer_arm(struct loop_timer *t, uint64_t deadline_ns);
void loop_timer_cancel(struct loop_timer *t);
static inline bool loop_timer_is_armed(const struct loop_timer *t)
{
	return t->deadline_ns != UINT64_MAX;
}

/* Runs at the end of this turn (or of the next, when queued by a task). */
void loop_defer(struct loop *l, struct loop_task *t);
void loop_task_init(struct loop_task *t, void (*run)(struct loop_task *t));
/* Takes it back if it is queued. */
void loop_task_cancel(struct loop_task *t);

/*
 * Any thread. Messages of one sender arrive in order. From within a turn of this loop it costs no
 * system call; it runs in this turn or the next.
 */
void loop_post(struct loop *l, struct loop_message *m);

/* Time this loop spent outside of waiting, nanoseconds; turns so far. Any thread may read them. */
uint64_t loop_busy_ns(const struct loop *l);
uint64_t loop_turns(const struct loop *l);
