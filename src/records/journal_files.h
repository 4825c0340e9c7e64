/*
 * journal_files.h: the files of a journal in their folder, by their names.
 *
 * For: journal.c, which makes and removes them; `busbar replay`, which reads them in their order.
 * A name is busbar-TIME-NUMBER.journal: in the order of names they are in that of time.
 * Threads: any; blocks. Memory: a list owns its names. Errors: -BB_ESYSTEM with errno, -BB_ENOMEM.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

#define JOURNAL_PATH_MAX 4096
#define JOURNAL_FILES_MAX 65536

struct journal_files {
	char **names; /* sorted */
	uint32_t count, room;
	int err;
};

BB_MUST int journal_files_list(const char *folder, struct journal_files *out);
void journal_files_free(struct journal_files *f);
/* "FOLDER/NAME"; -BB_ELIMIT: too long. */
BB_MUST int journal_file_path(const char *folder, const char *name, char path[JOURNAL_PATH_MAX]);
/* Makes the file of this number; its descriptor. */
BB_MUST int journal_file_create(const char *folder, uint64_t number, char path[JOURNAL_PATH_MAX]);
/* Removes the oldest, so that so many are left. */
void journal_files_trim(const char *folder, uint32_t count);
