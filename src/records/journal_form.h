/*
 * journal_form.h: what a journal's file looks like: bytes ↔ events.
 *
 * For: journal.c, which writes files; `busbar replay`, which reads them. A file is 8 bytes of magic
 * and frames. A frame is the length of its payload and its number in the file (4 bytes each, the
 * lowest first), XXH3 of the payload with both as the key (8 bytes), and the payload. The payload
 * of the first says what wrote it; those of the others are events, each behind its length as a
 * varint. docs/journal.md has it for others. Threads: pure; a reader has one owner. Memory: a
 * reader refers to the bytes that it was given. Errors: -BB_ESYNTAX with reader.why and reader.at.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define JOURNAL_VERSION 2
#define JOURNAL_FRAME_SIZE 65536 /* of events that are gathered in one frame */
#define JOURNAL_PAYLOAD_MAX (32u << 20)
#define JOURNAL_EVENT_HEAD_MAX 10 /* bytes of an event's length */

struct journal_head {
	uint64_t version;
	uint64_t process; /* a random number: files of one process go together */
	uint64_t file;	  /* 1 for the process's first */
	int64_t wall_ns;  /* time since 1970 of an event whose time is 0 */
	struct bb_str build, commit, variant;
};

/* The beginning of a file. */
BB_MUST int journal_write_head(struct bb_buf *out, const struct journal_head *head);
/* The 16 bytes before a payload. */
void journal_frame_head(uint8_t out[16], uint32_t number, struct bb_str payload);
/* An event as it stands in a payload. */
BB_MUST int journal_add_event(struct bb_buf *out, struct bb_str event);
/* Cuts the first event off; false: there is none, or it is not whole. */
bool journal_next_event(struct bb_str *rest, struct bb_str *event);

enum journal_step {
	JOURNAL_EVENT,
	JOURNAL_END,	 /* after the last whole frame: the file ends there */
	JOURNAL_CUT_OFF, /* the file ends within a frame: its writer was killed, or is at work */
	JOURNAL_BAD,	 /* see why and at */
};

struct journal_reader {
	struct bb_str bytes;
	struct journal_head head;
	uint64_t at;	      /* where the frame begins that is being read, or what is wrong */
	uint64_t next;	      /* where the next begins */
	uint32_t number;      /* of the next */
	struct bb_str events; /* what is left of the frame */
	bool is_cut_off;      /* journal_open: the file ends within its head */
	const char *why;      /* BAD: what is wrong, in words */
};

/* Does it begin as journals do? */
bool journal_is_one(struct bb_str bytes);
/* Reads the head. -BB_ESYNTAX. */
BB_MUST int journal_open(struct journal_reader *r, struct bb_str bytes);
enum journal_step journal_read(struct journal_reader *r, struct bb_str *event);
