/*
 * tls_ticket.h: the keys that session tickets are made with, changed as time goes by.
 *
 * For: tls.c. A stolen key opens recorded sessions of TLS 1.2 only as far back as it lived, so none
 * lives long, none is written anywhere, and each context begins with fresh ones.
 * Threads: any; a lock inside.
 * Memory: embedded in its context. Keys are wiped when they go.
 * Errors: without entropy no ticket is made, and the handshake goes on without.
 */
#pragma once

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define TLS_TICKET_KEYS 3 /* one that is used, two that are still understood */

struct tls_ticket_key {
	unsigned char name[16], aes[32], hmac[32];
	uint64_t made_ns; /* 0: none yet */
};

struct tls_tickets {
	pthread_mutex_t lock;
	uint64_t life_ns; /* how long a key makes tickets */
	struct tls_ticket_key keys[TLS_TICKET_KEYS]; /* newest first */
};

void tls_tickets_init(struct tls_tickets *t, uint64_t life_ns);
void tls_tickets_fini(struct tls_tickets *t);
/* What OpenSSL's ticket callback answers: see SSL_CTX_set_tlsext_ticket_key_evp_cb(3). */
int tls_tickets_key(struct tls_tickets *t, SSL *ssl, unsigned char name[16], unsigned char *iv,
		    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int is_making);
