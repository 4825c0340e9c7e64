/*
 * json.h: JSON checked and cut into spans, without building a tree.
 *
 * For: the hot path. A request's body is checked once, strictly, and its top-level members are
 * handed out as spans of the original bytes, so that a body can be forwarded with only those
 * bytes changed that must change. `json_check` and `json_scan_object` take untrusted text. A
 * `struct json_pull` walks over text in place and descends where the caller wants to; it is safe
 * on any bytes, but only checks what it walks over, so its results mean something only for text
 * that was checked before or comes from a peer that is trusted with its own answer.
 * Format: RFC 8259. UTF-8 is required, lone \u surrogates are refused, nothing may follow.
 * Threads: pure functions. Memory: none is taken, except where an arena or a buffer is given;
 * spans point into the text.
 * Errors: -BB_ESYNTAX with offset and reason; -BB_EINVALID for a value of another type.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* Containers nested deeper than this are refused whatever the caller allows. */
#define JSON_DEPTH_MAX 64

enum json_type {
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

struct json_error {
	size_t offset;	  /* of the byte that could not be taken */
	const char *what; /* static text: "a string is not closed" */
};

struct json_member {
	struct bb_str key;   /* the raw text between its quotes */
	struct bb_str value; /* the raw text, with quotes or brackets */
	enum json_type type;
	bool key_has_escape; /* then the key must be decoded before it is compared */
};

typedef int json_on_member(void *user, const struct json_member *m);

/* ---- untrusted text ---- */

/* Is `text` one JSON value? Containers may be nested `depth_max` deep. `err` may be NULL. */
BB_MUST int json_check(struct bb_str text, uint32_t depth_max, struct json_error *err);
/*
 * The same check in the same pass for a text that must be an object, calling `on_member` for each
 * of its members in order, also for those before a fault: what they said counts only when this
 * returns 0. Whatever is not 0 from `on_member` ends the scan and is returned; what follows that
 * member is then unchecked.
 */
BB_MUST int json_scan_object(struct bb_str text, uint32_t depth_max, json_on_member *on_member,
			     void *user, struct json_error *err);

/*
 * What json_scan_watched tells of the inside of a value, in the order of the text: a container
 * begins (its value is the bracket alone) or ends, and a string, number or word with its whole
 * text. `depth` containers of that same value are around it, so the value itself has 0. The key is
 * NULL in arrays and at depth 0, and for JSON_CLOSE.
 */
enum json_event { JSON_OPEN, JSON_CLOSE, JSON_SCALAR };
typedef int json_on_inner(void *user, enum json_event event, const struct json_member *m,
			  uint32_t depth);

struct json_watch {
	json_on_member *on_member;
	/*
	 * Called ahead of a member's value, of which only the type is known: is its inside wanted?
	 * Only asked for strings, arrays and objects, and only when there is an on_inner.
	 */
	bool (*is_watched)(void *user, const struct json_member *m);
	json_on_inner *on_inner; /* NULL: nothing is watched */
	void *user;
};

/*
 * json_scan_object in the very same pass, with the inside of some members. The strings that
 * on_inner is shown are checked; the containers around them are not yet. Whatever is not 0 from a
 * callback ends the scan and is returned.
 */
BB_MUST int json_scan_watched(struct bb_str text, uint32_t depth_max, const struct json_watch *w,
			      struct json_error *err);

/* ---- checked text ---- */

/*
 * Usage: json_pull_init; json_pull_object (or _array); then json_pull_key (or _more) in a loop,
 * and for each key (or element) exactly one of json_pull_value, json_pull_skip, or a descent by
 * json_pull_object/_array and its own loop to the end. After the loop look at `failed`.
 */
struct json_pull {
	const char *p;
	const char *end;
	bool failed; /* the bytes are not JSON here; every further call says "no more" */
};

void json_pull_init(struct json_pull *j, struct bb_str text);
/* What comes next, without taking it. JSON_NULL for anything unknown. */
enum json_type json_pull_type(struct json_pull *j);
/* Takes '{' (or '['). False, and nothing taken, when something else comes next. */
bool json_pull_object(struct json_pull *j);
bool json_pull_array(struct json_pull *j);
/* Takes the next key (raw, without quotes) and its colon; false at the end, whose '}' is taken. */
bool json_pull_key(struct json_pull *j, struct bb_str *key);
/* Is there another element? False at the end, whose ']' is taken. */
bool json_pull_more(struct json_pull *j);
/* Takes one value of any type. */
bool json_pull_value(struct json_pull *j, struct bb_str *raw, enum json_type *type);
bool json_pull_skip(struct json_pull *j);

/* The first member of the object with this key (compared raw). False when absent or no object. */
bool json_get(struct bb_str object, struct bb_str key, struct json_member *m);

/* The type of a raw value, by its first byte. */
enum json_type json_type_of(struct bb_str raw);
/* The text between a raw string's quotes, escapes as they are. Empty for other types. */
struct bb_str json_string_inner(struct bb_str raw);
/* Is a raw string (with quotes), decoded, equal to `plain`? Allocates nothing. */
bool json_string_eq(struct bb_str raw, struct bb_str plain);
/* Is raw text between quotes, decoded, equal to `plain`? For keys. */
bool json_inner_eq(struct bb_str inner, struct bb_str plain);
/*
 * Decodes a raw string (with quotes). The arena variant points into `raw` when there are no
 * escapes and copies otherwise. -BB_EINVALID when it is no string, -BB_ENOMEM, -BB_ELIMIT.
 */
BB_MUST int json_string_decode(struct bb_str raw, struct bb_arena *arena, struct bb_str *out);
BB_MUST int json_string_decode_buf(struct bb_str raw, struct bb_buf *out);
/* A number that is a whole one, 0 … 2^64-1: "12", and "12.0" or "1e3" up to 2^53. */
BB_MUST int json_u64(struct bb_str raw, uint64_t *out);
BB_MUST int json_double(struct bb_str raw, double *out);
BB_MUST int json_bool(struct bb_str raw, bool *out);
