/*
 * Goal: no text, however odd, breaks the reading of a configuration; what is taken prints to a
 * text that is taken as well and prints the same.
 */
#include <stdlib.h>

#include "base/log.h"
#include "wire/config.h"
#include "wire/config_print.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *variable(void *ctx, const char *name)
{
	return strcmp(name, "A") == 0 ? "value $x" : strcmp(name, "B") == 0 ? "" : NULL;
}

static const struct config_env env = { .get = variable };

static struct config *parse(struct bb_str text)
{
	struct config_errors errors;
	struct config *c = NULL;
	struct bb_buf out;

	config_errors_init(&errors);
	bb_buf_init(&out, 1u << 20);
	const int rc = config_parse(text, "fuzz", &env, &c, &errors);
	const uint32_t count = errors.count + errors.unlisted_count;
	BB_ASSERT((rc == -BB_EINVALID) == (count > 0));
	BB_ASSERT((rc == 0) == (c != NULL));
	config_errors_print(&errors, "fuzz", &out);
	BB_ASSERT(out.err == 0);
	bb_buf_fini(&out);
	config_errors_fini(&errors);
	return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bb_buf first, second;

	struct config *c = parse((struct bb_str){ (const char *)data, size });
	if (!c)
		return 0;
	/* Keys are shown as "***", which is no key. */
	for (uint32_t i = 0; i < c->tenants.count; i++)
		c->tenants.items[i].key.count = c->tenants.items[i].keys.count = 0;
	bb_buf_init(&first, 16u << 20);
	bb_buf_init(&second, 16u << 20);
	config_print(c, &first);
	config_free(c);
	BB_ASSERT(first.err == 0);
	c = parse(bb_buf_str(&first));
	BB_ASSERT(c);
	config_print(c, &second);
	config_free(c);
	BB_ASSERT(bb_str_eq(bb_buf_str(&first), bb_buf_str(&second)));
	bb_buf_fini(&first);
	bb_buf_fini(&second);
	return 0;
}
