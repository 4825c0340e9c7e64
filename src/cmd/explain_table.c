/* explain_table.c: `busbar explain`: why a request went where it went. */
#include <stdio.h>
#include <string.h>

#include <yyjson.h>

#include "cmd/admin_call.h"
#include "cmd/reply_json.h"
#include "cmd/cmd.h"
#include "cmd/explain_log.h"
#include "gateway/explanation_write.h"

#define ID_MAX 128

static void usage(FILE *out)
{
	fprintf(out,
		"usage: busbar explain ID [--json] [--admin ADDR] [--ca FILE] [--cert FILE --key "
		"FILE]\n"
		"       busbar explain ID --log FILE [--json]\n\n"
		"Why a request went to the engine that answered it. ID is what its answer has in "
		"the\n"
		"header x-request-id. A running gateway knows its last requests (limits.explain); "
		"access\n"
		"logs have all of them.\n\n" ADMIN_USAGE
		"  --log FILE     look into an access log, and into what it was rotated to; - is "
		"standard\n"
		"                 input, as in: zcat access.log.2.gz | busbar explain ID --log -\n"
		"  --json         the same as JSON, for programs\n");
}

static bool has(yyjson_val *object, const char *key)
{
	return yyjson_obj_get(object, key) != NULL;
}

/* ---- the request, and what was known of it ---- */

static void request_print(yyjson_val *root)
{
	const char *model = has(root, "model_name") ? reply_text(root, "model_name")
						    : reply_text(root, "model");

	printf("request   %s: %s, model %s", reply_text(root, "id"), reply_text(root, "api"),
	       model);
	if (has(root, "tenant"))
		printf(", tenant %s", reply_text(root, "tenant"));
	printf("\nat        %s\n",
	       has(root, "time") ? reply_text(root, "time") : reply_text(root, "decided"));
}

static void known_print(yyjson_val *d)
{
	const char *hashed = reply_text(d, "hashed");

	printf("known     %.0f prompt tokens (%s)", reply_number(d, "prompt"),
	       yyjson_get_bool(yyjson_obj_get(d, "exact")) ? "counted" : "estimated");
	if (strcmp(hashed, "nothing") == 0 || !has(d, "blocks"))
		printf("; nothing to look up in the index");
	else
		printf("; %.0f blocks to look up, hashed from its %s", reply_number(d, "blocks"),
		       hashed);
	printf("%s\n", has(d, "session") ? "; its session" : "");
}

static void reason_print(yyjson_val *d)
{
	yyjson_val *list = yyjson_obj_get(d, "candidates");
	struct reason_facts f = {
		.reason = bb_str_of(reply_text(d, "reason")),
		.policy = bb_str_of(reply_text(d, "policy")),
		.prompt_tokens = (uint64_t)reply_number(d, "prompt"),
		.cached = (uint64_t)reply_number(d, "cached"),
		.possible = (uint64_t)reply_number(d, "possible"),
	};
	struct bb_buf line;
	size_t i, max;
	yyjson_val *c;

	yyjson_arr_foreach(list, i, max, c)
	{
		if (i == 2)
			break;
		f.best[f.best_count++] = (struct reason_candidate){
			.engine = bb_str_of(reply_text(c, "engine")),
			.ttft_ms = reply_number(c, "ttft_ms"),
			.total_ms = reply_number(c, "total_ms"),
		};
	}
	bb_buf_init(&line, 65536);
	reason_write(&line, &f);
	printf("why       %.*s\n", (int)line.len, line.p ? line.p : "");
	printf("policy    %s: %.0f of %.0f %s\n", reply_text(d, "policy"), reply_number(d, "of"),
	       reply_number(d, "engines"), "engines (or ranks of them) could take it");
	bb_buf_fini(&line);
}

/* ---- the candidates ---- */

static int engine_width(yyjson_val *list)
{
	size_t i, max;
	yyjson_val *c;
	int width = 6;

	yyjson_arr_foreach(list, i, max, c)
	{
		const int len = (int)strlen(reply_text(c, "engine")) + (has(c, "rank") ? 4 : 0);
		if (len > width)
			width = len;
	}
	return width;
}

static void candidate_print(yyjson_val *c, bool is_chosen, int width)
{
	char name[512];

	snprintf(name, sizeof(name), "%s", reply_text(c, "engine"));
	if (has(c, "rank"))
		snprintf(name, sizeof(name), "%s#%.0f", reply_text(c, "engine"),
			 reply_number(c, "rank"));
	printf("%s %-*s %8.0f %8.0f %8.0f", is_chosen ? "=>" : "  ", width, name,
	       reply_number(c, "requests"), reply_number(c, "pending"), reply_number(c, "cached"));
	if (has(c, "ttft_ms"))
		printf(" %8.1f %8.1f %8.1f %8.1f", reply_number(c, "wait_ms"),
		       reply_number(c, "prefill_ms"), reply_number(c, "limit_ms"),
		       reply_number(c, "ttft_ms"));
	else
		printf(" %8s %8s %8s %8s", "-", "-", "-", "-");
	if (has(c, "total_ms"))
		printf(" %9.1f\n", reply_number(c, "total_ms"));
	else if (has(c, "cost"))
		printf(" %9.6g\n", reply_number(c, "cost"));
	else
		printf(" %9s\n", "-");
}

static void candidates_print(yyjson_val *d)
{
	yyjson_val *list = yyjson_obj_get(d, "candidates"), *c;
	const int width = engine_width(list);
	const bool is_timed = has(yyjson_arr_get_first(list), "ttft_ms");
	size_t i, max;

	if (yyjson_arr_size(list) == 0)
		return;
	printf("\n   %-*s %8s %8s %8s %8s %8s %8s %8s %9s\n", width, "ENGINE", "REQUESTS",
	       "PENDING", "CACHED", "WAIT", "PREFILL", "LIMIT", "TTFT",
	       is_timed ? "ADDED" : "COST");
	yyjson_arr_foreach(list, i, max, c) candidate_print(c, i == 0, width);
	if (reply_number(d, "of") > (double)yyjson_arr_size(list))
		printf("   … and %.0f more\n",
		       reply_number(d, "of") - (double)yyjson_arr_size(list));
	printf("   tokens; then milliseconds%s\n\n",
	       is_timed ? ", as predicted" : ": this policy predicts none");
}

static void engines_print(yyjson_val *list, const char *heading)
{
	size_t i, max;
	yyjson_val *e;

	yyjson_arr_foreach(list, i, max, e) printf("%-9s %s: %s\n", i == 0 ? heading : "",
						   reply_text(e, "engine"), reply_text(e, "why"));
}

/* ---- what happened then ---- */

static void times_print(yyjson_val *d)
{
	const double predicted = reply_number(d, "ttft_ms"),
		     actual = reply_number(d, "actual_ttft_ms");

	if (actual > 0) {
		printf("; first token %.1f ms after the decision", actual);
		if (predicted > 0)
			printf(" (predicted %.1f: %+.0f %%)", predicted,
			       100 * (actual - predicted) / predicted);
	}
}

static void end_print(yyjson_val *root, yyjson_val *d)
{
	if (has(d, "held_ms"))
		printf("held      %.1f ms in the gateway, until an engine was open\n",
		       reply_number(d, "held_ms"));
	engines_print(yyjson_obj_get(d, "left_out"), "left out");
	if (has(d, "left_out_count"))
		printf("          %.0f in all\n", reply_number(d, "left_out_count"));
	engines_print(yyjson_obj_get(d, "failed"), "failed");
	if (strcmp(reply_text(root, "state"), "held") == 0) {
		printf("now       it waits for an engine that is open, for %.0f ms so far\n",
		       reply_number(root, "age_ms"));
		return;
	}
	if (strcmp(reply_text(root, "state"), "sent") == 0) {
		printf("now       it is at %s, decided %.0f ms ago\n", reply_text(root, "engine"),
		       reply_number(root, "age_ms"));
		return;
	}
	if (strcmp(reply_text(root, "state"), "refused") == 0) {
		printf("now       it is being refused\n");
		return;
	}
	printf("then      %s (%.0f%s%s) after %.1f ms", reply_text(root, "outcome"),
	       reply_number(root, "status"), has(root, "error") ? ", " : "",
	       reply_text(root, "error"), reply_number(root, "duration_ms"));
	if (has(root, "attempts"))
		printf(", in %.0f attempts", reply_number(root, "attempts"));
	times_print(d);
	printf("\n");
	if (has(d, "reported"))
		printf("cache     %.0f of %.0f prompt tokens, says the engine; expected %.0f, the "
		       "best of all %.0f\n",
		       reply_number(d, "reported"), reply_number(root, "prompt_tokens"),
		       reply_number(d, "cached"), reply_number(d, "possible"));
}

static int print(yyjson_val *root)
{
	yyjson_val *d = yyjson_obj_get(root, "decision");

	request_print(root);
	if (!d) {
		printf("then      %s (%.0f%s%s): no engine was chosen for it\n",
		       reply_text(root, "outcome"), reply_number(root, "status"),
		       has(root, "error") ? ", " : "", reply_text(root, "error"));
		return 0;
	}
	known_print(d);
	reason_print(d);
	candidates_print(d);
	end_print(root, d);
	return 0;
}

/* ---- where it comes from ---- */

static int from_gateway(const struct admin_target *target, const char *id, struct bb_buf *answer)
{
	char path[32 + ID_MAX];
	int status = 0;

	snprintf(path, sizeof(path), "/admin/explain/%s", id);
	const int rc = admin_call("explain", target, "GET", path, &status, answer);
	if (rc || status == 200)
		return rc;
	if (status == 404)
		fprintf(stderr,
			"busbar explain: the gateway at %s does not know the request %s (any "
			"more): it keeps "
			"the last limits.explain of them; look into its access log by --log FILE\n",
			target->addr ? target->addr : ADMIN_DEFAULT, id);
	else
		fprintf(stderr, "busbar explain: %s answers %d, which a busbar gateway does not\n",
			target->addr ? target->addr : ADMIN_DEFAULT, status);
	return 1;
}

static int from_log(const char *path, const char *id, struct bb_buf *answer)
{
	struct explain_found found = { .line = answer };

	const int rc = explain_log_find(path, id, &found);
	if (rc)
		return rc;
	if (found.count == 0) {
		fprintf(stderr,
			"busbar explain: no record of the request %s in %s (%u files read)%s\n", id,
			path, found.files,
			found.compressed ? "; compressed ones were not: zcat FILE | busbar explain "
					   "ID --log -"
					 : "");
		return 1;
	}
	if (found.count > 1)
		fprintf(stderr, "busbar explain: %u requests have this id; this is the latest\n",
			found.count);
	return bb_buf_add(answer, "\n", 1) ? 1 : 0;
}

/* Only what the gateway takes as an id can be one. */
static bool is_good_id(const char *id)
{
	const size_t len = strlen(id);

	return len > 0 && len <= ID_MAX &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") ==
		       len;
}

static int show(const struct bb_buf *answer)
{
	yyjson_doc *doc = yyjson_read(answer->p, answer->len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	int rc = 1;

	if (yyjson_is_obj(root))
		rc = print(root);
	else
		fprintf(stderr, "busbar explain: what came back is no explanation\n");
	yyjson_doc_free(doc);
	return rc;
}

int cmd_explain(int argc, char **argv)
{
	static const struct option longs[] = {
		ADMIN_OPTIONS,
		{ "log", required_argument, NULL, 'l' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct admin_target target = { 0 };
	const char *log = NULL;
	bool as_json = false;
	struct bb_buf answer;
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (admin_option(&target, c, optarg))
			continue;
		switch (c) {
		case 'l': log = optarg; break;
		case 'j': as_json = true; break;
		case 'h': usage(stdout); return 0;
		default: usage(stderr); return 2;
		}
	}
	if (optind + 1 != argc) {
		usage(stderr);
		return 2;
	}
	const char *id = argv[optind];
	if (!is_good_id(id)) {
		fprintf(stderr,
			"busbar explain: '%s' is no request id: 1 to %d letters, digits and - _ . "
			":\n",
			id, ID_MAX);
		return 2;
	}
	bb_buf_init(&answer, 64u << 20);
	int rc = log ? from_log(log, id, &answer) : from_gateway(&target, id, &answer);
	if (!rc && as_json)
		fwrite(answer.p, 1, answer.len, stdout);
	else if (!rc)
		rc = show(&answer);
	bb_buf_fini(&answer);
	return rc;
}
