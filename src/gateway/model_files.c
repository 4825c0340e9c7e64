#include "gateway/model_files.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "os/process.h"
#include "text/gguf.h"

#define PATH_SIZE 4096
/* Metadata of a GGUF file: vocabularies take some MB. What is larger is read again. */
#define GGUF_FIRST (16u << 20)

static int __attribute__((format(printf, 3, 4)))
refuse(char why[MODEL_FILES_WHY_SIZE], int rc, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, MODEL_FILES_WHY_SIZE, format, args);
	va_end(args);
	return rc;
}

static int refuse_file(char why[MODEL_FILES_WHY_SIZE], int rc, const char *path, size_t max)
{
	if (rc == -BB_ESYSTEM)
		return refuse(why, rc, "%.300s cannot be read: %s", path, strerror(errno));
	if (rc == -BB_ELIMIT)
		return refuse(why, rc, "%.300s is larger than %zu MiB", path, max >> 20);
	return refuse(why, rc, "%.300s: %s", path, bb_error_info(rc)->text);
}

enum presence { MUST_BE, MAY_BE };

static int file_take(const char *path, size_t max, enum presence presence, struct model_file *out,
		     char why[MODEL_FILES_WHY_SIZE])
{
	const int rc = file_read(path, max, &out->p, &out->len);

	if (!rc || (rc == -BB_ESYSTEM && errno == ENOENT && presence == MAY_BE))
		return 0;
	return refuse_file(why, rc, path, max);
}

/* ---- folders ---- */

static int member_take(const char *folder, const char *name, size_t max, enum presence presence,
		       struct model_file *out, char why[MODEL_FILES_WHY_SIZE])
{
	char path[PATH_SIZE];

	if (out->p) /* there already: the operator's own template, or the file that was named */
		return 0;
	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return refuse(why, -BB_ELIMIT, "%.300s: the path is too long", folder);
	return file_take(path, max, presence, out, why);
}

static int folder_take(const char *folder, unsigned want, struct model_files *f,
		       char why[MODEL_FILES_WHY_SIZE])
{
	const struct {
		const char *name;
		struct model_file *out;
	} chat[] = {
		{ "chat_template.jinja", &f->jinja },
		{ "chat_template.json", &f->template_json },
		{ "tokenizer_config.json", &f->config },
		{ "special_tokens_map.json", &f->special_map },
	};
	int rc = 0;

	if (want & MODEL_FILES_TOKENIZER)
		rc = member_take(folder, "tokenizer.json", MODEL_FILES_TOKENIZER_MAX, MUST_BE,
				 &f->tokenizer, why);
	for (size_t i = 0; want & MODEL_FILES_CHAT && i < sizeof(chat) / sizeof(chat[0]) && !rc;
	     i++)
		rc = member_take(folder, chat[i].name, CHAT_TEXT_FILE_MAX, MAY_BE, chat[i].out,
				 why);
	return rc;
}

static int beside_take(const char *path, unsigned want, struct model_files *f,
		       char why[MODEL_FILES_WHY_SIZE])
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_SIZE];

	if (snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 1,
		     slash ? path : ".") >= (int)sizeof(folder))
		return refuse(why, -BB_ELIMIT, "%.300s: the path is too long", path);
	return folder_take(folder, want, f, why);
}

/* ---- single files ---- */

/* By its name too: one that is cut off is told as what it should be. */
static bool is_gguf(const char *path, const struct model_file *f)
{
	return bb_str_ends(bb_str_of(path), BB_STR(".gguf")) ||
	       bb_str_starts(model_file_text(f), BB_STR("GGUF"));
}

/* All of its metadata; where that is malformed, whoever reads it says so. */
static int gguf_take(const char *path, struct model_files *f, char why[MODEL_FILES_WHY_SIZE])
{
	struct gguf g;

	f->is_gguf = true;
	const int rc = gguf_open(model_file_text(&f->tokenizer), &g, NULL);
	if (!rc)
		gguf_close(&g);
	if (rc == -BB_ENOMEM)
		return refuse_file(why, rc, path, 0);
	if (!rc || f->tokenizer.len < GGUF_FIRST)
		return 0;
	BB_FREE(f->tokenizer.p);
	const int again =
		file_read_head(path, CHAT_TEXT_GGUF_MAX, &f->tokenizer.p, &f->tokenizer.len);
	return again ? refuse_file(why, again, path, CHAT_TEXT_GGUF_MAX) : 0;
}

/* A file that is no tokenizer, where only the template is wanted. */
static int chat_file_take(const char *path, struct model_files *f, char why[MODEL_FILES_WHY_SIZE])
{
	const struct bb_str name = bb_str_of(path);
	struct model_file *out = &f->jinja;

	if (bb_str_ends(name, BB_STR("chat_template.json")))
		out = &f->template_json;
	else if (bb_str_ends(name, BB_STR(".json")))
		out = &f->config;
	return file_take(path, CHAT_TEXT_FILE_MAX, MUST_BE, out, why);
}

static bool is_called_tokenizer(const char *path)
{
	const char *slash = strrchr(path, '/');

	return strcmp(slash ? slash + 1 : path, "tokenizer.json") == 0;
}

static int path_take(const char *path, unsigned want, struct model_files *f,
		     char why[MODEL_FILES_WHY_SIZE])
{
	/* It stands for its folder, where it need not be itself. */
	if (!(want & MODEL_FILES_TOKENIZER) && is_called_tokenizer(path))
		return beside_take(path, want, f, why);
	int rc = file_read_head(path, GGUF_FIRST, &f->tokenizer.p, &f->tokenizer.len);
	if (rc == -BB_ESYSTEM && errno == EISDIR)
		return folder_take(path, want, f, why);
	if (rc)
		return refuse_file(why, rc, path, 0);
	if (is_gguf(path, &f->tokenizer))
		return gguf_take(path, f, why);
	BB_FREE(f->tokenizer.p);
	if (!(want & MODEL_FILES_TOKENIZER))
		return chat_file_take(path, f, why);
	rc = file_take(path, MODEL_FILES_TOKENIZER_MAX, MUST_BE, &f->tokenizer, why);
	return rc ? rc : beside_take(path, want, f, why);
}

int model_files_read(const char *path, unsigned want, struct model_files *out,
		     char why[MODEL_FILES_WHY_SIZE])
{
	const int rc = path_take(path, want, out, why);

	if (rc)
		model_files_free(out);
	return rc;
}

int model_files_read_template(const char *path, struct model_files *out,
			      char why[MODEL_FILES_WHY_SIZE])
{
	return file_take(path, CHAT_TEXT_FILE_MAX, MUST_BE, &out->jinja, why);
}

void model_files_free(struct model_files *f)
{
	bb_free(f->tokenizer.p);
	bb_free(f->jinja.p);
	bb_free(f->template_json.p);
	bb_free(f->config.p);
	bb_free(f->special_map.p);
	*f = (struct model_files){ .is_gguf = false };
}

struct bb_str model_file_text(const struct model_file *f)
{
	return (struct bb_str){ f->p, f->len };
}

int model_files_tokenizer(const struct model_files *f, struct tokenizer **out, struct text_error *e)
{
	const struct bb_str text = model_file_text(&f->tokenizer);

	return f->is_gguf ? tokenizer_create_gguf(text, out, e)
			  : tokenizer_create_json(text, out, e);
}

int model_files_chat(const struct model_files *f, struct chat_text **out, struct text_error *e)
{
	const struct chat_files files = {
		.jinja = model_file_text(&f->jinja),
		.template_json = model_file_text(&f->template_json),
		.config = model_file_text(&f->config),
		.special_map = model_file_text(&f->special_map),
	};

	if (f->is_gguf)
		return chat_text_create_gguf(model_file_text(&f->tokenizer), files.jinja, out, e);
	return chat_text_create(&files, out, e);
}
