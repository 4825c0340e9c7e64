#include "os/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool path_is_folder(const char *path)
{
	struct stat s;

	return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

int folder_make(const char *path)
{
	if (mkdir(path, 0750) == 0 || (errno == EEXIST && path_is_folder(path)))
		return 0;
	if (errno == EEXIST)
		errno = ENOTDIR;
	return -BB_ESYSTEM;
}

int folder_each(const char *path, void (*each)(void *user, const char *name), void *user)
{
	DIR *d = opendir(path);

	if (!d)
		return -BB_ESYSTEM;
	for (const struct dirent *e; (e = readdir(d));)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			each(user, e->d_name);
	closedir(d);
	return 0;
}

int file_create(const char *path)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0640);

	if (fd >= 0)
		return fd;
	return errno == EEXIST ? -BB_EEXIST : -BB_ESYSTEM;
}

int file_remove(const char *path)
{
	return unlink(path) == 0 ? 0 : -BB_ESYSTEM;
}

int file_sync(int fd)
{
	return fdatasync(fd) == 0 ? 0 : -BB_ESYSTEM;
}
