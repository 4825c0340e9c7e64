/*
 * regex_property.h: \p{…} of a pattern, with the characters that `tokenizers` has in it.
 *
 * For: regex_syntax.c. `tokenizers` 0.23 goes by Unicode 16; the system's PCRE2 may be older, so a
 * property is written with what came since Unicode 14. Known are the general categories and the
 * scripts of most text.
 * Threads: pure functions; unicode_init must have been called. Memory: the caller's buffer.
 * Errors: -BB_EABSENT for a name that is not known; those of the buffer.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum regex_where { REGEX_ALONE, REGEX_IN_CLASS };
enum regex_sense { REGEX_IS, REGEX_IS_NOT };

BB_MUST int regex_property_add(struct bb_buf *out, struct bb_str name, enum regex_sense sense,
			       enum regex_where where);
/* The set of \w, with brackets when it stands alone. */
BB_MUST int regex_property_word(struct bb_buf *out, enum regex_sense sense, enum regex_where where);
