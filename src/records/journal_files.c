#include "records/journal_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "os/clock.h"
#include "os/folder.h"
#include "records/journal.h"

#define PREFIX "busbar-"

static void add(void *user, const char *name)
{
	struct journal_files *f = user;
	const struct bb_str s = bb_str_of(name);

	if (f->err || !bb_str_starts(s, BB_STR(PREFIX)) ||
	    !bb_str_ends(s, BB_STR(JOURNAL_SUFFIX)) || f->count == JOURNAL_FILES_MAX)
		return;
	if (f->count == f->room) {
		const uint32_t room = f->room ? f->room * 2 : 16;
		char **grown = bb_realloc(f->names, room * sizeof(*grown));
		if (!grown) {
			f->err = -BB_ENOMEM;
			return;
		}
		f->names = grown;
		f->room = room;
	}
	f->names[f->count] = bb_strndup(name, s.len);
	if (f->names[f->count])
		f->count++;
	else
		f->err = -BB_ENOMEM;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int journal_files_list(const char *folder, struct journal_files *out)
{
	*out = (struct journal_files){ 0 };
	const int rc = folder_each(folder, add, out);
	if (rc || out->err) {
		const int err = rc ? rc : out->err;
		journal_files_free(out);
		return err;
	}
	if (out->count)
		qsort(out->names, out->count, sizeof(*out->names), by_name);
	return 0;
}

void journal_files_free(struct journal_files *f)
{
	for (uint32_t i = 0; i < f->count; i++)
		bb_free(f->names[i]);
	bb_free(f->names);
	*f = (struct journal_files){ 0 };
}

int journal_file_path(const char *folder, const char *name, char path[JOURNAL_PATH_MAX])
{
	const int n = snprintf(path, JOURNAL_PATH_MAX, "%s/%s", folder, name);

	return n < JOURNAL_PATH_MAX ? 0 : -BB_ELIMIT;
}

int journal_file_create(const char *folder, uint64_t number, char path[JOURNAL_PATH_MAX])
{
	char iso[CLOCK_ISO_SIZE], time[CLOCK_ISO_SIZE], name[96];
	size_t n = 0;

	clock_iso(clock_wall_ns(), iso);
	for (const char *p = iso; *p; p++)
		if (*p != '-' && *p != ':')
			time[n++] = *p;
	time[n] = '\0';
	snprintf(name, sizeof(name), PREFIX "%s-%06llu" JOURNAL_SUFFIX, time,
		 (unsigned long long)number);
	const int rc = journal_file_path(folder, name, path);
	return rc ? rc : file_create(path);
}

void journal_files_trim(const char *folder, uint32_t count)
{
	struct journal_files f;
	char path[JOURNAL_PATH_MAX];

	if (journal_files_list(folder, &f))
		return;
	for (uint32_t i = 0; i + count < f.count; i++)
		if (journal_file_path(folder, f.names[i], path) || file_remove(path))
			(void)BB_CHECK(false, "an old file of the journal cannot be removed");
	journal_files_free(&f);
}
