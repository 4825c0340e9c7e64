/* config_paths.c: paths of a configuration, seen from the folder of its file. */
#include "wire/config.h"

#define UNIX BB_STR("unix:")

struct from {
	struct config *c;
	struct bb_str folder; /* with a slash at its end */
	int err;
};

static bool is_relative(struct bb_str path)
{
	return path.len && path.p[0] != '/';
}

/* `prefix` + folder + path, with a NUL behind it. */
static struct bb_str join(struct from *f, struct bb_str prefix, struct bb_str path)
{
	const size_t len = prefix.len + f->folder.len + path.len;
	char *text = bb_arena_alloc(&f->c->arena, len + 1);

	if (!text) {
		f->err = -BB_ENOMEM;
		return path;
	}
	memcpy(text, prefix.p, prefix.len);
	memcpy(text + prefix.len, f->folder.p, f->folder.len);
	memcpy(text + prefix.len + f->folder.len, path.p, path.len);
	text[len] = '\0';
	return (struct bb_str){ text, len };
}

static void file(struct from *f, struct bb_str *path)
{
	if (is_relative(*path))
		*path = join(f, BB_STR(""), *path);
}

/* An address or URL: only sockets of this machine are paths. */
static void address(struct from *f, struct bb_str *text)
{
	if (!bb_str_starts(*text, UNIX))
		return;
	const struct bb_str path = bb_str_skip(*text, UNIX.len);
	if (is_relative(path))
		*text = join(f, UNIX, path);
}

static void addresses(struct from *f, struct config_texts *list)
{
	if (!list->count)
		return;
	struct config_text *items = bb_arena_alloc(&f->c->arena, list->count * sizeof(*items));
	if (!items) {
		f->err = -BB_ENOMEM;
		return;
	}
	memcpy(items, list->items, list->count * sizeof(*items));
	for (uint32_t i = 0; i < list->count; i++)
		address(f, &items[i].text);
	list->items = items;
}

static void listener_tls(struct from *f, struct config_tls *t)
{
	file(f, &t->cert);
	file(f, &t->key);
	file(f, &t->client_ca);
	for (uint32_t i = 0; i < t->sni.count; i++) {
		file(f, &t->sni.items[i].cert);
		file(f, &t->sni.items[i].key);
	}
}

static void model(struct from *f, struct config_model *m)
{
	file(f, &m->tokenizer);
	file(f, &m->chat_template);
	addresses(f, &m->engine_urls);
}

static void engine(struct from *f, struct config_engine *e)
{
	address(f, &e->url);
	file(f, &e->tls.ca);
	file(f, &e->tls.cert);
	file(f, &e->tls.key);
}

int config_paths_from(struct config *c, struct bb_str folder)
{
	struct from f = { .c = c, .folder = folder };

	if (!folder.len)
		return 0;
	BB_ASSERT(folder.p[folder.len - 1] == '/');
	addresses(&f, &c->listen);
	address(&f, &c->admin);
	if (!bb_str_eq(c->access_log_path, BB_STR("-")))
		file(&f, &c->access_log_path);
	file(&f, &c->journal.path);
	file(&f, &c->keys_file);
	listener_tls(&f, &c->tls);
	listener_tls(&f, &c->admin_tls);
	if (!bb_str_starts(c->jwt.jwks, BB_STR("http://")) &&
	    !bb_str_starts(c->jwt.jwks, BB_STR("https://")))
		file(&f, &c->jwt.jwks);
	for (uint32_t i = 0; i < c->model_count; i++)
		model(&f, &c->models[i]);
	for (uint32_t i = 0; i < c->engine_count; i++)
		engine(&f, &c->engines[i]);
	return f.err;
}
