#include "engines/model_list.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "brain/brain.h"
#include "engines/figures.h"
#include "wire/json.h"

#define NAMES_MAX (MODEL_LIST_MAX * BRAIN_NAME_MAX + 4096) /* and room to decode one more */
#define DEPTH_MAX 32

void model_list_init(struct model_list *l)
{
	*l = (struct model_list){ 0 };
	bb_buf_init(&l->names, NAMES_MAX);
}

void model_list_fini(struct model_list *l)
{
	BB_FREE(l->items);
	bb_buf_fini(&l->names);
	l->count = 0;
}

static bool name_is_usable(const char *name, size_t len)
{
	if (len > BRAIN_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
			return false;
	return true;
}

static void owner_read(struct model_list *l, struct bb_str entry)
{
	struct json_member m;

	if (!json_get(entry, BB_STR("owned_by"), &m) || m.type != JSON_STRING)
		return;
	const struct bb_str owner = json_string_inner(m.value);
	if (owner.len < sizeof(l->owner) && owner.len)
		memcpy(l->owner, owner.p, owner.len);
}

static void context_read(struct listed_model *item, struct bb_str entry)
{
	static const struct bb_str keys[] = {
		BB_STR_INIT("max_model_len"),	   /* vLLM, SGLang, busbar-engine */
		BB_STR_INIT("context_length"),	   /* hosted services */
		BB_STR_INIT("max_context_length"), /* LM Studio */
	};
	struct json_member meta;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && !item->context_tokens; i++)
		item->context_tokens = figure_product(figure_member(entry, keys[i]), 1);
	if (json_get(entry, BB_STR("meta"), &meta))
		item->trained_tokens =
			figure_product(figure_member(meta.value, BB_STR("n_ctx_train")), 1);
}

/* vLLM, SGLang: "parent" is the model that an adapter belongs to; null, or itself, for a model. */
static uint64_t adapter_read(struct bb_str entry)
{
	struct json_member parent, id;

	return json_get(entry, BB_STR("parent"), &parent) && parent.type == JSON_STRING &&
	       json_string_inner(parent.value).len && json_get(entry, BB_STR("id"), &id) &&
	       !bb_str_eq(parent.value, id.value);
}

/* Adds one entry of "data" unless its name cannot be used. */
static int entry_read(struct model_list *l, struct bb_str entry)
{
	struct json_member id;
	const size_t at = l->names.len;

	if (!BB_CHECK(json_get(entry, BB_STR("id"), &id) && id.type == JSON_STRING,
		      "an engine lists a model without an id"))
		return 0;
	/* Six bytes of text make one of a name at the most; longer text need not be decoded. */
	const bool is_short = id.value.len <= 6 * BRAIN_NAME_MAX + 2;
	const int rc = is_short ? json_string_decode_buf(id.value, &l->names) : 0;
	if (rc)
		return rc;
	struct listed_model item = { .name_at = (uint32_t)at,
				     .name_len = (uint32_t)(l->names.len - at) };
	if (!BB_CHECK(item.name_len && name_is_usable(l->names.p + at, item.name_len),
		      "an engine lists a model with an odd name")) {
		l->names.len = at;
		return 0;
	}
	context_read(&item, entry);
	item.is_adapter = adapter_read(entry);
	l->items[l->count++] = item;
	return 0;
}

static int entries_read(struct model_list *l, struct bb_str data)
{
	struct json_pull j;
	struct bb_str entry;
	enum json_type type;
	bool is_first = true;
	int rc = 0;

	json_pull_init(&j, data);
	if (!json_pull_array(&j))
		return -BB_ESYNTAX;
	while (!rc && json_pull_more(&j) && json_pull_value(&j, &entry, &type)) {
		if (!BB_CHECK(l->count < MODEL_LIST_MAX, "an engine lists too many models"))
			break;
		if (is_first)
			owner_read(l, entry);
		is_first = false;
		rc = entry_read(l, entry);
	}
	return rc;
}

static void list_hash(struct model_list *l)
{
	l->hash = bb_hash(l->owner, sizeof(l->owner), l->count);
	l->hash = bb_hash(l->items, l->count * sizeof(*l->items), l->hash);
	l->hash = bb_hash(l->names.p, l->names.len, l->hash);
}

int model_list_read(struct model_list *l, struct bb_str body)
{
	struct json_member data;
	struct model_list fresh;

	if (json_check(body, DEPTH_MAX, NULL) || !json_get(body, BB_STR("data"), &data))
		return -BB_ESYNTAX;
	model_list_init(&fresh);
	fresh.items = bb_alloc_zero(MODEL_LIST_MAX, sizeof(*fresh.items));
	if (!fresh.items)
		return -BB_ENOMEM;
	const int rc = entries_read(&fresh, data.value);
	if (rc) {
		model_list_fini(&fresh);
		return rc;
	}
	list_hash(&fresh);
	const bool is_same = l->items && l->hash == fresh.hash;
	if (is_same) {
		model_list_fini(&fresh);
		return 0;
	}
	model_list_fini(l);
	*l = fresh;
	return 1;
}
