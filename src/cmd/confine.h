/*
 * confine.h: what `busbar serve` gives up before it serves: see os/sandbox.h.
 *
 * For: serve.c, in the order of the functions below.
 * Threads: the main thread. Memory: nothing is kept; texts belong to the caller.
 * Errors: are logged with what to do; what is returned is not 0 then.
 */
#pragma once

#include "base/err.h"
#include "wire/config.h"

enum confine_cores { CONFINE_NO_CORES, CONFINE_CORES };

struct confinement {
	const char *user;         /* NULL: stay who we are */
	const char *off;          /* the option or key that switches the sandbox off; NULL: on */
	enum confine_cores cores; /* may secrets be seen in core dumps and by debuggers? */
};

/* First of all: no core dumps. */
BB_MUST int confine_secrets(const struct confinement *f);
/* What the file says where the command line says nothing. The texts stay the file's. */
void confine_settings(struct confinement *f, const struct config *c);
/* Before the first thread: the only places where something can be written. */
BB_MUST int confine_paths(const struct confinement *f, const struct config *c);
/* Once ports and files are open: root goes, then every system call that is not needed. */
BB_MUST int confine_process(const struct confinement *f);
