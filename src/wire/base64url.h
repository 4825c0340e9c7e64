/*
 * base64url.h: bytes from base64url without padding (RFC 4648 §5, as RFC 7515 §2 wants it), and from
 * base64 (§4) whose padding is cut off.
 *
 * For: JSON Web Tokens and Keys; tables in tokenizer.json. Strict: only the alphabet, no padding, no blanks, and the bits
 * that a last digit has too many are zero, so each sequence of bytes has exactly one text.
 * Threads: pure functions. Memory: none.
 * Errors: -BB_EINVALID for any other text, -BB_ELIMIT when the bytes have no room.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* Bytes that a text of `len` digits stands for. */
#define BASE64URL_SIZE(len) ((len) / 4 * 3 + ((len) % 4 ? (len) % 4 - 1 : 0))

BB_MUST int base64url_decode(struct bb_str text, uint8_t *out, size_t size, size_t *out_len);
/* The same with the digits + and / instead of - and _. */
BB_MUST int base64_decode(struct bb_str text, uint8_t *out, size_t size, size_t *out_len);
