/*
 * kv_mirror_json.c: the events of TensorRT-LLM (KVCacheEventSerializer, versions of 2025 and 2026):
 * [{"event_id", "window_size", "attention_dp_rank", "data": {"type": "stored" | "removed" |
 * "updated" | "created", …}}, …].
 */
#include "brain/kv_mirror_inner.h"
#include "wire/json.h"

#define DEPTH_MAX 16

struct json_event_head {
	uint64_t id, window, rank;
	struct bb_str data; /* an object */
};

static uint64_t number_of(struct bb_str object, struct bb_str key, uint64_t otherwise)
{
	struct json_member m;
	uint64_t value;

	return json_get(object, key, &m) && json_u64(m.value, &value) == 0 ? value : otherwise;
}

/* Hashes are 64 bits, with or without a sign. */
static bool hash_of(struct bb_str raw, uint64_t *out)
{
	const bool is_negative = raw.len && raw.p[0] == '-';
	uint64_t value;

	if (bb_parse_u64(bb_str_skip(raw, is_negative), &value))
		return false;
	*out = is_negative ? 0 - value : value;
	return true;
}

static bool hash_member(struct bb_str object, struct bb_str key, uint64_t *out)
{
	struct json_member m;

	return json_get(object, key, &m) && hash_of(m.value, out);
}

/* Level 0 is the GPU's memory, 1 the host's. */
static enum index_tier tier_of(uint64_t level)
{
	return level == 0 ? INDEX_DEVICE : level == 1 ? INDEX_HOST : INDEX_DISK;
}

/* ---- stored ---- */

/* False: there is more in it than token ids. */
static bool read_tokens(struct kv_mirror *m, struct bb_str array, uint32_t *count)
{
	struct json_pull j;
	struct bb_str token;
	enum json_type type;
	uint64_t id;

	*count = 0;
	json_pull_init(&j, array);
	if (!json_pull_array(&j))
		return false;
	while (json_pull_more(&j)) {
		if (!json_pull_value(&j, &token, &type) || *count == KV_ENGINE_TOKENS_MAX)
			return false;
		id = number_of(token, BB_STR("token_id"), UINT64_MAX);
		if (id > UINT32_MAX || number_of(token, BB_STR("token_extra_id"), 0))
			return false;
		m->tokens[(*count)++] = (uint32_t)id;
	}
	return !j.failed && *count;
}

static bool is_empty(struct bb_str object, struct bb_str key)
{
	struct json_member m;

	return !json_get(object, key, &m) || m.type == JSON_NULL ||
	       bb_str_eq(m.value, BB_STR("[]"));
}

/* A salt with escapes is none that a gateway made. */
static bool read_salt(struct bb_str block, struct bb_str *salt)
{
	struct json_member m;

	*salt = (struct bb_str){ 0 };
	if (!json_get(block, BB_STR("cache_salt"), &m) || m.type == JSON_NULL)
		return true;
	*salt = json_string_inner(m.value);
	return m.type == JSON_STRING && !(salt->len && memchr(salt->p, '\\', salt->len));
}

/* Blocks with images or an adapter, of which only a number is said, are not ours to name. */
static bool read_block(struct kv_mirror *m, struct bb_str block, uint64_t *name,
		       struct bb_str *salt, uint32_t *count)
{
	struct json_member tokens;

	return hash_member(block, BB_STR("block_hash"), name) &&
	       is_empty(block, BB_STR("mm_keys")) && is_empty(block, BB_STR("lora_id")) &&
	       read_salt(block, salt) && json_get(block, BB_STR("tokens"), &tokens) &&
	       read_tokens(m, tokens.value, count);
}

static uint32_t count_left(struct json_pull *j)
{
	uint32_t n = 0;

	while (json_pull_more(j) && json_pull_skip(j))
		n++;
	return n;
}

static void on_stored(struct kv_mirror *m, struct bb_str data)
{
	struct json_member blocks;
	struct json_pull j;
	struct bb_str block, salt;
	enum json_type type;
	struct kv_run run = { .has_parent = hash_member(data, BB_STR("parent_hash"), &run.parent) };
	enum kv_step step = KV_STEP_GOES_ON;
	uint64_t name;
	uint32_t count, size = 0;

	if (!json_get(data, BB_STR("blocks"), &blocks))
		return;
	json_pull_init(&j, blocks.value);
	if (!json_pull_array(&j))
		return;
	while (json_pull_more(&j) && json_pull_value(&j, &block, &type)) {
		const uint32_t known = m->tree.engine_tokens;
		/* One that is filled in part can only be the last. */
		if (!read_block(m, block, &name, &salt, &count) ||
		    (size ? count != size : count < known)) {
			m->stats.passed_over += 1 + count_left(&j);
			break;
		}
		run.tier = tier_of(number_of(block, BB_STR("cache_level"), 0));
		if (!size) {
			run.salt = salt;
			size = count;
			if (!kv_run_begin(m, &run, size, 1)) {
				m->stats.orphans += count_left(&j);
				return;
			}
		}
		step = kv_run_add(m, &run, name, m->tokens);
		if (step != KV_STEP_GOES_ON)
			break;
	}
	if (size)
		kv_run_end(m, &run, step, step == KV_STEP_GOES_ON ? 0 : 1 + count_left(&j));
}

/* ---- the others ---- */

static void on_removed(struct kv_mirror *m, struct bb_str data)
{
	struct json_member hashes;
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;
	uint64_t name;

	if (!json_get(data, BB_STR("block_hashes"), &hashes))
		return;
	json_pull_init(&j, hashes.value);
	if (!json_pull_array(&j))
		return;
	while (json_pull_more(&j) && json_pull_value(&j, &raw, &type))
		if (hash_of(raw, &name))
			kv_mirror_drop_all(m, name);
}

/* It went from one level to another. */
static void on_updated(struct kv_mirror *m, struct bb_str data)
{
	struct json_member level;
	uint64_t name;

	if (!hash_member(data, BB_STR("block_hash"), &name) ||
	    !json_get(data, BB_STR("cache_level"), &level) || level.type != JSON_OBJECT)
		return;
	const uint32_t node = kv_tree_find(&m->tree, name);
	const uint32_t clears = m->tree.clears;
	const enum index_tier old = tier_of(number_of(level.value, BB_STR("old_value"), 0));
	const enum index_tier new = tier_of(number_of(level.value, BB_STR("new_value"), 0));
	if (node == KV_NODE_NONE || !(kv_tree_at(&m->tree, node)->tiers & old)) {
		m->stats.unknown++;
	} else if (old != new) {
		kv_tree_store(&m->tree, node, new);
		if (m->tree.clears == clears)
			kv_tree_remove(&m->tree, node, old);
	}
}

static void on_event(struct kv_mirror *m, const struct json_event_head *e)
{
	struct json_member type;

	if (!json_get(e->data, BB_STR("type"), &type))
		m->stats.odd++;
	else if (json_string_eq(type.value, BB_STR("stored")))
		on_stored(m, e->data);
	else if (json_string_eq(type.value, BB_STR("removed")))
		on_removed(m, e->data);
	else if (json_string_eq(type.value, BB_STR("updated")))
		on_updated(m, e->data);
	else
		m->stats.odd += !json_string_eq(type.value, BB_STR("created"));
}

static bool read_head(struct bb_str raw, struct json_event_head *e)
{
	struct json_member data;

	e->id = number_of(raw, BB_STR("event_id"), UINT64_MAX);
	e->window = number_of(raw, BB_STR("window_size"), 0);
	e->rank = number_of(raw, BB_STR("attention_dp_rank"), 0);
	if (e->id == UINT64_MAX || !json_get(raw, BB_STR("data"), &data))
		return false;
	e->data = data.value;
	return data.type == JSON_OBJECT;
}

static void take_event(struct kv_mirror *m, struct bb_str raw, uint64_t *next_event_id)
{
	struct json_event_head e;

	if (!read_head(raw, &e)) {
		m->stats.odd++;
		return;
	}
	if (e.rank != m->dp_rank)
		return;
	if (*next_event_id && e.id != *next_event_id)
		kv_mirror_clear(m);
	*next_event_id = e.id + 1;
	if (e.window > m->window) {
		if (m->tree.node_count)
			kv_mirror_clear(m);
		m->window = e.window;
	}
	if (e.window == m->window)
		on_event(m, &e);
}

int kv_mirror_apply_json(struct kv_mirror *m, struct bb_str body, uint64_t *next_event_id)
{
	struct json_error err;
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;

	if (json_check(body, DEPTH_MAX, &err))
		return -BB_ESYNTAX;
	json_pull_init(&j, body);
	if (!json_pull_array(&j))
		return -BB_ESYNTAX;
	kv_mirror_credit(m, body.len);
	while (json_pull_more(&j) && json_pull_value(&j, &raw, &type))
		take_event(m, raw, next_event_id);
	kv_tree_flush(&m->tree);
	return 0;
}
