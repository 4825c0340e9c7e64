#include "wire/jwks.h"

#include "base/alloc.h"
#include "wire/json.h"

#define DEPTH_MAX 16
#define ARENA_MAX (256u << 10) /* names of keys, decoded and as they were written */

struct jwks {
	uint32_t refs; /* atomic */
	uint32_t count;
	uint32_t passed_over;
	const char *passed_over_why;
	struct bb_arena arena;
	struct jwks_key keys[JWKS_KEYS_MAX];
};

/* The value of `keys`, which must be there once. */
static int on_member(void *user, const struct json_member *m)
{
	struct bb_str *keys = user;

	if (!json_inner_eq(m->key, BB_STR("keys")))
		return 0;
	if (keys->p || m->type != JSON_ARRAY)
		return -BB_EINVALID;
	*keys = m->value;
	return 0;
}

static bool has_twin(const struct jwks *s, const struct jwks_key *k)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (k->has_kid && s->keys[i].has_kid && s->keys[i].alg == k->alg &&
		    bb_str_eq(s->keys[i].kid, k->kid))
			return true;
	return false;
}

static void pass_over(struct jwks *s, const char *why)
{
	if (s->passed_over++ == 0)
		s->passed_over_why = why;
}

static int take(struct jwks *s, struct bb_str object)
{
	struct jwks_key k;
	const char *why;
	const int rc = jwks_key_make(object, &s->arena, &k, &why);

	if (rc == -BB_ENOMEM)
		return rc;
	if (rc) {
		pass_over(s, why);
	} else if (has_twin(s, &k)) {
		pass_over(s, "an earlier key has its name");
		jwks_key_fini(&k);
	} else {
		s->keys[s->count++] = k;
	}
	return 0;
}

static int take_all(struct jwks *s, struct bb_str keys, const char **why)
{
	struct json_pull pull;
	struct bb_str object;
	enum json_type type;
	uint32_t seen = 0;

	json_pull_init(&pull, keys);
	(void)!json_pull_array(&pull);
	while (json_pull_more(&pull) && json_pull_value(&pull, &object, &type)) {
		if (seen++ == JWKS_KEYS_MAX) {
			*why = "it has more than 64 keys";
			return -BB_ELIMIT;
		}
		const int rc = take(s, object);
		if (rc)
			return rc;
	}
	if (s->count == 0) {
		*why = s->passed_over ? s->passed_over_why : "it has no keys";
		return -BB_EINVALID;
	}
	return 0;
}

int jwks_parse(struct bb_str text, struct jwks **out, const char **why)
{
	struct json_error fault = { 0 };
	struct bb_str keys = { 0 };

	if (text.len > JWKS_TEXT_MAX) {
		*why = "it is larger than 256 KiB";
		return -BB_ELIMIT;
	}
	int rc = json_scan_object(text, DEPTH_MAX, on_member, &keys, &fault);
	if (!rc && !keys.p)
		rc = -BB_EINVALID;
	if (rc) {
		*why = rc == -BB_ESYNTAX ? "it is no JSON object"
					 : "it needs one member 'keys' with a list";
		return rc;
	}
	struct jwks *s = bb_alloc_zero(1, sizeof(*s));
	*why = bb_error_info(BB_ENOMEM)->text;
	if (!s)
		return -BB_ENOMEM;
	s->refs = 1;
	bb_arena_init(&s->arena, ARENA_MAX);
	rc = take_all(s, keys, why);
	if (rc) {
		jwks_put(s);
		return rc;
	}
	*out = s;
	return 0;
}

struct jwks *jwks_get(struct jwks *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void jwks_put(struct jwks *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (uint32_t i = 0; i < s->count; i++)
		jwks_key_fini(&s->keys[i]);
	bb_arena_fini(&s->arena);
	bb_free(s);
}

uint32_t jwks_count(const struct jwks *s)
{
	return s->count;
}

uint32_t jwks_passed_over(const struct jwks *s, const char **why)
{
	*why = s->passed_over_why;
	return s->passed_over;
}

/* ---- look-up ---- */

static enum jwks_match find_only(const struct jwks *s, enum jwt_alg alg,
				 const struct jwks_key **out)
{
	const struct jwks_key *found = NULL;

	for (uint32_t i = 0; i < s->count; i++) {
		if (s->keys[i].alg != alg)
			continue;
		if (found)
			return JWKS_AMBIGUOUS;
		found = &s->keys[i];
	}
	if (!found)
		return JWKS_UNFIT;
	*out = found;
	return JWKS_FOUND;
}

enum jwks_match jwks_find(const struct jwks *s, enum jwt_alg alg, struct bb_str kid,
			  const struct jwks_key **out)
{
	enum jwks_match match = JWKS_UNKNOWN;

	if (!kid.p)
		return find_only(s, alg, out);
	for (uint32_t i = 0; i < s->count; i++) {
		const struct jwks_key *k = &s->keys[i];
		if (!k->has_kid || !json_string_eq(kid, k->kid))
			continue;
		if (k->alg == alg) {
			*out = k;
			return JWKS_FOUND;
		}
		match = JWKS_UNFIT;
	}
	return match;
}
