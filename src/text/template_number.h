/*
 * template_number.h: numbers as Python reads and writes them.
 *
 * For: template_parse, template_format, the filters int, float and round.
 * Threads: pure. Memory: integers of more than 64 bits keep their digits in the tmem.
 * Errors: -BB_EINVALID (no number), -BB_ELIMIT (more digits than are kept), -BB_ENOMEM.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "text/template_value.h"

#define NUMBER_DIGITS_MAX 4300 /* of an integer, as in Python */

/* A literal of a template: "1_000", "0x1f", "1e-7". */
BB_MUST int number_literal(struct tmem *m, struct bb_str text, int is_float, struct tvalue *out);
/* A number of a JSON text. */
BB_MUST int number_json(struct tmem *m, struct bb_str text, struct tvalue *out);
/* int(text, base) and float(text): white space around is fine. */
BB_MUST int number_int(struct tmem *m, struct bb_str text, int base, struct tvalue *out);
BB_MUST int number_float(struct bb_str text, double *out);
/* repr(float): the fewest digits that read back as the same. */
#define NUMBER_REPR_SIZE 64
void number_repr(double value, char out[NUMBER_REPR_SIZE]);
void number_put(struct bb_buf *out, struct tvalue number);
/* An integral double as an int of any size. */
BB_MUST int number_of_double(struct tmem *m, double value, struct tvalue *out);
