#include "wire/base64url.h"

/* The value of a digit, or -1; `last` are the digits for 62 and 63. */
static int digit(char c, const char last[2])
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == last[0] ? 62 : c == last[1] ? 63 : -1;
}

static int decode(struct bb_str text, const char last[2], uint8_t *out, size_t size,
		  size_t *out_len)
{
	uint32_t bits = 0;
	unsigned held = 0; /* bits that have not left yet; always fewer than 8 after a digit */
	size_t len = 0;

	if (text.len % 4 == 1)
		return -BB_EINVALID;
	if (BASE64URL_SIZE(text.len) > size)
		return -BB_ELIMIT;
	for (size_t i = 0; i < text.len; i++) {
		const int value = digit(text.p[i], last);
		if (value < 0)
			return -BB_EINVALID;
		bits = bits << 6 | (uint32_t)value;
		held += 6;
		if (held >= 8) {
			held -= 8;
			out[len++] = (uint8_t)(bits >> held);
		}
	}
	if (bits & ((1u << held) - 1))
		return -BB_EINVALID;
	*out_len = len;
	return 0;
}

int base64url_decode(struct bb_str text, uint8_t *out, size_t size, size_t *out_len)
{
	return decode(text, "-_", out, size, out_len);
}

int base64_decode(struct bb_str text, uint8_t *out, size_t size, size_t *out_len)
{
	return decode(text, "+/", out, size, out_len);
}
