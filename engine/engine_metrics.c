#include "engine_metrics.h"

#include <stdio.h>

#include "base/log.h"
#include "os/clock.h"
#include "os/process.h"

/* vLLM 0.32's bounds, so that dashboards made for it fit. */
static const double first_token_bounds[] = { 0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
					     0.25,  0.5,   0.75, 1,    2.5,  5,	   7.5,	 10,
					     20,    40,	   80,	 160,  640,  2560 };
static const double inter_token_bounds[] = { 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,
					     0.3,  0.4,	  0.5,	0.75,  1,   2.5,  5,
					     7.5,  10,	  20,	40,    80 };
static const double request_bounds[] = { 0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,	10,   15,  20,
					 30,  40,  50,	60, 120, 240, 480, 960, 1920, 7680 };
#define LEN(a) (sizeof(a) / sizeof((a)[0]))
_Static_assert(LEN(first_token_bounds) < HISTOGRAM_BUCKETS_MAX, "one more for the rest");

const char *finish_reason_name(enum finish_reason r)
{
	static const char *const names[] = { "", "stop", "length", "abort", "error" };

	return names[r];
}

static void observe(struct histogram *h, const double *bounds, size_t count, uint64_t ns)
{
	const double seconds = (double)ns / (double)OS_SECOND;
	size_t i = 0;

	while (i < count && seconds > bounds[i])
		i++;
	metric_add(&h->counts[i], 1);
	metric_add(&h->sum_ns, ns);
}

void metrics_first_token(struct engine_metrics *m, uint64_t ns)
{
	observe(&m->first_token, first_token_bounds, LEN(first_token_bounds), ns);
}

void metrics_inter_token(struct engine_metrics *m, uint64_t ns)
{
	observe(&m->inter_token, inter_token_bounds, LEN(inter_token_bounds), ns);
}

void metrics_end_to_end(struct engine_metrics *m, uint64_t ns)
{
	observe(&m->end_to_end, request_bounds, LEN(request_bounds), ns);
}

void metrics_queue_time(struct engine_metrics *m, uint64_t ns)
{
	observe(&m->queue_time, request_bounds, LEN(request_bounds), ns);
}

/* The labels every sample has, with the name escaped as the format wants it. */
static void write_labels(struct bb_buf *out, struct bb_str model_name)
{
	bb_buf_lit(out, "engine=\"0\",model_name=\"");
	for (size_t i = 0; i < model_name.len; i++) {
		const char c = model_name.p[i];
		if (c == '"' || c == '\\')
			bb_buf_lit(out, "\\");
		if (c == '\n')
			bb_buf_lit(out, "\\n");
		else
			bb_buf_add(out, &c, 1);
	}
	bb_buf_lit(out, "\"");
}

static void write_head(struct bb_buf *out, const char *name, const char *type, const char *help)
{
	bb_buf_printf(out, "# HELP vllm:%s %s\n# TYPE vllm:%s %s\n", name, help, name, type);
}

static void write_value(struct bb_buf *out, const char *name, const char *type, const char *help,
			struct bb_str labels, double value)
{
	write_head(out, name, type, help);
	bb_buf_printf(out, "vllm:%s{%.*s} %.17g\n", name, BB_ARG(labels), value);
}

static void write_histogram(struct bb_buf *out, const char *name, const char *help,
			    struct bb_str labels, const struct histogram *h, const double *bounds,
			    size_t count)
{
	uint64_t below = 0;

	write_head(out, name, "histogram", help);
	for (size_t i = 0; i < count; i++) {
		below += metric_get(&h->counts[i]);
		bb_buf_printf(out, "vllm:%s_bucket{%.*s,le=\"%g\"} %llu\n", name, BB_ARG(labels),
			      bounds[i], (unsigned long long)below);
	}
	below += metric_get(&h->counts[count]);
	bb_buf_printf(out, "vllm:%s_bucket{%.*s,le=\"+Inf\"} %llu\nvllm:%s_count{%.*s} %llu\n",
		      name, BB_ARG(labels), (unsigned long long)below, name, BB_ARG(labels),
		      (unsigned long long)below);
	bb_buf_printf(out, "vllm:%s_sum{%.*s} %.9f\n", name, BB_ARG(labels),
		      (double)metric_get(&h->sum_ns) / (double)OS_SECOND);
}

static void write_gauges(const struct engine_metrics *m, const struct metrics_facts *facts,
			 struct bb_str labels, struct bb_buf *out)
{
	const double blocks = facts->block_count ? (double)facts->block_count : 1;

	write_value(out, "num_requests_running", "gauge", "Sequences in the batch", labels,
		    (double)metric_get(&m->running));
	write_value(out, "num_requests_waiting", "gauge", "Sequences that wait for room", labels,
		    (double)metric_get(&m->waiting));
	write_value(out, "kv_cache_usage_perc", "gauge",
		    "Part of the KV blocks that running sequences hold, 0 to 1", labels,
		    (double)metric_get(&m->blocks_running) / blocks);
	write_head(out, "cache_config_info", "gauge", "The KV cache");
	bb_buf_printf(out,
		      "vllm:cache_config_info{%.*s,block_size=\"%u\",num_gpu_blocks=\"%u\","
		      "cache_dtype=\"f16\",enable_prefix_caching=\"True\"} 1\n",
		      BB_ARG(labels), facts->block_size, facts->block_count);
	bb_buf_printf(out,
		      "# HELP process_resident_memory_bytes Resident memory\n"
		      "# TYPE process_resident_memory_bytes gauge\n"
		      "process_resident_memory_bytes %llu\n",
		      (unsigned long long)process_rss_bytes());
}

int metrics_write(const struct engine_metrics *m, const struct metrics_facts *facts,
		  struct bb_buf *out)
{
	struct bb_buf label_text;

	bb_buf_init(&label_text, 4096);
	write_labels(&label_text, facts->model_name);
	const struct bb_str labels = bb_buf_str(&label_text);
	write_gauges(m, facts, labels, out);
#define X(field, name, help)                                                                       \
	write_value(out, name, "counter", help, labels, (double)metric_get(&m->field));
	ENGINE_COUNTERS(X)
#undef X
	write_head(out, "request_success_total", "counter", "Requests that ended, by reason");
	for (int r = FINISH_STOP; r < FINISH_REASONS; r++)
		bb_buf_printf(out, "vllm:request_success_total{%.*s,finished_reason=\"%s\"} %llu\n",
			      BB_ARG(labels), finish_reason_name((enum finish_reason)r),
			      (unsigned long long)metric_get(&m->finished[r]));
	write_histogram(out, "time_to_first_token_seconds", "Arrival to first token", labels,
			&m->first_token, first_token_bounds, LEN(first_token_bounds));
	write_histogram(out, "inter_token_latency_seconds", "Between two tokens", labels,
			&m->inter_token, inter_token_bounds, LEN(inter_token_bounds));
	write_histogram(out, "e2e_request_latency_seconds", "Arrival to last token", labels,
			&m->end_to_end, request_bounds, LEN(request_bounds));
	write_histogram(out, "request_queue_time_seconds", "Arrival to admission", labels,
			&m->queue_time, request_bounds, LEN(request_bounds));
	const int rc = label_text.err ? label_text.err : out->err;
	bb_buf_fini(&label_text);
	return rc;
}
