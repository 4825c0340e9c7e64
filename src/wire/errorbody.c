#include "wire/errorbody.h"

#include <string.h>

#include "base/err.h"
#include "wire/utf8.h"

const char *anthropic_error_type(int http_status)
{
	switch (http_status) {
	case 401: return "authentication_error";
	case 403: return "permission_error";
	case 404: return "not_found_error";
	case 413: return "request_too_large";
	case 429: return "rate_limit_error";
	case 503:
	case 529: return "overloaded_error";
	default: return http_status < 500 ? "invalid_request_error" : "api_error";
	}
}

static struct bb_str message_or_default(int err, struct bb_str message)
{
	return message.len ? message : bb_str_of(bb_error_info(err)->text);
}

/* Messages quote what others sent: bytes that are no UTF-8, or the half of a letter, become '?'. */
static void message_add(struct bb_buf *b, int err, struct bb_str message)
{
	char text[1024];
	struct bb_str rest = message_or_default(err, message);
	size_t n = 0;

	if (utf8_check(rest) == rest.len) {
		bb_buf_add_json(b, rest);
		return;
	}
	while (rest.len && n < sizeof(text)) {
		size_t good = utf8_check(rest);
		if (good > sizeof(text) - n)
			good = sizeof(text) - n;
		memcpy(text + n, rest.p, good);
		n += good;
		rest = bb_str_skip(rest, good);
		if (rest.len && n < sizeof(text)) {
			text[n++] = '?';
			rest = bb_str_skip(rest, 1);
		}
	}
	while (n && utf8_check((struct bb_str){ text, n }) != n)
		n--; /* cut at the end of the room */
	bb_buf_add_json(b, (struct bb_str){ text, n });
}

static void openai_form(struct bb_buf *b, int err, struct bb_str message, const char *param)
{
	const struct bb_error_info *info = bb_error_info(err);

	bb_buf_lit(b, "{\"error\":{\"message\":");
	message_add(b, err, message);
	bb_buf_lit(b, ",\"type\":");
	bb_buf_add_json(b, bb_str_of(info->type));
	bb_buf_lit(b, ",\"param\":");
	if (param)
		bb_buf_add_json(b, bb_str_of(param));
	else
		bb_buf_lit(b, "null");
	bb_buf_lit(b, ",\"code\":");
	bb_buf_add_json(b, bb_str_of(info->code));
	bb_buf_lit(b, "}}");
}

static void anthropic_form(struct bb_buf *b, int err, struct bb_str message)
{
	bb_buf_lit(b, "{\"type\":\"error\",\"error\":{\"type\":");
	bb_buf_add_json(b, bb_str_of(anthropic_error_type(bb_error_info(err)->http_status)));
	bb_buf_lit(b, ",\"message\":");
	message_add(b, err, message);
	bb_buf_lit(b, "}}");
}

/* The Responses API knows few codes of a failed response; these two are among them. */
static struct bb_str response_code(int err)
{
	return bb_error_info(err)->http_status == 429 ? BB_STR("rate_limit_exceeded")
						      : BB_STR("server_error");
}

static void response_failed_form(struct bb_buf *b, int err, struct bb_str message,
				 const struct error_stream *stream)
{
	static const struct error_stream unknown = { .sequence_number = 0 };
	const struct error_stream *s = stream ? stream : &unknown;

	bb_buf_lit(b, "{\"type\":\"response.failed\",\"sequence_number\":");
	bb_buf_add_u64(b, s->sequence_number);
	bb_buf_lit(b, ",\"response\":{\"id\":");
	bb_buf_add_json(b, s->id);
	bb_buf_lit(b, ",\"object\":\"response\",\"created_at\":");
	bb_buf_add_u64(b, s->created_s);
	bb_buf_lit(b, ",\"status\":\"failed\",\"error\":{\"code\":");
	bb_buf_add_json(b, response_code(err));
	bb_buf_lit(b, ",\"message\":");
	message_add(b, err, message);
	bb_buf_lit(b, "},\"incomplete_details\":null,\"model\":");
	bb_buf_add_json(b, s->model);
	bb_buf_lit(b, ",\"output\":[],\"usage\":null}}");
}

void openai_error_write(struct bb_buf *b, enum family family, int err, struct bb_str message,
			const char *param)
{
	switch (family) {
	case FAMILY_ANTHROPIC: anthropic_form(b, err, message); break;
	case FAMILY_OPENAI:
	case FAMILY_RESPONSES: openai_form(b, err, message, param); break;
	}
}

void openai_error_event_write(struct bb_buf *b, enum family family, int err, struct bb_str message,
			      const struct error_stream *stream)
{
	switch (family) {
	case FAMILY_OPENAI:
		bb_buf_lit(b, "data: ");
		openai_form(b, err, message, NULL);
		break;
	case FAMILY_ANTHROPIC:
		bb_buf_lit(b, "event: error\ndata: ");
		anthropic_form(b, err, message);
		break;
	case FAMILY_RESPONSES:
		bb_buf_lit(b, "event: response.failed\ndata: ");
		response_failed_form(b, err, message, stream);
		break;
	}
	bb_buf_lit(b, "\n\n");
}
