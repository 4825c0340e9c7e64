/*
 * rewrite.h: one step of normalization: characters of an old text become those of a new one.
 *
 * For: normalizers. A step gives the new characters in order, each with its change: 0 where it
 * stands for the next old character, 1 where it is additional, −n where it stands for the next old
 * character and the n behind it are gone. From these the origins follow just as they do in the
 * NormalizedString of `tokenizers`, in its odd cases too.
 * Threads: one owner. Memory: `out` and `origins` are the caller's.
 * Errors: the first one sticks in `err`; rewrite_end returns it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"
#include "text/origins.h"

struct rewrite {
	struct bb_str old;
	const struct text_origin *from; /* a byte's origin; NULL: nobody wants to know */
	struct bb_buf *out;
	struct text_origins *origins;
	size_t offset;	     /* in old: what the next character stands for */
	size_t next;	     /* in old: the next character that is replaced */
	uint32_t pending_cp; /* given, not yet written: its change may still be altered */
	long pending_change;
	bool has_pending;
	int err;
};

/* `from` and `origins` are both given or both NULL. `gone` characters at the start are dropped. */
void rewrite_begin(struct rewrite *r, struct bb_str old, const struct text_origins *from,
		   struct bb_buf *out, struct text_origins *origins, size_t gone);
void rewrite_put(struct rewrite *r, uint32_t cp, long change);
/* Adds to the change of the character that was put last; nothing when there was none. */
void rewrite_adjust(struct rewrite *r, long delta);
/* Drops the next old character, where nothing else tells of it. */
void rewrite_skip(struct rewrite *r);
/* The old bytes begin…end as they are; their characters are the next to be replaced. */
void rewrite_keep(struct rewrite *r, size_t begin, size_t end);
BB_MUST int rewrite_end(struct rewrite *r);
