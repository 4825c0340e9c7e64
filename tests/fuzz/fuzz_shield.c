/*
 * fuzz_shield.c: a body that passes the shield is still JSON when its cuts are out, passes again
 * with nothing to cut and has lost what was cut and no more; what passes for a tenant passes for
 * one who may do more; refusals blame a place in the body; the judges of URLs and expressions hold
 * what they promise on any bytes.
 * The first two bytes pick the endpoint and the tenant's rights.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "wire/openai.h"
#include "wire/shield_regex.h"
#include "wire/shield_url.h"

#define INPUT_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct counts {
	uint32_t all, stripped;
};

static int on_member(void *user, const struct json_member *m)
{
	struct counts *c = user;
	const struct shield_key *const k = shield_key_find(SHIELD_TOP, m);

	c->all++;
	c->stripped += k && shield_rows[k->row].action == SHIELD_STRIP;
	return 0;
}

static struct counts count(struct bb_str body)
{
	struct counts c = { 0, 0 };

	BB_ASSERT(json_scan_object(body, JSON_DEPTH_MAX, on_member, &c, NULL) == 0);
	return c;
}

struct outcome {
	int rc;
	struct openai_request request;
};

static struct outcome check(enum api api, struct bb_str body, uint64_t allow_mask)
{
	static const struct bb_str prefixes[] = { BB_STR_INIT("http://10.0.0.5/a/") };
	const struct shield_policy policy = { .allow_mask = allow_mask,
					      .url_prefixes = prefixes,
					      .url_prefix_count = 1 };
	struct outcome o = { 0 };
	struct json_error err = { 0, NULL };
	const char *param = NULL;
	struct bb_arena arena;

	bb_arena_init(&arena, 4 << 20);
	o.rc = openai_request_check(api, body, &policy, &arena, &o.request, &err, &param);
	if (o.rc && o.rc != -BB_ENOMEM) {
		BB_ASSERT(err.what && *err.what && err.offset <= body.len);
		BB_ASSERT(o.rc == -BB_ESYNTAX || (param && *param));
	}
	bb_arena_fini(&arena);
	return o;
}

static void cuts(enum api api, struct bb_str body, const struct outcome *o, uint64_t allow_mask)
{
	struct bb_str parts[SPLICE_PARTS_MAX];
	struct splice_set set = { .count = 0 };
	struct bb_buf rest;
	size_t total;

	bb_buf_init(&rest, INPUT_MAX);
	BB_ASSERT(shield_splice(&o->request.cuts, &set) == 0);
	const uint32_t part_count = splice_iov(body, &set, parts, &total);
	for (uint32_t i = 0; i < part_count; i++)
		BB_ASSERT(bb_buf_add_str(&rest, parts[i]) == 0);
	const struct counts before = count(body), after = count(bb_buf_str(&rest));
	BB_ASSERT(after.all - after.stripped == before.all - before.stripped);
	BB_ASSERT(o->request.is_empty == (after.all == 0));
	const struct outcome again = check(api, bb_buf_str(&rest), allow_mask);
	BB_ASSERT(again.rc == 0 && again.request.cuts.count == 0);
	BB_ASSERT(again.request.n == o->request.n &&
		  again.request.prompt_bytes == o->request.prompt_bytes);
	if (!allow_mask)
		BB_ASSERT(after.stripped == 0);
	bb_buf_fini(&rest);
}

static void judges(struct bb_str text)
{
	static const struct bb_str prefixes[] = { BB_STR_INIT("http://10.0.0.5/a/") };
	const bool passes = shield_url_judge(text, NULL, 0) == NULL;

	BB_ASSERT(!passes || shield_url_judge(text, prefixes, 1) == NULL);
	const bool is_data = text.len >= 5 && (text.p[0] | 0x20) == 'd';
	for (size_t i = 0; passes && !is_data && i < text.len; i++)
		BB_ASSERT((unsigned char)text.p[i] > ' ' && (unsigned char)text.p[i] < 0x7f);
	/* Each character is at most one state, as long as nothing repeats. */
	if (!text.len || (!memchr(text.p, '{', text.len) && !memchr(text.p, '(', text.len) &&
			  !memchr(text.p, 'u', text.len)))
		BB_ASSERT(shield_regex_states(text) <= text.len);
	else
		(void)shield_regex_states(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > INPUT_MAX)
		return 0;
	const enum api api = (enum api)(1 + data[0] % (API_COUNT - 1));
	const uint64_t allow_mask = data[1] ? ~0ull / 255 * data[1] : 0;
	const struct bb_str body = { (const char *)data + 2, size - 2 };
	const struct outcome o = check(api, body, allow_mask);

	if (o.rc == 0) {
		BB_ASSERT(check(api, body, SHIELD_ALLOW_ALL).rc == 0);
		cuts(api, body, &o, allow_mask);
	}
	judges(body);
	return 0;
}
