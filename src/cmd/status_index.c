#include "cmd/status_index.h"

#include <stdio.h>
#include <string.h>

#include "cmd/reply_json.h"

#define PAIRS_MANY 10000 /* of fewer, most of the memory is that of the empty tables */

static void totals_print(yyjson_val *root)
{
	yyjson_val *x = yyjson_obj_get(root, "index");
	const double pairs = reply_number(x, "pairs");

	printf("prefix index  %.1f MB of %.1f MB  %.0f blocks  %.0f pairs of block and engine",
	       reply_number(x, "bytes") / 1e6, reply_number(x, "bytes_max") / 1e6,
	       reply_number(x, "blocks"), pairs);
	if (pairs >= PAIRS_MANY)
		printf("  %.1f bytes each", reply_number(x, "bytes") / pairs);
	printf("\nsince the start  %.0f stored  %.0f removed  %.0f evicted for want of room  %.0f "
	       "refused\n",
	       reply_number(x, "stores"), reply_number(x, "removals"), reply_number(x, "evictions"),
	       reply_number(x, "refused"));
	printf("policy %s  %.0f requests wait for an engine that is open\n\n",
	       reply_text(root, "policy"), reply_number(root, "held"));
}

/* Why the index knows what it knows. */
static void how_print(yyjson_val *engine)
{
	const char *mode = reply_text(yyjson_obj_get(engine, "cache"), "mode");
	yyjson_val *kv = yyjson_obj_get(engine, "kv");
	const char *why = reply_text(kv, "why");

	if (strcmp(mode, "exact") == 0)
		printf("its events are followed, %.0f ms behind", reply_number(kv, "lag_ms"));
	else if (strcmp(mode, "silent") == 0)
		printf("assumed: its events have stopped");
	else
		printf("assumed: %s", *why ? why : "it tells no events");
}

static void caches_print(yyjson_val *engines)
{
	const int width = reply_width(engines, "url", 6);
	size_t i, max;
	yyjson_val *e;

	printf("%-*s  %-11s %6s %10s %12s %12s %6s %6s %5s  %s\n", width, "ENGINE", "CACHE",
	       "TRUST", "BLOCKS", "EXPECTED", "REPORTED", "TTFT", "GAP", "KIND", "HOW");
	yyjson_arr_foreach(engines, i, max, e)
	{
		yyjson_val *c = yyjson_obj_get(e, "cache");
		char kind[16] = "-";
		if (yyjson_obj_get(c, "kind"))
			snprintf(kind, sizeof(kind), "%.0f", reply_number(c, "kind"));
		printf("%-*s  %-11s %6.2f %10.0f %12.0f %12.0f %6.2f %6.2f %5s  ", width,
		       reply_text(e, "url"), reply_text(c, "mode"), reply_number(c, "trust"),
		       reply_number(c, "blocks"), reply_number(c, "predicted_tokens"),
		       reply_number(c, "reported_tokens"), reply_number(c, "ttft_factor"),
		       reply_number(c, "gap_factor"), kind);
		how_print(e);
		printf("\n");
	}
	printf("EXPECTED and REPORTED: cached tokens of the requests whose engine reported them; "
	       "TTFT and "
	       "GAP: times against its kind's\n");
}

static void kinds_print(yyjson_val *kinds)
{
	const int width = reply_width(kinds, "model", 5);
	size_t i, max;
	yyjson_val *k;

	if (yyjson_arr_size(kinds) == 0)
		return;
	printf("\n%4s  %-*s %6s %9s %12s %9s %14s %9s\n", "KIND", width, "MODEL", "LANES",
	       "BASE MS", "MS/1K TOKENS", "STEP MS", "MS/1M KV TOKENS", "SAMPLES");
	yyjson_arr_foreach(kinds, i, max, k) printf(
		"%4.0f  %-*s %6.0f %9.1f %12.2f %9.2f %15.2f %9.0f\n", reply_number(k, "kind"),
		width, reply_text(k, "model"), reply_number(k, "lanes"), reply_number(k, "base_ms"),
		1e3 * reply_number(k, "token_ms"), reply_number(k, "step_ms"),
		1e6 * reply_number(k, "kv_token_ms"), reply_number(k, "ttft_samples"));
}

static void held_print(yyjson_val *models)
{
	size_t i, max;
	yyjson_val *m;

	yyjson_arr_foreach(models, i, max, m) if (reply_number(m, "held") > 0) printf(
		"\n%s: %.0f requests wait\n", reply_text(m, "name"), reply_number(m, "held"));
}

void status_index_print(yyjson_val *root)
{
	totals_print(root);
	caches_print(yyjson_obj_get(root, "engines"));
	kinds_print(yyjson_obj_get(root, "kinds"));
	held_print(yyjson_obj_get(root, "models"));
	status_shadows_print(yyjson_obj_get(root, "shadows"));
}

void status_shadows_print(yyjson_val *shadows)
{
	const int width = reply_width(shadows, "policy", 6);
	size_t i, max;
	yyjson_val *s;

	if (yyjson_arr_size(shadows) == 0)
		return;
	printf("\n%-*s %10s %10s %8s %14s %14s\n", width, "SHADOW", "DECISIONS", "DIFFERED",
	       "SHARE", "TTFT MS", "ADDED MS");
	yyjson_arr_foreach(shadows, i, max, s)
	{
		const double differed = reply_number(s, "differed"),
			     all = differed + reply_number(s, "agreed");
		printf("%-*s %10.0f %10.0f %7.1f%%", width, reply_text(s, "policy"), all, differed,
		       all > 0 ? 100 * differed / all : 0.0);
		if (differed > 0)
			printf(" %+14.1f %+14.1f\n",
			       (reply_number(s, "ttft_ms") - reply_number(s, "real_ttft_ms")) /
				       differed,
			       (reply_number(s, "added_ms") - reply_number(s, "real_added_ms")) /
				       differed);
		else
			printf(" %14s %14s\n", "-", "-");
	}
	printf("Milliseconds: its choice less the real one, as predicted, on average where they "
	       "differ\n");
}
