#include "cmd/replay_journal.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cmd/replay_policies.h"
#include "cmd/replay_request.h"
#include "cmd/version.h"
#include "os/clock.h"
#include "os/folder.h"
#include "os/process.h"
#include "records/journal_files.h"
#include "records/journal_form.h"

#define FILE_SIZE_MAX ((size_t)4 << 30)
#define PROGRESS_NS (200 * OS_MS)
#define DIFFERENCES_SHOWN 1

enum { OPT_POLICY = 256, OPT_FROM, OPT_TO, OPT_REQUEST, OPT_JSON, OPT_VERIFY };

struct options {
	const char *path, *policies, *from, *to;
	uint64_t request; /* 0: none in particular */
	bool json, verify;
};

struct run {
	struct options o;
	struct rerun *replay;
	struct replay_policies *policies; /* NULL: none */
	struct replay_request *request;	  /* NULL: none */
	struct journal_head head;	  /* of the file that is being read */
	const char *file;
	uint64_t at, event_number, shown;
	uint64_t decisions[RERUN_VERDICTS]; /* in the time asked for */
	uint64_t files, cut_off, bytes;
	uint64_t begun_ns, progress_ns;
	int64_t first_wall_ns, last_wall_ns;
	bool has_progress, is_folder;
};

static const char usage[] =
	"usage: busbar replay [OPTION]... FILE|FOLDER\n"
	"       busbar replay --engines SPEC [OPTION]... TRACE   (simulates: see --engines --help)\n"
	"\n"
	"Tells a brain again what a journal says that happened, and compares each of its decisions "
	"with\n"
	"the recorded one, bit for bit. With --policy also what others would have chosen.\n"
	"\n"
	"  --policy NAME[,NAME]...  what these policies would have chosen, in the state that the "
	"real\n"
	"                           choices led to (open loop)\n"
	"  --from TIME, --to TIME   only decisions of that time: UTC as 2026-11-24T13:05, as short "
	"or as\n"
	"                           long as needed; the journal is told from its beginning all the "
	"same\n"
	"  --request N              all about the N-th request that arrived in what is read\n"
	"  --verify                 compare only; also what cannot be compared is a failure\n"
	"  --json                   the result as JSON, for programs\n"
	"  --help                   this text\n"
	"\n"
	"Exit: 0 all that can be compared is equal, 1 something differs or cannot be read, 2 wrong "
	"usage.\n";

/* ---- what the replay says ---- */

static int64_t wall_of(const struct run *r, uint64_t now_ns)
{
	return r->head.wall_ns + (int64_t)now_ns;
}

static void time_text(const struct run *r, uint64_t now_ns, char out[CLOCK_ISO_SIZE])
{
	clock_iso((uint64_t)wall_of(r, now_ns), out);
}

/* As texts: ISO 8601 sorts as time does, and a short one stands for all that begins with it. */
static bool is_asked_for(const struct run *r, uint64_t now_ns)
{
	char iso[CLOCK_ISO_SIZE];

	if (!r->o.from && !r->o.to)
		return true;
	time_text(r, now_ns, iso);
	if (r->o.from && strcmp(iso, r->o.from) < 0)
		return false;
	return !r->o.to || strncmp(iso, r->o.to, strlen(r->o.to)) <= 0;
}

static void made_print(const char *side, const struct brain_event *e)
{
	const struct event_made *m = &e->made;
	static const char *const actions[] = { "dispatch", "hold", "reject" };

	fprintf(stderr,
		"  %-9s %s%s%s, engine %u.%u rank %u, reason %s, %u candidates, cached %llu of "
		"%llu tokens,\n"
		"            cost %.17g, next %.17g, held %llu ns, digest %016llx\n",
		side, actions[m->action], m->error ? " " : "",
		m->error ? bb_error_info(m->error)->name : "", m->engine.slot, m->engine.generation,
		m->rank, decision_reason_name(m->reason), m->candidates,
		(unsigned long long)m->cached_tokens, (unsigned long long)m->possible_tokens,
		m->cost, m->next_cost, (unsigned long long)m->held_ns,
		(unsigned long long)m->digest);
}

static void difference_print(struct run *r, const struct rerun_decision *d)
{
	const struct brain_event *either = d->recorded ? d->recorded : d->made;
	char iso[CLOCK_ISO_SIZE];

	if (r->shown++ >= DIFFERENCES_SHOWN)
		return;
	time_text(r, either->now_ns, iso);
	fprintf(stderr,
		"busbar replay: %s: event %llu, in the frame at byte %llu, %s, request %llu: the "
		"decisions differ:\n",
		r->file, (unsigned long long)r->event_number, (unsigned long long)r->at, iso,
		(unsigned long long)d->request_number);
	if (!bb_str_eq(r->head.commit, bb_str_of(busbar_commit)))
		fprintf(stderr,
			"  (it was recorded by busbar %.*s (%.*s), and this is %s (%s): the code "
			"may differ)\n",
			BB_ARG(r->head.build), BB_ARG(r->head.commit), busbar_version,
			busbar_commit);
	if (d->recorded)
		made_print("recorded:", d->recorded);
	else
		fprintf(stderr, "  recorded: nothing was decided here\n");
	if (d->made)
		made_print("replayed:", d->made);
	else
		fprintf(stderr, "  replayed: nothing is decided here\n");
}

static void on_decision(void *user, const struct rerun_decision *d)
{
	struct run *r = user;
	const uint64_t now_ns = (d->recorded ? d->recorded : d->made)->now_ns;

	if (!is_asked_for(r, now_ns))
		return;
	r->decisions[d->verdict]++;
	if (d->verdict == RERUN_DIFFERENT)
		difference_print(r, d);
	if (r->request && d->request_number == r->o.request) {
		char iso[CLOCK_ISO_SIZE];
		time_text(r, now_ns, iso);
		replay_request_print(r->request, rerun_brain(r->replay), d, iso);
	}
}

static void on_watch(void *user, const struct candidates *c, const struct policy_input *in,
		     const double *cost, uint32_t chosen)
{
	struct run *r = user;

	if (r->policies && is_asked_for(r, in->now_ns))
		replay_policies_look(r->policies, c, in, cost, chosen);
	if (r->request)
		replay_request_look(r->request, c, in, cost, chosen);
}

static void on_made(void *user, const struct brain_event *made)
{
	struct run *r = user;

	if (r->policies && made->made.action == DECISION_DISPATCH && is_asked_for(r, made->now_ns))
		replay_policies_count(r->policies);
	if (r->request)
		replay_request_keep(r->request, made);
}

/* ---- files ---- */

static void progress(struct run *r, uint64_t at, uint64_t size)
{
	const uint64_t now_ns = clock_now_ns();

	if (!r->has_progress || now_ns < r->progress_ns)
		return;
	r->progress_ns = now_ns + PROGRESS_NS;
	const double seconds = (double)(now_ns - r->begun_ns) / 1e9;
	uint64_t decisions = 0;
	for (int i = 0; i < RERUN_VERDICTS; i++)
		decisions += r->decisions[i];
	fprintf(stderr, "\r%s: %3.0f%%, %llu decisions, %.0f a second ", r->file,
		size ? 100 * (double)at / (double)size : 100, (unsigned long long)decisions,
		seconds > 0 ? (double)decisions / seconds : 0);
}

static void progress_end(const struct run *r)
{
	if (r->has_progress)
		fprintf(stderr, "\r\033[K");
}

static int told_wrong(const struct run *r, uint64_t at, const char *why)
{
	fprintf(stderr, "busbar replay: %s: at byte %llu: %s\n", r->file, (unsigned long long)at,
		why);
	return 1;
}

static const char *wrong_text(int rc)
{
	if (rc == -BB_ESYNTAX)
		return "an event that is malformed, or that cannot have happened";
	if (rc == -BB_EINVALID)
		return "a policy that this build of busbar does not have";
	return bb_error_info(rc)->text;
}

static int read_events(struct run *r, struct journal_reader *reader)
{
	struct bb_str event;

	for (;;) {
		const enum journal_step s = journal_read(reader, &event);
		r->at = reader->at;
		switch (s) {
		case JOURNAL_END: return 0;
		case JOURNAL_CUT_OFF:
			r->cut_off++;
			if (!r->o.json)
				printf("%s ends within a frame, at byte %llu: its writer was "
				       "killed, or is at work\n",
				       r->file, (unsigned long long)reader->at);
			rerun_cut(r->replay);
			return 0;
		case JOURNAL_BAD: return told_wrong(r, reader->at, reader->why);
		case JOURNAL_EVENT: break;
		}
		const int rc = rerun_event(r->replay, event);
		/* Behind a cut, times refer to what is missing: the next checkpoint has one of its
		 * own. */
		if (rc == -BB_ESYNTAX && !rerun_is_placed(r->replay))
			continue;
		if (rc)
			return told_wrong(r, reader->at, wrong_text(rc));
		r->event_number++;
		if ((r->event_number & 0xff) == 0)
			progress(r, reader->at, reader->bytes.len);
	}
}

/* Does this file go on where the one before ended? */
static bool follows(const struct run *r, const struct journal_head *head)
{
	return r->files && head->process == r->head.process && head->file == r->head.file + 1;
}

static int read_file(struct run *r, const char *path)
{
	struct journal_reader reader;
	char *bytes;
	size_t len;

	r->file = path;
	r->event_number = 0;
	if (file_read(path, FILE_SIZE_MAX, &bytes, &len)) {
		fprintf(stderr, "busbar replay: %s cannot be read: %s\n", path, strerror(errno));
		return 1;
	}
	int rc;
	if (journal_open(&reader, (struct bb_str){ bytes, len })) {
		/* Its writer was killed at once: of a folder, the others are read. */
		r->cut_off += reader.is_cut_off;
		rc = told_wrong(r, reader.at, reader.why) && !(reader.is_cut_off && r->is_folder);
	} else {
		if (!follows(r, &reader.head))
			rerun_cut(r->replay);
		r->head = reader.head;
		r->bytes += len;
		rc = read_events(r, &reader);
		r->files++;
	}
	r->head.build = r->head.commit = r->head.variant = BB_STR("");
	bb_free(bytes);
	return rc;
}

static int read_folder(struct run *r)
{
	struct journal_files f;
	char path[JOURNAL_PATH_MAX];
	int rc = journal_files_list(r->o.path, &f);

	if (rc) {
		fprintf(stderr, "busbar replay: %s cannot be read: %s\n", r->o.path,
			rc == -BB_ESYSTEM ? strerror(errno) : bb_error_info(rc)->text);
		return 1;
	}
	if (f.count == 0) {
		fprintf(stderr, "busbar replay: there is no journal in %s\n", r->o.path);
		rc = 1;
	}
	for (uint32_t i = 0; i < f.count && !rc; i++)
		rc = journal_file_path(r->o.path, f.names[i], path) ? 1 : read_file(r, path);
	journal_files_free(&f);
	return rc;
}

/* ---- the result ---- */

static uint64_t not_comparable(const struct run *r)
{
	return r->decisions[RERUN_BLIND] + r->decisions[RERUN_NO_INDEX] +
	       r->decisions[RERUN_EVICTED];
}

static double seconds_of(const struct run *r)
{
	const double s = (double)(clock_now_ns() - r->begun_ns) / 1e9;

	return s > 0 ? s : 1e-9;
}

static void result_print(const struct run *r)
{
	const struct rerun_counts *c = rerun_counts(r->replay);
	const uint64_t equal = r->decisions[RERUN_EQUAL], differ = r->decisions[RERUN_DIFFERENT];
	const uint64_t all = equal + differ + not_comparable(r);

	printf("%llu file%s, %llu events, %llu requests arrived, %llu decisions\n",
	       (unsigned long long)r->files, r->files == 1 ? "" : "s",
	       (unsigned long long)c->events, (unsigned long long)c->arrived,
	       (unsigned long long)all);
	printf("%llu equal bit for bit, %llu different, %llu not comparable\n",
	       (unsigned long long)equal, (unsigned long long)differ,
	       (unsigned long long)not_comparable(r));
	for (int v = RERUN_BLIND; v < RERUN_VERDICTS; v++)
		if (r->decisions[v])
			printf("  %llu: %s\n", (unsigned long long)r->decisions[v],
			       rerun_verdict_text((enum rerun_verdict)v));
	for (int g = 0; g < GAP_CAUSES; g++)
		if (c->gaps[g])
			printf("  %llu time%s: %s\n", (unsigned long long)c->gaps[g],
			       c->gaps[g] == 1 ? "" : "s", gap_cause_text((enum gap_cause)g));
	if (c->states_equal || c->states_different)
		printf("%llu checkpoints equal, %llu different\n",
		       (unsigned long long)c->states_equal,
		       (unsigned long long)c->states_different);
	printf("%.2f s, %.0f decisions a second\n", seconds_of(r), (double)all / seconds_of(r));
	if (r->policies)
		replay_policies_print(r->policies, stdout);
}

static int result_json(const struct run *r)
{
	const struct rerun_counts *c = rerun_counts(r->replay);
	struct bb_buf out;

	bb_buf_init(&out, 64u << 20);
	bb_buf_printf(
		&out,
		"{\"files\":%llu,\"bytes\":%llu,\"cut_off\":%llu,\"events\":%llu,\"requests\":%llu,"
		"\"decisions\":{\"equal\":%llu,\"different\":%llu,\"blind\":%llu,\"no_index\":%llu,"
		"\"evicted\":%llu},\"gaps\":{\"lost\":%llu,\"memory\":%llu,\"evicted\":%llu},"
		"\"checkpoints\":{\"begun_from\":%llu,\"equal\":%llu,\"different\":%llu},"
		"\"seconds\":%.6f",
		(unsigned long long)r->files, (unsigned long long)r->bytes,
		(unsigned long long)r->cut_off, (unsigned long long)c->events,
		(unsigned long long)c->arrived, (unsigned long long)r->decisions[RERUN_EQUAL],
		(unsigned long long)r->decisions[RERUN_DIFFERENT],
		(unsigned long long)r->decisions[RERUN_BLIND],
		(unsigned long long)r->decisions[RERUN_NO_INDEX],
		(unsigned long long)r->decisions[RERUN_EVICTED],
		(unsigned long long)c->gaps[GAP_LOST], (unsigned long long)c->gaps[GAP_MEMORY],
		(unsigned long long)c->gaps[GAP_EVICTED], (unsigned long long)c->checkpoints,
		(unsigned long long)c->states_equal, (unsigned long long)c->states_different,
		seconds_of(r));
	if (r->policies)
		replay_policies_json(r->policies, &out);
	bb_buf_lit(&out, "}\n");
	const bool is_written = !out.err && fwrite(out.p, 1, out.len, stdout) == out.len;
	bb_buf_fini(&out);
	return is_written ? 0 : 1;
}

static int result(const struct run *r)
{
	const struct rerun_counts *c = rerun_counts(r->replay);
	int rc = 0;

	if (r->o.json)
		rc = result_json(r);
	else
		result_print(r);
	if (r->decisions[RERUN_DIFFERENT] || c->states_different)
		return 1;
	if (!r->o.verify)
		return rc;
	if (not_comparable(r) || r->decisions[RERUN_EQUAL] == 0) {
		fprintf(stderr, "busbar replay: %s\n",
			not_comparable(r) ? "some decisions cannot be compared"
					  : "there was nothing to compare");
		return 1;
	}
	return rc;
}

/* ---- the command ---- */

/* 0: go on. Else the exit code + 1. */
static int options_read(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "policy", required_argument, NULL, OPT_POLICY },
		{ "from", required_argument, NULL, OPT_FROM },
		{ "to", required_argument, NULL, OPT_TO },
		{ "request", required_argument, NULL, OPT_REQUEST },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "verify", no_argument, NULL, OPT_VERIFY },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1)
		switch (c) {
		case OPT_POLICY: o->policies = optarg; break;
		case OPT_FROM: o->from = optarg; break;
		case OPT_TO: o->to = optarg; break;
		case OPT_REQUEST:
			if (bb_parse_u64(bb_str_of(optarg), &o->request) || o->request == 0) {
				fprintf(stderr,
					"busbar replay: --request takes a number from 1 on\n");
				return 3;
			}
			break;
		case OPT_JSON: o->json = true; break;
		case OPT_VERIFY: o->verify = true; break;
		case 'h': fputs(usage, stdout); return 1;
		default: fputs(usage, stderr); return 3;
		}
	if (optind + 1 != argc) {
		fputs(usage, stderr);
		return 3;
	}
	o->path = argv[optind];
	return 0;
}

static int prepare(struct run *r)
{
	const struct rerun_config c = {
		.on_decision = on_decision, .watch = on_watch, .on_made = on_made, .user = r
	};
	struct bb_str unknown = BB_STR("");
	int rc = rerun_create(&c, &r->replay);

	if (!rc && r->o.policies)
		rc = replay_policies_create(r->o.policies, &r->policies, &unknown);
	if (!rc && r->o.request)
		rc = replay_request_create(&r->request);
	if (rc == -BB_EINVALID) {
		fprintf(stderr,
			"busbar replay: there is no policy '%.*s'; `busbar check --keys` lists "
			"them\n",
			BB_ARG(unknown));
		return 2;
	}
	if (rc)
		fprintf(stderr, "busbar replay: %s\n", bb_error_info(rc)->text);
	return rc ? 1 : 0;
}

int replay_journal(int argc, char **argv)
{
	struct run r = { .begun_ns = clock_now_ns(), .has_progress = stderr_is_terminal() };
	int rc = options_read(argc, argv, &r.o);

	if (rc)
		return rc - 1;
	rc = prepare(&r);
	if (!rc) {
		r.is_folder = path_is_folder(r.o.path);
		rc = r.is_folder ? read_folder(&r) : read_file(&r, r.o.path);
		progress_end(&r);
		if (!rc)
			rc = result(&r);
	}
	rerun_destroy(r.replay);
	replay_policies_destroy(r.policies);
	replay_request_destroy(r.request);
	return rc;
}
