#include "cmd/tokenizer_file.h"

#include <errno.h>
#include <stdio.h>

#include "base/alloc.h"
#include "os/process.h"

#define PATH_SIZE 4096
#define GGUF_HEAD_MAX (128u << 20) /* all but the tensors stands there */

int tokenizer_file_failed(const char *command, const char *path, int rc)
{
	const char *const why = rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text;

	if (path)
		fprintf(stderr, "%s: %s: %s\n", command, path, why);
	else
		fprintf(stderr, "%s: %s\n", command, why);
	return 1;
}

static int unusable(const char *command, const char *path, int rc, const struct text_error *e)
{
	if (rc != -BB_EINVALID)
		return tokenizer_file_failed(command, path, rc);
	fprintf(stderr, "%s: %s: %s\n", command, path, e->message);
	return 2;
}

static int load_gguf(const char *command, const char *path, struct tokenizer **out)
{
	struct text_error e = { 0 };
	char *head;
	size_t len;

	int rc = file_read_head(path, GGUF_HEAD_MAX, &head, &len);
	if (rc)
		return tokenizer_file_failed(command, path, rc);
	rc = tokenizer_create_gguf((struct bb_str){ head, len }, out, &e);
	bb_free(head);
	return rc ? unusable(command, path, rc, &e) : 0;
}

static int load_json(const char *command, const char *path, struct tokenizer **out)
{
	struct text_error e = { 0 };
	char *text;
	size_t len;

	int rc = file_read(path, TOKENIZER_FILE_MAX, &text, &len);
	if (rc)
		return tokenizer_file_failed(command, path, rc);
	rc = tokenizer_create_json((struct bb_str){ text, len }, out, &e);
	bb_free(text);
	return rc ? unusable(command, path, rc, &e) : 0;
}

int tokenizer_file_load(const char *command, const char *path, struct tokenizer **out)
{
	char inside[PATH_SIZE];

	if (bb_str_ends(bb_str_of(path), BB_STR(".gguf")))
		return load_gguf(command, path, out);
	if (!file_is_folder(path))
		return load_json(command, path, out);
	const int n = snprintf(inside, sizeof(inside), "%s/tokenizer.json", path);
	if (n < 0 || (size_t)n >= sizeof(inside))
		return tokenizer_file_failed(command, path, -BB_ELIMIT);
	return load_json(command, inside, out);
}
