#include "gateway/snapshot.h"

#include "base/alloc.h"
#include "base/log.h"
#include "gateway/tls_setup.h"
#include "os/process.h"
#include "os/sandbox.h"
#include "os/sock.h"

#define SNAPSHOT_ARENA_MAX (16u << 20)

static int engine_derive(struct snapshot *s, const struct config_engine *ce,
			 struct snapshot_engine *e, char why_not[SNAPSHOT_WHY_SIZE])
{
	struct sock_url url;
	const char *why;
	struct bb_buf b;

	int rc = sock_url_parse(ce->url, &url, &why);
	if (rc)
		return rc;
	bb_buf_init(&b, 8192);
	if (url.unix_path.len)
		bb_buf_lit(&b, "Host: localhost\r\n");
	else if (memchr(url.host.p, ':', url.host.len))
		bb_buf_printf(&b, "Host: [%.*s]:%u\r\n", BB_ARG(url.host), url.port);
	else
		bb_buf_printf(&b, "Host: %.*s:%u\r\n", BB_ARG(url.host), url.port);
	if (ce->api_key.len)
		bb_buf_printf(&b, "Authorization: Bearer %.*s\r\n", BB_ARG(ce->api_key));
	s->any_key |= ce->api_key.len > 0;
	e->base = url.base;
	e->fields = bb_arena_dup(&s->arena, bb_buf_str(&b));
	if (ce->api_key.len) {
		secret_wipe(b.p, b.len);
		secret_hide(ce->api_key.p, ce->api_key.len);
		secret_hide(e->fields.p, e->fields.len);
	}
	e->tls_name = bb_arena_dup(&s->arena,
				   ce->tls.server_name.len ? ce->tls.server_name : url.host);
	rc = b.err ? b.err : e->fields.p && e->tls_name.p ? 0 : -BB_ENOMEM;
	bb_buf_fini(&b);
	return rc ? rc : tls_setup_engine(ce, &e->tls, why_not);
}

/* Two keys fall together under one seed in 2^64; then another one is taken. */
static int auth_derive(const struct config *config, struct auth **out)
{
	uint8_t seed[KEY_DIGEST_SIZE];
	int rc = -BB_EEXIST;

	for (int i = 0; i < 3 && rc == -BB_EEXIST; i++) {
		entropy_fill(seed, sizeof(seed));
		rc = auth_create(config, seed, out);
	}
	key_wipe(seed, sizeof(seed));
	return rc;
}

_Static_assert(SNAPSHOT_WHY_SIZE >= TLS_REASON_SIZE, "TLS writes into it");

int snapshot_create(struct config *config, const struct snapshot *before, struct snapshot **out,
		    char why[SNAPSHOT_WHY_SIZE])
{
	struct snapshot *s = bb_alloc_zero(1, sizeof(*s));
	int rc = -BB_ENOMEM;

	bb_text_copy(why, SNAPSHOT_WHY_SIZE, bb_error_info(rc)->text);
	if (!s)
		return rc;
	s->refs = 1;
	s->config = config;
	bb_arena_init(&s->arena, SNAPSHOT_ARENA_MAX);
	s->engines = bb_alloc_zero(config->engine_count, sizeof(*s->engines));
	if (!s->engines)
		goto fail;
	for (uint32_t i = 0; i < config->engine_count; i++) {
		rc = engine_derive(s, &config->engines[i], &s->engines[i], why);
		if (rc)
			goto fail;
	}
	rc = tls_setup_listener(&config->tls, "tls", &s->listen_tls, why);
	if (!rc)
		rc = tls_setup_listener(&config->admin_tls, "admin_tls", &s->admin_tls, why);
	if (!rc)
		rc = engine_shield_derive(config, &s->arena, &s->shield, why, SNAPSHOT_WHY_SIZE);
	if (!rc)
		rc = auth_derive(config, &s->auth);
	if (!rc)
		rc = model_texts_load(config, before ? &before->texts : NULL, &s->texts, why);
	if (rc)
		goto fail;
	*out = s;
	return 0;

fail:
	for (uint32_t i = 0; s->engines && i < config->engine_count; i++)
		tls_context_put(s->engines[i].tls);
	BB_FREE(s->engines);
	s->config = NULL;
	snapshot_put(s);
	return rc;
}

int snapshot_set_ids(struct snapshot *s, const struct engine_id *ids)
{
	uint32_t slots = 0;

	for (uint32_t i = 0; i < s->config->engine_count; i++) {
		s->engines[i].id = ids[i];
		if (ids[i].slot + 1 > slots)
			slots = ids[i].slot + 1;
	}
	s->by_slot = bb_alloc_zero(slots, sizeof(uint32_t));
	if (!s->by_slot)
		return -BB_ENOMEM;
	s->slot_count = slots;
	for (uint32_t i = 0; i < s->config->engine_count; i++)
		s->by_slot[ids[i].slot] = i + 1;
	return 0;
}

struct snapshot *snapshot_get(struct snapshot *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void snapshot_put(struct snapshot *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (uint32_t i = 0; s->engines && i < s->config->engine_count; i++)
		tls_context_put(s->engines[i].tls);
	tls_context_put(s->listen_tls);
	tls_context_put(s->admin_tls);
	auth_destroy(s->auth);
	model_texts_free(&s->texts);
	config_free(s->config);
	bb_free(s->engines);
	bb_free(s->by_slot);
	bb_arena_wipe(&s->arena);
	bb_free(s);
}

const struct snapshot_engine *snapshot_engine(const struct snapshot *s, struct engine_id id)
{
	if (id.slot >= s->slot_count || s->by_slot[id.slot] == 0)
		return NULL;
	const struct snapshot_engine *e = &s->engines[s->by_slot[id.slot] - 1];
	return engine_id_is(e->id, id) ? e : NULL;
}

/* The texts of a list as plain slices; NULL for an empty list. */
static struct bb_str *plain_texts(struct bb_arena *scratch, const struct config_texts *from)
{
	struct bb_str *out = bb_arena_alloc(scratch, (from->count + 1) * sizeof(*out));

	for (uint32_t i = 0; out && i < from->count; i++)
		out[i] = from->items[i].text;
	return out;
}

int snapshot_plan(const struct snapshot *s, struct bb_arena *scratch, struct plan *out)
{
	const struct config *c = s->config;
	struct plan_engine *engines =
		bb_arena_alloc(scratch, (c->engine_count + 1) * sizeof(*engines));
	struct plan_model *models = bb_arena_alloc(scratch, (c->model_count + 1) * sizeof(*models));

	if (!engines || !models)
		return -BB_ENOMEM;
	for (uint32_t i = 0; i < c->engine_count; i++) {
		const struct config_engine *ce = &c->engines[i];
		engines[i] = (struct plan_engine){
			.name = ce->url,
			.models = plain_texts(scratch, &ce->models),
			.model_count = ce->models.count,
			.serves_listed = ce->is_discovered,
		};
		if (!engines[i].models)
			return -BB_ENOMEM;
	}
	for (uint32_t i = 0; i < c->model_count; i++) {
		const struct config_model *cm = &c->models[i];
		models[i] = (struct plan_model){
			.name = cm->name,
			.aliases = plain_texts(scratch, &cm->aliases),
			.alias_count = cm->aliases.count,
			.engines = cm->engines,
			.engine_count = cm->engine_count,
			.served_name = cm->served_name,
		};
		if (!models[i].aliases)
			return -BB_ENOMEM;
	}
	*out = (struct plan){
		.engines = engines,
		.engine_count = c->engine_count,
		.models = models,
		.model_count = c->model_count,
		.policy = c->policy.p,
	};
	return 0;
}
