#include "text/post_process.h"

#include <string.h>

#include "text/tokenizer.h"
#include "wire/json.h"

#define KNOWN                                                                                      \
	"busbar knows: TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing, Sequence"
/* A Sequence may hold a Sequence, so often. */
#define NESTED_MAX 4

static int invalid(struct text_error *e, const char *what)
{
	return text_error_invalid(e, "tokenizer.json: post_processor: %s", what);
}

static int add_id(uint32_t *ids, uint32_t *count, uint64_t id, struct text_error *e)
{
	if (id >= TOKENIZER_VOCAB_MAX)
		return invalid(e, "an id is out of range");
	if (*count == POST_IDS_MAX)
		return invalid(e, "too many tokens on one side");
	ids[(*count)++] = (uint32_t)id;
	return 0;
}

/* ---- TemplateProcessing ---- */

/* Appends the ids of the special token with this raw name. */
static int add_special(struct bb_str specials, struct bb_str name, uint32_t *ids, uint32_t *count,
		       struct text_error *e)
{
	struct json_pull j;
	struct json_member m;
	struct bb_str key, raw;
	enum json_type type;
	uint64_t id;

	json_pull_init(&j, specials);
	for (bool ok = json_pull_object(&j); ok && json_pull_key(&j, &key);) {
		ok = json_pull_value(&j, &raw, &type);
		if (!ok || !bb_str_eq(key, json_string_inner(name)))
			continue;
		if (!json_get(raw, BB_STR("ids"), &m) || m.type != JSON_ARRAY)
			break;
		struct json_pull list;
		json_pull_init(&list, m.value);
		for (ok = json_pull_array(&list); ok && json_pull_more(&list);) {
			if (!json_pull_value(&list, &raw, &type) || json_u64(raw, &id))
				return invalid(e, "TemplateProcessing: ids must be whole numbers");
			const int rc = add_id(ids, count, id, e);
			if (rc)
				return rc;
		}
		return 0;
	}
	return text_error_invalid(e,
				  "tokenizer.json: post_processor: TemplateProcessing: %.*s is not "
				  "among special_tokens",
				  BB_ARG(name));
}

struct template_sides {
	struct post_process own;
	bool is_behind; /* the text's place has been passed */
};

static int take_template_item(struct template_sides *s, struct bb_str item, struct bb_str specials,
			      struct text_error *e)
{
	struct json_member special, m;

	if (json_get(item, BB_STR("Sequence"), &m)) {
		if (!json_get(m.value, BB_STR("id"), &special) ||
		    !json_string_eq(special.value, BB_STR("A")) || s->is_behind)
			return invalid(e,
				       "TemplateProcessing: single must have the sequence A, once");
		s->is_behind = true;
		return 0;
	}
	if (!json_get(item, BB_STR("SpecialToken"), &special) ||
	    !json_get(special.value, BB_STR("id"), &m) || m.type != JSON_STRING)
		return invalid(
			e, "TemplateProcessing: single holds an item that is neither Sequence nor "
			   "SpecialToken");
	struct post_process *const o = &s->own;
	return s->is_behind ? add_special(specials, m.value, o->behind, &o->behind_count, e)
			    : add_special(specials, m.value, o->before, &o->before_count, e);
}

static int read_template(struct post_process *out, struct bb_str object, struct text_error *e)
{
	struct template_sides s = { 0 };
	struct json_member single, specials;
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;

	if (!json_get(object, BB_STR("single"), &single) || single.type != JSON_ARRAY)
		return invalid(e, "TemplateProcessing: single must be an array");
	if (!json_get(object, BB_STR("special_tokens"), &specials))
		specials.value = BB_STR("{}");
	json_pull_init(&j, single.value);
	for (bool ok = json_pull_array(&j); ok && json_pull_more(&j);) {
		ok = json_pull_value(&j, &raw, &type);
		const int rc = ok ? take_template_item(&s, raw, specials.value, e) : 0;
		if (rc)
			return rc;
	}
	if (!s.is_behind)
		return invalid(e, "TemplateProcessing: single must have the sequence A, once");
	*out = s.own;
	return 0;
}

/* ---- the others ---- */

/* "cls": ["<s>", 0] */
static int read_pair_id(struct bb_str object, struct bb_str key, uint64_t *id)
{
	struct json_member m;
	struct json_pull j;
	struct bb_str raw;
	enum json_type type;

	if (!json_get(object, key, &m))
		return -BB_EINVALID;
	json_pull_init(&j, m.value);
	if (!json_pull_array(&j) || !json_pull_more(&j) || !json_pull_skip(&j) ||
	    !json_pull_more(&j) || !json_pull_value(&j, &raw, &type))
		return -BB_EINVALID;
	return json_u64(raw, id);
}

static int read_bert(struct post_process *out, struct bb_str object, struct text_error *e)
{
	uint64_t cls, sep;

	if (read_pair_id(object, BB_STR("cls"), &cls) || read_pair_id(object, BB_STR("sep"), &sep))
		return invalid(e, "'cls' and 'sep' must be a token and its id each");
	const int rc = add_id(out->before, &out->before_count, cls, e);
	return rc ? rc : add_id(out->behind, &out->behind_count, sep, e);
}

/* What a later processor adds comes around what an earlier one did. */
static int wrap(struct post_process *p, const struct post_process *outer, struct text_error *e)
{
	struct post_process all = *outer;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < p->before_count; i++)
		rc = add_id(all.before, &all.before_count, p->before[i], e);
	all.behind_count = 0;
	for (uint32_t i = 0; !rc && i < p->behind_count; i++)
		rc = add_id(all.behind, &all.behind_count, p->behind[i], e);
	for (uint32_t i = 0; !rc && i < outer->behind_count; i++)
		rc = add_id(all.behind, &all.behind_count, outer->behind[i], e);
	if (!rc)
		*p = all;
	return rc;
}

static int read_one(struct post_process *p, struct bb_str object, struct bb_str type,
		    struct text_error *e)
{
	struct post_process own = { 0 };
	int rc;

	if (json_string_eq(type, BB_STR("ByteLevel")))
		return 0;
	if (json_string_eq(type, BB_STR("TemplateProcessing")))
		rc = read_template(&own, object, e);
	else if (json_string_eq(type, BB_STR("RobertaProcessing")) ||
		 json_string_eq(type, BB_STR("BertProcessing")))
		rc = read_bert(&own, object, e);
	else
		rc = text_error_invalid(
			e, "tokenizer.json: post_processor: type %.*s is not supported; " KNOWN,
			BB_ARG(type));
	return rc ? rc : wrap(p, &own, e);
}

/* The lists that are being walked, innermost last: no recursion over foreign input. */
static int read_all(struct post_process *p, struct bb_str json, struct text_error *e)
{
	struct json_pull stack[NESTED_MAX];
	int depth = 0;
	struct bb_str object = json;

	for (;;) {
		struct json_member type, list;
		enum json_type ignored;
		if (json_type_of(object) != JSON_OBJECT || !json_get(object, BB_STR("type"), &type))
			return invalid(e, "must be an object with a type; " KNOWN);
		if (!json_string_eq(type.value, BB_STR("Sequence"))) {
			const int rc = read_one(p, object, type.value, e);
			if (rc)
				return rc;
		} else {
			if (!json_get(object, BB_STR("processors"), &list) ||
			    list.type != JSON_ARRAY)
				return invalid(e, "Sequence: processors must be an array");
			if (depth == NESTED_MAX)
				return invalid(e, "Sequences are nested too deep");
			json_pull_init(&stack[depth], list.value);
			if (json_pull_array(&stack[depth]))
				depth++;
		}
		while (depth && !json_pull_more(&stack[depth - 1]))
			depth--;
		if (!depth)
			return 0;
		if (!json_pull_value(&stack[depth - 1], &object, &ignored))
			return invalid(e, "malformed");
	}
}

int post_process_init(struct post_process *p, struct bb_str json, struct text_error *e)
{
	struct post_process made = { 0 };
	int rc = 0;

	if (json.p && json_type_of(json) != JSON_NULL)
		rc = read_all(&made, json, e);
	if (!rc)
		*p = made;
	return rc;
}
