#include "sim/load_answer.h"

#include "wire/sse.h"

#define STAMP_DIGITS 16

void load_answer_init(struct load_answer *a)
{
	*a = (struct load_answer){ .is_complete = true };
	bb_buf_init(&a->carry, LOAD_CARRY_MAX);
}

void load_answer_fini(struct load_answer *a)
{
	bb_buf_fini(&a->carry);
}

void load_answer_begin(struct load_answer *a, uint64_t start_ns)
{
	http1_init(&a->http, HTTP1_RESPONSE);
	bb_buf_clear(&a->carry);
	a->start_ns = start_ns;
	a->text_ns = 0;
	a->status = 0;
	a->kind = LOAD_KIND_UNKNOWN;
	a->is_complete = a->keeps_alive = a->has_begun = a->has_finish = a->has_error = false;
	a->is_ok = false;
	if (a->detail)
		*a->detail = (struct load_detail){ .prompt_tokens = LOAD_UNKNOWN,
						   .cached_tokens = LOAD_UNKNOWN,
						   .output_tokens = LOAD_UNKNOWN,
						   .text = a->detail->text };
}

/* The inside of a string member, up to the end of `data`; p == NULL when it is absent or empty. */
static struct bb_str find_text(struct bb_str data, struct bb_str key)
{
	const ptrdiff_t at = bb_str_find(data, key);
	if (at < 0)
		return (struct bb_str){ 0 };
	struct bb_str value = bb_str_skip(data, (size_t)at + key.len);
	while (value.len && value.p[0] == ' ')
		value = bb_str_skip(value, 1);
	if (value.len < 2 || value.p[0] != '"' || value.p[1] == '"')
		return (struct bb_str){ 0 };
	return bb_str_skip(value, 1);
}

static struct bb_str find_content(struct bb_str data)
{
	const struct bb_str chat = find_text(data, BB_STR("\"content\":"));

	return chat.p ? chat : find_text(data, BB_STR("\"text\":"));
}

static bool parse_hex(const char *p, uint64_t *out)
{
	uint64_t value = 0;

	for (int i = 0; i < STAMP_DIGITS; i++) {
		const char c = p[i];
		if (c >= '0' && c <= '9')
			value = value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*out = value;
	return true;
}

/* The stamp is the end of the text. */
static void take_stamp(struct bb_str content, uint64_t now_ns, struct load_meter *m)
{
	const char *const end = memchr(content.p, '"', content.len);
	uint64_t sent_ns;

	if (!end || end - content.p < STAMP_DIGITS + 2)
		return;
	const char *const stamp = end - STAMP_DIGITS - 2;
	if (stamp[0] == ' ' && stamp[1] == 't' && parse_hex(stamp + 2, &sent_ns) &&
	    sent_ns <= now_ns)
		load_meter_time(m, LOAD_HOP, now_ns - sent_ns);
}

/* ---- details ---- */

/* A member's number; LOAD_UNKNOWN when it is absent or none. */
static uint32_t find_number(struct bb_str data, struct bb_str key)
{
	const ptrdiff_t at = bb_str_find(data, key);
	uint64_t value;

	if (at < 0)
		return LOAD_UNKNOWN;
	struct bb_str digits = bb_str_skip(data, (size_t)at + key.len);
	while (digits.len && digits.p[0] == ' ')
		digits = bb_str_skip(digits, 1);
	size_t len = 0;
	while (len < digits.len && digits.p[len] >= '0' && digits.p[len] <= '9')
		len++;
	digits.len = len;
	return bb_parse_u64(digits, &value) || value >= LOAD_UNKNOWN ? LOAD_UNKNOWN
								     : (uint32_t)value;
}

static void take_usage(struct load_detail *d, struct bb_str data)
{
	const ptrdiff_t at = bb_str_find(data, BB_STR("\"usage\":"));

	if (at < 0)
		return;
	const struct bb_str usage = bb_str_skip(data, (size_t)at);
	const uint32_t prompt = find_number(usage, BB_STR("\"prompt_tokens\":"));
	if (prompt == LOAD_UNKNOWN)
		return; /* "usage":null */
	d->prompt_tokens = prompt;
	d->output_tokens = find_number(usage, BB_STR("\"completion_tokens\":"));
	d->cached_tokens = find_number(usage, BB_STR("\"cached_tokens\":"));
}

/* `content` begins a string; its end is the first quote that is not escaped. */
static void take_text(struct load_detail *d, struct bb_str content, uint64_t now_ns)
{
	size_t len = 0;

	d->events++;
	d->last_ns = now_ns;
	if (!d->first_ns)
		d->first_ns = now_ns;
	if (!d->text)
		return;
	while (len < content.len && content.p[len] != '"')
		len += content.p[len] == '\\' ? 2 : 1;
	if (len <= content.len)
		bb_buf_add(d->text, content.p, len);
}

/* ---- events ---- */

static void take_event(struct load_answer *a, const struct sse_event *e, uint64_t now_ns,
		       struct load_meter *m)
{
	if (!e->data.p || sse_is_done(e))
		return;
	m->chunk_count_all++;
	m->chunk_count += m->is_on;
	if (bb_str_starts(e->data, BB_STR("{\"error\"")))
		a->has_error = true;
	if (find_text(e->data, BB_STR("\"finish_reason\":")).p)
		a->has_finish = true;
	if (a->detail)
		take_usage(a->detail, e->data);
	const struct bb_str content = find_content(e->data);
	if (!content.p)
		return;
	if (a->detail)
		take_text(a->detail, content, now_ns);
	if (a->text_ns)
		load_meter_time(m, LOAD_GAP, now_ns - a->text_ns);
	else
		load_meter_time(m, LOAD_TTFT, now_ns - a->start_ns);
	a->text_ns = now_ns;
	take_stamp(content, now_ns, m);
}

static int take_events(struct load_answer *a, struct bb_str body, uint64_t now_ns,
		       struct load_meter *m)
{
	struct sse_event e;
	struct bb_str rest = body;

	if (a->carry.len) {
		const int rc = bb_buf_add_str(&a->carry, body);
		if (rc)
			return rc;
		rest = bb_buf_str(&a->carry);
	}
	const size_t before = rest.len;
	while (sse_next(&rest, &e))
		take_event(a, &e, now_ns, m);
	if (a->carry.len)
		bb_buf_consume(&a->carry, before - rest.len);
	else if (rest.len)
		return bb_buf_add_str(&a->carry, rest);
	return 0;
}

static void take_sample(struct bb_str body, struct load_meter *m)
{
	if (m->sample_len)
		return;
	m->sample_len = body.len < LOAD_SAMPLE_SIZE ? (uint32_t)body.len : LOAD_SAMPLE_SIZE;
	memcpy(m->sample, body.p, m->sample_len);
}

static int take_body(struct load_answer *a, struct bb_str body, uint64_t now_ns,
		     struct load_meter *m)
{
	if (!body.len)
		return 0;
	if (m->is_on)
		m->body_bytes += body.len;
	if (!a->has_begun) {
		a->has_begun = true;
		load_meter_time(m, LOAD_TTFB, now_ns - a->start_ns);
		if (++m->answering > m->answering_max)
			m->answering_max = m->answering;
		/* A stream of events cannot begin with a brace or a bracket, JSON does. */
		a->kind = body.p[0] == '{' || body.p[0] == '[' ? LOAD_KIND_OTHER : LOAD_KIND_EVENTS;
	}
	if (a->status / 100 != 2) {
		take_sample(body, m);
		return 0;
	}
	return a->kind == LOAD_KIND_EVENTS ? take_events(a, body, now_ns, m) : 0;
}

static void complete(struct load_answer *a, uint64_t now_ns, struct load_meter *m)
{
	a->is_complete = true;
	m->answering -= a->has_begun;
	m->ended_count++;
	if (a->status / 100 != 2) {
		m->status_last = a->status;
		m->errors[LOAD_ERROR_STATUS]++;
	} else if (a->kind == LOAD_KIND_EVENTS && (!a->has_finish || a->has_error)) {
		m->errors[LOAD_ERROR_INCOMPLETE]++;
	} else {
		a->is_ok = true;
		if (!m->is_on)
			return;
		m->ok_count++;
		load_histogram_add(&m->times[LOAD_E2E], now_ns - a->start_ns);
	}
}

/* 1 when the head is complete and belongs to the answer itself, not to an interim one (1xx). */
static int take_head(struct load_answer *a, const char *data, size_t len, size_t *used)
{
	*used = len;
	const int rc = http1_feed_head(&a->http, NULL, data, len, used);
	if (rc <= 0)
		return rc;
	a->status = a->http.parser.status_code;
	if (a->status / 100 == 1) {
		http1_init(&a->http, HTTP1_RESPONSE);
		return 0;
	}
	a->keeps_alive = llhttp_should_keep_alive(&a->http.parser);
	return 1;
}

int load_answer_feed(struct load_answer *a, char *data, size_t len, uint64_t now_ns,
		     struct load_meter *m)
{
	while (len) {
		size_t used = 0;
		struct bb_str body = { 0 };
		int rc;
		if (a->is_complete)
			return -BB_EHTTP; /* bytes that belong to no request */
		if (!a->http.head_done) {
			rc = take_head(a, data, len, &used);
		} else {
			rc = http1_feed_body(&a->http, data, len, &body, &used);
			if (!rc)
				rc = take_body(a, body, now_ns, m);
		}
		if (rc < 0)
			return rc;
		if (a->http.message_done)
			complete(a, now_ns, m);
		data += used;
		len -= used;
	}
	return 0;
}

bool load_answer_end(struct load_answer *a, uint64_t now_ns, struct load_meter *m)
{
	if (a->is_complete || !http1_is_complete_at_eof(&a->http))
		return false;
	a->keeps_alive = false;
	complete(a, now_ns, m);
	return true;
}

void load_answer_abandon(struct load_answer *a, struct load_meter *m)
{
	if (a->is_complete)
		return;
	a->is_complete = true;
	m->answering -= a->has_begun;
}
