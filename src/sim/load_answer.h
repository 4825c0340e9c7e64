/*
 * load_answer.h: reads one answer, whole or streamed, and takes its times.
 *
 * For: load_conn. It is a client's view that owes nothing to the gateway's relay: an event has text
 * when its "content" (chat) or "text" (completions) is a string that is not empty. In JSON a quote
 * inside of a string is escaped, so `"content":` can only be a key: looking for these bytes is
 * exact, and no parser has to be fast enough.
 * A stamp is what `busbar sim serve --stamp` puts behind each token of a stream: " t" and 16 hex
 * digits of its monotonic clock, which is ours when both run on one machine.
 * Threads: one owner. Memory: bytes of an incomplete event are copied (at most LOAD_CARRY_MAX).
 * Errors: -BB_EHTTP for what is not an HTTP answer, -BB_ELIMIT for an event that does not end.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "sim/load_meter.h"
#include "wire/http1.h"

#define LOAD_CARRY_MAX (1u << 20)

enum load_kind { LOAD_KIND_UNKNOWN, LOAD_KIND_EVENTS, LOAD_KIND_OTHER };

/* What is noted of one answer besides what the meter counts, where that is wanted. */
struct load_detail {
	uint64_t first_ns, last_ns; /* of events with text; 0: there was none */
	uint32_t events;	    /* with text */
	uint32_t prompt_tokens, cached_tokens, output_tokens; /* by its usage; LOAD_UNKNOWN */
	struct bb_buf *text; /* all its text as it stands within JSON strings; NULL: not wanted */
};

struct load_answer {
	struct load_detail *detail; /* NULL: not wanted; stays from one request to the next */
	struct http1 http;
	struct bb_buf carry;
	uint64_t start_ns;
	uint64_t text_ns; /* of the last event with text, 0: none yet */
	int status;
	enum load_kind kind;
	bool is_complete;
	bool keeps_alive; /* the connection can be used again */
	bool has_begun;	  /* a byte of its body has come */
	bool has_finish;  /* a finish_reason was seen */
	bool has_error;	  /* an error object inside of a stream */
	bool is_ok;	  /* it was complete and as it should be */
};

void load_answer_init(struct load_answer *a);
void load_answer_fini(struct load_answer *a);
/* Before each request. `start_ns` is what its times count from. */
void load_answer_begin(struct load_answer *a, uint64_t start_ns);
/*
 * Takes bytes that came at `now_ns`; they are changed (unframed in place). 0: see is_complete; the
 * answer has then been counted.
 */
BB_MUST int load_answer_feed(struct load_answer *a, char *data, size_t len, uint64_t now_ns,
			     struct load_meter *m);
/* The stream ended: true when that completes the answer, which has then been counted. */
bool load_answer_end(struct load_answer *a, uint64_t now_ns, struct load_meter *m);
/* It will not be completed; takes it out of the meter's open answers. */
void load_answer_abandon(struct load_answer *a, struct load_meter *m);
