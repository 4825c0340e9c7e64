/*
 * sandbox.h: what this process gives up for good once it runs: system calls, places it could write
 * to, core dumps, root.
 *
 * For: `busbar serve`. Someone who takes the gateway over through a bug finds a process that can
 * start no program, look into no other process, make no code and write to no file but the logs
 * and folders that were named. docs/hardening.md says what is allowed and why.
 * The order: process_hide first of all, sandbox_paths before the first thread, then sockets and
 * files, user_become, sandbox_enter.
 * Threads: sandbox_paths holds for the calling thread and those that it starts; sandbox_enter and
 * user_become for all threads of the process.
 * Memory: secrets stay where their owners have them; secret_hide marks whole pages.
 * Errors: -BB_EABSENT when this build or this kernel does not have it (sandbox_missing says why),
 * -BB_ESYSTEM with errno when the kernel refuses.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What keeps sandbox_enter from working in this build; NULL when nothing does. */
const char *sandbox_missing(void);
/*
 * From here on only the system calls of the table in sandbox.c work. Calls that only an intruder
 * would make (execve, ptrace, …) end the process, all others fail with EPERM and are logged by the
 * kernel. Nothing can take this back.
 */
BB_MUST int sandbox_enter(void);

/* Before sandbox_enter: files may also be removed, where sandbox_paths allows it (a journal's oldest). */
void sandbox_let_remove(void);

enum sandbox_access {
	SANDBOX_APPEND, /* a file that is written to, and made where it is absent */
	SANDBOX_SOCKET, /* a unix socket that is made and removed */
	SANDBOX_FOLDER, /* files in it and below are made, written, renamed and removed */
};

struct sandbox_path {
	const char *path;
	enum sandbox_access access;
};

/*
 * Nothing can be written, made, removed or executed any more but under these paths (Landlock).
 * Reading stays as it is. A path's folder must exist.
 */
BB_MUST int sandbox_paths(const struct sandbox_path *paths, uint32_t count);

/*
 * No core dumps, and no other process of the same user may look inside. Does nothing where a
 * sanitizer is built in.
 */
BB_MUST int process_hide(void);
/* Programs started from here on cannot gain privileges; they are not given back. */
BB_MUST int process_pin_privileges(void);
bool process_is_root(void);
/*
 * Becomes this user with its groups, for good. `*why` (static text) says what failed. A process
 * that is not root can only become the user it is.
 */
BB_MUST int user_become(const char *name, const char **why);

/* Leaves the pages of these bytes out of core dumps. Their neighbours on the pages go with them. */
void secret_hide(const void *p, size_t len);
/* Overwrites them so that no compiler leaves it out. */
void secret_wipe(void *p, size_t len);
