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
		key_wipe(part, n);
		if (rc || n >= room)
			return rc;
	}
	return ferror(f) ? -BB_ESYSTEM : 0;
}

static int read_text(const char *path, struct bb_buf *text)
{
	const bool is_stdin = strcmp(path, "-") == 0;

	FILE *f = is_stdin ? stdin : fopen(path, "re");
	if (!f)
		return -BB_ESYSTEM;
	setvbuf(f, NULL, _IONBF, 0); /* no copy that is not wiped */
	const int rc = read_all(f, text);
	const int saved = errno;
	if (!is_stdin)
		fclose(f);
	errno = saved;
	return rc;
}

static void tell(int rc, const char *name, const struct config_errors *errors,
		 struct bb_buf *report)
{
	if (rc == -BB_EINVALID)
		config_errors_print(errors, name, report);
	else if (rc == -BB_ESYSTEM)
		bb_buf_printf(report, "%s: error: %s\n", name, strerror(errno));
	else if (rc)
		bb_buf_printf(report, "%s: error: %s\n", name, bb_error_info(rc)->text);
}

/* A text that may have held keys in clear. */
static void text_fini(struct bb_buf *text)
{
	if (text->len)
		key_wipe(text->p, text->len);
	bb_buf_fini(text);
}

static int read_main(const char *path, const struct config_env *env, struct config **out,
		     struct bb_buf *report)
{
	struct config_errors errors;
	struct bb_buf text;

	config_errors_init(&errors);
	bb_buf_init(&text, CONFIG_TEXT_MAX + 1);
	int rc = path ? read_text(path, &text) : 0;
	if (!rc)
		rc = config_parse(text.len ? bb_buf_str(&text) : BB_STR(""),
				  path ? config_file_name(path) : "", env, out, &errors);
	tell(rc, path ? config_file_name(path) : "", &errors, report);
	text_fini(&text);
	config_errors_fini(&errors);
	return rc;
}

static int read_keys(const char *keys_name, const char *main_name, const struct config_env *env,
		     struct config *c, struct bb_buf *report)
{
	struct config_errors errors;
	struct bb_buf text;

	config_errors_init(&errors);
	bb_buf_init(&text, CONFIG_TEXT_MAX + 1);
	int rc = read_text(keys_name, &text);
	if (!rc)
		rc = config_add_tenants(c, text.len ? bb_buf_str(&text) : BB_STR(""), keys_name,
					main_name, env, &errors);
	tell(rc, keys_name, &errors, report);
	text_fini(&text);
	config_errors_fini(&errors);
	return rc;
}

/* The folder of a file, with its slash; empty for the working folder and standard input. */
static struct bb_str folder_of(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? (struct bb_str){ path, (size_t)(slash - path) + 1 } : BB_STR("");
}

static int copy_name(struct bb_str file, char out[CONFIG_FILE_PATH_SIZE])
{
	if (file.len >= CONFIG_FILE_PATH_SIZE)
		return -BB_ELIMIT;
	memcpy(out, file.p, file.len);
	out[file.len] = '\0';
	return 0;
}

int config_file_read(const char *path, const char *keys_path, struct config **out, char *keys_name,
		     struct bb_buf *report)
{
	const char *policies[CONFIG_FILE_POLICIES_MAX + 1];
	const struct config_env env = { .get = get_variable, .policies = policies };
	char room[CONFIG_FILE_PATH_SIZE] = "";
	struct config *c = NULL;

	config_file_policies(policies);
	int rc = read_main(path, &env, &c, report);
	if (!rc)
		rc = config_paths_from(c, folder_of(path));
	if (!rc && keys_path) {
		c->keys_file = bb_arena_dup(&c->arena, bb_str_of(keys_path));
		rc = c->keys_file.p ? 0 : -BB_ENOMEM;
	}
	if (!rc && c->keys_file.len)
		rc = copy_name(c->keys_file, room);
	if (!rc && room[0])
		rc = read_keys(room, path ? config_file_name(path) : "", &env, c, report);
	if (rc) {
		config_free(c);
		return rc;
	}
	if (keys_name)
		bb_text_copy(keys_name, CONFIG_FILE_PATH_SIZE, room);
	*out = c;
	return 0;
}

int config_file_exit(int rc)
{
	return rc == 0 ? 0 : rc == -BB_EINVALID || rc == -BB_ESYSTEM ? 2 : 1;
}

int config_file_load(const char *path, struct config **out)
{
	char keys_name[CONFIG_FILE_PATH_SIZE];
	struct bb_buf text;

	bb_buf_init(&text, 1u << 20);
	const int rc = config_file_read(path, NULL, out, keys_name, &text);
	if (!rc)
		config_warn(*out, config_file_name(path), keys_name, &text);
	if (text.len)
		fwrite(text.p, 1, text.len, stderr);
	bb_buf_fini(&text);
	return config_file_exit(rc);
}
