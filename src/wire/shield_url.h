/*
 * shield_url.h: may an engine be told to fetch this URL?
 *
 * For: shield.c, for the URLs in image, audio and video parts. The engine fetches them, from inside
 * of the operator's network; so what is not plainly the public internet is refused: other schemes
 * than http, https and data, local files, internal names, addresses that are not global unicast in
 * any of the forms that C libraries read, and everything that URL parsers read differently
 * (credentials, backslashes, spaces, controls, percent signs or other than ASCII in the host).
 * A public name that resolves to an internal address cannot be seen from here: engines have to
 * look at the address they connect to, and must not follow redirects (see docs/shield.md).
 * Threads: pure functions. Memory: none is taken. Errors: a sentence, or NULL when all is well.
 */
#pragma once

#include <stdint.h>

#include "base/str.h"

#define SHIELD_URL_MAX 4096 /* bytes, of other than data: URLs */

/*
 * Why this URL is refused; static text, NULL: it is not. It passes when it begins with one of the
 * prefixes: scheme and host have to be the same, letter case aside, and a prefix ends at the end of
 * the URL or at one of / ? #, or has a / at its own end.
 */
const char *shield_url_judge(struct bb_str url, const struct bb_str *prefixes,
			     uint32_t prefix_count);
