/* keys.c: `busbar keys`: API keys made, listed, rotated and revoked in a file. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cmd/cmd.h"
#include "os/clock.h"
#include "os/process.h"
#include "os/replace.h"
#include "wire/config.h"
#include "wire/date.h"
#include "wire/key_file.h"

#define GRACE_DEFAULT_NS (24 * 3600 * OS_SECOND)

static const char usage_text[] =
	"usage: busbar keys create --tenant NAME [--file FILE] [--expires DATE]\n"
	"       busbar keys list --file FILE\n"
	"       busbar keys rotate ID --file FILE [--grace DURATION]\n"
	"       busbar keys revoke ID --file FILE\n"
	"\n"
	"create   makes a key and shows it, this once. With --file its hash is added to the file,\n"
	"         which keys.file or busbar serve --keys names; else the hash is shown as well.\n"
	"list     the keys of a file: id, tenant, when they end\n"
	"rotate   makes another key for the tenant; the old one goes on for DURATION (default "
	"24h)\n"
	"revoke   takes a key out\n"
	"\n"
	"  --file FILE       the file of keys; it is made when it is not there; comments are kept\n"
	"  --expires DATE    2026-12-31 (its first moment, UTC) or 2026-12-31T18:00:00+01:00\n"
	"  --help            this text\n"
	"\n"
	"A gateway that runs takes over a changed file with `busbar reload`.\n"
	"Exit: 0 done, 1 failed, 2 wrong usage or a file with mistakes.\n";

struct keys_options {
	const char *command, *id, *tenant, *file, *expires, *grace;
};

static int usage_error(const char *what)
{
	if (what)
		fprintf(stderr, "busbar keys: %s\n", what);
	fprintf(stderr, "busbar keys --help tells the options\n");
	return 2;
}

/* ---- the file ---- */

static int read_file(const char *path, char **text, size_t *len)
{
	*text = NULL;
	*len = 0;
	const int rc = file_read(path, CONFIG_TEXT_MAX, text, len);
	return rc == -BB_ESYSTEM && errno == ENOENT ? -BB_EABSENT : rc;
}

static int file_failed(const char *path, int rc)
{
	fprintf(stderr, "busbar keys: %s: %s\n", path,
		rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text);
	return 1;
}

static int write_file(const char *path, const struct bb_buf *text)
{
	const int rc = file_replace(path, text->p, text->len);

	return rc ? file_failed(path, rc) : 0;
}

/* ---- making ---- */

static int make_key(char key[KEY_TEXT_LEN + 1], uint64_t expires_s, struct key_record *record)
{
	uint8_t random[KEY_RANDOM_SIZE];

	entropy_fill(random, sizeof(random));
	key_text_make(random, key);
	key_wipe(random, sizeof(random));
	const int rc = key_record_of(key, record);
	record->expires_s = expires_s;
	return rc;
}

/* The key goes to standard output, and nothing else does, so that a script can take it. */
static int show_key(const char *key)
{
	return printf("%s\n", key) < 0 || fflush(stdout) ? 1 : 0;
}

static int create_shown(const char *key, const struct key_record *record)
{
	struct bb_buf stored;

	bb_buf_init(&stored, 1024);
	key_record_write(record, &stored);
	int rc = stored.err ? 1 : show_key(key);
	if (!rc)
		rc = printf("%.*s\n", BB_ARG(bb_buf_str(&stored))) < 0 || fflush(stdout) ? 1 : 0;
	bb_buf_fini(&stored);
	if (!rc)
		fprintf(stderr,
			"The first line is the key, shown this once; the second is its hash, to be "
			"written as `key:` of the tenant.\n");
	return rc;
}

static int told(const struct keys_options *o, int rc, const char *why)
{
	if (rc == 0)
		return 0;
	fprintf(stderr, "busbar keys: %s: %s\n", o->file, why ? why : bb_error_info(rc)->text);
	return rc == -BB_ENOMEM ? 1 : 2;
}

/* The folder is held, and the text has been read. */
static int create_in(const struct keys_options *o, struct bb_str text, const char *key,
		     const struct key_record *record)
{
	const char *why = NULL;
	struct bb_buf out;

	bb_buf_init(&out, CONFIG_TEXT_MAX);
	int rc = key_file_add(text, bb_str_of(o->tenant), record, &out, &why);
	rc = told(o, rc, why);
	if (!rc)
		rc = write_file(o->file, &out);
	if (!rc)
		rc = show_key(key);
	if (!rc)
		fprintf(stderr,
			"Key %s of tenant %s is in %s; `busbar reload` puts it into force.\n",
			record->id, o->tenant, o->file);
	bb_buf_fini(&out);
	return rc;
}

static int with_file(const struct keys_options *o,
		     int (*run)(const struct keys_options *o, struct bb_str text, const char *key,
				const struct key_record *record),
		     const char *key, const struct key_record *record)
{
	char *text;
	size_t len;

	const int lock = file_lock_folder(o->file);
	if (lock < 0)
		return file_failed(o->file, lock);
	int rc = read_file(o->file, &text, &len);
	if (rc && (rc != -BB_EABSENT || strcmp(o->command, "create") != 0)) {
		rc = file_failed(o->file, rc);
	} else {
		static const char begin[] =
			"# API keys of busbar: hashes; see busbar keys --help\n";
		const struct bb_str all = rc ? BB_STR(begin) : (struct bb_str){ text, len };
		rc = run(o, all, key, record);
	}
	bb_free(text);
	file_unlock(lock);
	return rc;
}

static int create(const struct keys_options *o)
{
	char key[KEY_TEXT_LEN + 1];
	struct key_record record;
	uint64_t expires_s = 0;

	if (!o->tenant)
		return usage_error("create needs --tenant NAME");
	if (o->expires && date_parse(bb_str_of(o->expires), &expires_s))
		return usage_error("--expires is a date like 2026-12-31 or 2026-12-31T18:00:00Z");
	if (make_key(key, expires_s, &record))
		return 1;
	const int rc = o->file ? with_file(o, create_in, key, &record) : create_shown(key, &record);
	key_wipe(key, sizeof(key));
	return rc;
}

/* ---- ending ---- */

static int rotate_in(const struct keys_options *o, struct bb_str text, const char *key,
		     const struct key_record *record)
{
	char tenant[KEY_FILE_TENANT_SIZE];
	uint64_t grace_ns = GRACE_DEFAULT_NS;
	const char *why = NULL;
	struct bb_buf ended, out;

	if (o->grace && bb_parse_duration_ns(bb_str_of(o->grace), &grace_ns))
		return usage_error("--grace is a duration like 24h or 10m");
	const uint64_t until_s = (clock_wall_ns() + grace_ns) / OS_SECOND;
	bb_buf_init(&ended, CONFIG_TEXT_MAX);
	bb_buf_init(&out, CONFIG_TEXT_MAX);
	int rc = key_file_end(text, bb_str_of(o->id), until_s, tenant, &ended, &why);
	if (!rc)
		rc = key_file_add(bb_buf_str(&ended), bb_str_of(tenant), record, &out, &why);
	rc = told(o, rc, why);
	if (!rc)
		rc = write_file(o->file, &out);
	if (!rc)
		rc = show_key(key);
	if (!rc)
		fprintf(stderr,
			"Key %s of tenant %s is in %s; %s ends in %s. `busbar reload` puts this "
			"into "
			"force.\n",
			record->id, tenant, o->file, o->id, o->grace ? o->grace : "24h");
	bb_buf_fini(&ended);
	bb_buf_fini(&out);
	return rc;
}

static int rotate(const struct keys_options *o)
{
	char key[KEY_TEXT_LEN + 1];
	struct key_record record;

	if (make_key(key, 0, &record))
		return 1;
	const int rc = with_file(o, rotate_in, key, &record);
	key_wipe(key, sizeof(key));
	return rc;
}

static int revoke_in(const struct keys_options *o, struct bb_str text, const char *key,
		     const struct key_record *record)
{
	char tenant[KEY_FILE_TENANT_SIZE];
	const char *why = NULL;
	struct bb_buf out;

	bb_buf_init(&out, CONFIG_TEXT_MAX);
	int rc = key_file_end(text, bb_str_of(o->id), 0, tenant, &out, &why);
	rc = told(o, rc, why);
	if (!rc)
		rc = write_file(o->file, &out);
	if (!rc)
		fprintf(stderr,
			"Key %s of tenant %s is out of %s; `busbar reload` puts this into force.\n",
			o->id, tenant, o->file);
	bb_buf_fini(&out);
	return rc;
}

/* ---- listing ---- */

static void list_one(void *user, const struct key_file_entry *e)
{
	struct bb_buf *out = user;
	const uint64_t now_s = clock_wall_ns() / OS_SECOND;
	uint64_t expires_s = e->record.expires_s;

	if (e->tenant_expires_s && (!expires_s || e->tenant_expires_s < expires_s))
		expires_s = e->tenant_expires_s;
	bb_buf_printf(out, "%-*s  %-24.*s  ", KEY_ID_LEN, e->record.is_clear ? "-" : e->record.id,
		      BB_ARG(e->tenant));
	if (expires_s)
		date_write(expires_s, out);
	else
		bb_buf_lit(out, "never");
	if (expires_s && expires_s <= now_s)
		bb_buf_lit(out, "  (over)");
	if (e->record.is_clear)
		bb_buf_lit(out, "  (written in clear)");
	bb_buf_lit(out, "\n");
}

static int list_in(const struct keys_options *o, struct bb_str text, const char *key,
		   const struct key_record *record)
{
	struct config_errors errors;
	struct bb_buf out, wrong;

	config_errors_init(&errors);
	bb_buf_init(&out, 64u << 20);
	bb_buf_init(&wrong, 1u << 20);
	bb_buf_printf(&out, "%-*s  %-24s  ENDS\n", KEY_ID_LEN, "ID", "TENANT");
	int rc = key_file_each(text, list_one, &out, &errors);
	config_errors_print(&errors, o->file, &wrong);
	fprintf(stderr, "%.*s", (int)wrong.len, wrong.len ? wrong.p : "");
	rc = rc == -BB_EINVALID ? 2 : rc || out.err ? 1 : 0;
	if (printf("%.*s", BB_ARG(bb_buf_str(&out))) < 0 || fflush(stdout))
		rc = 1;
	bb_buf_fini(&out);
	bb_buf_fini(&wrong);
	config_errors_fini(&errors);
	return rc;
}

/* ---- options ---- */

static int run(const struct keys_options *o)
{
	const bool takes_id =
		strcmp(o->command, "rotate") == 0 || strcmp(o->command, "revoke") == 0;

	if (strcmp(o->command, "create") == 0)
		return o->id ? usage_error("create takes no ID") : create(o);
	if (strcmp(o->command, "list") != 0 && !takes_id)
		return usage_error("the commands are create, list, rotate and revoke");
	if (!o->file)
		return usage_error("--file FILE is needed");
	if (takes_id != (o->id != NULL))
		return usage_error(takes_id ? "which key? Give its ID, as list shows it"
					    : "list takes no ID");
	if (strcmp(o->command, "rotate") == 0)
		return rotate(o);
	return with_file(o, takes_id ? revoke_in : list_in, NULL, NULL);
}

int cmd_keys(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "tenant", required_argument, NULL, 't' },
		{ "file", required_argument, NULL, 'f' },
		{ "expires", required_argument, NULL, 'e' },
		{ "grace", required_argument, NULL, 'g' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct keys_options o = { 0 };
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "f:h", longs, NULL)) != -1) {
		switch (c) {
		case 't': o.tenant = optarg; break;
		case 'f': o.file = optarg; break;
		case 'e': o.expires = optarg; break;
		case 'g': o.grace = optarg; break;
		case 'h': return fputs(usage_text, stdout) < 0;
		default: return usage_error(NULL);
		}
	}
	if (optind < argc)
		o.command = argv[optind++];
	if (optind < argc)
		o.id = argv[optind++];
	if (!o.command || optind < argc) {
		fputs(usage_text, stderr);
		return 2;
	}
	return run(&o);
}
