/*
 * process.h: this process: threads, signals, limits, memory, entropy, files.
 *
 * Threads: each function says so; thread_start and the mutex may be used anywhere.
 * Memory: file_read gives a block that the caller frees with bb_free.
 * Errors: -BB_ESYSTEM with errno kept, -BB_ENOMEM, -BB_ELIMIT (a file larger than allowed).
 */
#pragma once

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "os/loop.h"

struct thread {
	pthread_t id;
	const char *name; /* at most 15 bytes are seen in top */
	void (*run)(void *arg);
	void *arg;
};

/* Starts with all signals blocked: they go to the loop that has a signal watcher. */
BB_MUST int thread_start(struct thread *t);
void thread_join(struct thread *t);

/* SIGTERM, SIGINT, SIGHUP, SIGUSR1, … as events of a loop. Call before the first thread_start. */
struct signal_watch {
	struct loop_fd watch;
	struct loop *loop;
	void (*on_signal)(struct signal_watch *w, int signal_number);
};
BB_MUST int signal_watch_init(struct loop *l, struct signal_watch *w, const int *signals, int count,
			      void (*on_signal)(struct signal_watch *w, int signal_number));
void signal_watch_fini(struct signal_watch *w);

/* Cores this process may run on. */
unsigned process_core_count(void);
/* Raises the soft limit of descriptors to the hard one; returns what it is now. */
uint64_t process_raise_fd_limit(void);
uint64_t process_fd_count(void);
uint64_t process_rss_bytes(void);
/*
 * Once, before threads: pieces over a MiB come from the kernel and go back to it when they are freed,
 * so that a flood of large bodies leaves no holes in the heap.
 */
void process_tune_memory(void);
/* Gives freed memory that the heap keeps back to the kernel; may take milliseconds. */
void process_trim_memory(void);
/* User and system CPU time of the process, nanoseconds. */
uint64_t process_cpu_ns(void);
int process_id(void);
bool stderr_is_terminal(void);
bool stdout_is_terminal(void);

/* Bytes from the kernel's generator. */
void entropy_fill(void *room, size_t size);

/* The whole file, NUL-terminated; not more than `max` bytes. "-" reads stdin. */
BB_MUST int file_read(const char *path, size_t max, char **out, size_t *len);
/* The same for its first `max` bytes, however large it is. */
BB_MUST int file_read_head(const char *path, size_t max, char **out, size_t *len);
/* Writes all of it to a descriptor; blocks. */
BB_MUST int fd_write_all(int fd, const void *data, size_t len);
/* Opens for appending, made if absent, mode 0640; the descriptor or -BB_ESYSTEM. */
BB_MUST int file_open_append(const char *path);
void file_close(int fd);
