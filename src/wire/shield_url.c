#include "wire/shield_url.h"

#include <stdbool.h>

static const char refused_scheme[] = "must be an http, https or data URL";
static const char refused_form[] = "is a URL that parsers read differently";
static const char refused_host[] = "names a host inside of the network";

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool starts_nocase(struct bb_str s, struct bb_str prefix)
{
	return s.len >= prefix.len && bb_str_eq_nocase((struct bb_str){ s.p, prefix.len }, prefix);
}

static bool ends_nocase(struct bb_str s, struct bb_str suffix)
{
	return s.len >= suffix.len && bb_str_eq_nocase(bb_str_skip(s, s.len - suffix.len), suffix);
}

/* ---- addresses ---- */

struct v4_range {
	uint32_t base, bits;
};

/* IANA's special-purpose registry, and two addresses of clouds' own services. */
static bool is_global_v4(uint32_t address)
{
	static const struct v4_range special[] = {
		{ 0x00000000, 8 },  { 0x0a000000, 8 },	{ 0x64400000, 10 }, { 0x7f000000, 8 },
		{ 0xa83f8110, 32 }, { 0xa9fe0000, 16 }, { 0xac100000, 12 }, { 0xc0000000, 24 },
		{ 0xc0000200, 24 }, { 0xc0586300, 24 }, { 0xc0a80000, 16 }, { 0xc6120000, 15 },
		{ 0xc6336400, 24 }, { 0xcb007100, 24 }, { 0xe0000000, 3 },
	};

	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
		if ((address ^ special[i].base) >> (32 - special[i].bits) == 0)
			return false;
	}
	return true;
}

/*
 * Four decimal numbers without leading zeros. C libraries read other forms as well, and not all the
 * same: 0177.1, 0x7f000001, 2130706433.
 */
static bool read_v4(struct bb_str host, uint32_t *out)
{
	uint32_t address = 0, count = 0;

	for (;; count++) {
		const char *const dot = memchr(host.p, '.', host.len);
		const struct bb_str part = { host.p, dot ? (size_t)(dot - host.p) : host.len };
		uint64_t value;
		if (count == 4 || part.len > 3 || (part.len > 1 && part.p[0] == '0') ||
		    bb_parse_u64(part, &value) || value > 255)
			return false;
		address = address << 8 | (uint32_t)value;
		if (!dot)
			break;
		host = bb_str_skip(host, part.len + 1);
	}
	*out = address;
	return count == 3;
}

/* Does the last label begin like a number? Then the whole is meant as an address. */
static bool looks_like_v4(struct bb_str host)
{
	size_t at = host.len;

	while (at > 0 && host.p[at - 1] != '.')
		at--;
	return at == host.len || (host.p[at] >= '0' && host.p[at] <= '9');
}

/*
 * The text between the brackets: groups of up to four hex digits. What the first 32 bits say is of
 * interest: global unicast is 2000::/3, without Teredo, documentation and 6to4, which hold or
 * lead to other addresses. Everything else, also an IPv4 address in IPv6 form, is refused.
 */
static bool is_global_v6(struct bb_str text)
{
	uint32_t groups[2] = { 0, 0 };
	uint32_t count = 0, digits = 0;
	bool has_gap = false; /* "::": zeros follow */

	for (size_t i = 0; i < text.len; i++) {
		const char c = lower(text.p[i]);
		const bool is_digit = c >= '0' && c <= '9';
		if (c == ':') {
			has_gap |= digits == 0;
			count++;
			digits = 0;
			continue;
		}
		if ((!is_digit && (c < 'a' || c > 'f')) || ++digits > 4)
			return false;
		if (count < 2 && !has_gap)
			groups[count] =
				groups[count] << 4 | (uint32_t)(is_digit ? c - '0' : c - 'a' + 10);
	}
	if (count < 2 || count > 7 || groups[0] >> 13 != 1)
		return false;
	if (groups[0] == 0x2002 || groups[0] == 0x3fff)
		return false;
	return groups[0] != 0x2001 || (groups[1] >= 0x200 && groups[1] != 0xdb8);
}

/* ---- hosts ---- */

static bool is_host_byte(char c)
{
	c = lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

/* Names that only mean something inside, and public ones that are made to mean an inner address. */
static bool is_internal_name(struct bb_str host)
{
	static const struct bb_str endings[] = {
		BB_STR_INIT(".localhost"),    BB_STR_INIT(".localdomain"),
		BB_STR_INIT(".local"),	      BB_STR_INIT(".internal"),
		BB_STR_INIT(".intranet"),     BB_STR_INIT(".private"),
		BB_STR_INIT(".corp"),	      BB_STR_INIT(".home"),
		BB_STR_INIT(".lan"),	      BB_STR_INIT(".svc"),
		BB_STR_INIT(".home.arpa"),    BB_STR_INIT(".in-addr.arpa"),
		BB_STR_INIT(".nip.io"),	      BB_STR_INIT(".sslip.io"),
		BB_STR_INIT(".xip.io"),	      BB_STR_INIT(".lvh.me"),
		BB_STR_INIT(".localtest.me"),
	};

	if (!memchr(host.p, '.', host.len))
		return true;
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		if (ends_nocase(host, endings[i]) ||
		    bb_str_eq_nocase(host, bb_str_skip(endings[i], 1)))
			return true;
	}
	return false;
}

static const char *judge_host(struct bb_str host)
{
	uint32_t address;

	if (host.len && host.p[0] == '[') {
		if (host.p[host.len - 1] != ']')
			return refused_form;
		const struct bb_str inner = { host.p + 1, host.len - 2 };
		return is_global_v6(inner) ? NULL : refused_host;
	}
	for (size_t i = 0; i < host.len; i++) {
		if (!is_host_byte(host.p[i]))
			return refused_form;
	}
	if (host.len && host.p[host.len - 1] == '.')
		host.len--;
	if (host.len == 0)
		return refused_form;
	if (looks_like_v4(host))
		return read_v4(host, &address) && is_global_v4(address) ? NULL : refused_host;
	return is_internal_name(host) ? refused_host : NULL;
}

/* Host and port; the host without its port in *host. */
static bool split_authority(struct bb_str authority, struct bb_str *host)
{
	size_t end = authority.len, digits = 0;

	while (end > 0 && authority.p[end - 1] >= '0' && authority.p[end - 1] <= '9') {
		end--;
		digits++;
	}
	if (end == 0 || authority.p[end - 1] != ':') {
		*host = authority;
		return !memchr(authority.p, ':', authority.len) ||
		       (authority.len && authority.p[0] == '[');
	}
	*host = (struct bb_str){ authority.p, end - 1 };
	return digits <= 5 && (!memchr(host->p, ':', host->len) || host->p[0] == '[');
}

/* ---- the allowed ones ---- */

/* The length of the scheme, "://" and the authority. */
static size_t origin_length(struct bb_str url)
{
	const ptrdiff_t mark = bb_str_find(url, BB_STR("://"));
	size_t at = mark < 0 ? 0 : (size_t)mark + 3;

	while (at < url.len && !memchr("/?#", url.p[at], 3))
		at++;
	return at;
}

static bool has_prefix(struct bb_str url, struct bb_str prefix)
{
	const size_t origin = origin_length(prefix);

	if (!prefix.len || url.len < prefix.len ||
	    !starts_nocase(url, (struct bb_str){ prefix.p, origin }))
		return false;
	if (!bb_str_starts(bb_str_skip(url, origin), bb_str_skip(prefix, origin)))
		return false;
	return url.len == prefix.len || prefix.p[prefix.len - 1] == '/' ||
	       memchr("/?#", url.p[prefix.len], 3);
}

/* A way up and out of a prefix's folder, plain or with percent signs, once or twice encoded. */
static bool climbs(struct bb_str path)
{
	for (size_t i = 0; i + 1 < path.len; i++) {
		if (path.p[i] == '.' && path.p[i + 1] == '.')
			return true;
		if (path.p[i] == '%' && path.p[i + 1] == '2' && i + 2 < path.len &&
		    (lower(path.p[i + 2]) == 'e' || path.p[i + 2] == '5' ||
		     lower(path.p[i + 2]) == 'f'))
			return true;
	}
	return false;
}

/* ---- all of it ---- */

static bool has_odd_bytes(struct bb_str url)
{
	for (size_t i = 0; i < url.len; i++) {
		const unsigned char c = (unsigned char)url.p[i];
		if (c <= ' ' || c >= 0x7f || c == '\\')
			return true;
	}
	return false;
}

/* "http://a.example#@10.0.0.1/": where the host ends is not the same for every parser. */
static bool has_late_at(struct bb_str rest)
{
	const char *const slash = memchr(rest.p, '/', rest.len);

	return memchr(rest.p, '@', slash ? (size_t)(slash - rest.p) : rest.len) != NULL;
}

const char *shield_url_judge(struct bb_str url, const struct bb_str *prefixes,
			     uint32_t prefix_count)
{
	struct bb_str host;

	if (starts_nocase(url, BB_STR("data:")))
		return NULL;
	if (url.len > SHIELD_URL_MAX)
		return "is a URL of more than 4096 bytes";
	if (has_odd_bytes(url))
		return refused_form;
	const ptrdiff_t mark = bb_str_find(url, BB_STR("://"));
	if (mark < 0)
		return refused_scheme;
	const size_t begin = (size_t)mark + 3, end = origin_length(url);
	if (has_late_at(bb_str_skip(url, end)))
		return refused_form;
	for (uint32_t i = 0; i < prefix_count; i++) {
		if (has_prefix(url, prefixes[i]) && !climbs(bb_str_skip(url, end)))
			return NULL;
	}
	if (!starts_nocase(url, BB_STR("http://")) && !starts_nocase(url, BB_STR("https://")))
		return refused_scheme;
	if (!split_authority((struct bb_str){ url.p + begin, end - begin }, &host))
		return refused_form;
	return judge_host(host);
}
