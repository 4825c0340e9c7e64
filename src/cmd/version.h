/*
 * version.h: which build this is. Threads: constants. Memory: static. Errors: none.
 */
#pragma once

extern const char busbar_version[]; /* "0.1.0" */
extern const char busbar_commit[];  /* twelve hex digits or "unknown" */
extern const char busbar_variant[]; /* "release", "asan", … */
