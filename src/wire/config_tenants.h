/*
 * config_tenants.h: tenants of one or two files fit together, and what is worth a warning.
 *
 * For: config.c. A tenant and a key stand only once, in whichever file.
 * Threads: one owner. Memory: scratch only.
 * Errors: -BB_ENOMEM. Mistakes go into the list, and 0 is returned.
 */
#pragma once

#include "base/err.h"
#include "wire/config.h"

/*
 * Looks at the tenants from number `first` on, which `file_name` holds; those before are of
 * `main_name`.
 */
BB_MUST int config_tenants_link(struct config *c, uint32_t first, const char *file_name,
				const char *main_name, struct config_errors *errors);
