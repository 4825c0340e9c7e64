#include "os/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	char name[16]; /* the kernel refuses longer ones instead of cutting them */

	snprintf(name, sizeof(name), "%s", t->name);
	pthread_setname_np(pthread_self(), name);
	t->run(t->arg);
	return NULL;
}

int thread_start(struct thread *t)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	const int err = pthread_create(&t->id, NULL, thread_main, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err ? -BB_ESYSTEM : 0;
}

void thread_join(struct thread *t)
{
	pthread_join(t->id, NULL);
}

static void on_signal_fd(struct loop_fd *fd, unsigned events)
{
	struct signal_watch *w = BB_CONTAINER(fd, struct signal_watch, watch);
	struct signalfd_siginfo info;

	(void)events;
	while (read(w->watch.fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		w->on_signal(w, (int)info.ssi_signo);
}

int signal_watch_init(struct loop *l, struct signal_watch *w, const int *signals, int count,
		      void (*on_signal)(struct signal_watch *w, int signal_number))
{
	sigset_t set;

	sigemptyset(&set);
	for (int i = 0; i < count; i++)
		sigaddset(&set, signals[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	w->watch.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (w->watch.fd < 0)
		return -BB_ESYSTEM;
	w->watch.on_event = on_signal_fd;
	w->on_signal = on_signal;
	int rc = loop_fd_add(l, &w->watch);
	if (rc)
		close(w->watch.fd);
	else
		w->loop = l;
	return rc;
}

void signal_watch_fini(struct signal_watch *w)
{
	loop_fd_del(w->loop, &w->watch);
	close(w->watch.fd);
}

unsigned process_core_count(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
		return (unsigned)CPU_COUNT(&set);
	return 1;
}

uint64_t process_raise_fd_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return 1024;
	if (r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
		getrlimit(RLIMIT_NOFILE, &r);
	}
	return r.rlim_cur;
}

uint64_t process_fd_count(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t count = 0;

	if (!d)
		return 0;
	while (readdir(d))
		count++;
	closedir(d);
	return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}

uint64_t process_rss_bytes(void)
{
	char text[128];
	unsigned long long size, resident;
	const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	const ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	if (sscanf(text, "%llu %llu", &size, &resident) != 2)
		return 0;
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t process_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * OS_SECOND + (uint64_t)t.tv_nsec;
}

void process_tune_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 1 << 20); /* and no longer what malloc has learned */
	mallopt(M_TRIM_THRESHOLD, 4 << 20);
}

void process_trim_memory(void)
{
	malloc_trim(0);
}

int process_id(void)
{
	return (int)getpid();
}

bool stderr_is_terminal(void)
{
	return isatty(STDERR_FILENO);
}

bool stdout_is_terminal(void)
{
	return isatty(STDOUT_FILENO);
}

void entropy_fill(void *room, size_t size)
{
	char *p = room;

	while (size) {
		const ssize_t n = getrandom(p, size, 0);
		if (n < 0) {
			BB_ASSERT(errno == EINTR); /* anything else: this kernel has no generator */
			continue;
		}
		p += n;
		size -= (size_t)n;
	}
}

enum over { OVER_FAILS, OVER_CUTS };

static int read_up_to(const char *path, size_t max, enum over over, char **out, size_t *len)
{
	int rc = -BB_ESYSTEM;
	const bool is_stdin = strcmp(path, "-") == 0;
	const int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	size_t cap = 16384, used = 0;
	char *text = NULL;

	if (fd < 0)
		return rc;
	for (;;) {
		char *grown = bb_realloc(text, cap + 1);
		if (!grown) {
			rc = -BB_ENOMEM;
			goto fail;
		}
		text = grown;
		const ssize_t n = read(fd, text + used, cap - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			goto fail;
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > max && over == OVER_CUTS) {
			used = max;
			break;
		}
		if (used > max) {
			rc = -BB_ELIMIT;
			goto fail;
		}
		if (used == cap)
			cap *= 2;
	}
	if (!is_stdin)
		close(fd);
	text[used] = '\0';
	*out = text;
	*len = used;
	return 0;

fail:
	bb_free(text);
	if (!is_stdin) {
		const int saved = errno;
		close(fd);
		errno = saved;
	}
	return rc;
}

int file_read(const char *path, size_t max, char **out, size_t *len)
{
	return read_up_to(path, max, OVER_FAILS, out, len);
}

int file_read_head(const char *path, size_t max, char **out, size_t *len)
{
	return read_up_to(path, max, OVER_CUTS, out, len);
}

int fd_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		const ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -BB_ESYSTEM;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_open_append(const char *path)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

	return fd < 0 ? -BB_ESYSTEM : fd;
}

void file_close(int fd)
{
	close(fd);
}
