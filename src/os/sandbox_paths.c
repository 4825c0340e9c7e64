/* sandbox_paths.c: where this process may still write (Landlock). See sandbox.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/sandbox.h"

#define PATH_SIZE 4096

/* Named here because the kernel's headers may be older than the kernel. */
#define FS_REFER (1ULL << 13)	 /* version 2 */
#define FS_TRUNCATE (1ULL << 14) /* version 3 */

#define FILE_BITS (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG)
#define SOCKET_BITS (LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE)
#define FOLDER_BITS                                                                                \
	(FILE_BITS | SOCKET_BITS | FS_TRUNCATE | LANDLOCK_ACCESS_FS_MAKE_DIR |                     \
	 LANDLOCK_ACCESS_FS_REMOVE_DIR)
#define HANDLED_BITS                                                                               \
	(FOLDER_BITS | FS_REFER | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |      \
	 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |                            \
	 LANDLOCK_ACCESS_FS_MAKE_SYM)

static uint64_t handled_by(int version)
{
	uint64_t bits = HANDLED_BITS;

	if (version < 2)
		bits &= ~FS_REFER;
	if (version < 3)
		bits &= ~FS_TRUNCATE;
	return bits;
}

/* The folder that `path` stands in; -1 when it is too long. */
static int folder_of(const char *path, char out[PATH_SIZE])
{
	const char *slash = strrchr(path, '/');
	const int len = slash ? (int)(slash - path) : 0;
	const int n = slash ? snprintf(out, PATH_SIZE, "%.*s", len ? len : 1, path)
			    : snprintf(out, PATH_SIZE, ".");

	return n > 0 && n < PATH_SIZE ? 0 : -1;
}

static int rule_add(int ruleset, const struct sandbox_path *p, uint64_t handled)
{
	static const uint64_t bits[] = {
		[SANDBOX_APPEND] = FILE_BITS,
		[SANDBOX_SOCKET] = SOCKET_BITS,
		[SANDBOX_FOLDER] = FOLDER_BITS,
	};
	char folder[PATH_SIZE];
	const char *at = p->path;

	if (p->access != SANDBOX_FOLDER) {
		at = folder;
		if (folder_of(p->path, folder)) {
			errno = ENAMETOOLONG;
			return -BB_ESYSTEM;
		}
	}
	const int fd = open(at, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -BB_ESYSTEM;
	const struct landlock_path_beneath_attr rule = {
		.allowed_access = bits[p->access] & handled,
		.parent_fd = fd,
	};
	const long rc =
		syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	const int saved = errno;
	close(fd);
	errno = saved;
	return rc ? -BB_ESYSTEM : 0;
}

int sandbox_paths(const struct sandbox_path *paths, uint32_t count)
{
	const int version =
		(int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (version < 1)
		return -BB_EABSENT; /* an old kernel, or one that has it switched off */
	const struct landlock_ruleset_attr attr = { .handled_access_fs = handled_by(version) };
	const int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return -BB_ESYSTEM;
	int rc = 0;
	for (uint32_t i = 0; i < count && !rc; i++)
		rc = rule_add(ruleset, &paths[i], attr.handled_access_fs);
	if (!rc)
		rc = process_pin_privileges(); /* the kernel asks for it */
	if (!rc && syscall(SYS_landlock_restrict_self, ruleset, 0))
		rc = -BB_ESYSTEM;
	const int saved = errno;
	close(ruleset);
	errno = saved;
	return rc;
}
