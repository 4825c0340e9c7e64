#include "wire/http1.h"

#include <string.h>

#include "base/log.h"
#include "wire/http1_strict.h"

/* Of a chunked body, beyond its payload: in all, for each chunk on top, and in one place. */
#define OVERHEAD_MAX 16384
#define OVERHEAD_PER_CHUNK 16
#define GAP_MAX 16384

static int on_url(llhttp_t *l, const char *at, size_t len)
{
	struct http1 *p = (struct http1 *)l;
	struct http_head *h = p->head;

	p->target_len += len < UINT32_MAX - p->target_len ? (uint32_t)len : 0;
	if (!h)
		return 0;
	if (!h->target.p)
		h->target.p = at;
	h->target.len += len;
	return 0;
}

/* llhttp takes the protocols that borrowed HTTP's first line as well (RTSP, ICE). */
static int on_protocol(llhttp_t *l, const char *at, size_t len)
{
	struct http1 *p = (struct http1 *)l;

	for (size_t i = 0; i < len; i++)
		if (p->protocol_len > 3 || at[i] != "HTTP"[p->protocol_len++]) {
			p->reason = "not HTTP/1.0 or HTTP/1.1";
			return HPE_USER;
		}
	return 0;
}

/* The reason of an answer is text, like a field's value (RFC 9112 §4). */
static int on_status(llhttp_t *l, const char *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)at[i] < 0x20 && at[i] != '\t') || at[i] == 0x7f) {
			((struct http1 *)l)->reason = "a status line with control characters";
			return HPE_USER;
		}
	return 0;
}

static int on_field(llhttp_t *l, const char *at, size_t len)
{
	struct http_head *h = ((struct http1 *)l)->head;

	if (!h)
		return 0;
	/* A piece that follows on the last one belongs to the same name. */
	if (h->count && h->headers[h->count - 1].value.p == NULL) {
		h->headers[h->count - 1].name.len += len;
		return 0;
	}
	if (h->count == HTTP_HEADERS_MAX)
		return HPE_USER;
	h->headers[h->count++] = (struct http_header){ .name = { at, len } };
	return 0;
}

static int on_value(llhttp_t *l, const char *at, size_t len)
{
	struct http_head *h = ((struct http1 *)l)->head;

	if (!h || !h->count)
		return 0;
	struct bb_str *v = &h->headers[h->count - 1].value;
	if (!v->p)
		v->p = at;
	v->len += len;
	return 0;
}

/*
 * An empty value has no on_value: it must not look like a name that goes on. Blanks around a value
 * are no part of it (RFC 9110 §5.5); llhttp leaves those behind.
 */
static int on_value_complete(llhttp_t *l)
{
	struct http_head *h = ((struct http1 *)l)->head;

	if (!h || !h->count)
		return 0;
	struct bb_str *v = &h->headers[h->count - 1].value;
	while (v->len && (v->p[v->len - 1] == ' ' || v->p[v->len - 1] == '\t'))
		v->len--;
	if (!v->len)
		*v = BB_STR("");
	return 0;
}

static int on_head_complete(llhttp_t *l)
{
	struct http1 *p = (struct http1 *)l;
	const bool has_no_body = p->kind == HTTP1_RESPONSE &&
				 (p->answers_head || l->status_code / 100 == 1 ||
				  l->status_code == 204 || l->status_code == 304);

	if (l->http_major != 1) { /* llhttp also knows 0.9, with and without the word, and 2.0 */
		p->reason = "not HTTP/1.0 or HTTP/1.1";
		return HPE_USER;
	}
	if (l->flags & F_TRANSFER_ENCODING && (!(l->flags & F_CHUNKED) || l->http_minor == 0)) {
		/* Where such a body ends is a matter of opinion (RFC 9112 §6.1, §6.3): not ours. */
		p->reason = "a Transfer-Encoding other than chunked";
		return HPE_USER;
	}
	p->head_done = true;
	if (l->flags & F_CHUNKED && !has_no_body) {
		p->framing = HTTP1_CHUNKED;
		p->overhead_left = OVERHEAD_MAX;
	} else if (l->flags & F_CONTENT_LENGTH && !has_no_body) {
		p->framing = HTTP1_LENGTH;
		p->left = l->content_length;
	} else if (p->kind == HTTP1_RESPONSE && !has_no_body) {
		p->framing = HTTP1_UNTIL_CLOSE;
	} else {
		p->framing = HTTP1_NO_BODY;
	}
	if (p->framing != HTTP1_CHUNKED)
		p->message_done = p->framing == HTTP1_NO_BODY ||
				  (p->framing == HTTP1_LENGTH && p->left == 0);
	/* Bodies of a known length and until close are counted here; llhttp unframes chunks only. */
	return HPE_PAUSED;
}

static int on_chunk_header(llhttp_t *l)
{
	((struct http1 *)l)->overhead_left += OVERHEAD_PER_CHUNK;
	return 0;
}

/* Counts the bytes from the last payload to `at`. */
static bool gap_is_ok(struct http1 *p, const char *at)
{
	const size_t gap = p->gap + (size_t)(at - p->mark);

	if (gap > GAP_MAX) {
		p->reason = "a chunk's size, its extensions or the trailers are too long";
		return false;
	}
	p->gap = (uint32_t)gap;
	p->mark = at;
	return true;
}

static int on_body(llhttp_t *l, const char *at, size_t len)
{
	struct http1 *p = (struct http1 *)l;

	if (!gap_is_ok(p, at))
		return HPE_USER;
	/* The sum is looked at here, where it does not depend on how the bytes were cut. */
	if (p->gap > p->overhead_left) {
		p->reason = "chunks that are mostly extensions";
		return HPE_USER;
	}
	p->overhead_left -= p->gap;
	p->gap = 0;
	p->mark = at + len;
	if (p->out != at)
		memmove(p->out, at, len);
	p->out += len;
	return 0;
}

static int on_message_complete(llhttp_t *l)
{
	struct http1 *p = (struct http1 *)l;

	if (!p->head_done)
		return 0;
	p->message_done = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_protocol = on_protocol,
	.on_status = on_status,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_header_value_complete = on_value_complete,
	.on_headers_complete = on_head_complete,
	.on_chunk_header = on_chunk_header,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

void http1_init(struct http1 *p, enum http1_kind kind)
{
	*p = (struct http1){ .kind = (uint8_t)kind };
	llhttp_init(&p->parser, kind == HTTP1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
}

static void head_finish(struct http1 *p, struct http_head *h)
{
	const llhttp_t *l = &p->parser;

	h->method = (enum llhttp_method)l->method;
	h->status = l->status_code;
	h->minor = l->http_minor;
	h->chunked = l->flags & F_CHUNKED;
	h->has_length = l->flags & F_CONTENT_LENGTH;
	h->length = h->has_length ? l->content_length : 0;
	h->is_upgrade = l->upgrade;
	h->keep_alive = llhttp_should_keep_alive(l);
	const struct bb_str expect = http_head_get(h, BB_STR("expect"));
	h->expects_continue = expect.p && h->minor > 0 &&
			      bb_str_eq_nocase(expect, BB_STR("100-continue"));
}

static void target_split(struct http_head *h)
{
	const char *mark = h->target.len ? memchr(h->target.p, '?', h->target.len) : NULL;

	h->path = h->target;
	h->query = (struct bb_str){ 0 };
	if (mark) {
		h->path.len = (size_t)(mark - h->target.p);
		h->query = bb_str_skip(h->target, h->path.len + 1);
	}
}

int http1_feed_head(struct http1 *p, struct http_head *head, const char *data, size_t len,
		    size_t *used)
{
	BB_ASSERT(!p->head_done && !p->failed);
	p->head = head;
	llhttp_errno_t e = llhttp_execute(&p->parser, data, len);
	p->head = NULL;
	if (e == HPE_OK)
		return 0;
	if (e == HPE_USER && !p->reason) { /* on_field: the table is full */
		p->failed = true;
		return -BB_ELIMIT;
	}
	if (e != HPE_PAUSED && e != HPE_PAUSED_UPGRADE) {
		p->failed = true;
		return -BB_EHTTP;
	}
	/* A pause in on_headers_complete stands behind the last line feed of the head. */
	*used = (size_t)(llhttp_get_error_pos(&p->parser) - data);
	if (!head)
		return 1;
	head_finish(p, head);
	p->reason = http1_head_fault(p->kind, head, &p->status);
	p->failed = p->reason != NULL;
	if (p->failed)
		return -BB_EHTTP;
	target_split(head);
	return 1;
}

int http1_feed_body(struct http1 *p, char *data, size_t len, struct bb_str *body, size_t *used)
{
	BB_ASSERT(p->head_done && !p->failed);
	*body = (struct bb_str){ data, 0 };
	*used = 0;
	if (p->message_done)
		return 0;
	if (p->framing != HTTP1_CHUNKED) {
		size_t n = len;
		if (p->framing == HTTP1_LENGTH) {
			if (n > p->left)
				n = (size_t)p->left;
			p->left -= n;
			p->message_done = p->left == 0;
		}
		body->len = *used = n;
		return 0;
	}
	p->out = data;
	p->mark = data;
	llhttp_resume(&p->parser);
	llhttp_errno_t e = llhttp_execute(&p->parser, data, len);
	if (e != HPE_OK && e != HPE_PAUSED) {
		p->failed = true;
		return -BB_EHTTP;
	}
	body->len = (size_t)(p->out - data);
	*used = e == HPE_OK ? len : (size_t)(llhttp_get_error_pos(&p->parser) - data);
	p->failed = !gap_is_ok(p, data + *used);
	return p->failed ? -BB_EHTTP : 0;
}

bool http1_is_complete_at_eof(const struct http1 *p)
{
	return p->message_done || (p->head_done && p->framing == HTTP1_UNTIL_CLOSE && !p->failed);
}

const char *http1_reason(const struct http1 *p)
{
	const char *why = p->reason ? p->reason : llhttp_get_error_reason(&p->parser);

	return why && *why ? why : "malformed HTTP";
}

int http1_status(const struct http1 *p)
{
	return p->status ? p->status : 400;
}

struct bb_str http_head_get(const struct http_head *h, struct bb_str name)
{
	for (uint32_t i = 0; i < h->count; i++)
		if (h->headers[i].name.len == name.len &&
		    (h->headers[i].name.p[0] | 0x20) == (name.p[0] | 0x20) &&
		    bb_str_eq_nocase(h->headers[i].name, name))
			return h->headers[i].value;
	return (struct bb_str){ 0 };
}

unsigned http_head_count(const struct http_head *h, struct bb_str name)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < h->count; i++)
		count += bb_str_eq_nocase(h->headers[i].name, name);
	return count;
}

const char *http_status_text(int status)
{
	switch (status) {
	case 100: return "Continue";
	case 101: return "Switching Protocols";
	case 103: return "Early Hints";
	case 200: return "OK";
	case 201: return "Created";
	case 202: return "Accepted";
	case 204: return "No Content";
	case 206: return "Partial Content";
	case 301: return "Moved Permanently";
	case 302: return "Found";
	case 303: return "See Other";
	case 304: return "Not Modified";
	case 307: return "Temporary Redirect";
	case 308: return "Permanent Redirect";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 402: return "Payment Required";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 406: return "Not Acceptable";
	case 408: return "Request Timeout";
	case 409: return "Conflict";
	case 410: return "Gone";
	case 411: return "Length Required";
	case 412: return "Precondition Failed";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 415: return "Unsupported Media Type";
	case 417: return "Expectation Failed";
	case 421: return "Misdirected Request";
	case 422: return "Unprocessable Content";
	case 424: return "Failed Dependency";
	case 425: return "Too Early";
	case 429: return "Too Many Requests";
	case 431: return "Request Header Fields Too Large";
	case 451: return "Unavailable For Legal Reasons";
	case 499: return "Client Closed Request";
	case 500: return "Internal Server Error";
	case 501: return "Not Implemented";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	case 505: return "HTTP Version Not Supported";
	case 507: return "Insufficient Storage";
	default: return "Unknown";
	}
}

bool http_name_is(struct bb_str name, const struct bb_str *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (names[i].len == name.len && (name.p[0] | 0x20) == names[i].p[0] &&
		    bb_str_eq_nocase(name, names[i]))
			return true;
	return false;
}

bool http_is_hop_by_hop(struct bb_str name)
{
	static const struct bb_str names[] = {
		BB_STR_INIT("connection"),        BB_STR_INIT("keep-alive"),
		BB_STR_INIT("proxy-connection"),  BB_STR_INIT("te"),
		BB_STR_INIT("trailer"),           BB_STR_INIT("transfer-encoding"),
		BB_STR_INIT("upgrade"),           BB_STR_INIT("content-length"),
		BB_STR_INIT("proxy-authenticate"), BB_STR_INIT("proxy-authorization"),
		BB_STR_INIT("http2-settings"),
	};

	/* Most fields are told apart by their length alone. */
	const uint32_t lengths = 1u << 2 | 1u << 7 | 1u << 10 | 1u << 14 | 1u << 16 | 1u << 17 |
				 1u << 18 | 1u << 19;
	return name.len < 32 && lengths >> name.len & 1 &&
	       http_name_is(name, names, sizeof(names) / sizeof(names[0]));
}

bool http_stays_here(const struct http_head *h, struct bb_str name)
{
	if (http_is_hop_by_hop(name))
		return true;
	if (!h->names_fields)
		return false;
	for (uint32_t i = 0; i < h->count; i++)
		if (h->headers[i].name.len == 10 &&
		    bb_str_eq_nocase(h->headers[i].name, BB_STR("connection")) &&
		    http_list_has(h->headers[i].value, name))
			return true;
	return false;
}

bool http_list_has(struct bb_str list, struct bb_str token)
{
	while (list.len)
		if (bb_str_eq_nocase(bb_str_trim(bb_str_cut(&list, ',')), token))
			return true;
	return false;
}
