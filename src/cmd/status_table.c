/* status_table.c: `busbar status`: what a running gateway knows, as tables. */
#include <stdio.h>
#include <string.h>

#include <yyjson.h>

#include "cmd/admin_call.h"
#include "cmd/reply_json.h"
#include "cmd/cmd.h"
#include "cmd/status_index.h"

static void usage(FILE *out)
{
	fprintf(out, "usage: busbar status [--admin ADDR] [--ca FILE] [--cert FILE --key FILE] [--index]\n"
		     "                     [--json]\n\n"
		     "Engines, models, load and rates of a running gateway.\n\n" ADMIN_USAGE
		     "  --index        what the prefix index has of each engine, how far it is believed, and\n"
		     "                 what has been learned of each kind of engine\n"
		     "  --json         the same as JSON, for programs\n");
}

/* "3.2k" "1.5M" */
static const char *short_count(double value, char out[16])
{
	if (value < 1e4)
		snprintf(out, 16, "%.0f", value);
	else if (value < 1e6)
		snprintf(out, 16, "%.1fk", value / 1e3);
	else
		snprintf(out, 16, "%.1fM", value / 1e6);
	return out;
}

static const char *short_time(double seconds, char out[16])
{
	if (seconds < 120)
		snprintf(out, 16, "%.0fs", seconds);
	else if (seconds < 7200)
		snprintf(out, 16, "%.0fm", seconds / 60);
	else if (seconds < 172800)
		snprintf(out, 16, "%.1fh", seconds / 3600);
	else
		snprintf(out, 16, "%.1fd", seconds / 86400);
	return out;
}

/* "exact, 1.2k blocks, 3 ms" or "assumed" */
static const char *cache_text(yyjson_val *kv, char out[48])
{
	char blocks[16];

	if (strcmp(reply_text(kv, "mode"), "exact") != 0)
		snprintf(out, 48, "assumed");
	else
		snprintf(out, 48, "exact, %s blocks, %.0f ms", short_count(reply_number(kv, "blocks"), blocks),
			 reply_number(kv, "lag_ms"));
	return out;
}

/* Where caches are not known exactly, and why. */
static void caches_explain(yyjson_val *engines)
{
	size_t i, max;
	yyjson_val *e;

	yyjson_arr_foreach(engines, i, max, e) {
		yyjson_val *kv = yyjson_obj_get(e, "kv");
		if (kv && strcmp(reply_text(kv, "mode"), "exact") != 0)
			printf("\n%s: what its cache holds is assumed: %s\n", reply_text(e, "url"),
			       reply_text(kv, "why"));
		if (reply_number(kv, "lost_gaps") > 0)
			printf("\n%s: events of its cache were lost %.0f times\n", reply_text(e, "url"),
			       reply_number(kv, "lost_gaps"));
	}
}

static void engines_print(yyjson_val *engines)
{
	const int width = reply_width(engines, "url", 6);
	size_t i, max;
	yyjson_val *e;
	char since[16], tokens[16], served[16], kv[16], cache[48];

	printf("%-*s  %-8s %-9s %6s %9s %9s %8s %8s %9s %7s %6s  %-9s  %s\n", width, "ENGINE", "KIND",
	       "STATE", "SINCE", "IN FLIGHT", "TOKENS", "REQ/S", "TOK/S", "REQUESTS", "FAILED", "KV",
	       "COUNTS", "CACHE");
	yyjson_arr_foreach(engines, i, max, e) {
		yyjson_val *reported = yyjson_obj_get(e, "reported");
		snprintf(kv, sizeof(kv), "-");
		if (reported)
			snprintf(kv, sizeof(kv), "%.0f%%", 100 * reply_number(reported, "kv_usage"));
		printf("%-*s  %-8s %-9s %6s %9.0f %9s %8.1f %8.1f %9s %7.0f %6s  %-9s  %s\n", width,
		       reply_text(e, "url"), reply_text(e, "kind"), reply_text(e, "state"),
		       short_time(reply_number(e, "state_seconds"), since), reply_number(e, "requests_in_flight"),
		       short_count(reply_number(e, "tokens_in_flight"), tokens),
		       reply_number(e, "requests_per_second"), reply_number(e, "output_tokens_per_second"),
		       short_count(reply_number(e, "requests"), served), reply_number(e, "failures"), kv,
		       reply_text(e, "tokens"), cache_text(yyjson_obj_get(e, "kv"), cache));
	}
	/* What keeps token counts from being exact. */
	yyjson_arr_foreach(engines, i, max, e)
		if (strcmp(reply_text(e, "tokens"), "different") == 0 || strcmp(reply_text(e, "tokens"), "unknown") == 0)
			printf("\n%s: token counts are not known to be exact: %s\n", reply_text(e, "url"),
			       reply_text(e, "tokens_detail"));
	caches_explain(engines);
}

static void models_print(yyjson_val *models)
{
	const int width = reply_width(models, "name", 5);
	size_t i, max, k, count;
	yyjson_val *m, *alias;
	char context[16];

	printf("\n%-*s  %7s %8s  %s\n", width, "MODEL", "ENGINES", "CONTEXT", "ALIASES");
	yyjson_arr_foreach(models, i, max, m) {
		char ready[24];
		snprintf(ready, sizeof(ready), "%.0f/%.0f", reply_number(m, "engines_ready"),
			 reply_number(m, "engines"));
		printf("%-*s  %7s %8s ", width, reply_text(m, "name"), ready,
		       reply_number(m, "context_tokens") > 0
			       ? short_count(reply_number(m, "context_tokens"), context)
			       : "-");
		yyjson_arr_foreach(yyjson_obj_get(m, "aliases"), k, count, alias)
			printf(" %s", yyjson_get_str(alias));
		printf("\n");
	}
}

static void status_print(yyjson_val *root)
{
	char uptime[16];

	printf("busbar %s  up %s  policy %s  %.0f threads  %.1f MB  %.0f connections  "
	       "%.0f requests in flight (%.0f streams)%s\n\n",
	       reply_text(root, "version"), short_time(reply_number(root, "uptime_seconds"), uptime),
	       reply_text(root, "policy"), reply_number(root, "threads"), reply_number(root, "memory_bytes") / 1e6,
	       reply_number(root, "connections"), reply_number(root, "requests_in_flight"),
	       reply_number(root, "streams_in_flight"),
	       yyjson_get_bool(yyjson_obj_get(root, "draining")) ? "  SHUTTING DOWN" : "");
	engines_print(yyjson_obj_get(root, "engines"));
	models_print(yyjson_obj_get(root, "models"));
	if (reply_number(root, "held") > 0)
		printf("\n%.0f requests wait for an engine that is open (busbar status --index)\n",
		       reply_number(root, "held"));
	status_shadows_print(yyjson_obj_get(root, "shadows"));
}

int cmd_status(int argc, char **argv)
{
	static const struct option longs[] = {
		ADMIN_OPTIONS,
		{ "index", no_argument, NULL, 'i' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct admin_target target = { 0 };
	bool as_json = false, of_index = false;
	struct bb_buf answer;
	int c, status = 0;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (admin_option(&target, c, optarg))
			continue;
		switch (c) {
		case 'i': of_index = true; break;
		case 'j': as_json = true; break;
		case 'h': usage(stdout); return 0;
		default: usage(stderr); return 2;
		}
	}
	bb_buf_init(&answer, 64u << 20);
	int rc = admin_call("status", &target, "GET", "/admin/status", &status, &answer);
	if (!rc && as_json) {
		fwrite(answer.p, 1, answer.len, stdout);
	} else if (!rc) {
		yyjson_doc *doc = yyjson_read(answer.p, answer.len, 0);
		if (doc && status == 200) {
			(of_index ? status_index_print : status_print)(yyjson_doc_get_root(doc));
		} else {
			fprintf(stderr, "busbar status: %s does not answer as a busbar gateway does\n",
				target.addr ? target.addr : ADMIN_DEFAULT);
			rc = 1;
		}
		yyjson_doc_free(doc);
	}
	bb_buf_fini(&answer);
	return rc;
}
