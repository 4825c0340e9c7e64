/*
 * normal_forms.h: NFC, NFD, NFKC and NFKD.
 *
 * For: normalizers. Most text is in the wanted form already, which is seen at the speed of reading
 * it; only around characters that may change is anything worked on.
 * Format: Unicode Standard Annex 15 with the data of Unicode 9, as `tokenizers` has it: what later
 * versions added has no decomposition here. The data is libutf8proc's.
 * Threads: the tables never change once made. Memory: about 230 KB per normal_forms; a run takes
 * memory for the longest sequence of combining marks.
 * Errors: -BB_ENOMEM, and those of the output buffer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "text/rewrite.h"

enum normal_form { NORMAL_NFC, NORMAL_NFD, NORMAL_NFKC, NORMAL_NFKD };

struct normal_forms;

BB_MUST int normal_forms_create(struct normal_forms **out);
void normal_forms_destroy(struct normal_forms *f);
/* True when the text is surely in this form; false when it may not be. */
bool normal_forms_holds(const struct normal_forms *f, enum normal_form form, struct bb_str text);
/* Rewrites r->old, which is well-formed, from its start to its end. */
BB_MUST int normal_forms_run(const struct normal_forms *f, enum normal_form form,
			     struct rewrite *r);
/* The first character that a character decomposes to, in the data's own version of Unicode. */
uint32_t normal_forms_base(uint32_t cp);
/* The number of leading ASCII bytes. */
size_t normal_forms_ascii(const char *p, size_t len);
