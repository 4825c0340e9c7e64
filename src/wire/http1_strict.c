#include "wire/http1_strict.h"

#include <string.h>

#define HOST_MAX 262 /* 255 for a name, a colon and a port */

/* Fields that decide something, of which there must not be a second one for someone else to take.
 */
enum singleton {
	FIELD_HOST,
	FIELD_EXPECT,
	FIELD_API_KEY,
	FIELD_TYPE,
	FIELD_AUTHORIZATION,
	FIELD_CODING,
	FIELD_TRANSFER,
	FIELD_COUNT
};

static const struct bb_str names[FIELD_COUNT] = {
	[FIELD_HOST] = BB_STR_INIT("host"),
	[FIELD_EXPECT] = BB_STR_INIT("expect"),
	[FIELD_API_KEY] = BB_STR_INIT("x-api-key"),
	[FIELD_TYPE] = BB_STR_INIT("content-type"),
	[FIELD_AUTHORIZATION] = BB_STR_INIT("authorization"),
	[FIELD_CODING] = BB_STR_INIT("content-encoding"),
	[FIELD_TRANSFER] = BB_STR_INIT("transfer-encoding"),
};

static const char *const twice[FIELD_COUNT] = {
	[FIELD_HOST] = "more than one Host",
	[FIELD_EXPECT] = "more than one Expect",
	[FIELD_API_KEY] = "more than one x-api-key",
	[FIELD_TYPE] = "more than one Content-Type",
	[FIELD_AUTHORIZATION] = "more than one Authorization",
	[FIELD_CODING] = "more than one Content-Encoding",
	[FIELD_TRANSFER] = "more than one Transfer-Encoding",
};

/* Each of them is of another length, by which most fields are passed over. */
static enum singleton singleton_of(struct bb_str name)
{
	enum singleton f;

	switch (name.len) {
	case 4: f = FIELD_HOST; break;
	case 6: f = FIELD_EXPECT; break;
	case 9: f = FIELD_API_KEY; break;
	case 12: f = FIELD_TYPE; break;
	case 13: f = FIELD_AUTHORIZATION; break;
	case 16: f = FIELD_CODING; break;
	case 17: f = FIELD_TRANSFER; break;
	default: return FIELD_COUNT;
	}
	return bb_str_eq_nocase(name, names[f]) ? f : FIELD_COUNT;
}

/* Does a Connection field say more than what happens to the connection? */
static bool names_fields(const struct http_header *f)
{
	return f->name.len == 10 && bb_str_eq_nocase(f->name, BB_STR("connection")) &&
	       !bb_str_eq_nocase(f->value, BB_STR("keep-alive")) &&
	       !bb_str_eq_nocase(f->value, BB_STR("close"));
}

static const char *find_singletons(struct http_head *h, struct bb_str values[FIELD_COUNT])
{
	for (uint32_t i = 0; i < h->count; i++) {
		h->names_fields |= names_fields(&h->headers[i]);
		const enum singleton f = singleton_of(h->headers[i].name);
		if (f == FIELD_COUNT)
			continue;
		if (values[f].p)
			return twice[f];
		values[f] = h->headers[i].value;
	}
	return NULL;
}

/* ---- characters ---- */

enum { IN_URI = 1, IN_HOST = 2 };

#define BOTH (IN_URI | IN_HOST)

/* RFC 3986 without '#', which starts a fragment and is never sent; brackets are common in queries.
 */
static const uint8_t classes[256] = {
	['a' ... 'z'] = BOTH, ['A' ... 'Z'] = BOTH, ['0' ... '9'] = BOTH, ['-'] = BOTH,
	['.'] = BOTH,	      ['_'] = BOTH,	    ['~'] = BOTH,	  ['%'] = BOTH,
	['/'] = IN_URI,	      ['?'] = IN_URI,	    [':'] = IN_URI,	  ['@'] = IN_URI,
	['!'] = IN_URI,	      ['$'] = IN_URI,	    ['&'] = IN_URI,	  ['\''] = IN_URI,
	['('] = IN_URI,	      [')'] = IN_URI,	    ['*'] = IN_URI,	  ['+'] = IN_URI,
	[','] = IN_URI,	      [';'] = IN_URI,	    ['='] = IN_URI,	  ['['] = IN_URI,
	[']'] = IN_URI,
};

static bool is_all(struct bb_str s, uint8_t class)
{
	for (size_t i = 0; i < s.len; i++)
		if (!(classes[(unsigned char)s.p[i]] & class))
			return false;
	return true;
}

/* ---- hosts ---- */

static bool is_port(struct bb_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.len <= 5;
}

/* RFC 9110 §7.2: uri-host [ ":" port ], where an empty one is allowed. */
static bool is_host(struct bb_str s)
{
	if (s.len > HOST_MAX)
		return false;
	if (s.len && s.p[0] == '[') {
		const char *end = memchr(s.p, ']', s.len);
		if (!end)
			return false;
		for (const char *c = s.p + 1; c < end; c++)
			if (*c != ':' && !(classes[(unsigned char)*c] & IN_HOST))
				return false;
		s = bb_str_skip(s, (size_t)(end - s.p) + 1);
		return s.len == 0 || (s.p[0] == ':' && is_port(bb_str_skip(s, 1)));
	}
	struct bb_str name = s;
	const char *colon = s.len ? memchr(s.p, ':', s.len) : NULL;
	if (colon) {
		name.len = (size_t)(colon - s.p);
		if (!is_port(bb_str_skip(s, name.len + 1)))
			return false;
	}
	return is_all(name, IN_HOST);
}

/* ---- request lines ---- */

/*
 * llhttp lets several spaces pass.
 * The head is complete, so its bytes go on behind the target, with "HTTP/1.1" at least.
 */
static bool is_clean_line(const struct http_head *h)
{
	static const char rest[] = " HTTP/1.";
	const char *before = h->target.p, *behind = h->target.p + h->target.len;
	const size_t n = sizeof(rest) - 1;

	return before[-1] == ' ' && before[-2] != ' ' && before[-2] != '\t' &&
	       memcmp(behind, rest, n) == 0 && behind[n + 1] == '\r' && behind[n + 2] == '\n';
}

/* RFC 9112 §3.2.2: "http://host/path" means "/path", provided that the host is the same. */
static const char *cut_absolute(struct http_head *h, struct bb_str host)
{
	struct bb_str rest = h->target;

	if (bb_str_starts(rest, BB_STR("http://")))
		rest = bb_str_skip(rest, 7);
	else if (bb_str_starts(rest, BB_STR("https://")))
		rest = bb_str_skip(rest, 8);
	else
		return "a target that does not begin with a slash";
	const char *slash = rest.len ? memchr(rest.p, '/', rest.len) : NULL;
	if (!slash)
		return "an absolute target without a path";
	const struct bb_str authority = { rest.p, (size_t)(slash - rest.p) };
	if (!authority.len || !bb_str_eq_nocase(authority, host))
		return "an absolute target of another host than Host names";
	h->target = bb_str_skip(rest, authority.len);
	return NULL;
}

static const char *target_fault(struct http_head *h, struct bb_str host)
{
	if (!h->target.len || !is_clean_line(h))
		return "a request line that is not: method, one space, target, one space, HTTP/1.1";
	if (!is_all(h->target, IN_URI))
		return "a target with bytes that no URI has";
	if (h->target.p[0] == '/' || h->method == HTTP_CONNECT)
		return NULL;
	if (h->method == HTTP_OPTIONS && bb_str_eq(h->target, BB_STR("*")))
		return NULL;
	return cut_absolute(h, host);
}

static const char *request_fault(struct http_head *h, const struct bb_str values[FIELD_COUNT],
				 uint16_t *status)
{
	const struct bb_str host = values[FIELD_HOST];

	if (!host.p && h->minor > 0)
		return "a request without Host";
	if (host.p && !is_host(host))
		return "a Host that is none";
	const char *fault = target_fault(h, host);
	if (fault)
		return fault;
	if (values[FIELD_EXPECT].p && h->minor > 0 && !h->expects_continue) {
		*status = 417;
		return "an Expect other than 100-continue";
	}
	return NULL;
}

const char *http1_head_fault(enum http1_kind kind, struct http_head *h, uint16_t *status)
{
	struct bb_str values[FIELD_COUNT] = { 0 };

	h->names_fields = false;
	const char *fault = find_singletons(h, values);

	if (fault)
		return fault;
	if (values[FIELD_TRANSFER].p &&
	    !bb_str_eq_nocase(values[FIELD_TRANSFER], BB_STR("chunked")))
		return "a Transfer-Encoding other than chunked";
	if (kind == HTTP1_REQUEST)
		return request_fault(h, values, status);
	if (h->status < 100 || h->status > 599)
		return "a status that does not exist";
	return NULL;
}
