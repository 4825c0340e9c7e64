/*
 * api_error.h: an error as a client sees it, in vLLM's form.
 *
 * For: every part that looks at a request; engine_api writes it out.
 * Threads: a value. Memory: its own; `type`, `param` and `code` are static strings.
 * Errors: none.
 */
#pragma once

#include "base/err.h"

struct api_error {
	int status;
	const char *type;  /* "BadRequestError" */
	const char *param; /* the member at fault, or NULL */
	const char *code;  /* NULL: the status as a number, as vLLM does */
	char message[512];
};

/* Fills it in with status 400 and returns -BB_EINVALID, so that a parser can end with it. */
int api_error_bad(struct api_error *e, const char *param, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Any other status; `type` follows from it. Returns -BB_EINVALID. */
int api_error_set(struct api_error *e, int status, const char *param, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* For -BB_ENOMEM and other failures that are not the client's. Returns `err`. */
int api_error_internal(struct api_error *e, int err);
