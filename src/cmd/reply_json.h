/*
 * reply_json.h: members of a gateway's JSON answers, for commands that print them.
 *
 * For: busbar status, explain. Threads: the main thread. Memory: texts point into the document.
 * Errors: none: what is absent or of another type is 0 or an empty text.
 */
#pragma once

#include <yyjson.h>

double reply_number(yyjson_val *object, const char *key);
const char *reply_text(yyjson_val *object, const char *key);
/* The longest of a member's texts over a list of objects, at least `least`. */
int reply_width(yyjson_val *list, const char *key, int least);
