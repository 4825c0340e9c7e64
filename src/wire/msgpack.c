#include "wire/msgpack.h"

void msgpack_reader_init(struct msgpack_reader *r, struct bb_str in)
{
	r->p = (const uint8_t *)in.p;
	r->end = in.len ? r->p + in.len : r->p; /* nothing may be added to a null pointer */
}

/* ---- reading ---- */

static uint64_t big_endian(const uint8_t *p, size_t size)
{
	uint64_t v = 0;

	for (size_t i = 0; i < size; i++)
		v = v << 8 | p[i];
	return v;
}

/* The number of `size` bytes behind the tag, or -BB_ESYNTAX when they are not there. */
static int read_number(const struct msgpack_reader *r, size_t size, uint64_t *out)
{
	if (msgpack_left(r) < 1 + size)
		return -BB_ESYNTAX;
	*out = big_endian(r->p + 1, size);
	return 0;
}

static void set_unsigned(struct msgpack_value *v, uint64_t number)
{
	v->kind = MSGPACK_UINT;
	v->u = number;
}

/* `number` holds a two's complement of `bits` bits. */
static void set_signed(struct msgpack_value *v, uint64_t number, unsigned bits)
{
	const int64_t i = (int64_t)(number << (64 - bits)) >> (64 - bits);

	if (i >= 0) {
		set_unsigned(v, (uint64_t)i);
		return;
	}
	v->kind = MSGPACK_INT;
	v->i = i;
}

static void set_float(struct msgpack_value *v, uint64_t number, size_t size)
{
	v->kind = MSGPACK_FLOAT;
	if (size == 4) {
		const uint32_t half = (uint32_t)number;
		float f;
		memcpy(&f, &half, sizeof(f));
		v->f = (double)f;
	} else {
		memcpy(&v->f, &number, sizeof(v->f));
	}
}

/* `head` bytes of tag, length and (ext) type, then `len` bytes. */
static int take_bytes(struct msgpack_reader *r, struct msgpack_value *v, enum msgpack_kind kind,
		      size_t head, uint64_t len)
{
	if (msgpack_left(r) < head || len > msgpack_left(r) - head)
		return -BB_ESYNTAX;
	v->kind = kind;
	v->ext_type = kind == MSGPACK_EXT ? (int8_t)r->p[head - 1] : 0;
	v->bytes = (struct bb_str){ (const char *)r->p + head, (size_t)len };
	r->p += head + len;
	return 0;
}

/* An element has one byte at the least: a larger claim is a lie, found before anybody believes it.
 */
static int take_head(struct msgpack_reader *r, struct msgpack_value *v, enum msgpack_kind kind,
		     size_t head, uint64_t count)
{
	if (count * (kind == MSGPACK_MAP ? 2 : 1) > msgpack_left(r) - head)
		return -BB_ESYNTAX;
	v->kind = kind;
	v->count = (uint32_t)count;
	r->p += head;
	return 0;
}

/* Tags 0xc0 … 0xdf: what has its own tag byte. */
static int read_tagged(struct msgpack_reader *r, struct msgpack_value *v)
{
	const uint8_t tag = r->p[0];
	const size_t width = (size_t)1 << (tag & 3); /* of the uint, int and fixext families */
	uint64_t n = 0;
	int rc;

	switch (tag) {
	case 0xc0:
		v->kind = MSGPACK_NIL;
		r->p++;
		return 0;
	case 0xc2:
	case 0xc3:
		v->kind = MSGPACK_BOOL;
		v->truth = tag == 0xc3;
		r->p++;
		return 0;
	case 0xc4:
	case 0xc5:
	case 0xc6:
	case 0xc7:
	case 0xc8:
	case 0xc9: {
		const bool is_ext = tag >= 0xc7;
		const size_t size = (size_t)1 << (tag - (is_ext ? 0xc7 : 0xc4));
		rc = read_number(r, size, &n);
		return rc ? rc
			  : take_bytes(r, v, is_ext ? MSGPACK_EXT : MSGPACK_BIN,
				       1 + size + (is_ext ? 1 : 0), n);
	}
	case 0xca:
	case 0xcb: {
		const size_t size = tag == 0xca ? 4 : 8;
		rc = read_number(r, size, &n);
		if (rc)
			return rc;
		set_float(v, n, size);
		r->p += 1 + size;
		return 0;
	}
	case 0xcc:
	case 0xcd:
	case 0xce:
	case 0xcf:
	case 0xd0:
	case 0xd1:
	case 0xd2:
	case 0xd3:
		rc = read_number(r, width, &n);
		if (rc)
			return rc;
		if (tag >= 0xd0)
			set_signed(v, n, (unsigned)width * 8);
		else
			set_unsigned(v, n);
		r->p += 1 + width;
		return 0;
	case 0xd4:
	case 0xd5:
	case 0xd6:
	case 0xd7: return take_bytes(r, v, MSGPACK_EXT, 2, width);
	case 0xd8: return take_bytes(r, v, MSGPACK_EXT, 2, 16);
	case 0xd9:
	case 0xda:
	case 0xdb: {
		const size_t size = (size_t)1 << (tag - 0xd9);
		rc = read_number(r, size, &n);
		return rc ? rc : take_bytes(r, v, MSGPACK_STR, 1 + size, n);
	}
	case 0xdc:
	case 0xdd:
	case 0xde:
	case 0xdf: {
		const size_t size = tag & 1 ? 4 : 2;
		rc = read_number(r, size, &n);
		return rc ? rc
			  : take_head(r, v, tag >= 0xde ? MSGPACK_MAP : MSGPACK_ARRAY, 1 + size, n);
	}
	default: /* 0xc1 is never used */ return -BB_ESYNTAX;
	}
}

int msgpack_read(struct msgpack_reader *r, struct msgpack_value *out)
{
	struct msgpack_value v = { 0 };
	int rc = 0;

	if (r->p == r->end)
		return -BB_ESYNTAX;
	const uint8_t tag = r->p[0];
	if (tag < 0x80) {
		set_unsigned(&v, tag);
		r->p++;
	} else if (tag < 0x90) {
		rc = take_head(r, &v, MSGPACK_MAP, 1, tag & 15);
	} else if (tag < 0xa0) {
		rc = take_head(r, &v, MSGPACK_ARRAY, 1, tag & 15);
	} else if (tag < 0xc0) {
		rc = take_bytes(r, &v, MSGPACK_STR, 1, tag & 31);
	} else if (tag < 0xe0) {
		rc = read_tagged(r, &v);
	} else {
		set_signed(&v, tag, 8);
		r->p++;
	}
	if (!rc)
		*out = v;
	return rc;
}

/* Bytes of a value whose tag alone says its size, 0 for others. Token ids and hashes are such. */
static size_t scalar_size(uint8_t tag)
{
	static const uint8_t sizes[32] = {
		[0x00] = 1, [0x02] = 1, [0x03] = 1,		/* nil, false, true */
		[0x0a] = 5, [0x0b] = 9,				/* float, double */
		[0x0c] = 2, [0x0d] = 3, [0x0e] = 5, [0x0f] = 9, /* unsigned */
		[0x10] = 2, [0x11] = 3, [0x12] = 5, [0x13] = 9, /* signed */
	};

	if (tag < 0x80 || tag >= 0xe0)
		return 1;
	return tag < 0xc0 ? 0 : sizes[tag - 0xc0];
}

/* Passes over up to `*count` scalars in a row. */
static void skip_scalars(struct msgpack_reader *r, uint64_t *count)
{
	size_t size;

	while (*count && r->p < r->end && (size = scalar_size(*r->p)) != 0 &&
	       size <= msgpack_left(r)) {
		r->p += size;
		--*count;
	}
}

int msgpack_skip(struct msgpack_reader *r)
{
	uint64_t left[MSGPACK_DEPTH_MAX]; /* values still to come at each depth */
	unsigned depth = 0;
	struct msgpack_reader at = *r;
	struct msgpack_value v;

	left[0] = 1;
	for (;;) {
		int rc = msgpack_read(&at, &v);
		if (rc)
			return rc;
		left[depth]--;
		if ((v.kind == MSGPACK_ARRAY || v.kind == MSGPACK_MAP) && v.count) {
			if (++depth == MSGPACK_DEPTH_MAX)
				return -BB_ELIMIT;
			left[depth] = (uint64_t)v.count * (v.kind == MSGPACK_MAP ? 2 : 1);
			skip_scalars(&at, &left[depth]);
		}
		while (left[depth] == 0) {
			if (depth == 0) {
				*r = at;
				return 0;
			}
			depth--;
		}
	}
}

int msgpack_take(struct msgpack_reader *r, struct bb_str *raw)
{
	const uint8_t *const from = r->p;
	int rc = msgpack_skip(r);

	if (!rc)
		*raw = (struct bb_str){ (const char *)from, (size_t)(r->p - from) };
	return rc;
}

/* ---- writing ---- */

/* The tag, then the low `size` bytes of `number`, big-endian. */
static void add_tag(struct bb_buf *b, uint8_t tag, uint64_t number, size_t size)
{
	uint8_t out[9] = { tag };

	for (size_t i = size; i > 0; i--) {
		out[i] = (uint8_t)number;
		number >>= 8;
	}
	bb_buf_add(b, out, 1 + size);
}

void msgpack_add_nil(struct bb_buf *b)
{
	add_tag(b, 0xc0, 0, 0);
}

void msgpack_add_uint(struct bb_buf *b, uint64_t value)
{
	if (value < 0x80)
		add_tag(b, (uint8_t)value, 0, 0);
	else if (value <= UINT8_MAX)
		add_tag(b, 0xcc, value, 1);
	else if (value <= UINT16_MAX)
		add_tag(b, 0xcd, value, 2);
	else if (value <= UINT32_MAX)
		add_tag(b, 0xce, value, 4);
	else
		add_tag(b, 0xcf, value, 8);
}

void msgpack_add_int(struct bb_buf *b, int64_t value)
{
	if (value >= 0)
		msgpack_add_uint(b, (uint64_t)value);
	else if (value >= -32)
		add_tag(b, (uint8_t)value, 0, 0);
	else if (value >= INT8_MIN)
		add_tag(b, 0xd0, (uint64_t)value, 1);
	else if (value >= INT16_MIN)
		add_tag(b, 0xd1, (uint64_t)value, 2);
	else if (value >= INT32_MIN)
		add_tag(b, 0xd2, (uint64_t)value, 4);
	else
		add_tag(b, 0xd3, (uint64_t)value, 8);
}

void msgpack_add_double(struct bb_buf *b, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	add_tag(b, 0xcb, bits, 8);
}

static int check_length(struct bb_buf *b, size_t len)
{
	if (len > UINT32_MAX && !b->err)
		b->err = -BB_ELIMIT;
	return b->err;
}

void msgpack_add_str(struct bb_buf *b, struct bb_str s)
{
	if (check_length(b, s.len))
		return;
	if (s.len < 32)
		add_tag(b, (uint8_t)(0xa0 | s.len), 0, 0);
	else if (s.len <= UINT8_MAX)
		add_tag(b, 0xd9, s.len, 1);
	else if (s.len <= UINT16_MAX)
		add_tag(b, 0xda, s.len, 2);
	else
		add_tag(b, 0xdb, s.len, 4);
	bb_buf_add_str(b, s);
}

void msgpack_add_bin(struct bb_buf *b, struct bb_str s)
{
	if (check_length(b, s.len))
		return;
	if (s.len <= UINT8_MAX)
		add_tag(b, 0xc4, s.len, 1);
	else if (s.len <= UINT16_MAX)
		add_tag(b, 0xc5, s.len, 2);
	else
		add_tag(b, 0xc6, s.len, 4);
	bb_buf_add_str(b, s);
}

void msgpack_add_array(struct bb_buf *b, uint32_t count)
{
	if (count < 16)
		add_tag(b, (uint8_t)(0x90 | count), 0, 0);
	else if (count <= UINT16_MAX)
		add_tag(b, 0xdc, count, 2);
	else
		add_tag(b, 0xdd, count, 4);
}

void msgpack_add_map(struct bb_buf *b, uint32_t count)
{
	if (count < 16)
		add_tag(b, (uint8_t)(0x80 | count), 0, 0);
	else if (count <= UINT16_MAX)
		add_tag(b, 0xde, count, 2);
	else
		add_tag(b, 0xdf, count, 4);
}
