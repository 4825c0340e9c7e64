#include "wire/fold.h"

#include "base/alloc.h"

int fold_spend(struct fold_budget *budget, size_t size)
{
	if (size > budget->max - budget->used)
		return -BB_ELIMIT;
	budget->used += size;
	return 0;
}

void fold_fini(struct fold *f)
{
	for (uint32_t i = 0; i < f->count; i++) {
		bb_free(f->members[i].key);
		bb_buf_fini(&f->members[i].value);
	}
	bb_free(f->members);
	*f = (struct fold){ .members = NULL };
}

struct fold_member *fold_find(const struct fold *f, struct bb_str key)
{
	for (uint32_t i = 0; i < f->count; i++) {
		struct fold_member *m = &f->members[i];
		if (bb_str_eq((struct bb_str){ m->key, m->key_len }, key))
			return m;
	}
	return NULL;
}

static int grow(struct fold *f)
{
	const uint32_t cap = f->cap ? 2 * f->cap : 8;

	if (f->count < f->cap)
		return 0;
	struct fold_member *members = bb_realloc(f->members, cap * sizeof(*members));
	if (!members)
		return -BB_ENOMEM;
	f->members = members;
	f->cap = cap;
	return 0;
}

/* A new member without a value; its buffer may hold as much as the budget. */
static int add(struct fold *f, struct fold_budget *budget, struct bb_str key,
	       struct fold_member **out)
{
	if (f->count == FOLD_MEMBERS_MAX)
		return -BB_ELIMIT;
	int rc = fold_spend(budget, sizeof(struct fold_member) + key.len);
	if (!rc)
		rc = grow(f);
	if (rc)
		return rc;
	struct fold_member m = { .key = bb_strndup(key.p, key.len), .key_len = key.len };
	if (!m.key)
		return -BB_ENOMEM;
	bb_buf_init(&m.value, budget->max);
	f->members[f->count] = m;
	*out = &f->members[f->count++];
	return 0;
}

static int find_or_add(struct fold *f, struct fold_budget *budget, struct bb_str key,
		       struct fold_member **out)
{
	*out = fold_find(f, key);
	return *out ? 0 : add(f, budget, key, out);
}

static int put(struct fold_member *m, struct fold_budget *budget, struct bb_str bytes)
{
	const int rc = fold_spend(budget, bytes.len);

	return rc ? rc : bb_buf_add_str(&m->value, bytes);
}

static int replace(struct fold_member *m, struct fold_budget *budget, struct bb_str raw)
{
	budget->used -= m->value.len;
	bb_buf_clear(&m->value);
	m->kind = FOLD_RAW;
	return put(m, budget, raw);
}

bool fold_is_null(const struct fold_member *m)
{
	return m->kind == FOLD_RAW && bb_str_eq(bb_buf_str(&m->value), BB_STR("null"));
}

int fold_set(struct fold *f, struct fold_budget *budget, struct bb_str key, struct bb_str raw)
{
	struct fold_member *m;
	const int rc = find_or_add(f, budget, key, &m);

	if (rc)
		return rc;
	const bool is_nothing = bb_str_eq(raw, BB_STR("null")) || bb_str_eq(raw, BB_STR("\"\""));
	const bool is_new = m->kind == FOLD_RAW && m->value.len == 0;
	if (is_nothing && !is_new)
		return 0;
	return replace(m, budget, raw);
}

/* Appends to a text or list, which the member becomes when it was something else. */
static int append(struct fold_member *m, struct fold_budget *budget, enum fold_kind kind,
		  struct bb_str inner)
{
	int rc = 0;

	if (m->kind != kind) {
		budget->used -= m->value.len;
		bb_buf_clear(&m->value);
		m->kind = kind;
	}
	if (kind == FOLD_LIST) {
		inner = bb_str_trim(inner);
		if (m->value.len && inner.len)
			rc = put(m, budget, BB_STR(","));
	}
	return rc ? rc : put(m, budget, inner);
}

int fold_join(struct fold *f, struct fold_budget *budget, struct bb_str key, struct bb_str raw)
{
	const enum json_type type = json_type_of(raw);
	struct fold_member *m;

	if (type != JSON_STRING && type != JSON_ARRAY)
		return fold_set(f, budget, key, raw);
	const int rc = find_or_add(f, budget, key, &m);
	if (rc)
		return rc;
	const struct bb_str inner = { raw.p + 1, raw.len - 2 };
	return append(m, budget, type == JSON_STRING ? FOLD_TEXT : FOLD_LIST, inner);
}

void fold_value_write(const struct fold_member *m, struct bb_buf *out)
{
	static const char *const before[] = { "", "\"", "[" };
	static const char *const behind[] = { "", "\"", "]" };

	bb_buf_add_str(out, bb_str_of(before[m->kind]));
	bb_buf_add_str(out, bb_buf_str(&m->value));
	bb_buf_add_str(out, bb_str_of(behind[m->kind]));
}

void fold_member_write(const struct fold_member *m, struct bb_buf *out)
{
	bb_buf_lit(out, "\"");
	bb_buf_add(out, m->key, m->key_len);
	bb_buf_lit(out, "\":");
	fold_value_write(m, out);
}

void fold_write(const struct fold *f, struct bb_buf *out)
{
	bb_buf_lit(out, "{");
	for (uint32_t i = 0; i < f->count; i++) {
		if (i)
			bb_buf_lit(out, ",");
		fold_member_write(&f->members[i], out);
	}
	bb_buf_lit(out, "}");
}
