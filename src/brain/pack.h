/*
 * pack.h: one description of a struct that both writes and reads it.
 *
 * For: events and states of the brain in a journal (event.c, state.c). A function goes through the
 * fields of a struct; with PACK_WRITE it appends them, with PACK_READ it fills them in. Whole
 * numbers are varints of 7 bits, the lowest first (LEB128); signed ones zigzag; hashes and doubles
 * are 8 bytes, the lowest first; texts and lists have their length before them.
 * Threads: one owner. Memory: what is read lies in `arena` or, for texts, in the bytes themselves.
 * Errors: the first one sticks: -BB_ESYNTAX (cut off, or a value outside of its range), -BB_ENOMEM,
 * -BB_ELIMIT (the arena, or the buffer). After it nothing is written and zeros are read, so that
 * one look at the end is enough; but a list is to be gone through only as far as pack_count says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"

enum pack_way { PACK_WRITE, PACK_READ };

struct pack {
	enum pack_way way;
	struct bb_buf *out;	/* PACK_WRITE */
	const uint8_t *p, *end; /* PACK_READ */
	struct bb_arena *arena; /* PACK_READ */
	int err;
};

static inline bool pack_is_reading(const struct pack *k)
{
	return k->way == PACK_READ;
}

static inline void pack_fail(struct pack *k, int err)
{
	if (!k->err)
		k->err = err;
}

void pack_u64(struct pack *k, uint64_t *v);
/* Up to and with `most`. */
void pack_u32(struct pack *k, uint32_t *v, uint32_t most);
void pack_u8(struct pack *k, uint8_t *v);
void pack_bool(struct pack *k, bool *v);
void pack_i64(struct pack *k, int64_t *v);
/* A number that stands for one of `count` names. */
unsigned pack_choice(struct pack *k, unsigned v, unsigned count);
void pack_fixed(struct pack *k, uint64_t *v);
void pack_double(struct pack *k, double *v);
/* One that is a time, a count or a factor: reading, up to `most`, and not below −most. */
void pack_amount(struct pack *k, double *v, double most);
void pack_str(struct pack *k, struct bb_str *s);
void pack_hashes(struct pack *k, const uint64_t **list, uint32_t *count);
/* So many of them, whose number stands elsewhere. */
void pack_hash_row(struct pack *k, uint64_t *list, uint32_t count);
/*
 * The length of a list; reading, 0 when the rest cannot be as long, each element being at least
 * `size_min` bytes.
 */
uint32_t pack_count(struct pack *k, uint32_t count, uint32_t most, size_t size_min);
/* Reading: room for a list of `count`, zeroed; NULL (and an error) without memory. */
void *pack_room(struct pack *k, uint32_t count, size_t size) BB_MUST;
