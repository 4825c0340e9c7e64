/*
 * text_check.h: does an engine tokenize as the gateway does?
 *
 * For: watch.c, once an engine is ready. A few texts and chats are put to the engine's own
 * /tokenize (llama.cpp: /tokenize and /apply-template) and compared, id by id. A count that is not
 * the engine's is worse than an estimate, since it is believed. Threads: the control thread's loop.
 * Memory: owns its connection and a reference of the model's text. Errors: -BB_ENOMEM from the
 * start; what goes wrong later becomes TEXT_UNKNOWN.
 */
#pragma once

#include "engines/adapter.h"
#include "gateway/model_text.h"
#include "os/loop.h"
#include "os/sock.h"

#define TEXT_DETAIL_SIZE 256

/*      name        text in status and metrics */
#define TEXT_VERDICTS(X)                                                                           \
	X(NONE, "none")		  /* no tokenizer is configured for what it serves */              \
	X(PENDING, "pending")	  /* not compared yet */                                           \
	X(SAME, "exact")	  /* every id was the same */                                      \
	X(DIFFERENT, "different") /* another tokenizer or template */                              \
	X(UNKNOWN, "unknown")	  /* the engine has nothing to compare with, or failed */
enum text_verdict {
#define X(name, text) TEXT_##name,
	TEXT_VERDICTS(X)
#undef X
		TEXT_VERDICT_COUNT,
};
const char *text_verdict_name(enum text_verdict v);

struct text_check;
struct tls_context;

struct text_check_config {
	struct loop *loop;
	const struct sock_addr *addr;
	struct bb_str host, base, api_key;
	struct tls_context *tls; /* NULL: plain */
	const char *tls_name;
	const struct adapter *adapter;
	struct model_text *text;
	struct bb_str served_name; /* the engine's name of the model; empty: left out */
	void *user;
	/* Called once, never from inside of the start; the check is gone after it. */
	void (*on_done)(void *user, enum text_verdict verdict, const char *detail);
};

/* Texts are copied. */
BB_MUST int text_check_start(const struct text_check_config *config, struct text_check **out);
/* Breaks it off without on_done. */
void text_check_cancel(struct text_check *c);
