/* The tenants' cache salts of shield.h. */
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "wire/shield.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int shield_salt(const unsigned char secret[SHIELD_SECRET_LEN], struct bb_str tenant,
		char out[SHIELD_SALT_LEN + 1])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	uint32_t bits = 0, held = 0;
	size_t at = 0;

	if (!HMAC(EVP_sha256(), secret, SHIELD_SECRET_LEN, (const unsigned char *)tenant.p,
		  tenant.len, digest, &len) ||
	    len != 32)
		return -BB_ENOMEM;
	for (unsigned int i = 0; i < len; i++) {
		bits = bits << 8 | digest[i];
		for (held += 8; held >= 6; held -= 6)
			out[at++] = alphabet[bits >> (held - 6) & 63];
	}
	out[at++] = alphabet[bits << (6 - held) & 63];
	out[at] = '\0';
	return 0;
}
