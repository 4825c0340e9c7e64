#include "sim/request_log.h"

#include "wire/utf8.h"

void request_log_init(struct request_log *l)
{
	l->count = 0;
	for (int i = 0; i < REQUEST_LOG_SIZE; i++)
		bb_buf_init(&l->entries[i], REQUEST_LOG_BYTES);
}

void request_log_fini(struct request_log *l)
{
	for (int i = 0; i < REQUEST_LOG_SIZE; i++)
		bb_buf_fini(&l->entries[i]);
}

void request_log_add(struct request_log *l, const struct http_head *head, struct bb_str body)
{
	struct bb_buf *b = &l->entries[l->count++ % REQUEST_LOG_SIZE];

	bb_buf_clear(b);
	bb_buf_printf(b, "{\"method\":\"%s\",\"path\":", llhttp_method_name(head->method));
	bb_buf_add_json(b, head->target);
	bb_buf_lit(b, ",\"headers\":[");
	for (uint32_t i = 0; i < head->count; i++) {
		bb_buf_add_str(b, i ? BB_STR(",[") : BB_STR("["));
		bb_buf_add_json(b, head->headers[i].name);
		bb_buf_lit(b, ",");
		bb_buf_add_json(b, head->headers[i].value);
		bb_buf_lit(b, "]");
	}
	bb_buf_printf(b, "],\"body_len\":%zu,\"body\":", body.len);
	if (utf8_check(body) == body.len)
		bb_buf_add_json(b, body);
	else
		bb_buf_lit(b, "null"); /* sound or pictures: JSON cannot hold them */
	bb_buf_lit(b, "}");
	if (b->err) {
		bb_buf_clear(b);
		bb_buf_printf(b, "{\"body_len\":%zu,\"omitted\":true}", body.len);
	}
}

void request_log_write(const struct request_log *l, struct bb_buf *out)
{
	const uint64_t from = l->count > REQUEST_LOG_SIZE ? l->count - REQUEST_LOG_SIZE : 0;

	bb_buf_lit(out, "[");
	for (uint64_t i = from; i < l->count; i++) {
		if (i > from)
			bb_buf_lit(out, ",\n");
		bb_buf_add_str(out, bb_buf_str(&l->entries[i % REQUEST_LOG_SIZE]));
	}
	bb_buf_lit(out, "]\n");
}
