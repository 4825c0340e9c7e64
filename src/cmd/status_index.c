#include "cmd/status_index.h"

#include <stdio.h>
#include <string.h>

static double number(yyjson_val *object, const char *key)
{
	return yyjson_get_num(yyjson_obj_get(object, key));
}

static const char *text(yyjson_val *object, const char *key)
{
	const char *value = yyjson_get_str(yyjson_obj_get(object, key));

	return value ? value : "";
}

static int width_of(yyjson_val *list, const char *key, int least)
{
	size_t i, max;
	yyjson_val *item;
	int width = least;

	yyjson_arr_foreach(list, i, max, item)
	{
		const int len = (int)strlen(text(item, key));
		if (len > width)
			width = len;
	}
	return width;
}

#define PAIRS_MANY 10000 /* of fewer, most of the memory is that of the empty tables */

static void totals_print(yyjson_val *root)
{
	yyjson_val *x = yyjson_obj_get(root, "index");
	const double pairs = number(x, "pairs");

	printf("prefix index  %.1f MB of %.1f MB  %.0f blocks  %.0f pairs of block and engine",
	       number(x, "bytes") / 1e6, number(x, "bytes_max") / 1e6, number(x, "blocks"), pairs);
	if (pairs >= PAIRS_MANY)
		printf("  %.1f bytes each", number(x, "bytes") / pairs);
	printf("\nsince the start  %.0f stored  %.0f removed  %.0f evicted for want of room  %.0f "
	       "refused\n",
	       number(x, "stores"), number(x, "removals"), number(x, "evictions"),
	       number(x, "refused"));
	printf("policy %s  %.0f requests wait for an engine that is open\n\n", text(root, "policy"),
	       number(root, "held"));
}

/* Why the index knows what it knows. */
static void how_print(yyjson_val *engine)
{
	const char *mode = text(yyjson_obj_get(engine, "cache"), "mode");
	yyjson_val *kv = yyjson_obj_get(engine, "kv");
	const char *why = text(kv, "why");

	if (strcmp(mode, "exact") == 0)
		printf("its events are followed, %.0f ms behind", number(kv, "lag_ms"));
	else if (strcmp(mode, "silent") == 0)
		printf("assumed: its events have stopped");
	else
		printf("assumed: %s", *why ? why : "it tells no events");
}

static void caches_print(yyjson_val *engines)
{
	const int width = width_of(engines, "url", 6);
	size_t i, max;
	yyjson_val *e;

	printf("%-*s  %-11s %6s %10s %12s %12s %6s %6s %5s  %s\n", width, "ENGINE", "CACHE",
	       "TRUST", "BLOCKS", "EXPECTED", "REPORTED", "TTFT", "GAP", "KIND", "HOW");
	yyjson_arr_foreach(engines, i, max, e)
	{
		yyjson_val *c = yyjson_obj_get(e, "cache");
		char kind[16] = "-";
		if (yyjson_obj_get(c, "kind"))
			snprintf(kind, sizeof(kind), "%.0f", number(c, "kind"));
		printf("%-*s  %-11s %6.2f %10.0f %12.0f %12.0f %6.2f %6.2f %5s  ", width,
		       text(e, "url"), text(c, "mode"), number(c, "trust"), number(c, "blocks"),
		       number(c, "predicted_tokens"), number(c, "reported_tokens"),
		       number(c, "ttft_factor"), number(c, "gap_factor"), kind);
		how_print(e);
		printf("\n");
	}
	printf("EXPECTED and REPORTED: cached tokens of the requests whose engine reported them; "
	       "TTFT and "
	       "GAP: times against its kind's\n");
}

static void kinds_print(yyjson_val *kinds)
{
	const int width = width_of(kinds, "model", 5);
	size_t i, max;
	yyjson_val *k;

	if (yyjson_arr_size(kinds) == 0)
		return;
	printf("\n%4s  %-*s %6s %9s %12s %9s %14s %9s\n", "KIND", width, "MODEL", "LANES",
	       "BASE MS", "MS/1K TOKENS", "STEP MS", "MS/1M KV TOKENS", "SAMPLES");
	yyjson_arr_foreach(kinds, i, max, k)
		printf("%4.0f  %-*s %6.0f %9.1f %12.2f %9.2f %15.2f %9.0f\n", number(k, "kind"),
		       width, text(k, "model"), number(k, "lanes"), number(k, "base_ms"),
		       1e3 * number(k, "token_ms"), number(k, "step_ms"),
		       1e6 * number(k, "kv_token_ms"), number(k, "ttft_samples"));
}

static void held_print(yyjson_val *models)
{
	size_t i, max;
	yyjson_val *m;

	yyjson_arr_foreach(models, i, max, m) if (number(m, "held") > 0)
		printf("\n%s: %.0f requests wait\n", text(m, "name"), number(m, "held"));
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
	const int width = width_of(shadows, "policy", 6);
	size_t i, max;
	yyjson_val *s;

	if (yyjson_arr_size(shadows) == 0)
		return;
	printf("\n%-*s %10s %10s %8s %14s %14s\n", width, "SHADOW", "DECISIONS", "DIFFERED",
	       "SHARE", "TTFT MS", "ADDED MS");
	yyjson_arr_foreach(shadows, i, max, s)
	{
		const double differed = number(s, "differed"), all = differed + number(s, "agreed");
		printf("%-*s %10.0f %10.0f %7.1f%%", width, text(s, "policy"), all, differed,
		       all > 0 ? 100 * differed / all : 0.0);
		if (differed > 0)
			printf(" %+14.1f %+14.1f\n",
			       (number(s, "ttft_ms") - number(s, "real_ttft_ms")) / differed,
			       (number(s, "added_ms") - number(s, "real_added_ms")) / differed);
		else
			printf(" %14s %14s\n", "-", "-");
	}
	printf("Milliseconds: its choice less the real one, as predicted, on average where they "
	       "differ\n");
}
