/*
 * folder.h: the files of a folder: listed, made, removed, read.
 *
 * For: journals, which are many files. Threads: any; blocks.
 * Memory: none is kept; names are valid during the call.
 * Errors: -BB_ESYSTEM with errno kept; -BB_EEXIST where a file is to be made that is there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Made if absent, mode 0750; the folder that it is in must exist. */
BB_MUST int folder_make(const char *path);
bool path_is_folder(const char *path);
/* Calls `each` for every entry but "." and "..", in no order. */
BB_MUST int folder_each(const char *path, void (*each)(void *user, const char *name), void *user);
/* A file that is not there yet, mode 0640; the descriptor. Closed with file_close. */
BB_MUST int file_create(const char *path);
BB_MUST int file_remove(const char *path);
/* What was written is on the disk. */
BB_MUST int file_sync(int fd);
