/*
 * tls_context.h: what tls.c (contexts) and tls_session.c (connections) share.
 *
 * Threads: nothing here changes after its creation but the count and the ticket keys.
 * Memory: counted; OpenSSL's objects belong to it. Errors: see tls.h.
 */
#pragma once

#include <openssl/ssl.h>

#include "net/tls.h"
#include "net/tls_ticket.h"

struct tls_name {
	char *name; /* "*.x" is kept as ".x" with is_wild */
	bool is_wild;
	SSL_CTX *ssl;
};

struct tls_context {
	uint32_t refs; /* atomic */
	bool is_server;
	bool verifies;
	SSL_CTX *ssl; /* the default identity, or the client's */
	SSL_CTX **others;
	uint32_t other_count;
	struct tls_name *names;
	uint32_t name_count;
	struct tls_tickets tickets;
};

/* The first error of OpenSSL in words, or `fallback`; its queue is empty afterwards. */
void tls_error_take(char *out, size_t size, const char *fallback);
