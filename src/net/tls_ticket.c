#include "net/tls_ticket.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "os/clock.h"
#include "os/sandbox.h"

void tls_tickets_init(struct tls_tickets *t, uint64_t life_ns)
{
	memset(t, 0, sizeof(*t));
	secret_hide(t->keys, sizeof(t->keys));
	t->life_ns = life_ns;
	pthread_mutex_init(&t->lock, NULL);
}

void tls_tickets_fini(struct tls_tickets *t)
{
	OPENSSL_cleanse(t->keys, sizeof(t->keys));
	pthread_mutex_destroy(&t->lock);
}

static bool key_make(struct tls_ticket_key *key, uint64_t now_ns)
{
	key->made_ns = now_ns;
	return RAND_bytes(key->name, sizeof(key->name)) == 1 &&
	       RAND_bytes(key->aes, sizeof(key->aes)) == 1 &&
	       RAND_bytes(key->hmac, sizeof(key->hmac)) == 1;
}

/* The key to make tickets with; an old one makes room for a new one. */
static bool key_newest(struct tls_tickets *t, struct tls_ticket_key *out)
{
	const uint64_t now_ns = clock_now_ns();
	bool ok = true;

	pthread_mutex_lock(&t->lock);
	if (!t->keys[0].made_ns || now_ns - t->keys[0].made_ns > t->life_ns) {
		struct tls_ticket_key fresh;
		ok = key_make(&fresh, now_ns);
		if (ok) {
			memmove(&t->keys[1], &t->keys[0],
				sizeof(t->keys[0]) * (TLS_TICKET_KEYS - 1));
			t->keys[0] = fresh;
		}
		OPENSSL_cleanse(&fresh, sizeof(fresh));
	}
	*out = t->keys[0];
	pthread_mutex_unlock(&t->lock);
	return ok;
}

enum key_found { KEY_UNKNOWN = 0, KEY_NEWEST = 1, KEY_OLD = 2 }; /* as OpenSSL wants it */

/* A quiet hour or night does not make a key live longer: nothing rotates then, so age counts. */
static enum key_found key_find(struct tls_tickets *t, const unsigned char name[16],
			       struct tls_ticket_key *out)
{
	const uint64_t now_ns = clock_now_ns();
	enum key_found found = KEY_UNKNOWN;

	pthread_mutex_lock(&t->lock);
	for (int i = 0; i < TLS_TICKET_KEYS && !found; i++) {
		const struct tls_ticket_key *k = &t->keys[i];
		if (!k->made_ns || now_ns - k->made_ns > TLS_TICKET_KEYS * t->life_ns ||
		    memcmp(k->name, name, sizeof(k->name)) != 0)
			continue;
		*out = *k;
		found = i == 0 && now_ns - k->made_ns <= t->life_ns ? KEY_NEWEST : KEY_OLD;
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}

/* AES-256-CBC and HMAC-SHA256, as RFC 5077 §4 has it. */
static bool key_apply(struct tls_ticket_key *key, const unsigned char *iv, EVP_CIPHER_CTX *cipher,
		      EVP_MAC_CTX *mac, int is_making)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof(key->hmac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv, is_making) == 1 &&
	       EVP_MAC_CTX_set_params(mac, params) == 1;
}

int tls_tickets_key(struct tls_tickets *t, SSL *ssl, unsigned char name[16], unsigned char *iv,
		    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int is_making)
{
	struct tls_ticket_key key;
	int result = 1;

	if (is_making) {
		if (!key_newest(t, &key) || RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1)
			return -1;
		memcpy(name, key.name, sizeof(key.name));
	} else {
		result = key_find(t, name, &key);
		if (result == KEY_UNKNOWN)
			return 0;
		/* Clients use a ticket of TLS 1.3 once (RFC 8446 §C.4): they get the next one. */
		if (SSL_version(ssl) >= TLS1_3_VERSION)
			result = KEY_OLD;
	}
	const bool ok = key_apply(&key, iv, cipher, mac, is_making);
	OPENSSL_cleanse(&key, sizeof(key));
	return ok ? result : -1;
}
