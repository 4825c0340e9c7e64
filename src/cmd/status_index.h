/*
 * status_index.h: the parts of `busbar status` that are about caches and decisions.
 *
 * For: status_table.c. Threads: the main thread. Memory: none of their own. Errors: none; what is
 * missing is shown as 0.
 */
#pragma once

#include <yyjson.h>

/* --index: the prefix index, each engine's part of it, kinds of engines. `root`: of /admin/status.
 */
void status_index_print(yyjson_val *root);
/* Other policies' choices beside the real ones; nothing when there are none. */
void status_shadows_print(yyjson_val *shadows);
