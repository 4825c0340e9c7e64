/*
 * gunzip.h: unpacks a gzip file that is in memory (RFC 1952; several members one after the other).
 *
 * For: work_read, whose traces are published so. Threads: pure. Memory: the caller's buffer, whose
 * maximum also bounds what a small file may unpack to.
 * Errors: -BB_ESYNTAX for what is no gzip file or a damaged one, -BB_ELIMIT, -BB_ENOMEM.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"

bool gunzip_is_packed(struct bb_str data);
BB_MUST int gunzip(struct bb_str packed, struct bb_buf *out);
