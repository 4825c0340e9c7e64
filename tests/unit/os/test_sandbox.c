/*
 * Goal: what the process gives up is really gone, what the gateway needs still works, and neither
 * depends on when a thread was started. Each case runs in a child, for nothing can be taken back.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "os/process.h"
#include "os/sandbox.h"

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			print_error("%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition,      \
				    errno);                                                        \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)
#define CHECK_EPERM(call)                                                                          \
	do {                                                                                       \
		errno = 0;                                                                         \
		CHECK((long)(call) == -1 && errno == EPERM);                                       \
	} while (0)

static char folder[64];

/* How a child ends that does this. */
static int child_status(void (*run)(void))
{
	int status = -1;

	fflush(NULL);
	const pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		run();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void assert_child_passes(void (*run)(void))
{
	const int status = child_status(run);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void skip_without_filter(void)
{
	if (sandbox_missing()) {
		print_message("skipped: %s\n", sandbox_missing());
		skip();
	}
}

static void path_in(char *out, size_t size, const char *name)
{
	snprintf(out, size, "%s/%s", folder, name);
}

static int make_folder(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/busbar-sandbox-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	static const char *const names[] = { "append.log", "socket", "open/state", "open" };
	char path[128];

	for (size_t i = 0; i < UNIT_COUNT(names); i++) {
		path_in(path, sizeof(path), names[i]);
		remove(path);
	}
	return rmdir(folder);
}

/* ---- system calls ---- */

static void refused_files(void)
{
	char path[128];

	path_in(path, sizeof(path), "append.log");
	CHECK(sandbox_enter() == 0);
	CHECK_EPERM(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
	CHECK_EPERM(open(path, O_WRONLY | O_CREAT, 0600));
	CHECK_EPERM(open(path, O_RDWR | O_APPEND | O_CREAT, 0600));
	CHECK_EPERM(open(path, O_WRONLY | O_APPEND | O_CREAT | O_TRUNC, 0600));
	CHECK_EPERM(open("/tmp", O_TMPFILE | O_WRONLY, 0600));
	CHECK_EPERM(unlink(path));
	CHECK_EPERM(rename(path, path));
	CHECK_EPERM(mkdir(path, 0700));
	CHECK_EPERM(symlink("/etc/passwd", path));
	CHECK_EPERM(chmod(path, 0777));
	CHECK_EPERM(truncate(path, 0));
}

static void refused_network(void)
{
	const int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(fd >= 0);
	CHECK(sandbox_enter() == 0);
	CHECK_EPERM(socket(AF_PACKET, SOCK_RAW, 0));
	CHECK_EPERM(socket(AF_VSOCK, SOCK_STREAM, 0));
	CHECK_EPERM(listen(fd, 1));
}

static void refused_memory(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(page != MAP_FAILED);
	CHECK(sandbox_enter() == 0);
	CHECK_EPERM(mprotect(page, 4096, PROT_READ | PROT_EXEC));
	CHECK_EPERM(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	CHECK_EPERM(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static void refused_processes(void)
{
	const struct rlimit_pair {
		uint64_t soft, hard;
	} limit = { 10, 10 };

	CHECK(sandbox_enter() == 0);
	CHECK_EPERM(fork());
	CHECK_EPERM(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	errno = 0;
	CHECK(syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS);
	CHECK_EPERM(kill(getppid(), SIGTERM));
	CHECK_EPERM(syscall(SYS_tgkill, getppid(), getppid(), SIGTERM));
	CHECK_EPERM(syscall(SYS_prlimit64, 0, 7, &limit, NULL));
	CHECK_EPERM(prctl(PR_SET_DUMPABLE, 1));
	CHECK_EPERM(setuid(0));
}

static void what_is_not_needed_is_refused(void **state)
{
	skip_without_filter();
	assert_child_passes(refused_files);
	assert_child_passes(refused_network);
	assert_child_passes(refused_memory);
	assert_child_passes(refused_processes);
}

static void execute(void)
{
	char name[] = "true";
	char *const args[] = { name, NULL };

	CHECK(sandbox_enter() == 0);
	execv("/bin/true", args);
}

static void trace(void)
{
	CHECK(sandbox_enter() == 0);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static void map_rings(void)
{
	CHECK(sandbox_enter() == 0);
	syscall(SYS_io_uring_setup, 1, NULL);
}

static void intruders_end(void **state)
{
	void (*const runs[])(void) = { execute, trace, map_rings };

	skip_without_filter();
	for (size_t i = 0; i < UNIT_COUNT(runs); i++) {
		const int status = child_status(runs[i]);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
	}
}

static void mark(void *arg)
{
	*(int *)arg = 1;
}

static void needed(void)
{
	char path[128];
	struct addrinfo *found, hints = { .ai_socktype = SOCK_STREAM };
	struct thread t = { .name = "later", .run = mark };
	int ran = 0;
	char *text;
	size_t len;

	path_in(path, sizeof(path), "append.log");
	CHECK(sandbox_enter() == 0);
	const int fd = file_open_append(path);
	CHECK(fd >= 0);
	CHECK(fd_write_all(fd, "line\n", 5) == 0 && fsync(fd) == 0);
	file_close(fd);
	CHECK(file_read(path, 100, &text, &len) == 0 && len == 5);
	bb_free(text);
	CHECK(getaddrinfo("localhost", "80", &hints, &found) == 0);
	freeaddrinfo(found);
	t.arg = &ran;
	CHECK(thread_start(&t) == 0);
	thread_join(&t);
	CHECK(ran == 1);
	CHECK(process_rss_bytes() > 0 && process_fd_count() > 0 && process_cpu_ns() > 0);
	CHECK(process_core_count() > 0);
	char *big = bb_alloc(8u << 20);
	CHECK(big);
	memset(big, 1, 8u << 20);
	big = bb_realloc(big, 32u << 20);
	CHECK(big);
	bb_free(big);
	entropy_fill(&ran, sizeof(ran));
	CHECK(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 || errno == EAFNOSUPPORT);
	CHECK(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0);
}

static void what_is_needed_works(void **state)
{
	skip_without_filter();
	assert_child_passes(needed);
}

static void wait_and_listen(void *arg)
{
	const int *gate = arg;
	char byte;

	CHECK(read(gate[0], &byte, 1) == 1);
	CHECK_EPERM(mkdir("/tmp/busbar-never", 0700));
}

static void older_thread(void)
{
	int gate[2];
	struct thread t = { .name = "earlier", .run = wait_and_listen, .arg = gate };

	CHECK(pipe(gate) == 0);
	CHECK(thread_start(&t) == 0);
	CHECK(sandbox_enter() == 0);
	CHECK(write(gate[1], "x", 1) == 1);
	thread_join(&t);
}

static void threads_that_run_already_are_held_too(void **state)
{
	skip_without_filter();
	assert_child_passes(older_thread);
}

static void abort_it(void)
{
	const int quiet = open("/dev/null", O_WRONLY);

	CHECK(quiet >= 0);
	dup2(quiet, STDERR_FILENO);
	CHECK(sandbox_enter() == 0);
	abort();
}

static void a_failed_assertion_still_ends_the_process(void **state)
{
	skip_without_filter();
	const int status = child_status(abort_it);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* ---- paths ---- */

static bool has_landlock(void)
{
	return syscall(444 /* landlock_create_ruleset */, NULL, 0, 1) > 0;
}

static int socket_at(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	return bind(fd, (const struct sockaddr *)&un, sizeof(un));
}

static void confined(void)
{
	char log[128], open_folder[128], state_file[140], other[128];
	char name[] = "true";
	char *const args[] = { name, NULL };

	path_in(log, sizeof(log), "append.log");
	path_in(open_folder, sizeof(open_folder), "open");
	path_in(state_file, sizeof(state_file), "open/state");
	path_in(other, sizeof(other), "other");
	CHECK(mkdir(open_folder, 0700) == 0);
	const struct sandbox_path paths[] = { { log, SANDBOX_APPEND },
					      { open_folder, SANDBOX_FOLDER } };
	CHECK(sandbox_paths(paths, UNIT_COUNT(paths)) == 0);
	CHECK(file_open_append(log) >= 0);
	CHECK(open(state_file, O_RDWR | O_CREAT | O_TRUNC, 0600) >= 0);
	CHECK(unlink(state_file) == 0);
	CHECK(open("/etc/passwd", O_RDONLY) >= 0);
	CHECK(file_open_append("/tmp/busbar-never") == -BB_ESYSTEM && errno == EACCES);
	CHECK(socket_at(other) == -1 && errno == EACCES);
	CHECK(unlink(log) == -1 && errno == EACCES);
	CHECK(mkdir(other, 0700) == -1 && errno == EACCES);
	CHECK(execv("/bin/true", args) == -1 && errno == EACCES);
}

static void sockets_only(void)
{
	char path[128];

	path_in(path, sizeof(path), "socket");
	CHECK(sandbox_paths(&(const struct sandbox_path){ path, SANDBOX_SOCKET }, 1) == 0);
	CHECK(socket_at(path) == 0);
	CHECK(unlink(path) == 0);
	CHECK(open(path, O_WRONLY | O_CREAT, 0600) == -1 && errno == EACCES);
}

static void nothing_at_all(void)
{
	CHECK(sandbox_paths(NULL, 0) == 0);
	CHECK(file_open_append("/tmp/busbar-never") == -BB_ESYSTEM && errno == EACCES);
}

static void writing_is_kept_to_its_places(void **state)
{
	if (!has_landlock()) {
		print_message("skipped: this kernel has no Landlock\n");
		skip();
	}
	assert_child_passes(confined);
	assert_child_passes(sockets_only);
	assert_child_passes(nothing_at_all);
	const struct sandbox_path absent = { "/nowhere/at/all", SANDBOX_APPEND };
	assert_int_equal(sandbox_paths(&absent, 1), -BB_ESYSTEM);
	assert_int_equal(errno, ENOENT);
	char *longer = bb_alloc_zero(1, 5001);
	assert_non_null(longer);
	memset(longer, 'a', 4990);
	longer[4990] = '/';
	const struct sandbox_path too_long = { longer, SANDBOX_APPEND };
	assert_int_equal(sandbox_paths(&too_long, 1), -BB_ESYSTEM);
	assert_int_equal(errno, ENAMETOOLONG);
	bb_free(longer);
}

/* ---- users and secrets ---- */

static void become_nobody(void)
{
	const char *why;

	CHECK(user_become("nobody", &why) == 0);
	CHECK(!process_is_root() && getuid() == geteuid() &&
	      getuid() == getpwnam("nobody")->pw_uid);
	CHECK(getgroups(0, NULL) <= 1);
	CHECK(setuid(0) == -1 && setgid(0) == -1);
	CHECK(user_become("nobody", &why) == 0);
	CHECK(user_become("root", &why) == -BB_EINVALID);
	CHECK(process_hide() == 0);
	CHECK(process_fd_count() > 0 && process_rss_bytes() > 0);
}

static void root_goes_for_good(void **state)
{
	const char *why = NULL;

	assert_int_equal(user_become("no-such-user-here", &why), -BB_EABSENT);
	assert_non_null(why);
	if (geteuid() != 0 || !getpwnam("nobody")) {
		print_message("skipped: only root can become nobody\n");
		skip();
	}
	assert_child_passes(become_nobody);
}

static void hide(void)
{
	CHECK(process_hide() == 0);
	CHECK(prctl(PR_GET_DUMPABLE) == 0 || (sandbox_missing() && strstr(sandbox_missing(), "sanitizer")));
	CHECK(process_pin_privileges() == 0);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

static void no_core_dumps(void **state)
{
	assert_child_passes(hide);
}

/* The flags of the mapping that `p` lies in. */
static bool is_left_out_of_dumps(const void *p)
{
	char line[512];
	bool is_inside = false, is_out = false;
	FILE *maps = fopen("/proc/self/smaps", "re");

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			is_inside = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (is_inside && strncmp(line, "VmFlags:", 8) == 0)
			is_out = strstr(line, " dd") != NULL;
	}
	fclose(maps);
	return is_out;
}

static void secrets_stay_out_of_dumps(void **state)
{
	char *pages =
		mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(pages != MAP_FAILED);
	memcpy(pages + 4096 + 100, "secret", 6);
	assert_false(is_left_out_of_dumps(pages + 4096));
	secret_hide(pages + 4096 + 100, 6);
	assert_true(is_left_out_of_dumps(pages + 4096));
	assert_false(is_left_out_of_dumps(pages));
	assert_false(is_left_out_of_dumps(pages + 2 * 4096));
	secret_hide(pages, 0);
	assert_false(is_left_out_of_dumps(pages));
	secret_hide(pages + 4095,
		    4098); /* the end of the first, all of the second, a byte of the third */
	assert_true(is_left_out_of_dumps(pages));
	assert_true(is_left_out_of_dumps(pages + 2 * 4096));
	secret_wipe(pages + 4096 + 100, 6);
	for (int i = 0; i < 6; i++)
		assert_int_equal(pages[4096 + 100 + i], 0);
	munmap(pages, 3 * 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_not_needed_is_refused, make_folder,
						remove_folder),
		cmocka_unit_test_setup_teardown(what_is_needed_works, make_folder, remove_folder),
		cmocka_unit_test(intruders_end),
		cmocka_unit_test(threads_that_run_already_are_held_too),
		cmocka_unit_test(a_failed_assertion_still_ends_the_process),
		cmocka_unit_test_setup_teardown(writing_is_kept_to_its_places, make_folder,
						remove_folder),
		cmocka_unit_test(root_goes_for_good),
		cmocka_unit_test(no_core_dumps),
		cmocka_unit_test(secrets_stay_out_of_dumps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
