#include "gateway/tls_setup.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

/* Paths of the configuration have a NUL behind them; an empty one is none. */
static const char *path_of(struct bb_str s)
{
	return s.len ? s.p : NULL;
}

static enum tls_minimum minimum_of(enum config_tls_version v)
{
	return v == CONFIG_TLS_1_3 ? TLS_1_3 : TLS_1_2;
}

/* Says which part of the configuration it is about. */
static void why_prefix(char why[TLS_REASON_SIZE], const char *key)
{
	char text[TLS_REASON_SIZE];
	size_t len;

	bb_text_copy(text, sizeof(text), why);
	bb_text_copy(why, TLS_REASON_SIZE, key);
	len = strlen(why);
	bb_text_copy(why + len, TLS_REASON_SIZE - len, ": ");
	len = strlen(why);
	bb_text_copy(why + len, TLS_REASON_SIZE - len, text);
}

int tls_setup_listener(const struct config_tls *t, const char *key, struct tls_context **out,
		       char why[TLS_REASON_SIZE])
{
	struct tls_identity *list;
	struct bb_str *names = NULL;
	uint32_t name_count = 0, at = 0;

	*out = NULL;
	if (!t->cert.len)
		return 0;
	for (uint32_t i = 0; i < t->sni.count; i++)
		name_count += t->sni.items[i].names.count;
	list = bb_alloc_zero(t->sni.count + 1, sizeof(*list));
	names = bb_alloc_zero(name_count, sizeof(*names));
	int rc = list && names ? 0 : -BB_ENOMEM;
	if (!rc) {
		list[0] = (struct tls_identity){ .cert_path = t->cert.p, .key_path = t->key.p };
		for (uint32_t i = 0; i < t->sni.count; i++) {
			const struct config_sni *sni = &t->sni.items[i];
			list[i + 1] = (struct tls_identity){ sni->cert.p, sni->key.p, names + at,
							     sni->names.count };
			for (uint32_t k = 0; k < sni->names.count; k++)
				names[at++] = sni->names.items[k].text;
		}
		const struct tls_server_config config = {
			.identities = list,
			.identity_count = t->sni.count + 1,
			.client_ca_path = path_of(t->client_ca),
			.minimum = minimum_of(t->min_version),
		};
		rc = tls_server_create(&config, out, why);
		if (rc)
			why_prefix(why, key);
	} else {
		bb_text_copy(why, TLS_REASON_SIZE, "out of memory");
	}
	bb_free(list);
	bb_free(names);
	return rc;
}

int tls_setup_engine(const struct config_engine *e, struct tls_context **out,
		     char why[TLS_REASON_SIZE])
{
	char key[128];

	*out = NULL;
	if (!bb_str_starts(e->url, BB_STR("https://")))
		return 0;
	const struct tls_client_config config = {
		.ca_path = path_of(e->tls.ca),
		.cert_path = path_of(e->tls.cert),
		.key_path = path_of(e->tls.key),
		.skip_verify = e->tls.verify == CONFIG_VERIFY_OFF,
	};
	const int rc = tls_client_create(&config, out, why);
	if (!rc && config.skip_verify)
		BB_LOG(BB_LOG_WARN, "tls",
		       "engine %.*s: its certificate is not verified (tls.verify: false): anybody in between can read prompts and keys",
		       BB_ARG(e->url));
	if (rc) {
		snprintf(key, sizeof(key), "engine %.*s", (int)(e->url.len > 100 ? 100 : e->url.len),
			 e->url.p);
		why_prefix(why, key);
	}
	return rc;
}
