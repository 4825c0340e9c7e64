/*
 * admin_call.h: one call to a running gateway's admin API, for subcommands.
 *
 * Threads: the main thread; blocks. Memory: the answer is in the caller's buffer.
 * Errors: told on stderr, with what to do; 0 or the exit code.
 */
#pragma once

#include <getopt.h>
#include <stdbool.h>

#include "base/buf.h"

#define ADMIN_DEFAULT "127.0.0.1:8081"

/* Which gateway, and how it is known; NULL: not given. */
struct admin_target {
	const char *addr; /* HOST:PORT, [IPv6]:PORT, unix:PATH, https://HOST:PORT; NULL: ADMIN_DEFAULT */
	const char *ca;   /* PEM files, for https:// only: whose certificates are trusted; */
	const char *cert; /* our own and its key, where the listener asks for one */
	const char *key;
};

/* What all subcommands with a target take: into their table of options, and into their usage. */
enum { ADMIN_OPT_ADDR = 1000, ADMIN_OPT_CA, ADMIN_OPT_CERT, ADMIN_OPT_KEY };
#define ADMIN_OPTIONS                                                                              \
	{ "admin", required_argument, NULL, ADMIN_OPT_ADDR },                                      \
	{ "ca", required_argument, NULL, ADMIN_OPT_CA },                                           \
	{ "cert", required_argument, NULL, ADMIN_OPT_CERT },                                       \
	{ "key", required_argument, NULL, ADMIN_OPT_KEY }
#define ADMIN_USAGE                                                                                \
	"  --admin ADDR   its admin listener (default " ADMIN_DEFAULT "): HOST:PORT, unix:PATH or\n" \
	"                 https://HOST:PORT\n"                                                     \
	"  --ca FILE      who signed its certificate (PEM), for https://; default: the system's CAs\n" \
	"  --cert FILE, --key FILE\n"                                                              \
	"                 a certificate of one's own, where it asks for one (admin_tls.client_ca)\n"

/* Takes an option of ADMIN_OPTIONS; false: it is none of them. */
bool admin_option(struct admin_target *t, int option, const char *value);

/* `*status` is the HTTP status. */
BB_MUST int admin_call(const char *command, const struct admin_target *target, const char *method,
		       const char *path, int *status, struct bb_buf *answer);
