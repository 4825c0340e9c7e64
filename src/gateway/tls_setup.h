/*
 * tls_setup.h: TLS contexts from the configuration: certificates read, CAs loaded.
 *
 * Threads: the control thread. Memory: the caller puts the contexts.
 * Errors: -BB_EINVALID, -BB_ENOMEM, with a sentence that names the file in `why`.
 */
#pragma once

#include "net/tls.h"
#include "wire/config.h"

/* NULL in *out when the listener has no TLS. `key` names the part of the configuration in messages. */
BB_MUST int tls_setup_listener(const struct config_tls *t, const char *key, struct tls_context **out,
			       char why[TLS_REASON_SIZE]);
/* NULL in *out when the engine's URL is not https://. */
BB_MUST int tls_setup_engine(const struct config_engine *e, struct tls_context **out,
			     char why[TLS_REASON_SIZE]);
