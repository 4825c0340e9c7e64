#include "cmd/confine.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "os/folder.h"
#include "os/sandbox.h"

static bool is_sandboxed(const struct confinement *f)
{
	return !f->off && !sandbox_missing();
}

int confine_secrets(const struct confinement *f)
{
	return f->cores == CONFINE_CORES ? 0 : process_hide();
}

void confine_settings(struct confinement *f, const struct config *c)
{
	if (!f->user && c->user.len)
		f->user = c->user.p;
	if (c->journal.path.len)
		sandbox_let_remove();
	if (!f->off && c->sandbox == CONFIG_OFF)
		f->off = "sandbox: off";
}

int confine_paths(const struct confinement *f, const struct config *c)
{
	struct sandbox_path paths[19];
	uint32_t count = 0;

	if (!is_sandboxed(f))
		return 0;
	for (uint32_t i = 0; i < c->listen.count && i < 16; i++)
		if (bb_str_starts(c->listen.items[i].text, BB_STR("unix:")))
			paths[count++] = (struct sandbox_path){ c->listen.items[i].text.p + 5,
								SANDBOX_SOCKET };
	if (bb_str_starts(c->admin, BB_STR("unix:")))
		paths[count++] = (struct sandbox_path){ c->admin.p + 5, SANDBOX_SOCKET };
	if (c->access_log_path.len && !bb_str_eq(c->access_log_path, BB_STR("-")))
		paths[count++] = (struct sandbox_path){ c->access_log_path.p, SANDBOX_APPEND };
	/* It must be there; whoever opens a file in it tells when it is not. */
	if (c->journal.path.len && folder_make(c->journal.path.p) == 0)
		paths[count++] = (struct sandbox_path){ c->journal.path.p, SANDBOX_FOLDER };
	const int rc = sandbox_paths(paths, count);
	if (rc == -BB_EABSENT) {
		BB_LOG(BB_LOG_INFO, "sandbox",
		       "this kernel has no Landlock: writing is limited by the rights of the user alone");
		return 0;
	}
	if (rc && errno == ENOENT)
		return 0; /* whoever opens the file fails too, and tells its name */
	if (rc)
		BB_LOG(BB_LOG_ERROR, "sandbox", "the kernel refuses to limit writing: %s",
		       strerror(errno));
	return rc;
}

int confine_process(const struct confinement *f)
{
	const char *why;

	if (f->user && user_become(f->user, &why)) {
		BB_LOG(BB_LOG_ERROR, "sandbox", "cannot become the user %s: %s", f->user, why);
		return -BB_ESYSTEM;
	}
	if (process_is_root())
		BB_LOG(BB_LOG_WARN, "sandbox", "running as root; --user NAME gives that up");
	if (process_pin_privileges() || confine_secrets(f)) {
		BB_LOG(BB_LOG_ERROR, "sandbox", "the kernel refuses to lock the process: %s",
		       strerror(errno));
		return -BB_ESYSTEM;
	}
	if (!is_sandboxed(f)) {
		BB_LOG(BB_LOG_WARN, "sandbox", "system calls are not filtered: %s",
		       f->off ? f->off : sandbox_missing());
		return 0;
	}
	if (sandbox_enter()) {
		BB_LOG(BB_LOG_ERROR, "sandbox",
		       "the kernel refuses to filter system calls: %s; --no-sandbox runs without",
		       strerror(errno));
		return -BB_ESYSTEM;
	}
	BB_LOG(BB_LOG_INFO, "sandbox", "system calls are filtered");
	return 0;
}
