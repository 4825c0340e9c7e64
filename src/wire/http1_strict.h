/*
 * http1_strict.h: what makes a head ambiguous although its grammar is right.
 *
 * For: http1.c, once a head is complete. See http1.h for what is refused.
 * Threads: pure functions. Memory: the texts are static.
 * Errors: none; a fault is the text that says what is wrong.
 */
#pragma once

#include "wire/http1.h"

/*
 * NULL when the head has one meaning only. Else what is wrong with it, and in *status what a server
 * answers where that is not 400. The target of a request in absolute form is cut to its path.
 */
const char *http1_head_fault(enum http1_kind kind, struct http_head *h, uint16_t *status);
