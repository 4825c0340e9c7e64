/*
 * text_error.h: what is wrong with a tokenizer or a template, in words.
 *
 * For: the create functions of this room. The message names the place and what to do:
 * "tokenizer.json: pre_tokenizer: type 'Foo' is not supported; busbar knows: ByteLevel, …".
 * Threads: the caller's struct. Memory: none is taken; a longer message is cut.
 * Errors: none. `e` may be NULL everywhere: then nobody wants to know.
 */
#pragma once

struct text_error {
	char message[320];
};

void text_error_set(struct text_error *e, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Sets it and returns -BB_EINVALID, so that a failing step can end with it. */
int text_error_invalid(struct text_error *e, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
