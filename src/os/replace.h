/*
 * replace.h: files that are changed as a whole, or not at all.
 *
 * For: `busbar keys`, whose file a gateway may read at any moment.
 * Threads: any; blocks. Memory: none of the caller's.
 * Errors: -BB_ESYSTEM with errno kept; the old file is untouched then.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

/*
 * The file at `path` (where a symbolic link leads, if it is one) holds `data` afterwards. A new
 * file can be read by its owner alone; an old one keeps its mode and, where allowed, its owner.
 */
BB_MUST int file_replace(const char *path, const void *data, size_t len);
/*
 * Waits until nobody else holds the folder of `path`, and holds it: between reading and replacing.
 * A descriptor for file_unlock.
 */
BB_MUST int file_lock_folder(const char *path);
void file_unlock(int fd);
