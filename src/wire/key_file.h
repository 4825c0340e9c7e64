/*
 * key_file.h: changes to a file of keys that leave everything else in it as it is.
 *
 * For: `busbar keys`. The file is the YAML that `keys.file` names (or any configuration); comments,
 * order and blanks stay. Lists may be written as blocks or in brackets, the whole as JSON. Each
 * change is read again and compared with what was meant before it is given out, so a layout that is
 * not understood is refused and never damaged.
 * Threads: pure. Memory: scratch; the result is in the caller's buffer.
 * Errors: -BB_EINVALID with a sentence (not understood, or mistakes in the file), -BB_EABSENT (no
 * such key), -BB_EEXIST (the id stands for several keys), -BB_ENOMEM.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "wire/config_errors.h"
#include "wire/key_text.h"

/* One key of a file. */
struct key_file_entry {
	struct bb_str tenant;
	struct key_record record;
	struct config_place place;
	uint64_t tenant_expires_s; /* 0: never */
};

/*
 * Calls `each` for every key, in the file's order; texts are valid during the call. Mistakes go
 * into `errors`. Values that are variables are left out.
 */
BB_MUST int key_file_each(struct bb_str text,
			  void (*each)(void *user, const struct key_file_entry *e), void *user,
			  struct config_errors *errors);
/* Adds a key to a tenant, who is made when new. */
BB_MUST int key_file_add(struct bb_str text, struct bb_str tenant, const struct key_record *key,
			 struct bb_buf *out, const char **why);
/* The key of that id ends at a moment; 0: now, it is taken out. `tenant` (64 bytes and a NUL) gets
 * whose it was. */
#define KEY_FILE_TENANT_SIZE 65
BB_MUST int key_file_end(struct bb_str text, struct bb_str id, uint64_t expires_s,
			 char tenant[KEY_FILE_TENANT_SIZE], struct bb_buf *out, const char **why);
