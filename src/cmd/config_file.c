#include "cmd/config_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "brain/policy/policy.h"

static const char *get_variable(void *ctx, const char *name)
{
	return getenv(name);
}

void config_file_policies(const char *names[CONFIG_FILE_POLICIES_MAX + 1])
{
	unsigned n = 0;

	for (; policy_at(n); n++) {
		BB_ASSERT(n < CONFIG_FILE_POLICIES_MAX);
		names[n] = policy_at(n)->name;
	}
	names[n] = NULL;
}

const char *config_file_name(const char *path)
{
	return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* At most one byte more than is allowed, so that the parser sees that it is too long. */
static int read_all(FILE *f, struct bb_buf *text)
{
	char part[4096];
	size_t n;

	while ((n = fread(part, 1, sizeof(part), f)) > 0) {
		const size_t room = text->max - text->len;
		int rc = bb_buf_add(text, part, n < room ? n : room);
		if (rc)
			return rc;
		if (n >= room)
			return 0;
	}
	return ferror(f) ? -BB_ESYSTEM : 0;
}

int config_file_read(const char *path, struct config **out, struct config_errors *errors)
{
	const bool is_stdin = strcmp(path, "-") == 0;
	const char *policies[CONFIG_FILE_POLICIES_MAX + 1];
	const struct config_env env = { .get = get_variable, .policies = policies };
	struct bb_buf text;

	FILE *f = is_stdin ? stdin : fopen(path, "re");
	if (!f)
		return -BB_ESYSTEM;
	config_file_policies(policies);
	bb_buf_init(&text, CONFIG_TEXT_MAX + 1);
	int rc = read_all(f, &text);
	const int saved = errno;
	if (!is_stdin)
		fclose(f);
	if (!rc)
		rc = config_parse(bb_buf_str(&text), config_file_name(path), &env, out, errors);
	bb_buf_fini(&text);
	if (rc == -BB_ESYSTEM)
		errno = saved;
	return rc;
}

int config_file_load(const char *path, struct config **out)
{
	const char *name = config_file_name(path);
	struct config_errors errors;
	struct bb_buf text;

	config_errors_init(&errors);
	const int rc = config_file_read(path, out, &errors);
	bb_buf_init(&text, 1u << 20);
	if (rc == -BB_ESYSTEM)
		bb_buf_printf(&text, "%s: error: %s\n", name, strerror(errno));
	else if (rc == -BB_EINVALID)
		config_errors_print(&errors, name, &text);
	else if (rc)
		bb_buf_printf(&text, "%s: error: %s\n", name, bb_error_info(rc)->text);
	if (text.len)
		fwrite(text.p, 1, text.len, stderr);
	bb_buf_fini(&text);
	config_errors_fini(&errors);
	return rc == 0 ? 0 : rc == -BB_EINVALID || rc == -BB_ESYSTEM ? 2 : 1;
}
