#include "wire/config_link.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/map.h"
#include "wire/config_check.h"

struct edge {
	uint32_t model;
	uint32_t engine;
};

/* A name that clients can use, and whose it is. */
struct named {
	struct bb_str text;
	struct config_place place;
	uint32_t model;
	bool is_alias;
};

struct linker {
	struct config *c;
	const char *file_name;
	struct config_errors *errors;
	struct bb_map urls;  /* normal URL → index of engine */
	struct bb_map names; /* name or alias → index into `named` */
	struct named *named;
	uint32_t named_count;
	struct edge *edges; /* in no order */
	uint32_t edge_count;
	uint32_t model_cap;
};

/* ---- sizes of the tables ---- */

struct totals {
	uint32_t urls;	 /* under models */
	uint32_t listed; /* models under engines */
	uint32_t aliases;
};

static struct totals count_totals(const struct config *c)
{
	struct totals t = { 0 };

	for (uint32_t i = 0; i < c->model_count; i++) {
		t.urls += c->models[i].engine_urls.count;
		t.aliases += c->models[i].aliases.count;
	}
	for (uint32_t i = 0; i < c->engine_count; i++)
		t.listed += c->engines[i].models.count;
	return t;
}

/* The YAML tree's limit on values bounds all of these. */
static int make_tables(struct linker *l, struct totals t)
{
	struct config *c = l->c;
	const uint32_t models = c->model_count + t.listed, engines = c->engine_count + t.urls;

	l->model_cap = models;
	l->edges = bb_alloc_zero(t.urls + t.listed + 1, sizeof(*l->edges));
	l->named = bb_alloc_zero(models + t.aliases + 1, sizeof(*l->named));
	struct config_model *m = bb_arena_alloc(&c->arena, (models + 1) * sizeof(*m));
	struct config_engine *e = bb_arena_alloc(&c->arena, (engines + 1) * sizeof(*e));
	if (!l->edges || !l->named || !m || !e)
		return -BB_ENOMEM;
	if (c->model_count)
		memcpy(m, c->models, c->model_count * sizeof(*m));
	if (c->engine_count)
		memcpy(e, c->engines, c->engine_count * sizeof(*e));
	c->models = m;
	c->engines = e;
	c->engine_cap = engines + 1;
	return 0;
}

/* ---- engines ---- */

/* The URL in its normal form, in the configuration's arena. */
static int normal_url(struct linker *l, struct bb_str url, struct bb_str *out)
{
	struct bb_str copy = bb_arena_dup(&l->c->arena, url);

	if (!copy.p)
		return -BB_ENOMEM;
	char *room = (char *)copy.p;
	*out = config_url_normal(url, room);
	room[out->len] = '\0';
	return 0;
}

static int link_listed_engines(struct linker *l)
{
	struct config *c = l->c;
	int rc = 0;

	for (uint32_t i = 0; i < c->engine_count && !rc; i++) {
		struct config_engine *e = &c->engines[i];
		if (e->url.len == 0)
			continue; /* it was wrong, which is said already */
		rc = normal_url(l, e->url, &e->url);
		if (rc)
			break;
		const uint32_t other = bb_map_get(&l->urls, e->url);
		if (other == BB_MAP_NONE) {
			rc = bb_map_put(&l->urls, e->url, i);
			continue;
		}
		const struct config_place p = c->engines[other].place;
		config_errors_add(l->errors, e->place,
				  "engine '%.*s' is listed twice (first at %s:%u:%u)",
				  BB_ARG(e->url), l->file_name, p.line, p.column);
	}
	return rc;
}

/* The engine of a URL under a model, which is added when it is new. */
static int engine_of_url(struct linker *l, const struct config_text *text, uint32_t *out)
{
	struct config *c = l->c;
	struct bb_str url;

	int rc = normal_url(l, text->text, &url);
	if (rc)
		return rc;
	*out = bb_map_get(&l->urls, url);
	if (*out != BB_MAP_NONE)
		return 0;
	*out = c->engine_count++;
	c->engines[*out] = (struct config_engine){ .url = url, .place = text->place };
	return bb_map_put(&l->urls, url, *out);
}

static int link_engine_urls(struct linker *l, uint32_t model)
{
	const struct config_texts *urls = &l->c->models[model].engine_urls;

	for (uint32_t i = 0; i < urls->count; i++) {
		uint32_t engine;
		if (config_check_url(urls->items[i].text))
			continue;
		int rc = engine_of_url(l, &urls->items[i], &engine);
		if (rc)
			return rc;
		l->edges[l->edge_count++] = (struct edge){ model, engine };
	}
	return 0;
}

/* ---- names ---- */

static int add_name(struct linker *l, struct named name)
{
	const uint32_t other = bb_map_get(&l->names, name.text);

	if (other == BB_MAP_NONE) {
		l->named[l->named_count] = name;
		return bb_map_put(&l->names, name.text, l->named_count++);
	}
	const struct named *first = &l->named[other];
	if (!name.is_alias)
		return 0; /* the same key twice, which is said already */
	config_errors_add(l->errors, name.place,
			  first->is_alias ? "alias '%.*s' is given twice (first at %s:%u:%u)"
					  : "alias '%.*s' is the name of a model (at %s:%u:%u)",
			  BB_ARG(name.text), l->file_name, first->place.line, first->place.column);
	return 0;
}

static int link_names(struct linker *l)
{
	const struct config *c = l->c;
	int rc = 0;

	for (uint32_t i = 0; i < c->model_count && !rc; i++)
		rc = add_name(l, (struct named){ c->models[i].name, c->models[i].place, i, false });
	for (uint32_t i = 0; i < c->model_count; i++) {
		const struct config_texts *a = &c->models[i].aliases;
		for (uint32_t k = 0; k < a->count && !rc; k++)
			if (!config_check_alias(a->items[k].text))
				rc = add_name(l, (struct named){ a->items[k].text,
								 a->items[k].place, i, true });
	}
	return rc;
}

/* A model that stands only in an engine's list. */
static int add_model(struct linker *l, const struct config_text *text, uint32_t *out)
{
	struct config *c = l->c;

	BB_ASSERT(c->model_count < l->model_cap);
	*out = c->model_count++;
	c->models[*out] = (struct config_model){ .name = text->text, .place = text->place };
	return add_name(l, (struct named){ text->text, text->place, *out, false });
}

static int link_engine_models(struct linker *l, uint32_t engine)
{
	const struct config_texts *models = &l->c->engines[engine].models;
	int rc = 0;

	for (uint32_t i = 0; i < models->count && !rc; i++) {
		const struct config_text *text = &models->items[i];
		if (config_check_name(text->text))
			continue;
		const uint32_t index = bb_map_get(&l->names, text->text);
		uint32_t model = index == BB_MAP_NONE ? 0 : l->named[index].model;
		if (index != BB_MAP_NONE && l->named[index].is_alias) {
			config_errors_add(l->errors, text->place,
					  "'%.*s' is an alias of the model '%.*s'; name the model",
					  BB_ARG(text->text), BB_ARG(l->c->models[model].name));
			continue;
		}
		if (index == BB_MAP_NONE)
			rc = add_model(l, text, &model);
		l->edges[l->edge_count++] = (struct edge){ model, engine };
	}
	return rc;
}

/* ---- edges ---- */

static int edge_compare(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	if (x->model != y->model)
		return x->model < y->model ? -1 : 1;
	return x->engine < y->engine ? -1 : x->engine > y->engine;
}

/* The engines of a model: `count` edges, sorted, into room for as many indices and URLs. */
static void set_model_engines(struct linker *l, const struct edge *edges, uint32_t count,
			      uint32_t *indices, struct config_text *urls)
{
	struct config *c = l->c;
	struct config_model *m = &c->models[edges->model];
	uint32_t n = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct config_engine *e = &c->engines[edges[i].engine];
		if (i && edges[i].engine == edges[i - 1].engine)
			continue;
		e->is_discovered = false;
		urls[n] = (struct config_text){ e->url, e->place };
		indices[n++] = edges[i].engine;
	}
	m->engines = indices;
	m->engine_count = n;
	m->engine_urls = (struct config_texts){ urls, n };
}

static int set_engines(struct linker *l)
{
	struct config *c = l->c;
	const uint32_t count = l->edge_count;
	uint32_t *indices = bb_arena_alloc(&c->arena, (count + 1) * sizeof(*indices));
	struct config_text *urls = bb_arena_alloc(&c->arena, (count + 1) * sizeof(*urls));

	if (!indices || !urls)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < c->engine_count; i++)
		c->engines[i].is_discovered = c->engines[i].models.count == 0;
	qsort(l->edges, count, sizeof(*l->edges), edge_compare);
	for (uint32_t i = 0, end; i < count; i = end) {
		for (end = i + 1; end < count && l->edges[end].model == l->edges[i].model; end++)
			;
		set_model_engines(l, l->edges + i, end - i, indices + i, urls + i);
	}
	return 0;
}

static void check_models(struct linker *l)
{
	const struct config *c = l->c;

	if (c->model_count > CONFIG_MODELS_MAX)
		config_errors_add(l->errors, c->models[CONFIG_MODELS_MAX].place,
				  "more than %u models", CONFIG_MODELS_MAX);
	if (c->engine_count > CONFIG_ENGINES_MAX)
		config_errors_add(l->errors, c->engines[CONFIG_ENGINES_MAX].place,
				  "more than %u engines", CONFIG_ENGINES_MAX);
	for (uint32_t i = 0; i < c->model_count; i++) {
		const struct config_model *m = &c->models[i];
		if (m->engine_count == 0 && m->engine_urls.count == 0)
			config_errors_add(l->errors, m->place,
					  "model '%.*s' has no engine: list URLs under 'engines', "
					  "or the model in an engine's 'models'",
					  BB_ARG(m->name));
	}
}

/* ---- TLS ---- */

static void check_pair(struct linker *l, struct config_place place, const char *name,
		       struct bb_str cert, struct bb_str key)
{
	if ((cert.len == 0) != (key.len == 0))
		config_errors_add(l->errors, place, "%s: 'cert' and 'key' belong together", name);
}

static void check_listener_tls(struct linker *l, const struct yaml_item *root, const char *name,
			       const struct config_tls *tls)
{
	const struct yaml_item *item = yaml_tree_find(root, bb_str_of(name));

	if (!item)
		return;
	check_pair(l, item->key_place, name, tls->cert, tls->key);
	if (tls->cert.len == 0 && (tls->client_ca.len || tls->sni.count))
		config_errors_add(l->errors, item->key_place,
				  "%s: needs 'cert' and 'key', or there is no TLS", name);
}

static void check_engine_tls(struct linker *l)
{
	for (uint32_t i = 0; i < l->c->engine_count; i++) {
		const struct config_engine *e = &l->c->engines[i];
		const struct config_engine_tls *t = &e->tls;
		const bool is_set = t->ca.len || t->cert.len || t->key.len || t->server_name.len ||
				    t->verify == CONFIG_VERIFY_OFF;
		check_pair(l, e->place, "tls", t->cert, t->key);
		if (is_set && !bb_str_starts(e->url, BB_STR("https://")))
			config_errors_add(l->errors, e->place,
					  "engine '%.*s' has 'tls' and no https:// URL",
					  BB_ARG(e->url));
	}
}

/* ---- KV events ---- */

enum config_kv_events config_engine_kv_events(const struct config_engine *e)
{
	static const struct bb_str words[] = {
		[CONFIG_KV_AUTO] = BB_STR_INIT("auto"),
		[CONFIG_KV_OFF] = BB_STR_INIT("off"),
		[CONFIG_KV_POLL] = BB_STR_INIT("poll"),
	};

	if (e->kv_events.count == 0)
		return CONFIG_KV_AUTO;
	for (uint32_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (bb_str_eq(e->kv_events.items[0].text, words[i]))
			return (enum config_kv_events)i;
	return CONFIG_KV_ENDPOINTS;
}

/* What is wrong with an engine's kv_ keys; NULL: nothing. */
static const char *kv_fault(const struct config_engine *e)
{
	const enum config_kv_events kv = config_engine_kv_events(e);

	for (uint32_t i = 1; i < e->kv_events.count; i++)
		if (kv != CONFIG_KV_ENDPOINTS ||
		    config_check_endpoint(e->kv_events.items[i].text))
			return "kv_events: auto, off and poll stand alone";
	if (kv == CONFIG_KV_POLL && e->kind != CONFIG_ENGINE_TRTLLM)
		return "kv_events: poll is for engines of the kind trtllm: say 'kind: trtllm'";
	if (kv != CONFIG_KV_ENDPOINTS && (e->kv_replay.count || e->kv_topic.len))
		return "kv_replay and kv_topic need endpoints in kv_events";
	if (e->kv_replay.count && e->kv_replay.count != e->kv_events.count)
		return "kv_replay needs as many endpoints as kv_events";
	return NULL;
}

static void check_engine_kv(struct linker *l)
{
	for (uint32_t i = 0; i < l->c->engine_count; i++) {
		const struct config_engine *e = &l->c->engines[i];
		const char *fault = kv_fault(e);
		if (fault)
			config_errors_add(l->errors, e->place, "engine '%.*s': %s", BB_ARG(e->url),
					  fault);
	}
}

static void check_tokens(struct linker *l, const struct yaml_item *root)
{
	const struct yaml_item *auth = yaml_tree_find(root, BB_STR("auth"));
	const struct yaml_item *jwt = yaml_tree_find(auth, BB_STR("jwt"));
	const struct config_jwt *j = &l->c->jwt;

	if (!jwt)
		return;
	if (j->jwks.len == 0)
		config_errors_add(l->errors, jwt->key_place, "auth.jwt: needs 'jwks'");
	if (j->tenant_claim.len == 0)
		config_errors_add(l->errors, jwt->key_place, "auth.jwt: needs 'tenant_claim'");
}

/* ---- limits and addresses ---- */

static void check_size(struct linker *l, const struct yaml_item *root, const char *name,
		       uint64_t size)
{
	const struct yaml_item *limits = yaml_tree_find(root, BB_STR("limits"));
	const struct yaml_item *own = yaml_tree_find(limits, bb_str_of(name));
	const struct yaml_item *place = own ? own : yaml_tree_find(limits, BB_STR("buffers"));

	if (size > l->c->limits.buffers)
		config_errors_add(l->errors, place ? place->place : (struct config_place){ 0 },
				  "limits.%s is larger than limits.buffers, which holds it", name);
}

static void check_addresses(struct linker *l, const struct yaml_item *root)
{
	const struct config_texts *listen = &l->c->listen;
	const struct yaml_item *admin = yaml_tree_find(root, BB_STR("admin"));

	for (uint32_t i = 0; i < listen->count; i++) {
		const struct config_text *a = &listen->items[i];
		if (bb_str_ends(a->text, BB_STR(":0")))
			continue; /* any free port */
		if (bb_str_eq(a->text, l->c->admin))
			config_errors_add(l->errors, admin ? admin->place : a->place,
					  "'%.*s' is both 'listen' and 'admin'", BB_ARG(a->text));
		for (uint32_t k = 0; k < i; k++)
			if (bb_str_eq(a->text, listen->items[k].text))
				config_errors_add(l->errors, a->place,
						  "'%.*s' is listed twice (first at %s:%u:%u)",
						  BB_ARG(a->text), l->file_name,
						  listen->items[k].place.line,
						  listen->items[k].place.column);
	}
}

static int link_all(struct linker *l)
{
	int rc = make_tables(l, count_totals(l->c));

	if (!rc)
		rc = link_listed_engines(l);
	/* Only engines that were listed have models of their own. */
	const uint32_t listed = l->c->engine_count, named = l->c->model_count;
	for (uint32_t i = 0; i < named && !rc; i++)
		rc = link_engine_urls(l, i);
	if (!rc)
		rc = link_names(l);
	for (uint32_t i = 0; i < listed && !rc; i++)
		rc = link_engine_models(l, i);
	return rc ? rc : set_engines(l);
}

int config_link(struct config *c, const struct yaml_item *root, const char *file_name,
		struct config_errors *errors)
{
	struct linker l = { .c = c, .file_name = file_name, .errors = errors };

	/* Names come from the operator, so the hashes need no secret. */
	bb_map_init(&l.urls, 0);
	bb_map_init(&l.names, 0);
	const int rc = link_all(&l);
	if (!rc) {
		check_models(&l);
		check_size(&l, root, "body_size", c->limits.body_size);
		check_size(&l, root, "answer_size", c->limits.answer_size);
		check_addresses(&l, root);
		check_listener_tls(&l, root, "tls", &c->tls);
		check_listener_tls(&l, root, "admin_tls", &c->admin_tls);
		check_engine_tls(&l);
		check_engine_kv(&l);
		check_tokens(&l, root);
	}
	bb_map_fini(&l.urls);
	bb_map_fini(&l.names);
	bb_free(l.edges);
	bb_free(l.named);
	return rc;
}
