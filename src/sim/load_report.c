#include "sim/load_report.h"

#include "os/clock.h"

struct time_row {
	const char *key, *text;
};

static const struct time_row time_rows[LOAD_TIME_COUNT] = {
#define X(name, key, text) { key, text },
	LOAD_TIMES(X)
#undef X
};

static const struct time_row error_rows[LOAD_ERROR_COUNT] = {
#define X(name, key, text) { key, text },
	LOAD_ERRORS(X)
#undef X
};

static const struct {
	const char *key;
	double q;
} quantiles[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 } };

#define QUANTILE_COUNT (sizeof(quantiles) / sizeof(quantiles[0]))

static double us(uint64_t ns)
{
	return (double)ns / (double)OS_US;
}

static double per_second(uint64_t count, const struct load_outcome *o)
{
	return o->window_ns ? (double)count * (double)OS_SECOND / (double)o->window_ns : 0;
}

static double cores(const struct load_outcome *o)
{
	return o->window_ns ? (double)o->cpu_ns / (double)o->window_ns : 0;
}

static void json_time(const char *key, const struct load_histogram *h, struct bb_buf *out)
{
	if (!h->count) {
		bb_buf_printf(out, ",\"%s_us\":null", key);
		return;
	}
	bb_buf_printf(out, ",\"%s_us\":{\"count\":%llu,\"mean\":%.1f", key,
		      (unsigned long long)h->count, us(load_histogram_mean_ns(h)));
	for (size_t i = 0; i < QUANTILE_COUNT; i++)
		bb_buf_printf(out, ",\"%s\":%.1f", quantiles[i].key,
			      us(load_histogram_quantile_ns(h, quantiles[i].q)));
	bb_buf_printf(out, ",\"max\":%.1f}", us(h->max_ns));
}

/* Bytes of an answer may be anything; what JSON text cannot hold becomes '?'. */
static void json_sample(const struct load_meter *m, struct bb_buf *out)
{
	char text[LOAD_SAMPLE_SIZE];

	for (uint32_t i = 0; i < m->sample_len; i++) {
		const unsigned char c = (unsigned char)m->sample[i];
		text[i] = c >= 0x80 || c == 0x7f ? '?' : (char)c;
	}
	bb_buf_add_json(out, (struct bb_str){ text, m->sample_len });
}

void load_report_json(const struct load_plan *plan, const struct load_meter *m,
		      const struct load_outcome *o, struct bb_buf *out)
{
	bb_buf_printf(out, "{\"connections\":%u,\"rate\":%.1f,\"window_s\":%.3f", plan->connections,
		      plan->rate, (double)o->window_ns / (double)OS_SECOND);
	bb_buf_printf(out, ",\"ok\":%llu,\"requests_per_s\":%.1f", (unsigned long long)m->ok_count,
		      per_second(m->ok_count, o));
	bb_buf_printf(out, ",\"chunks\":%llu,\"chunks_per_s\":%.1f",
		      (unsigned long long)m->chunk_count, per_second(m->chunk_count, o));
	bb_buf_printf(out, ",\"body_bytes_per_s\":%.0f", per_second(m->body_bytes, o));
	bb_buf_printf(out, ",\"started\":%llu,\"ended\":%llu,\"chunks_all\":%llu,\"unsent\":%llu",
		      (unsigned long long)m->started_count, (unsigned long long)m->ended_count,
		      (unsigned long long)m->chunk_count_all, (unsigned long long)o->unsent_count);
	bb_buf_printf(out, ",\"open_at_end\":%u,\"in_flight_at_end\":%u,\"answering_at_end\":%u",
		      o->open_at_end, o->in_flight_at_end, o->answering_at_end);
	bb_buf_printf(out, ",\"answering_max\":%u,\"generator_cores\":%.3f", m->answering_max,
		      cores(o));
	bb_buf_lit(out, ",\"errors\":{");
	for (int i = 0; i < LOAD_ERROR_COUNT; i++)
		bb_buf_printf(out, "%s\"%s\":%llu", i ? "," : "", error_rows[i].key,
			      (unsigned long long)m->errors[i]);
	bb_buf_printf(out, "},\"status_last\":%d,\"error_sample\":", m->status_last);
	json_sample(m, out);
	for (int i = 0; i < LOAD_TIME_COUNT; i++)
		json_time(time_rows[i].key, &m->times[i], out);
	bb_buf_lit(out, "}\n");
}

static void table_times(const struct load_meter *m, struct bb_buf *out)
{
	bb_buf_printf(out, "\n%-6s %10s %11s %11s %11s %11s %11s %11s  microseconds\n", "", "count",
		      "mean", "p50", "p90", "p99", "p99.9", "max");
	for (int i = 0; i < LOAD_TIME_COUNT; i++) {
		const struct load_histogram *h = &m->times[i];
		if (!h->count)
			continue;
		bb_buf_printf(out, "%-6s %10llu %11.1f", time_rows[i].key,
			      (unsigned long long)h->count, us(load_histogram_mean_ns(h)));
		for (size_t q = 0; q < QUANTILE_COUNT; q++)
			bb_buf_printf(out, " %11.1f",
				      us(load_histogram_quantile_ns(h, quantiles[q].q)));
		bb_buf_printf(out, " %11.1f  %s\n", us(h->max_ns), time_rows[i].text);
	}
}

static void table_errors(const struct load_meter *m, struct bb_buf *out)
{
	uint64_t total = 0;

	for (int i = 0; i < LOAD_ERROR_COUNT; i++)
		total += m->errors[i];
	bb_buf_printf(out, "\nerrors %10llu\n", (unsigned long long)total);
	for (int i = 0; i < LOAD_ERROR_COUNT; i++)
		if (m->errors[i])
			bb_buf_printf(out, "  %-10s %6llu  %s\n", error_rows[i].key,
				      (unsigned long long)m->errors[i], error_rows[i].text);
	if (m->status_last) {
		bb_buf_printf(out, "  the last such status was %d; the first answer began: ",
			      m->status_last);
		json_sample(m, out);
		bb_buf_lit(out, "\n");
	}
}

void load_report_table(const struct load_plan *plan, const struct load_meter *m,
		       const struct load_outcome *o, struct bb_buf *out)
{
	bb_buf_printf(out, "%u connections, ", plan->connections);
	if (plan->rate > 0)
		bb_buf_printf(out, "open loop at %.1f requests/s, ", plan->rate);
	else
		bb_buf_lit(out, "closed loop, ");
	bb_buf_printf(out, "measured for %.2f s\n\n", (double)o->window_ns / (double)OS_SECOND);
	bb_buf_printf(out, "complete answers %12llu %12.1f /s\n", (unsigned long long)m->ok_count,
		      per_second(m->ok_count, o));
	bb_buf_printf(out, "chunks           %12llu %12.1f /s\n",
		      (unsigned long long)m->chunk_count, per_second(m->chunk_count, o));
	bb_buf_printf(out, "body bytes       %12llu %12.0f /s\n", (unsigned long long)m->body_bytes,
		      per_second(m->body_bytes, o));
	bb_buf_printf(out, "in flight at the end %u, answers begun at the same time at most %u\n",
		      o->in_flight_at_end, m->answering_max);
	if (plan->rate > 0)
		bb_buf_printf(out, "due but not sent, for want of an idle connection: %llu\n",
			      (unsigned long long)o->unsent_count);
	bb_buf_printf(out, "this generator used %.2f of a core%s\n", cores(o),
		      cores(o) > 0.9 ? ": it may be what limits" : "");
	table_times(m, out);
	table_errors(m, out);
}
