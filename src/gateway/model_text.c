#include "gateway/model_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "os/process.h"

static int __attribute__((format(printf, 3, 4)))
refuse(char why[MODEL_TEXT_WHY_SIZE], int rc, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, MODEL_TEXT_WHY_SIZE, format, args);
	va_end(args);
	return rc;
}

static uint64_t content_of(const struct model_files *f)
{
	const struct model_file *const list[] = { &f->tokenizer, &f->jinja, &f->template_json, &f->config,
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

/* That there is no template is no fault: it may be a model that does not chat. */
static int make_chat(struct model_text *m, const struct model_files *f, struct text_error *e)
{
	const int rc = model_files_chat(f, &m->chat, e);

	return rc == -BB_EABSENT ? 0 : rc;
}

static int make(const char *path, const char *template_path, struct model_files *f,
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
		rc = model_files_tokenizer(f, &m->tokenizer, &e);
	if (!rc)
		tokenizer_facts(m->tokenizer, &m->facts);
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

static int load(const char *path, const char *template_path, struct model_text **out,
		char why[MODEL_TEXT_WHY_SIZE], const struct model_text *same)
{
	struct model_files f = { .is_gguf = false };
	int rc = template_path[0] ? model_files_read_template(template_path, &f, why) : 0;

	if (!rc)
		rc = model_files_read(path, MODEL_FILES_TOKENIZER | MODEL_FILES_CHAT, &f, why);
	if (!rc && same && same->content == content_of(&f))
		*out = model_text_get((struct model_text *)same);
	else if (!rc)
		rc = make(path, template_path, &f, out, why);
	model_files_free(&f);
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
	uint64_t hash_key;

	entropy_fill(&hash_key, sizeof(hash_key));
	*out = (struct model_texts){ .count = c->model_count, .catch_all = UINT32_MAX };
	bb_map_init(&out->names, hash_key);
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
