#include "cmd/bench_target.h"

#include <string.h>

/* A label ends at the first '=' that stands before the scheme. */
static struct bb_str take_label(struct bb_str *url)
{
	const ptrdiff_t equals = bb_str_find(*url, BB_STR("="));
	const ptrdiff_t scheme = bb_str_find(*url, BB_STR(":"));

	if (equals <= 0 || (scheme >= 0 && scheme < equals))
		return *url;
	const struct bb_str label = { url->p, (size_t)equals };
	*url = bb_str_skip(*url, (size_t)equals + 1);
	return label;
}

int bench_target_read(const char *text, struct bench_target *out, const char **why)
{
	struct bb_str url_text = bb_str_of(text);
	const struct bb_str label = take_label(&url_text);
	struct sock_url url;

	*why = "only http:// and unix: are spoken here";
	if (sock_url_parse(url_text, &url, why) || url.tls)
		return -BB_EINVALID;
	const int rc = url.unix_path.len ? sock_addr_parse(url_text, &out->to, why)
					 : sock_resolve(url.host, url.port, &out->to, why);
	if (rc)
		return -BB_EINVALID;
	const size_t len = label.len < BENCH_LABEL_SIZE - 1 ? label.len : BENCH_LABEL_SIZE - 1;
	memcpy(out->label, label.p, len);
	out->label[len] = '\0';
	if (url.unix_path.len)
		bb_text_copy(out->host, sizeof(out->host), "localhost");
	else
		sock_addr_text(&out->to, out->host);
	out->path = url.base.len ? url.base : BB_STR("/v1/chat/completions");
	return 0;
}

int bench_header_add(const char *text, struct bb_buf *headers)
{
	const struct bb_str s = bb_str_of(text);

	if (!memchr(s.p, ':', s.len) || memchr(s.p, '\n', s.len) || memchr(s.p, '\r', s.len))
		return -BB_EINVALID;
	bb_buf_add_str(headers, s);
	bb_buf_lit(headers, "\r\n");
	return headers->err;
}
