/* sandbox.c: the table of system calls; root, core dumps and secrets. The paths are in sandbox_paths.c. */
#include "os/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif

#ifdef HAS_SANITIZER
#define MISSING "a sanitizer is built in, which needs more system calls"
#elif !defined(BB_WITH_SECCOMP)
#define MISSING "built without libseccomp"
#endif

#ifndef MISSING
#include <seccomp.h>
#include <sys/ioctl.h>

#define ARGS_MAX 2
#define NONE { 0 }

/* A system call, and what must hold of its arguments. Rows of one name are alternatives. */
struct allowed {
	const char *name;
	struct scmp_arg_cmp args[ARGS_MAX];
	uint8_t arg_count;
};

#define ALLOW(name) { #name, { NONE, NONE }, 0 }
#define ALLOW_ARG(name, n, value) { #name, { { n, SCMP_CMP_EQ, (value), 0 }, NONE }, 1 }
#define ALLOW_BITS(name, n, mask, value)                                                           \
	{ #name, { { n, SCMP_CMP_MASKED_EQ, (mask), (value) }, NONE }, 1 }
#define ALLOW_BITS2(name, n, mask, value, n2, mask2, value2)                                       \
	{ #name,                                                                                   \
	  { { n, SCMP_CMP_MASKED_EQ, (mask), (value) }, { n2, SCMP_CMP_MASKED_EQ, (mask2), (value2) } }, \
	  2 }

/* Opening: to read, or to append to a file, never to change one in place or to empty it. */
#define OPEN_BITS (O_ACCMODE | O_CREAT | O_TRUNC)
#define APPEND_BITS (O_ACCMODE | O_APPEND | O_TRUNC)
#define THREAD_BITS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define SET_VMA 0x53564d41 /* PR_SET_VMA: newer C libraries name their heaps */

static const struct allowed allowed[] = {
	/* descriptors, without opening: what the loops live on */
	ALLOW(read), ALLOW(readv), ALLOW(pread64), ALLOW(write), ALLOW(writev), ALLOW(close),
	ALLOW(epoll_create1), ALLOW(epoll_ctl), ALLOW(epoll_wait), ALLOW(epoll_pwait),
	ALLOW(epoll_pwait2), ALLOW(eventfd2), ALLOW(poll), ALLOW(ppoll), ALLOW(pipe2),
	ALLOW(fsync), ALLOW(fdatasync), ALLOW(lseek), ALLOW(_llseek),
	ALLOW_ARG(fcntl, 1, F_GETFL), ALLOW_ARG(fcntl, 1, F_SETFL), ALLOW_ARG(fcntl, 1, F_GETFD),
	ALLOW_ARG(fcntl, 1, F_SETFD), ALLOW_ARG(fcntl, 1, F_DUPFD_CLOEXEC),
	ALLOW_ARG(ioctl, 1, FIONREAD), ALLOW_ARG(ioctl, 1, FIONBIO), ALLOW_ARG(ioctl, 1, TCGETS),
	ALLOW_ARG(ioctl, 1, TIOCOUTQ),
	/* the network: no listen, so that no door is opened later; netlink is getaddrinfo's */
	ALLOW_ARG(socket, 0, AF_INET), ALLOW_ARG(socket, 0, AF_INET6), ALLOW_ARG(socket, 0, AF_UNIX),
	ALLOW_ARG(socket, 0, AF_NETLINK), ALLOW(connect), ALLOW(bind), ALLOW(accept4),
	ALLOW(getsockname), ALLOW(getpeername), ALLOW(getsockopt), ALLOW(setsockopt),
	ALLOW(shutdown), ALLOW(sendto), ALLOW(sendmsg), ALLOW(sendmmsg), ALLOW(recvfrom),
	ALLOW(recvmsg), ALLOW(recvmmsg),
	/* files: configuration, certificates, /proc/self, resolv.conf; the access log */
	ALLOW_BITS(openat, 2, OPEN_BITS, O_RDONLY),
	ALLOW_BITS(openat, 2, APPEND_BITS, O_WRONLY | O_APPEND),
	ALLOW_BITS(open, 1, OPEN_BITS, O_RDONLY),
	ALLOW_BITS(open, 1, APPEND_BITS, O_WRONLY | O_APPEND),
	ALLOW(fstat), ALLOW(stat), ALLOW(lstat), ALLOW(newfstatat), ALLOW(statx), ALLOW(getdents64),
	ALLOW(readlink), ALLOW(readlinkat), ALLOW(access), ALLOW(faccessat), ALLOW(faccessat2),
	ALLOW(fstatfs), ALLOW(statfs), ALLOW(getcwd),
	/* memory: writable or executable, never both, and code only out of files (getaddrinfo's modules) */
	ALLOW(brk), ALLOW(munmap), ALLOW(mremap), ALLOW(madvise),
	ALLOW_BITS(mmap, 2, PROT_EXEC, 0),
	ALLOW_BITS2(mmap, 2, PROT_EXEC | PROT_WRITE, PROT_EXEC, 3, MAP_ANONYMOUS, 0),
	ALLOW_BITS(mprotect, 2, PROT_EXEC, 0),
	/* threads, not processes */
	ALLOW_BITS(clone, 0, THREAD_BITS, THREAD_BITS), ALLOW(set_robust_list), ALLOW(rseq),
	ALLOW(futex), ALLOW(futex_waitv), ALLOW(exit), ALLOW(exit_group), ALLOW(gettid),
	ALLOW(getpid), ALLOW(sched_yield), ALLOW(sched_getaffinity), ALLOW(membarrier),
	ALLOW_ARG(prctl, 0, PR_SET_NAME), ALLOW_ARG(prctl, 0, SET_VMA),
	/* signals to itself: abort, and pthread's own */
	ALLOW(rt_sigprocmask), ALLOW(rt_sigaction), ALLOW(rt_sigreturn), ALLOW(sigaltstack),
	ALLOW(restart_syscall),
	/* time, chance, and questions about itself */
	ALLOW(clock_gettime), ALLOW(clock_getres), ALLOW(clock_nanosleep), ALLOW(nanosleep),
	ALLOW(gettimeofday), ALLOW(time), ALLOW(getrandom), ALLOW(uname), ALLOW(sysinfo),
	ALLOW(getuid), ALLOW(geteuid), ALLOW(getgid), ALLOW(getegid), ALLOW(getrusage),
	ALLOW_ARG(prlimit64, 2, 0),
};

/* Nothing here would ever ask for these: whoever does is an intruder, and gets no second try. */
static const char *const deadly[] = {
	"execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "bpf", "mount",
	"umount2", "pivot_root", "chroot", "unshare", "setns", "init_module", "finit_module",
	"delete_module", "kexec_load", "kexec_file_load", "userfaultfd", "io_uring_setup", "keyctl",
	"add_key", "request_key", "perf_event_open", "open_by_handle_at", "personality", "reboot",
	"swapon", "memfd_create", "process_madvise", "pidfd_getfd",
};

/* A name that this machine does not have needs no rule. */
static int add_rule(scmp_filter_ctx ctx, uint32_t action, const char *name,
		    const struct scmp_arg_cmp *args, unsigned arg_count)
{
	const int number = seccomp_syscall_resolve_name(name);

	return number < 0 ? 0 : seccomp_rule_add_array(ctx, action, number, arg_count, args);
}

static bool may_remove;

void sandbox_let_remove(void)
{
	may_remove = true;
}

static int add_rules(scmp_filter_ctx ctx)
{
	const struct scmp_arg_cmp self = { 0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0 };
	int rc = 0;

	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]) && !rc; i++)
		rc = add_rule(ctx, SCMP_ACT_ALLOW, allowed[i].name, allowed[i].args,
			      allowed[i].arg_count);
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]) && !rc; i++)
		rc = add_rule(ctx, SCMP_ACT_KILL_PROCESS, deadly[i], NULL, 0);
	if (!rc && may_remove)
		rc = add_rule(ctx, SCMP_ACT_ALLOW, "unlink", NULL, 0);
	if (!rc)
		rc = add_rule(ctx, SCMP_ACT_ALLOW, "tgkill", &self, 1);
	/* Its flags lie in memory, where no filter sees them: without it the C library uses clone. */
	if (!rc)
		rc = add_rule(ctx, SCMP_ACT_ERRNO(ENOSYS), "clone3", NULL, 0);
	return rc;
}

int sandbox_enter(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc;

	if (!ctx)
		return -BB_ENOMEM;
	rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!rc)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!rc)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_LOG, 1);
	/* No code of others runs in here that would have to be kept from guessing: no slower branches. */
	if (!rc)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_SSB, 1);
	if (!rc)
		rc = add_rules(ctx);
	if (!rc)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	if (rc) {
		errno = -rc;
		return rc == -ENOMEM ? -BB_ENOMEM : -BB_ESYSTEM;
	}
	return 0;
}

const char *sandbox_missing(void)
{
	return NULL;
}
#else
void sandbox_let_remove(void)
{
}

int sandbox_enter(void)
{
	return -BB_EABSENT;
}

const char *sandbox_missing(void)
{
	return MISSING;
}
#endif

int process_hide(void)
{
#ifdef HAS_SANITIZER
	return 0; /* its search for leaks attaches to the process */
#endif
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ? -BB_ESYSTEM : 0;
}

int process_pin_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -BB_ESYSTEM : 0;
}

bool process_is_root(void)
{
	return geteuid() == 0;
}

int user_become(const char *name, const char **why)
{
	const struct passwd *user = getpwnam(name);

	*why = "there is no such user";
	if (!user)
		return -BB_EABSENT;
	const uid_t uid = user->pw_uid;
	const gid_t gid = user->pw_gid;
	if (uid == geteuid() && uid == getuid())
		return 0;
	*why = "only root can become another user";
	if (geteuid() != 0)
		return -BB_EINVALID;
	*why = "the kernel refuses it";
	if (initgroups(name, gid) || setgid(gid) || setuid(uid))
		return -BB_ESYSTEM;
	/* The way back must be closed; that it is has been wrong in other programs. */
	BB_ASSERT(getuid() == uid && geteuid() == uid && getegid() == gid);
	BB_ASSERT(uid == 0 || setuid(0) != 0);
	return 0;
}

void secret_hide(const void *p, size_t len)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	const uintptr_t from = (uintptr_t)p & ~(page - 1);
	const uintptr_t to = ((uintptr_t)p + len + page - 1) & ~(page - 1);

	/* A kernel without it dumps more than it should, but only where dumps are on at all. */
	if (len)
		(void)!madvise((void *)from, to - from, MADV_DONTDUMP);
}

void secret_wipe(void *p, size_t len)
{
	if (len)
		explicit_bzero(p, len);
}
