/*
 * multipart.h: one field of a multipart/form-data body.
 *
 * For: audio and image requests, whose `model` decides where they go.
 * Format: RFC 7578 over RFC 2046: boundary of 1 to 70 characters; at most 128 parts with heads of
 * at most 8 KiB.
 * Threads: pure functions. Memory: the value is a span of the body, so that it can be spliced.
 * Errors: -BB_EABSENT: no such field. -BB_ESYNTAX: malformed. -BB_EINVALID: the field comes twice,
 * is a file, or has a transfer encoding. -BB_ELIMIT: too many parts, a head too long.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

#define MULTIPART_PARTS_MAX 128
#define MULTIPART_HEAD_MAX 8192

/* Is this Content-Type multipart/form-data? */
bool multipart_is(struct bb_str content_type);
/* The whole body is looked at, so that a second field of this name cannot hide. */
BB_MUST int multipart_field(struct bb_str content_type, struct bb_str body, struct bb_str name,
			    struct bb_str *value);
