#include "sim/work_read.h"

#include <errno.h>
#include <stdio.h>

#include "base/alloc.h"
#include "os/folder.h"
#include "os/process.h"
#include "records/journal_files.h"
#include "records/journal_form.h"
#include "sim/gunzip.h"
#include "sim/work_trace.h"

/* ---- which format ---- */

static int no_request(char why[WORK_WHY_SIZE])
{
	snprintf(why, WORK_WHY_SIZE, "there is no request in it");
	return -BB_ESYNTAX;
}

static int read_journal(struct bb_str bytes, struct workload *w, char why[WORK_WHY_SIZE])
{
	struct work_journal j;

	work_journal_init(&j, w);
	const int rc = work_journal_file(&j, bytes, why);
	work_journal_fini(&j);
	return rc;
}

static int read_plain(struct bb_str text, struct workload *w, char why[WORK_WHY_SIZE])
{
	const struct bb_str begin = bb_str_trim(text);

	if (!begin.len)
		return no_request(why);
	if (journal_is_one(text))
		return read_journal(text, w, why);
	if (begin.p[0] == '{')
		return work_mooncake(text, w, why);
	if (work_is_azure(text))
		return work_azure(text, w, why);
	snprintf(why, WORK_WHY_SIZE,
		 "neither a Mooncake trace (a JSON object a line) nor an Azure trace "
		 "(TIMESTAMP,ContextTokens,GeneratedTokens) nor a journal");
	return -BB_ESYNTAX;
}

static int seal(struct workload *w, char why[WORK_WHY_SIZE])
{
	if (!w->count)
		return no_request(why);
	uint64_t first_ns = UINT64_MAX;
	for (uint32_t i = 0; i < w->count; i++)
		if (w->requests[i].after == WORK_NONE && w->requests[i].due_ns < first_ns)
			first_ns = w->requests[i].due_ns;
	for (uint32_t i = 0; i < w->count; i++)
		if (w->requests[i].after == WORK_NONE)
			w->requests[i].due_ns -= first_ns;
	return workload_seal(w);
}

int work_read_text(struct bb_str text, struct workload *w, char why[WORK_WHY_SIZE])
{
	struct bb_buf unpacked;
	int rc = 0;

	why[0] = '\0';
	workload_init(w);
	bb_buf_init(&unpacked, WORK_FILE_MAX);
	if (gunzip_is_packed(text)) {
		rc = gunzip(text, &unpacked);
		if (rc == -BB_ESYNTAX)
			snprintf(why, WORK_WHY_SIZE, "the gzip file is damaged or cut off");
		text = bb_buf_str(&unpacked);
	}
	if (!rc)
		rc = read_plain(text, w, why);
	if (!rc)
		rc = seal(w, why);
	bb_buf_fini(&unpacked);
	if (rc && !why[0])
		snprintf(why, WORK_WHY_SIZE, "%s", bb_error_info(rc)->text);
	if (rc)
		workload_fini(w);
	return rc;
}

/* ---- files ---- */

/* The file's name without folders and endings. */
static void name_of(const char *path, char out[WORK_NAME_SIZE])
{
	const char *const slash = strrchr(path, '/');
	struct bb_str name = bb_str_of(slash ? slash + 1 : path);
	static const struct bb_str endings[] = { BB_STR_INIT(".gz"), BB_STR_INIT(".jsonl"),
						 BB_STR_INIT(".csv"), BB_STR_INIT(".journal") };

	for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++)
		if (bb_str_ends(name, endings[i]) && name.len > endings[i].len)
			name.len -= endings[i].len;
	snprintf(out, WORK_NAME_SIZE, "%.*s", BB_ARG(name));
}

static int told_code(int rc, char why[WORK_WHY_SIZE])
{
	snprintf(why, WORK_WHY_SIZE, "%s",
		 rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text);
	return rc;
}

/* One file of a journal; the sentence begins with its name. */
static int read_journal_file(struct work_journal *j, const char *folder, const char *name,
			     char why[WORK_WHY_SIZE])
{
	char path[JOURNAL_PATH_MAX], inner[WORK_WHY_SIZE] = "";
	char *bytes;
	size_t len;
	int rc = journal_file_path(folder, name, path);

	if (!rc)
		rc = file_read(path, WORK_FILE_MAX, &bytes, &len);
	if (rc)
		return told_code(rc, why);
	rc = work_journal_file(j, (struct bb_str){ bytes, len }, inner);
	bb_free(bytes);
	if (rc)
		snprintf(why, WORK_WHY_SIZE, "%.100s: %.140s", name,
			 inner[0] ? inner : bb_error_info(rc)->text);
	return rc;
}

static int read_folder(const char *path, struct workload *w, char why[WORK_WHY_SIZE])
{
	struct journal_files files;
	struct work_journal j;
	int rc = journal_files_list(path, &files);

	if (rc)
		return told_code(rc, why);
	work_journal_init(&j, w);
	for (uint32_t i = 0; !rc && i < files.count; i++)
		rc = read_journal_file(&j, path, files.names[i], why);
	work_journal_fini(&j);
	journal_files_free(&files);
	if (!rc)
		rc = seal(w, why);
	if (rc && !why[0])
		told_code(rc, why);
	if (rc)
		workload_fini(w);
	return rc;
}

int work_read_file(const char *path, struct workload *w, char why[WORK_WHY_SIZE])
{
	char *text;
	size_t len;
	int rc;

	why[0] = '\0';
	workload_init(w);
	if (path_is_folder(path)) {
		rc = read_folder(path, w, why);
	} else {
		rc = file_read(path, WORK_FILE_MAX, &text, &len);
		if (rc)
			return told_code(rc, why);
		rc = work_read_text((struct bb_str){ text, len }, w, why);
		bb_free(text);
	}
	if (!rc)
		name_of(path, w->name);
	return rc;
}
