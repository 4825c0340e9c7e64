#include "wire/shield.h"

#include "base/log.h"
#include "wire/shield_regex.h"
#include "wire/shield_url.h"

const struct shield_policy shield_policy_default;

/* Members of a message or of a document have depth 2, those of their parts are deeper. */
#define PART_DEPTH 3

/* What a container means to what is in it. */
enum kind {
	KIND_OPAQUE,   /* not looked at */
	KIND_PARTS,    /* what becomes prompt: messages, parts, documents */
	KIND_MEDIA,    /* the value of a media member: strings in arrays and at "url" are URLs */
	KIND_SOURCE,   /* "source" of Anthropic's: "url" is one, the rest is as in parts */
	KIND_SCHEMA,   /* a schema, or an object that holds schemas */
	KIND_PATTERNS, /* an object whose keys are expressions */
};

static bool is_allowed(const struct shield_scan *s, enum shield_row_id row)
{
	return s->policy->allow_mask & shield_bit(row);
}

static uint64_t limit_of(const struct shield_scan *s, enum shield_row_id row)
{
	return s->policy->limits[row] ? s->policy->limits[row] : shield_rows[row].limit;
}

/* ---- refusals ---- */

static int refuse(struct shield_scan *s, const struct shield_key *k, int rc, const char *what,
		  const char *at)
{
	const char *param = k->key.p;

	if (k->place != SHIELD_TOP)
		param = refusal_text(s->arena, param, "%.*s.%s",
				     (int)(s->name.len < 64 ? s->name.len : 64), s->name.p,
				     k->key.p);
	return refusal_set(s->refusal, rc, param, what, at);
}

static int refuse_row(struct shield_scan *s, const struct shield_key *k, const char *at)
{
	return refuse(s, k, -BB_ESHIELD, shield_rows[k->row].why, at);
}

static int refuse_limit(struct shield_scan *s, const struct shield_key *k, const char *unit,
			const char *at)
{
	const char *const what =
		refusal_text(s->arena, "is over its limit", "may be at most %llu%s",
			     (unsigned long long)limit_of(s, k->row), unit);

	return refuse(s, k, -BB_EINVALID, what, at);
}

/* ---- single values ---- */

static int check_number(struct shield_scan *s, const struct shield_key *k,
			const struct json_member *m)
{
	double value;

	if (m->type != JSON_NUMBER)
		return 0;
	if (json_double(m->value, &value) || value < 0 || value > (double)limit_of(s, k->row))
		return refuse_limit(s, k, "", m->value.p);
	return 0;
}

/* Elements or members, counted no further than to the limit. */
static int check_count(struct shield_scan *s, const struct shield_key *k,
		       const struct json_member *m)
{
	const uint64_t most = limit_of(s, k->row);
	struct json_pull j;
	struct bb_str key;
	uint64_t count = 0;

	json_pull_init(&j, m->value);
	if (json_pull_array(&j)) {
		while (json_pull_more(&j) && json_pull_skip(&j) && count <= most)
			count++;
	} else if (json_pull_object(&j)) {
		while (json_pull_key(&j, &key) && json_pull_skip(&j) && count <= most)
			count++;
	}
	return count > most ? refuse_limit(s, k, " elements", m->value.p) : 0;
}

static int check_size(struct shield_scan *s, const struct shield_key *k,
		      const struct json_member *m)
{
	return m->value.len > limit_of(s, k->row) ? refuse_limit(s, k, " bytes", m->value.p) : 0;
}

/* `inner` is an expression as it stands between quotes. */
static int check_regex(struct shield_scan *s, const struct shield_key *k, struct bb_str inner)
{
	const struct shield_key regex = { k->key, k->place, SHIELD_ROW_REGEX, SHIELD_REGEX };

	if (is_allowed(s, SHIELD_ROW_REGEX))
		return 0;
	if (inner.len > limit_of(s, SHIELD_ROW_REGEX))
		return refuse_limit(s, &regex, " bytes of an expression", inner.p);
	if (shield_regex_states(inner) > SHIELD_REGEX_STATES_MAX)
		return refuse(s, &regex, -BB_EINVALID,
			      "has an expression with too many repetitions or nested groups",
			      inner.p);
	return 0;
}

static int check_url(struct shield_scan *s, const struct shield_key *k, const struct json_member *m)
{
	struct bb_str url;

	/* Data: URLs are long and have no escapes where they begin. */
	if (m->value.len > 6 * SHIELD_URL_MAX + 2) {
		url = json_string_inner(m->value);
	} else {
		const int rc = json_string_decode(m->value, s->arena, &url);
		if (rc)
			return rc;
	}
	const char *const why =
		shield_url_judge(url, s->policy->url_prefixes, s->policy->url_prefix_count);
	return why ? refuse(s, k, -BB_ESHIELD, why, m->value.p) : 0;
}

/* ---- schemas ---- */

static enum kind schema_kind(const struct json_member *m)
{
	return m->key.p && json_inner_eq(m->key, BB_STR("patternProperties")) ? KIND_PATTERNS
									      : KIND_SCHEMA;
}

/* One event inside of a schema whose outermost container has depth 0. */
static int schema_event(struct shield_scan *s, const struct json_member *m, enum kind parent,
			uint32_t depth)
{
	int rc = 0;

	if (depth >= SHIELD_SCHEMA_DEPTH_MAX && m->type >= JSON_ARRAY &&
	    !is_allowed(s, s->key->row))
		return refuse(s, s->key, -BB_EINVALID, "is nested more than 32 deep", m->value.p);
	if (parent == KIND_PATTERNS && m->key.p)
		rc = check_regex(s, s->key, m->key);
	if (!rc && m->type == JSON_STRING && m->key.p &&
	    (json_inner_eq(m->key, BB_STR("pattern")) || json_inner_eq(m->key, BB_STR("regex"))))
		rc = check_regex(s, s->key, json_string_inner(m->value));
	return rc;
}

/* A member of the object that a text holds. */
static int on_text_member(void *user, const struct json_member *m)
{
	return schema_event(user, m, KIND_SCHEMA, 1);
}

static bool on_text_watch(void *user, const struct json_member *m)
{
	struct shield_scan *s = user;

	s->kinds[0] = schema_kind(m);
	return true;
}

static int on_text_inner(void *user, enum json_event event, const struct json_member *m,
			 uint32_t depth)
{
	return shield_inner(user, event, m, depth);
}

/*
 * A schema that comes as text, as some engines take it, is looked at like any other. One text deep:
 * a text in that text is only a text.
 */
static int check_text_schema(struct shield_scan *s, const struct shield_key *k,
			     const struct json_member *m)
{
	struct shield_scan inner = *s;
	const struct json_watch watch = { .on_member = on_text_member,
					  .is_watched = on_text_watch,
					  .on_inner = on_text_inner,
					  .user = &inner };
	struct bb_str text;

	int rc = json_string_decode(m->value, s->arena, &text);
	if (rc)
		return rc;
	text = bb_str_trim(text);
	if (!text.len || text.p[0] != '{')
		return 0; /* a grammar */
	inner.key = k;
	inner.in_text = true;
	rc = json_scan_watched(text, JSON_DEPTH_MAX, &watch, NULL);
	if (rc == -BB_ESYNTAX)
		return refuse(s, k, -BB_EINVALID, "is text that is not valid JSON", m->value.p);
	s->refusal->at = m->value.p; /* what is blamed must be in the body */
	return rc;
}

static int check_schema(struct shield_scan *s, const struct shield_key *k,
			const struct json_member *m)
{
	const int rc = check_size(s, k, m);

	return !rc && m->type == JSON_STRING ? check_text_schema(s, k, m) : rc;
}

/* ---- the top of the body ---- */

static int strip(struct shield_scan *s, const struct shield_key *k, const struct json_member *m)
{
	const size_t at = (size_t)(m->key.p - 1 - s->body);

	if (s->cuts.count == SHIELD_CUTS_MAX)
		return refuse(s, k, -BB_EINVALID, "comes too often", m->value.p);
	s->cuts.list[s->cuts.count].at = at;
	s->cuts.list[s->cuts.count++].len = (size_t)(m->value.p + m->value.len - s->body) - at;
	return 0;
}

/* chat_template_kwargs: a few of its members are arguments of the engine itself. */
static int check_kwargs(struct shield_scan *s, const struct json_member *kwargs)
{
	struct json_pull j;
	struct json_member m = { .key_has_escape = true };

	json_pull_init(&j, kwargs->value);
	if (is_allowed(s, SHIELD_ROW_TEMPLATE_KWARGS) || !json_pull_object(&j))
		return 0;
	s->name = kwargs->key;
	while (json_pull_key(&j, &m.key) && json_pull_value(&j, &m.value, &m.type)) {
		const struct shield_key *const k = shield_key_find(SHIELD_KWARGS, &m);
		if (k && m.type != JSON_NULL)
			return refuse_row(s, k, m.value.p);
	}
	return 0;
}

static int check_key(struct shield_scan *s, const struct shield_key *k, const struct json_member *m)
{
	switch (k->check) {
	case SHIELD_TRUE:
		if (m->type == JSON_FALSE)
			return 0;
		return refuse_row(s, k, m->value.p);
	case SHIELD_PRESENT:
		if (shield_rows[k->row].action == SHIELD_STRIP)
			return strip(s, k, m);
		return refuse_row(s, k, m->value.p);
	case SHIELD_NUMBER: return check_number(s, k, m);
	case SHIELD_COUNT: return check_count(s, k, m);
	case SHIELD_SIZE: return check_size(s, k, m);
	case SHIELD_SCHEMA: return check_schema(s, k, m);
	case SHIELD_REGEX:
		return m->type == JSON_STRING ? check_regex(s, k, json_string_inner(m->value)) : 0;
	case SHIELD_URLS: return 0; /* seen inside */
	}
	BB_ASSERT(false);
	return 0;
}

int shield_member(struct shield_scan *s, const struct json_member *m)
{
	const struct shield_key *const k = shield_key_find(SHIELD_TOP, m);

	if (!k)
		return 0;
	/* A null that stayed would undo what the gateway puts in its place. */
	if (m->type == JSON_NULL && shield_rows[k->row].action != SHIELD_STRIP)
		return 0;
	const int rc = is_allowed(s, k->row) ? 0 : check_key(s, k, m);
	return !rc && k->row == SHIELD_ROW_KWARGS_SIZE ? check_kwargs(s, m) : rc;
}

/* ---- inside ---- */

/* Members whose values become prompt; what hides in them can be anywhere. */
static bool is_prompt(const struct json_member *m)
{
	static const struct bb_str names[] = {
		BB_STR_INIT("messages"), BB_STR_INIT("input"),	   BB_STR_INIT("content"),
		BB_STR_INIT("system"),	 BB_STR_INIT("documents"), BB_STR_INIT("query"),
		BB_STR_INIT("queries"),	 BB_STR_INIT("items"),	   BB_STR_INIT("text_1"),
		BB_STR_INIT("text_2"),	 BB_STR_INIT("data_1"),	   BB_STR_INIT("data_2"),
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (m->key_has_escape ? json_inner_eq(m->key, names[i])
				      : bb_str_eq(m->key, names[i]))
			return true;
	}
	return false;
}

bool shield_watches(struct shield_scan *s, const struct json_member *m)
{
	const struct shield_key *const k = shield_key_find(SHIELD_TOP, m);

	s->key = k;
	s->name = m->key;
	s->kinds[0] = KIND_OPAQUE;
	if (k && k->check == SHIELD_URLS)
		s->kinds[0] = is_allowed(s, SHIELD_ROW_MEDIA_URLS) ? KIND_OPAQUE : KIND_MEDIA;
	else if (k && k->check == SHIELD_SCHEMA)
		s->kinds[0] = m->type == JSON_STRING ? KIND_OPAQUE : KIND_SCHEMA;
	else if (!k && m->type != JSON_STRING && is_prompt(m))
		s->kinds[0] = KIND_PARTS;
	return s->kinds[0] != KIND_OPAQUE;
}

#define LETTER(c) (1u << ((c)&31))
/* The first letters of the keys that parts_key cares about, by length: most others end here. */
static const uint32_t part_letters[16] = {
	[4] = LETTER('u'),
	[5] = LETTER('i') | LETTER('a') | LETTER('v'),
	[6] = LETTER('s') | LETTER('a'),
	[8] = LETTER('f'),
	[9] = LETTER('i') | LETTER('v') | LETTER('a'),
	[10] = LETTER('p'),
	[12] = LETTER('i') | LETTER('a') | LETTER('v'),
	[13] = LETTER('p'),
};

static bool may_be_part_key(const struct json_member *m)
{
	if (m->key_has_escape)
		return true;
	return m->key.len < 16 && m->key.len > 0 &&
	       part_letters[m->key.len] & LETTER((unsigned char)m->key.p[0]);
}

/* Members of parts that hold what a tool is called with: the model's own JSON, not the engine's. */
static bool is_payload(const struct json_member *m)
{
	return json_inner_eq(m->key, BB_STR("input")) ||
	       json_inner_eq(m->key, BB_STR("arguments")) ||
	       json_inner_eq(m->key, BB_STR("parameters")) ||
	       json_inner_eq(m->key, BB_STR("input_schema")) ||
	       json_inner_eq(m->key, BB_STR("action"));
}

/* A member of a part. *child is what its value means when that is a container. */
static int part_member(struct shield_scan *s, const struct json_member *m, uint32_t depth,
		       enum kind *child)
{
	if (!m->key.p || !may_be_part_key(m))
		return 0;
	const struct shield_key *const k = shield_key_find(SHIELD_PART, m);
	if (!k) {
		if (is_payload(m))
			*child = KIND_OPAQUE;
		return 0;
	}
	if (is_allowed(s, k->row) || m->type == JSON_NULL)
		return 0;
	if (k->row == SHIELD_ROW_MEDIA_UUID && depth < PART_DEPTH)
		return 0;
	if (k->check != SHIELD_URLS)
		return refuse_row(s, k, m->value.p);
	const bool is_source = bb_str_eq(k->key, BB_STR("source"));
	*child = is_source ? KIND_SOURCE : KIND_MEDIA;
	s->key = k;
	return m->type == JSON_STRING && !is_source ? check_url(s, k, m) : 0;
}

/* In the value of a media member, or of "source", where only "url" is one. */
static int media_member(struct shield_scan *s, const struct json_member *m, enum kind parent,
			uint32_t depth, enum kind *child)
{
	const bool is_url = m->key.p ? json_inner_eq(m->key, BB_STR("url")) : parent == KIND_MEDIA;

	if (!is_url) {
		*child = KIND_PARTS;
		return part_member(s, m, depth, child);
	}
	*child = KIND_MEDIA;
	return m->type == JSON_STRING ? check_url(s, s->key, m) : 0;
}

/* structured_outputs: {"json": "{…}"} */
static bool is_text_schema(const struct shield_scan *s, const struct json_member *m, uint32_t depth)
{
	return depth == 1 && m->type == JSON_STRING && !s->in_text && m->key.p &&
	       json_inner_eq(m->key, BB_STR("json")) && !is_allowed(s, s->key->row);
}

int shield_inner(struct shield_scan *s, enum json_event event, const struct json_member *m,
		 uint32_t depth)
{
	const enum kind parent = s->kinds[depth];
	enum kind child = parent;
	int rc = 0;

	if (event == JSON_CLOSE)
		return 0;
	switch (parent) {
	case KIND_OPAQUE: break;
	case KIND_MEDIA:
	case KIND_SOURCE: rc = media_member(s, m, parent, depth, &child); break;
	case KIND_PARTS: rc = part_member(s, m, depth, &child); break;
	case KIND_PATTERNS:
	case KIND_SCHEMA:
		child = depth ? schema_kind(m) : parent;
		rc = schema_event(s, m, parent, depth);
		if (!rc && is_text_schema(s, m, depth))
			rc = check_text_schema(s, s->key, m);
		break;
	}
	if (event == JSON_OPEN)
		s->kinds[depth + 1] = (uint8_t)child;
	return rc;
}
