#include "gateway/model_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "os/process.h"

#define PATH_SIZE 4096
/* Metadata of a GGUF file: vocabularies take some MB. */
#define GGUF_FIRST (16u << 20)

static int __attribute__((format(printf, 3, 4)))
refuse(char why[MODEL_TEXT_WHY_SIZE], int rc, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, MODEL_TEXT_WHY_SIZE, format, args);
	va_end(args);
	return rc;
}

/* ---- files ---- */

struct file {
	char *p; /* NULL: there is none */
	size_t len;
};

/* What a model's texts are made of. */
struct files {
	struct file tokenizer; /* tokenizer.json, or the head of a GGUF file */
	struct file jinja, template_json, config, special_map;
	bool is_gguf;
};

static void files_free(struct files *f)
{
	bb_free(f->tokenizer.p);
	bb_free(f->jinja.p);
	bb_free(f->template_json.p);
	bb_free(f->config.p);
	bb_free(f->special_map.p);
}

enum presence { MUST_BE, MAY_BE };

static int file_take(const char *path, size_t max, enum presence presence, struct file *out,
		     char why[MODEL_TEXT_WHY_SIZE])
{
	const int rc = file_read(path, max, &out->p, &out->len);

	if (!rc)
		return 0;
	if (rc == -BB_ESYSTEM && errno == ENOENT && presence == MAY_BE)
		return 0;
	if (rc == -BB_ESYSTEM)
		return refuse(why, rc, "%.300s cannot be read: %s", path, strerror(errno));
	if (rc == -BB_ELIMIT)
		return refuse(why, rc, "%.300s is larger than %zu MiB", path, max >> 20);
	return refuse(why, rc, "%.300s: %s", path, bb_error_info(rc)->text);
}

static int folder_file(const char *folder, const char *name, size_t max, enum presence presence,
		       struct file *out, char why[MODEL_TEXT_WHY_SIZE])
{
	char path[PATH_SIZE];

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return refuse(why, -BB_ELIMIT, "%.300s: the path is too long", folder);
	return file_take(path, max, presence, out, why);
}

static int folder_take(const char *folder, struct files *f, char why[MODEL_TEXT_WHY_SIZE])
{
	int rc = folder_file(folder, "tokenizer.json", MODEL_TEXT_FILE_MAX, MUST_BE, &f->tokenizer,
			     why);

	if (!rc && !f->jinja.p)
		rc = folder_file(folder, "chat_template.jinja", CHAT_TEXT_FILE_MAX, MAY_BE,
				 &f->jinja, why);
	if (!rc)
		rc = folder_file(folder, "chat_template.json", CHAT_TEXT_FILE_MAX, MAY_BE,
				 &f->template_json, why);
	if (!rc)
		rc = folder_file(folder, "tokenizer_config.json", CHAT_TEXT_FILE_MAX, MAY_BE,
				 &f->config, why);
	if (!rc)
		rc = folder_file(folder, "special_tokens_map.json", CHAT_TEXT_FILE_MAX, MAY_BE,
				 &f->special_map, why);
	return rc;
}

static bool is_gguf(const struct file *f)
{
	return f->len >= 4 && memcmp(f->p, "GGUF", 4) == 0;
}

/* A tokenizer.json stands in its folder; a GGUF file has everything in itself. */
static int path_take(const char *path, struct files *f, char why[MODEL_TEXT_WHY_SIZE])
{
	char folder[PATH_SIZE];
	int rc = file_read_head(path, GGUF_FIRST, &f->tokenizer.p, &f->tokenizer.len);

	if (rc == -BB_ESYSTEM && errno == EISDIR)
		return folder_take(path, f, why);
	if (rc == -BB_ESYSTEM)
		return refuse(why, rc, "%.300s cannot be read: %s", path, strerror(errno));
	if (rc)
		return refuse(why, rc, "%.300s: %s", path, bb_error_info(rc)->text);
	f->is_gguf = is_gguf(&f->tokenizer);
	if (f->is_gguf)
		return 0;
	BB_FREE(f->tokenizer.p);
	const char *slash = strrchr(path, '/');
	bb_text_copy(folder, sizeof(folder), ".");
	if (slash && slash - path < (ptrdiff_t)sizeof(folder)) {
		memcpy(folder, path, (size_t)(slash - path));
		folder[slash - path] = '\0';
	}
	rc = folder_take(folder, f, why);
	if (rc && strcmp(slash ? slash + 1 : path, "tokenizer.json") == 0)
		return rc;
	/* It may have another name; what lies beside it is its own all the same. */
	BB_FREE(f->tokenizer.p);
	return file_take(path, MODEL_TEXT_FILE_MAX, MUST_BE, &f->tokenizer, why);
}

static uint64_t content_of(const struct files *f)
{
	const struct file *const list[] = { &f->tokenizer, &f->jinja, &f->template_json, &f->config,
					    &f->special_map };
	uint64_t hash = 0;

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		hash = bb_hash(list[i]->p ? list[i]->p : "", list[i]->len,
			       hash + (list[i]->p != NULL));
	return hash;
}

/* ---- one model ---- */

struct model_text *model_text_get(struct model_text *m)
{
	if (m)
		__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
	return m;
}

void model_text_put(struct model_text *m)
{
	if (!m || __atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	tokenizer_destroy(m->tokenizer);
	chat_text_destroy(m->chat);
	bb_free(m->path);
	bb_free(m->template_path);
	bb_free(m);
}

static struct bb_str text_of(const struct file *f)
{
	return (struct bb_str){ f->p, f->len };
}

static int make_tokenizer(struct model_text *m, const struct files *f, struct text_error *e)
{
	const int rc = f->is_gguf ? tokenizer_create_gguf(text_of(&f->tokenizer), &m->tokenizer, e)
				  : tokenizer_create_json(text_of(&f->tokenizer), &m->tokenizer, e);

	if (!rc)
		tokenizer_facts(m->tokenizer, &m->facts);
	return rc;
}

/* That there is no template is no fault: it may be a model that does not chat. */
static int make_chat(struct model_text *m, const struct files *f, struct text_error *e)
{
	const struct chat_files cf = {
		.jinja = text_of(&f->jinja),
		.template_json = text_of(&f->template_json),
		.config = text_of(&f->config),
		.special_map = text_of(&f->special_map),
	};
	const int rc = f->is_gguf ? chat_text_create_gguf(text_of(&f->tokenizer),
							  text_of(&f->jinja), &m->chat, e)
				  : chat_text_create(&cf, &m->chat, e);

	return rc == -BB_EABSENT ? 0 : rc;
}

static int make(const char *path, const char *template_path, struct files *f,
		struct model_text **out, char why[MODEL_TEXT_WHY_SIZE])
{
	struct text_error e = { "" };
	struct model_text *m = bb_alloc_zero(1, sizeof(*m));

	if (!m)
		return refuse(why, -BB_ENOMEM, "%.300s: no memory for it", path);
	m->refs = 1;
	m->content = content_of(f);
	m->path = bb_strndup(path, strlen(path));
	m->template_path = bb_strndup(template_path, strlen(template_path));
	int rc = m->path && m->template_path ? 0 : -BB_ENOMEM;
	if (!rc)
		rc = make_tokenizer(m, f, &e);
	if (!rc)
		rc = make_chat(m, f, &e);
	if (rc) {
		model_text_put(m);
		return refuse(why, rc, "%.150s: %.340s", path,
			      e.message[0] ? e.message : bb_error_info(rc)->text);
	}
	*out = m;
	return 0;
}

static int files_take(const char *path, const char *template_path, struct files *f,
		      char why[MODEL_TEXT_WHY_SIZE])
{
	int rc = 0;

	if (template_path[0])
		rc = file_take(template_path, CHAT_TEXT_FILE_MAX, MUST_BE, &f->jinja, why);
	return rc ? rc : path_take(path, f, why);
}

/* The metadata of a GGUF file is mostly at hand in its first part; else more of it is read. */
static int load(const char *path, const char *template_path, struct model_text **out,
		char why[MODEL_TEXT_WHY_SIZE], const struct model_text *same)
{
	struct files f = { .tokenizer = { NULL, 0 } };
	int rc = files_take(path, template_path, &f, why);

	if (!rc && same && same->content == content_of(&f)) {
		files_free(&f);
		*out = model_text_get((struct model_text *)same);
		return 0;
	}
	if (!rc)
		rc = make(path, template_path, &f, out, why);
	if (rc && rc != -BB_ENOMEM && f.is_gguf && f.tokenizer.len == GGUF_FIRST) {
		BB_FREE(f.tokenizer.p);
		rc = file_read_head(path, MODEL_TEXT_GGUF_MAX, &f.tokenizer.p, &f.tokenizer.len);
		if (!rc)
			rc = make(path, template_path, &f, out, why);
	}
	files_free(&f);
	return rc;
}

int model_text_load(const char *path, const char *template_path, struct model_text **out,
		    char why[MODEL_TEXT_WHY_SIZE])
{
	return load(path, template_path ? template_path : "", out, why, NULL);
}

/* ---- all of a configuration ---- */

static struct model_text *find_same(const struct model_texts *t, const char *path,
				    const char *template_path)
{
	for (uint32_t i = 0; t && i < t->count; i++) {
		struct model_text *m = t->list[i];
		if (m && strcmp(m->path, path) == 0 && strcmp(m->template_path, template_path) == 0)
			return m;
	}
	return NULL;
}

static int load_one(const struct config_model *cm, const struct model_texts *before,
		    struct model_texts *out, uint32_t index, char why[MODEL_TEXT_WHY_SIZE])
{
	const char *path = cm->tokenizer.p;
	const char *template_path = cm->chat_template.len ? cm->chat_template.p : "";
	char what[MODEL_TEXT_WHY_SIZE];

	if (!cm->tokenizer.len)
		return 0;
	struct model_text *same = find_same(out, path, template_path);
	if (same) { /* two models with one tokenizer */
		out->list[index] = model_text_get(same);
		return 0;
	}
	const int rc = load(path, template_path, &out->list[index], what,
			    find_same(before, path, template_path));
	if (rc)
		refuse(why, rc, "models.%.*s.tokenizer: %.*s", BB_ARG(cm->name),
		       MODEL_TEXT_WHY_SIZE - 320, what);
	return rc;
}

static int names_take(const struct config_model *cm, struct model_texts *out, uint32_t index)
{
	int rc = bb_map_put(&out->names, cm->name, index);

	for (uint32_t i = 0; i < cm->aliases.count && !rc; i++) {
		const struct bb_str alias = cm->aliases.items[i].text;
		if (bb_str_eq(alias, BB_STR("*")))
			out->catch_all = index;
		else
			rc = bb_map_put(&out->names, alias, index);
	}
	return rc;
}

int model_texts_load(const struct config *c, const struct model_texts *before,
		     struct model_texts *out, char why[MODEL_TEXT_WHY_SIZE])
{
	*out = (struct model_texts){ .count = c->model_count, .catch_all = UINT32_MAX };
	entropy_fill(&out->names.key, sizeof(out->names.key));
	bb_map_init(&out->names, out->names.key);
	out->list = bb_alloc_zero(c->model_count + 1, sizeof(struct model_text *));
	int rc = out->list ? 0 : -BB_ENOMEM;
	for (uint32_t i = 0; i < c->model_count && !rc; i++) {
		rc = names_take(&c->models[i], out, i);
		if (!rc)
			rc = load_one(&c->models[i], before, out, i, why);
	}
	if (rc == -BB_ENOMEM)
		bb_text_copy(why, MODEL_TEXT_WHY_SIZE, bb_error_info(rc)->text);
	if (rc)
		model_texts_free(out);
	return rc;
}

void model_texts_free(struct model_texts *t)
{
	for (uint32_t i = 0; t->list && i < t->count; i++)
		model_text_put(t->list[i]);
	BB_FREE(t->list);
	bb_map_fini(&t->names);
	t->count = 0;
}

uint32_t model_texts_index(const struct model_texts *t, struct bb_str name)
{
	if (name.len == 0)
		return t->count == 1 ? 0 : UINT32_MAX;
	const uint32_t index = bb_map_get(&t->names, name);
	return index == BB_MAP_NONE ? t->catch_all : index;
}

bool model_texts_any(const struct model_texts *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (t->list[i])
			return true;
	return false;
}
