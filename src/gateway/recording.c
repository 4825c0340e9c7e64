#include "gateway/recording.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "brain/record.h"
#include "os/clock.h"
#include "records/journal.h"
#include "wire/config.h"

static enum journal_more checkpoint(void *user, uint64_t index_bytes_max)
{
	struct gateway *g = user;

	gateway_lock(g);
	const enum checkpoint_step s = brain_checkpoint(g->brain, clock_now_ns(), index_bytes_max);
	gateway_unlock(g);
	switch (s) {
	case CHECKPOINT_MORE: return JOURNAL_MORE;
	case CHECKPOINT_DONE: return JOURNAL_DONE;
	case CHECKPOINT_FAILED: break;
	}
	return JOURNAL_AGAIN_LATER;
}

int recording_start(struct gateway *g, const struct config *c)
{
	const struct journal_config jc = {
		.folder = c->journal.path.p,
		.file_size = c->journal.size,
		.file_count = c->journal.files,
		.version = g->identity.version,
		.commit = g->identity.commit,
		.variant = g->identity.variant,
		.checkpoint = checkpoint,
		.user = g,
	};

	if (!c->journal.path.len)
		return 0;
	int rc = journal_create(&jc, &g->journal);
	if (rc) {
		BB_LOG(BB_LOG_ERROR, "journal",
		       "no journal can be written to %.*s: %s; see journal.path",
		       BB_ARG(c->journal.path),
		       rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text);
		return rc;
	}
	rc = brain_record_to(g->brain, BRAIN_RECORD_ALL, journal_put, g->journal);
	if (!rc)
		rc = journal_start(g->journal);
	if (!rc)
		BB_LOG(BB_LOG_INFO, "journal", "decisions are recorded in %.*s",
		       BB_ARG(c->journal.path));
	return rc;
}
