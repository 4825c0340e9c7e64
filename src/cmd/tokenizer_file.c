#include "cmd/tokenizer_file.h"

#include <errno.h>
#include <stdio.h>

#include "gateway/model_files.h"

int tokenizer_file_failed(const char *command, const char *path, int rc)
{
	const char *const why = rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text;

	if (path)
		fprintf(stderr, "%s: %s: %s\n", command, path, why);
	else
		fprintf(stderr, "%s: %s\n", command, why);
	return 1;
}

int tokenizer_file_load(const char *command, const char *path, struct tokenizer **out)
{
	struct model_files files = { .is_gguf = false };
	struct text_error e = { "" };
	char why[MODEL_FILES_WHY_SIZE];

	int rc = model_files_read(path, MODEL_FILES_TOKENIZER, &files, why);
	if (rc) {
		fprintf(stderr, "%s: %s\n", command, why);
		return 1;
	}
	rc = model_files_tokenizer(&files, out, &e);
	model_files_free(&files);
	if (rc != -BB_EINVALID)
		return rc ? tokenizer_file_failed(command, path, rc) : 0;
	fprintf(stderr, "%s: %s: %s\n", command, path, e.message);
	return 2;
}
