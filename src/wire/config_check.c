#include "wire/config_check.h"

#define NAME_LEN_MAX 256
#define PATH_LEN_MAX 4095
#define UNIX_PATH_LEN_MAX 107 /* sizeof(sockaddr_un.sun_path) - 1 */
#define HOST_LEN_MAX 255
#define SECRET_LEN_MAX 4096

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* 1 to `max` letters and digits or bytes of `extra`. */
static bool is_made_of(struct bb_str s, const char *extra, size_t max)
{
	if (s.len == 0 || s.len > max)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!is_alnum(s.p[i]) && (s.p[i] == '\0' || !strchr(extra, s.p[i])))
			return false;
	return true;
}

/* ---- hosts and ports ---- */

static bool is_port(struct bb_str s)
{
	uint64_t port;

	return s.len <= 5 && bb_parse_u64(s, &port) == 0 && port <= UINT16_MAX;
}

static bool is_ipv4(struct bb_str s)
{
	int parts = 0;

	for (struct bb_str rest = s; parts == 0 || rest.len; parts++) {
		const struct bb_str part = bb_str_cut(&rest, '.');
		uint64_t value;
		if (part.len > 3 || bb_parse_u64(part, &value) || value > 255)
			return false;
	}
	return parts == 4 && s.p[s.len - 1] != '.';
}

static bool is_ipv6(struct bb_str s)
{
	if (s.len < 2 || s.len > 45 || !memchr(s.p, ':', s.len))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!strchr("0123456789abcdefABCDEF:.", s.p[i]) || s.p[i] == '\0')
			return false;
	return true;
}

/* Cuts "HOST:PORT" or "[IPv6]:PORT"; `*port` has p == NULL when there is none. */
static bool split_authority(struct bb_str s, struct bb_str *host, struct bb_str *port)
{
	*port = (struct bb_str){ 0 };
	if (s.len && s.p[0] == '[') {
		const char *end = memchr(s.p, ']', s.len);
		if (!end)
			return false;
		*host = (struct bb_str){ s.p + 1, (size_t)(end - s.p) - 1 };
		const struct bb_str rest = bb_str_skip(s, host->len + 2);
		if (rest.len && rest.p[0] != ':')
			return false;
		if (rest.len)
			*port = bb_str_skip(rest, 1);
		return is_ipv6(*host);
	}
	struct bb_str rest = s;
	*host = bb_str_cut(&rest, ':');
	if (host->len < s.len)
		*port = rest;
	return true;
}

static const char *check_unix(struct bb_str path)
{
	if (path.len == 0 || path.len > UNIX_PATH_LEN_MAX)
		return "the path of a unix: socket has 1 to 107 bytes";
	return NULL;
}

const char *config_check_address(struct bb_str text)
{
	static const char wrong[] = "an address is HOST:PORT with a numeric HOST, [::1]:PORT, "
				    ":PORT or unix:PATH";
	struct bb_str host, port;

	if (bb_str_starts(text, BB_STR("unix:")))
		return check_unix(bb_str_skip(text, 5));
	if (!split_authority(text, &host, &port) || !port.p || !is_port(port))
		return wrong;
	const bool is_good = host.len == 0 || text.p[0] == '[' || is_ipv4(host) ||
			     bb_str_eq(host, BB_STR("localhost"));
	return is_good ? NULL : wrong;
}

/* The length of "http://" or "https://" at the front; 0: another scheme. */
static size_t scheme_len(struct bb_str url)
{
	return bb_str_starts(url, BB_STR("http://"))	? 7
	       : bb_str_starts(url, BB_STR("https://")) ? 8
							: 0;
}

static const char *check_http(struct bb_str base)
{
	struct bb_str host, port;

	for (size_t i = 0; i < base.len; i++) {
		const unsigned char c = (unsigned char)base.p[i];
		if (c <= ' ' || c >= 0x7f || strchr("@?#\\\"<>", c))
			return "an engine's URL has no user, query, fragment or blank";
	}
	const struct bb_str authority = bb_str_cut(&base, '/');
	if (!split_authority(authority, &host, &port) || host.len == 0)
		return "an engine's URL needs a host";
	if (authority.p[0] != '[' && !is_made_of(host, "-._", HOST_LEN_MAX))
		return "a host has 1 to 255 letters, digits, '-' and '.'";
	if (port.p && (!is_port(port) || bb_str_eq(port, BB_STR("0"))))
		return "a port is a number from 1 to 65535";
	return NULL;
}

const char *config_check_url(struct bb_str text)
{
	const size_t scheme = scheme_len(text);

	if (bb_str_starts(text, BB_STR("unix:")))
		return check_unix(bb_str_skip(text, 5));
	if (!scheme)
		return "an engine is http://HOST:PORT or https://HOST:PORT, with a /base if it "
		       "has one, or unix:PATH";
	return check_http(bb_str_skip(text, scheme));
}

struct bb_str config_url_normal(struct bb_str url, char *room)
{
	const size_t scheme = scheme_len(url);
	const struct bb_str usual = scheme == 8 ? BB_STR("443") : BB_STR("80");

	while (scheme && url.len > scheme && url.p[url.len - 1] == '/')
		url.len--;
	if (url.len)
		memcpy(room, url.p, url.len);
	struct bb_str out = { room, url.len };
	if (!scheme)
		return out;
	struct bb_str rest = bb_str_skip(url, scheme), host, port;
	const struct bb_str authority = bb_str_cut(&rest, '/');
	const size_t end = scheme + authority.len;
	for (size_t i = scheme; i < end; i++)
		if (room[i] >= 'A' && room[i] <= 'Z')
			room[i] |= 0x20;
	if (split_authority(authority, &host, &port) && bb_str_eq(port, usual)) {
		memmove(room + end - usual.len - 1, room + end, url.len - end);
		out.len -= usual.len + 1;
	}
	return out;
}

/* ---- other texts ---- */

const char *config_check_name(struct bb_str text)
{
	return is_made_of(text, "._:/@-", NAME_LEN_MAX)
		       ? NULL
		       : "a model's name has 1 to 256 letters, digits and . _ : / @ -";
}

const char *config_check_alias(struct bb_str text)
{
	return bb_str_eq(text, BB_STR("*")) ? NULL : config_check_name(text);
}

const char *config_check_origin(struct bb_str text)
{
	const ptrdiff_t at = bb_str_find(text, BB_STR("://"));
	const char *wrong = "an origin is \"*\" or SCHEME://HOST[:PORT] without a path";

	if (bb_str_eq(text, BB_STR("*")))
		return NULL;
	if (at <= 0 || !is_made_of((struct bb_str){ text.p, (size_t)at }, "+-.", 32))
		return wrong;
	const struct bb_str authority = bb_str_skip(text, (size_t)at + 3);
	return is_made_of(authority, "-._:[]", HOST_LEN_MAX) ? NULL : wrong;
}

static struct bb_str skip_blanks(struct bb_str s)
{
	while (s.len && s.p[0] == ' ')
		s = bb_str_skip(s, 1);
	return s;
}

const char *config_check_headers(struct bb_str text)
{
	for (struct bb_str rest = text; rest.len;) {
		const struct bb_str name = skip_blanks(bb_str_cut(&rest, ','));
		if (!is_made_of(name, "!#$%&'*+-.^_`|~", 128))
			return "header names stand with commas between them";
	}
	return NULL;
}

const char *config_check_path(struct bb_str text)
{
	return text.len && text.len <= PATH_LEN_MAX ? NULL : "a path has 1 to 4095 bytes";
}

const char *config_check_secret(struct bb_str text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] <= ' ' || (unsigned char)text.p[i] >= 0x7f)
			return "a key has no blanks and no letters beyond ASCII";
	return text.len <= SECRET_LEN_MAX ? NULL : "a key has up to 4096 bytes";
}

const char *config_check_name_pattern(struct bb_str text)
{
	return is_made_of(text, "._:/@-*", NAME_LEN_MAX)
		       ? NULL
		       : "a pattern of models has 1 to 256 letters, digits and . _ : / @ - *";
}

const char *config_check_tenant(struct bb_str text)
{
	return is_made_of(text, "._@-", 64)
		       ? NULL
		       : "a tenant's name has 1 to 64 letters, digits and . _ @ -";
}

const char *config_check_member(struct bb_str text)
{
	return is_made_of(text, "._:/-", 128)
		       ? NULL
		       : "a member's name has 1 to 128 letters, digits and . _ : / -";
}

const char *config_check_host(struct bb_str text)
{
	return is_made_of(text, "-._:", HOST_LEN_MAX)
		       ? NULL
		       : "a host's name has 1 to 255 letters, digits, '-' and '.'";
}

const char *config_check_host_pattern(struct bb_str text)
{
	const struct bb_str name = bb_str_starts(text, BB_STR("*.")) ? bb_str_skip(text, 2) : text;

	return config_check_host(name) ? "a name is like api.example.org or *.example.org" : NULL;
}

const char *config_check_printable(struct bb_str text)
{
	if (text.len == 0 || text.len > 1024)
		return "a text of 1 to 1024 characters is expected";
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] <= ' ' || (unsigned char)text.p[i] >= 0x7f)
			return "blanks and letters beyond ASCII are not allowed here";
	return NULL;
}

const char *config_check_jwks(struct bb_str text)
{
	return scheme_len(text) ? config_check_printable(text) : config_check_path(text);
}

const char *config_check_algorithm(struct bb_str text)
{
	return bb_str_eq(text, BB_STR("RS256")) || bb_str_eq(text, BB_STR("ES256")) ||
			       bb_str_eq(text, BB_STR("EdDSA"))
		       ? NULL
		       : "an algorithm is RS256, ES256 or EdDSA";
}

const char *config_check_endpoint(struct bb_str text)
{
	static const char wrong[] =
		"an endpoint is tcp://HOST:PORT with a numeric HOST, localhost or * (the engine's own), "
		"or ipc://PATH";
	struct bb_str host, port;

	if (bb_str_starts(text, BB_STR("ipc://")))
		return check_unix(bb_str_skip(text, 6)) ? wrong : NULL;
	if (!bb_str_starts(text, BB_STR("tcp://")))
		return wrong;
	text = bb_str_skip(text, 6);
	if (!split_authority(text, &host, &port) || !port.p || !is_port(port) ||
	    bb_str_eq(port, BB_STR("0")))
		return wrong;
	const bool is_good = text.p[0] == '[' || is_ipv4(host) || bb_str_eq(host, BB_STR("*")) ||
			     bb_str_eq(host, BB_STR("localhost"));
	return is_good ? NULL : wrong;
}

const char *config_check_kv_events(struct bb_str text)
{
	if (bb_str_eq(text, BB_STR("auto")) || bb_str_eq(text, BB_STR("off")) ||
	    bb_str_eq(text, BB_STR("poll")))
		return NULL;
	return config_check_endpoint(text)
		       ? "auto, off, poll, or endpoints tcp://HOST:PORT with a numeric HOST, "
			 "localhost or * (the engine's own)"
		       : NULL;
}

const char *config_check_user(struct bb_str text)
{
	return is_made_of(text, "._-", 32) ? NULL
					   : "an account has 1 to 32 letters, digits and . _ -";
}
