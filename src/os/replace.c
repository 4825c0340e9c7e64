#include "os/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/process.h"

/* Where the file is, links followed; a path that leads nowhere yet stands for itself. */
static int real_path(const char *path, char out[PATH_MAX])
{
	if (realpath(path, out))
		return 0;
	if (errno != ENOENT || strlen(path) >= PATH_MAX)
		return -BB_ESYSTEM;
	memcpy(out, path, strlen(path) + 1);
	return 0;
}

static int folder_open(const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	const size_t len = !slash ? 1 : slash == path ? 1 : (size_t)(slash - path);

	if (len >= sizeof(folder)) {
		errno = ENAMETOOLONG;
		return -BB_ESYSTEM;
	}
	memcpy(folder, slash ? path : ".", len);
	folder[len] = '\0';
	const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -BB_ESYSTEM : fd;
}

/* Mode and owner of the file that goes. That a stranger's owner cannot be kept is no failure. */
static int take_after(int fd, const char *path)
{
	struct stat old;

	if (stat(path, &old))
		return errno == ENOENT ? fchmod(fd, 0600) : -1;
	if (fchown(fd, old.st_uid, old.st_gid) && errno != EPERM)
		return -1;
	return fchmod(fd, old.st_mode & 07777);
}

int file_replace(const char *path, const void *data, size_t len)
{
	char target[PATH_MAX], made[PATH_MAX + 8];
	int saved;

	int rc = real_path(path, target);
	if (rc)
		return rc;
	snprintf(made, sizeof(made), "%s.XXXXXX", target);
	const int folder = folder_open(target);
	if (folder < 0)
		return folder;
	const int fd = mkostemp(made, O_CLOEXEC);
	if (fd < 0)
		goto fail_folder;
	if (take_after(fd, target) || fd_write_all(fd, data, len) || fsync(fd) ||
	    rename(made, target))
		goto fail_made;
	close(fd);
	/* The name must last as the contents do; a folder that cannot be synced has it all the
	 * same. */
	(void)!fsync(folder);
	close(folder);
	return 0;

fail_made:
	saved = errno;
	close(fd);
	unlink(made);
	errno = saved;
fail_folder:
	saved = errno;
	close(folder);
	errno = saved;
	return -BB_ESYSTEM;
}

int file_lock_folder(const char *path)
{
	char target[PATH_MAX];
	int rc = real_path(path, target);

	if (rc)
		return rc;
	const int fd = folder_open(target);
	if (fd < 0)
		return fd;
	do
		rc = flock(fd, LOCK_EX);
	while (rc && errno == EINTR);
	if (rc) {
		const int saved = errno;
		close(fd);
		errno = saved;
		return -BB_ESYSTEM;
	}
	return fd;
}

void file_unlock(int fd)
{
	close(fd);
}
