#include "wire/jwt.h"

#include <math.h>

#include "base/buf.h"
#include "wire/base64url.h"
#include "wire/json.h"

#define DEPTH_MAX 16
#define TIME_MAX 9007199254740992.0 /* 2^53: whole numbers are exact up to here */

const char *jwt_fault_text(enum jwt_fault f)
{
	static const char *const texts[] = {
#define X(name, text) [JWT_FAULT_##name] = text,
		JWT_FAULTS(X)
#undef X
	};

	return texts[f];
}

static int refuse(enum jwt_fault what, enum jwt_fault *fault)
{
	*fault = what;
	return -BB_EAUTH;
}

/* ---- parts and members ---- */

struct parts {
	struct bb_str header, payload, signature; /* base64url */
	struct bb_str signed_text;		  /* header, dot and payload */
};

static bool split(struct bb_str token, struct parts *out)
{
	struct bb_str rest = token;

	out->header = bb_str_cut(&rest, '.');
	out->payload = bb_str_cut(&rest, '.');
	out->signature = rest;
	out->signed_text = (struct bb_str){ token.p, out->header.len + 1 + out->payload.len };
	return out->header.len && out->payload.len && rest.len && !memchr(rest.p, '.', rest.len);
}

bool jwt_is_like(struct bb_str text)
{
	struct parts parts;

	return text.len && split(text, &parts);
}

/* A member that is looked for; p == NULL: absent. */
struct wanted {
	struct bb_str name;
	struct bb_str value;
	enum json_type type;
};

struct wanted_list {
	struct wanted *items;
	size_t count;
};

static int on_member(void *user, const struct json_member *m)
{
	const struct wanted_list *l = user;

	for (size_t i = 0; i < l->count; i++) {
		struct wanted *w = &l->items[i];
		if (!json_inner_eq(m->key, w->name))
			continue;
		if (w->value.p)
			return -BB_EINVALID; /* who reads the first and who the last would differ */
		w->value = m->value;
		w->type = m->type;
	}
	return 0;
}

/* Decodes a part into `room` and picks the members out of its object. */
static bool read_part(struct bb_str part, uint8_t *room, size_t size, struct wanted *items,
		      size_t count)
{
	struct wanted_list list = { items, count };
	size_t len;

	if (base64url_decode(part, room, size, &len))
		return false;
	return json_scan_object((struct bb_str){ (const char *)room, len }, DEPTH_MAX, on_member,
				&list, NULL) == 0;
}

static bool is_string(const struct wanted *w)
{
	return w->value.p && w->type == JSON_STRING;
}

/* ---- the header ---- */

static bool alg_of(struct bb_str raw, enum jwt_alg *out)
{
	for (enum jwt_alg a = 0; a < JWT_ALG_COUNT; a++)
		if (json_string_eq(raw, jwt_alg_name(a))) {
			*out = a;
			return true;
		}
	return false;
}

/*
 * RFC 8725 §3.11: tokens of other kinds (log-outs, proofs of possession) must not open anything.
 * RFC 7515 §4.1.9: "application/" may stand before it.
 */
static bool is_access_type(struct bb_str raw)
{
	static const struct bb_str types[] = { BB_STR_INIT("JWT"), BB_STR_INIT("at+jwt"),
					       BB_STR_INIT("JOSE") };
	static const struct bb_str prefix = BB_STR_INIT("application/");
	struct bb_str type = json_string_inner(raw);

	if (type.len > prefix.len &&
	    bb_str_eq_nocase((struct bb_str){ type.p, prefix.len }, prefix))
		type = bb_str_skip(type, prefix.len);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (bb_str_eq_nocase(type, types[i]))
			return true;
	return false;
}

static int find_key(const struct wanted *kid, enum jwt_alg alg, const struct jwks *keys,
		    const struct jwks_key **out, enum jwt_fault *fault)
{
	switch (jwks_find(keys, alg, kid->value, out)) {
	case JWKS_FOUND: return 0;
	case JWKS_UNKNOWN: return refuse(JWT_FAULT_KEY_UNKNOWN, fault);
	case JWKS_UNFIT: return refuse(JWT_FAULT_KEY_UNFIT, fault);
	case JWKS_AMBIGUOUS: return refuse(JWT_FAULT_KEY_AMBIGUOUS, fault);
	}
	return refuse(JWT_FAULT_KEY_UNKNOWN, fault);
}

/* What may be read before anything is trusted: which key, which algorithm. */
static int read_header(struct bb_str part, const struct jwt_policy *p, const struct jwks *keys,
		       const struct jwks_key **key, enum jwt_fault *fault)
{
	uint8_t room[BASE64URL_SIZE(JWT_SIZE_MAX)];
	struct wanted m[] = { { .name = BB_STR_INIT("alg") },
			      { .name = BB_STR_INIT("kid") },
			      { .name = BB_STR_INIT("typ") },
			      { .name = BB_STR_INIT("crit") } };
	const struct wanted *alg_text = &m[0], *kid = &m[1], *typ = &m[2], *crit = &m[3];
	enum jwt_alg alg;

	if (!read_part(part, room, sizeof(room), m, sizeof(m) / sizeof(m[0])) ||
	    !is_string(alg_text) || (kid->value.p && !is_string(kid)) ||
	    (typ->value.p && !is_string(typ)))
		return refuse(JWT_FAULT_HEADER, fault);
	if (crit->value.p)
		return refuse(JWT_FAULT_CRITICAL, fault);
	if (!alg_of(alg_text->value, &alg) || !p->allowed[alg])
		return refuse(JWT_FAULT_ALGORITHM, fault);
	if (typ->value.p && !is_access_type(typ->value))
		return refuse(JWT_FAULT_TYPE, fault);
	return find_key(kid, alg, keys, key, fault);
}

/* ---- the signature ---- */

static int check_signature(const struct parts *parts, const struct jwks_key *key,
			   enum jwt_fault *fault)
{
	uint8_t signature[JWKS_SIGNATURE_SIZE_MAX];
	size_t size;

	if (base64url_decode(parts->signature, signature, sizeof(signature), &size))
		return refuse(JWT_FAULT_SIGNATURE, fault);
	const int rc = jwks_key_verify(key, parts->signed_text, signature, size);
	return rc == -BB_EAUTH ? refuse(JWT_FAULT_SIGNATURE, fault) : rc;
}

/* ---- the claims ---- */

/* A moment of RFC 7519 §2, NumericDate; fractions of a second are dropped. */
static bool read_time(const struct wanted *w, uint64_t *out)
{
	double seconds;

	if (w->type != JSON_NUMBER || json_double(w->value, &seconds) || !isfinite(seconds) ||
	    seconds < 0 || seconds > TIME_MAX)
		return false;
	*out = (uint64_t)seconds;
	return true;
}

static int check_times(const struct wanted *exp, const struct wanted *nbf, const struct wanted *iat,
		       uint64_t leeway_s, uint64_t now_s, uint64_t *valid_until_s,
		       enum jwt_fault *fault)
{
	uint64_t expires_s, begins_s = 0, issued_s = 0;

	if (!exp->value.p)
		return refuse(JWT_FAULT_NO_EXPIRY, fault);
	if (!read_time(exp, &expires_s) || (nbf->value.p && !read_time(nbf, &begins_s)) ||
	    (iat->value.p && !read_time(iat, &issued_s)))
		return refuse(JWT_FAULT_CLAIMS, fault);
	if (__builtin_add_overflow(expires_s, leeway_s, valid_until_s))
		*valid_until_s = UINT64_MAX;
	if (now_s >= *valid_until_s)
		return refuse(JWT_FAULT_EXPIRED, fault);
	if ((begins_s > now_s && begins_s - now_s > leeway_s) ||
	    (issued_s > now_s && issued_s - now_s > leeway_s))
		return refuse(JWT_FAULT_EARLY, fault);
	return 0;
}

/* RFC 7519 §4.1.3: one text, or a list of which one must be us. */
static bool is_for(const struct wanted *aud, struct bb_str audience)
{
	struct json_pull pull;
	struct bb_str one;
	enum json_type type;

	if (is_string(aud))
		return json_string_eq(aud->value, audience);
	if (!aud->value.p || aud->type != JSON_ARRAY)
		return false;
	json_pull_init(&pull, aud->value);
	(void)!json_pull_array(&pull);
	while (json_pull_more(&pull) && json_pull_value(&pull, &one, &type))
		if (type == JSON_STRING && json_string_eq(one, audience))
			return true;
	return false;
}

static int read_tenant(const struct wanted *claim, struct jwt_claims *out)
{
	struct bb_buf b;

	if (!is_string(claim))
		return 0;
	bb_buf_init(&b, JWT_TENANT_LEN_MAX);
	int rc = json_string_decode_buf(claim->value, &b);
	if (!rc && b.len) {
		memcpy(out->tenant, b.p, b.len);
		out->tenant_len = (uint32_t)b.len;
	}
	bb_buf_fini(&b);
	return rc == -BB_ENOMEM ? rc : 0;
}

static int check_claims(struct bb_str part, const struct jwt_policy *p, uint64_t now_s,
			struct jwt_claims *out, enum jwt_fault *fault)
{
	uint8_t room[BASE64URL_SIZE(JWT_SIZE_MAX)];
	struct wanted m[] = {
		{ .name = BB_STR_INIT("exp") }, { .name = BB_STR_INIT("nbf") },
		{ .name = BB_STR_INIT("iat") }, { .name = BB_STR_INIT("iss") },
		{ .name = BB_STR_INIT("aud") }, { .name = p->tenant_claim },
	};
	const struct wanted *exp = &m[0], *nbf = &m[1], *iat = &m[2], *iss = &m[3], *aud = &m[4],
			    *tenant = &m[5];

	if (!read_part(part, room, sizeof(room), m, sizeof(m) / sizeof(m[0])))
		return refuse(JWT_FAULT_CLAIMS, fault);
	const int rc = check_times(exp, nbf, iat, p->leeway_s, now_s, &out->valid_until_s, fault);
	if (rc)
		return rc;
	if (p->issuer.len && !(is_string(iss) && json_string_eq(iss->value, p->issuer)))
		return refuse(JWT_FAULT_ISSUER, fault);
	if (p->audience.len && !is_for(aud, p->audience))
		return refuse(JWT_FAULT_AUDIENCE, fault);
	return read_tenant(tenant, out);
}

int jwt_verify(struct bb_str token, const struct jwt_policy *p, const struct jwks *keys,
	       uint64_t now_s, struct jwt_claims *out, enum jwt_fault *fault)
{
	struct jwt_claims claims = { 0 };
	const struct jwks_key *key = NULL;
	struct parts parts;

	if (token.len > JWT_SIZE_MAX)
		return refuse(JWT_FAULT_SIZE, fault);
	if (!token.len || !split(token, &parts))
		return refuse(JWT_FAULT_SHAPE, fault);
	int rc = read_header(parts.header, p, keys, &key, fault);
	if (!rc)
		rc = check_signature(&parts, key, fault);
	if (!rc)
		rc = check_claims(parts.payload, p, now_s, &claims, fault);
	if (!rc)
		*out = claims;
	return rc;
}
