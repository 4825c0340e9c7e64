/*
 * Goal: every form of MessagePack is read as what it is, written in its shortest form, and input
 * that is cut off, lies about its size or nests too deep is refused without reading past its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/alloc.h"
#include "wire/msgpack.h"

#define BYTES(...)                                                                                 \
	((struct bb_str){ (const char *)(const uint8_t[]){ __VA_ARGS__ },                          \
			  sizeof((const uint8_t[]){ __VA_ARGS__ }) })

static struct msgpack_value read_one(struct bb_str in)
{
	struct msgpack_reader r;
	struct msgpack_value v;

	msgpack_reader_init(&r, in);
	assert_int_equal(msgpack_read(&r, &v), 0);
	if (v.kind != MSGPACK_ARRAY && v.kind != MSGPACK_MAP)
		assert_int_equal(msgpack_left(&r), 0);
	return v;
}

static void assert_uint(struct bb_str in, uint64_t expected)
{
	const struct msgpack_value v = read_one(in);

	assert_int_equal(v.kind, MSGPACK_UINT);
	assert_true(v.u == expected);
}

static void assert_negative(struct bb_str in, int64_t expected)
{
	const struct msgpack_value v = read_one(in);

	assert_int_equal(v.kind, MSGPACK_INT);
	assert_true(v.i == expected);
}

static void assert_double(struct bb_str in, double expected)
{
	const struct msgpack_value v = read_one(in);

	assert_int_equal(v.kind, MSGPACK_FLOAT);
	assert_true(v.f == expected);
}

static void assert_bytes(struct bb_str in, enum msgpack_kind kind, struct bb_str expected)
{
	const struct msgpack_value v = read_one(in);

	assert_int_equal(v.kind, kind);
	assert_true(bb_str_eq(v.bytes, expected));
}

static void numbers(void **state)
{
	assert_uint(BYTES(0x00), 0);
	assert_uint(BYTES(0x7f), 127);
	assert_uint(BYTES(0xcc, 0xff), 255);
	assert_uint(BYTES(0xcd, 0x12, 0x34), 0x1234);
	assert_uint(BYTES(0xce, 0x12, 0x34, 0x56, 0x78), 0x12345678);
	assert_uint(BYTES(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe), UINT64_MAX - 1);
	assert_uint(BYTES(0xd0, 0x05), 5); /* a signed form of a positive number */
	assert_uint(BYTES(0xd3, 0, 0, 0, 1, 0, 0, 0, 0), 1ull << 32);
	assert_negative(BYTES(0xff), -1);
	assert_negative(BYTES(0xe0), -32);
	assert_negative(BYTES(0xd0, 0x80), -128);
	assert_negative(BYTES(0xd1, 0x80, 0x00), -32768);
	assert_negative(BYTES(0xd2, 0xff, 0xff, 0xff, 0xfe), -2);
	assert_negative(BYTES(0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0), INT64_MIN);
	assert_double(BYTES(0xca, 0x3f, 0xc0, 0, 0), 1.5);
	assert_double(BYTES(0xcb, 0xc0, 0x04, 0, 0, 0, 0, 0, 0), -2.5);
	assert_int_equal(read_one(BYTES(0xc0)).kind, MSGPACK_NIL);
	assert_true(read_one(BYTES(0xc3)).truth);
	assert_false(read_one(BYTES(0xc2)).truth);
}

static void strings(void **state)
{
	assert_bytes(BYTES(0xa0), MSGPACK_STR, BB_STR(""));
	assert_bytes(BYTES(0xa2, 'h', 'i'), MSGPACK_STR, BB_STR("hi"));
	assert_bytes(BYTES(0xd9, 2, 'h', 'i'), MSGPACK_STR, BB_STR("hi"));
	assert_bytes(BYTES(0xda, 0, 2, 'h', 'i'), MSGPACK_STR, BB_STR("hi"));
	assert_bytes(BYTES(0xdb, 0, 0, 0, 2, 'h', 'i'), MSGPACK_STR, BB_STR("hi"));
	assert_bytes(BYTES(0xc4, 1, 'x'), MSGPACK_BIN, BB_STR("x"));
	assert_bytes(BYTES(0xc5, 0, 1, 'x'), MSGPACK_BIN, BB_STR("x"));
	assert_bytes(BYTES(0xc6, 0, 0, 0, 1, 'x'), MSGPACK_BIN, BB_STR("x"));
	assert_bytes(BYTES(0xd4, 7, 'x'), MSGPACK_EXT, BB_STR("x"));
	assert_bytes(BYTES(0xc7, 1, 7, 'x'), MSGPACK_EXT, BB_STR("x"));
	assert_bytes(BYTES(0xc8, 0, 1, 7, 'x'), MSGPACK_EXT, BB_STR("x"));
	assert_bytes(BYTES(0xc9, 0, 0, 0, 1, 7, 'x'), MSGPACK_EXT, BB_STR("x"));
	assert_int_equal(read_one(BYTES(0xd5, 0xff, 1, 2)).ext_type, -1);
	assert_int_equal(
		read_one(BYTES(0xd8, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))
			.bytes.len,
		16);
}

static void containers(void **state)
{
	assert_int_equal(read_one(BYTES(0x92, 1, 2)).count, 2);
	assert_int_equal(read_one(BYTES(0xdc, 0, 1, 2)).count, 1);
	assert_int_equal(read_one(BYTES(0xdd, 0, 0, 0, 1, 2)).count, 1);
	assert_int_equal(read_one(BYTES(0x81, 1, 2)).kind, MSGPACK_MAP);
	assert_int_equal(read_one(BYTES(0xde, 0, 1, 2, 3)).kind, MSGPACK_MAP);
	assert_int_equal(read_one(BYTES(0xdf, 0, 0, 0, 1, 2, 3)).count, 1);
}

static void skip_passes_over_one_value(void **state)
{
	/* [1, {"a": [nil]}, "x"] then 9 */
	const struct bb_str in = BYTES(0x93, 1, 0x81, 0xa1, 'a', 0x91, 0xc0, 0xa1, 'x', 9);
	struct msgpack_reader r;
	struct msgpack_value v;
	struct bb_str raw;

	msgpack_reader_init(&r, in);
	assert_int_equal(msgpack_take(&r, &raw), 0);
	assert_int_equal(raw.len, in.len - 1);
	assert_int_equal(msgpack_read(&r, &v), 0);
	assert_true(v.kind == MSGPACK_UINT && v.u == 9);
	assert_int_equal(msgpack_skip(&r), -BB_ESYNTAX);
}

/* Every head with 0 … all but one of the bytes that it needs. */
static void cut_off(void **state)
{
	const struct bb_str whole[] = {
		BYTES(0xcc, 1),
		BYTES(0xcd, 1, 2),
		BYTES(0xce, 1, 2, 3, 4),
		BYTES(0xcf, 1, 2, 3, 4, 5, 6, 7, 8),
		BYTES(0xd0, 1),
		BYTES(0xd1, 1, 2),
		BYTES(0xd2, 1, 2, 3, 4),
		BYTES(0xd3, 1, 2, 3, 4, 5, 6, 7, 8),
		BYTES(0xca, 1, 2, 3, 4),
		BYTES(0xcb, 1, 2, 3, 4, 5, 6, 7, 8),
		BYTES(0xa3, 1, 2, 3),
		BYTES(0xd9, 2, 1, 2),
		BYTES(0xda, 0, 1, 2),
		BYTES(0xdb, 0, 0, 0, 1, 2),
		BYTES(0xc4, 1, 2),
		BYTES(0xc5, 0, 1, 2),
		BYTES(0xc6, 0, 0, 0, 1, 2),
		BYTES(0xc7, 1, 2, 3),
		BYTES(0xc8, 0, 1, 2, 3),
		BYTES(0xc9, 0, 0, 0, 1, 2, 3),
		BYTES(0xd4, 1, 2),
		BYTES(0xd6, 1, 1, 2, 3, 4),
		BYTES(0x92, 1, 2),
		BYTES(0xdc, 0, 1, 1),
		BYTES(0xdd, 0, 0, 0, 1, 1),
		BYTES(0x81, 1, 2),
		BYTES(0xde, 0, 1, 1, 2),
		BYTES(0xdf, 0, 0, 0, 1, 1, 2),
	};

	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
		for (size_t len = 0; len <= whole[i].len; len++) {
			/* On the heap and of just this size: AddressSanitizer sees a step too far.
			 */
			char *copy = bb_alloc(len);
			struct msgpack_reader r;
			assert_non_null(copy);
			memcpy(copy, whole[i].p, len);
			msgpack_reader_init(&r, (struct bb_str){ copy, len });
			assert_int_equal(msgpack_skip(&r), len == whole[i].len ? 0 : -BB_ESYNTAX);
			assert_int_equal(msgpack_left(&r), len == whole[i].len ? 0 : len);
			bb_free(copy);
		}
	}
}

static void lies_are_refused(void **state)
{
	struct msgpack_reader r;
	struct msgpack_value v;

	msgpack_reader_init(&r, BYTES(0xdd, 0xff, 0xff, 0xff, 0xff, 1, 2, 3));
	assert_int_equal(msgpack_read(&r, &v), -BB_ESYNTAX);
	msgpack_reader_init(&r, BYTES(0xdf, 0x80, 0x00, 0x00, 0x01, 1, 2, 3));
	assert_int_equal(msgpack_read(&r, &v), -BB_ESYNTAX);
	msgpack_reader_init(&r, BYTES(0xc6, 0xff, 0xff, 0xff, 0xff, 1));
	assert_int_equal(msgpack_read(&r, &v), -BB_ESYNTAX);
	msgpack_reader_init(&r, BYTES(0xc1));
	assert_int_equal(msgpack_read(&r, &v), -BB_ESYNTAX);
	msgpack_reader_init(&r, (struct bb_str){ 0 });
	assert_int_equal(msgpack_read(&r, &v), -BB_ESYNTAX);
}

static void depth_is_limited(void **state)
{
	char deep[4096];
	struct msgpack_reader r;

	memset(deep, 0x91, sizeof(deep));
	deep[MSGPACK_DEPTH_MAX - 1] = (char)0xc0;
	msgpack_reader_init(&r, (struct bb_str){ deep, MSGPACK_DEPTH_MAX });
	assert_int_equal(msgpack_skip(&r), 0);
	deep[MSGPACK_DEPTH_MAX - 1] = (char)0x91;
	deep[sizeof(deep) - 1] = 0;
	msgpack_reader_init(&r, (struct bb_str){ deep, sizeof(deep) });
	assert_int_equal(msgpack_skip(&r), -BB_ELIMIT);
}

static void writes_the_shortest_form(void **state)
{
	static const struct {
		int64_t value;
		size_t size;
	} ints[] = {
		{ 0, 1 },
		{ 127, 1 },
		{ 128, 2 },
		{ 255, 2 },
		{ 256, 3 },
		{ 65535, 3 },
		{ 65536, 5 },
		{ UINT32_MAX, 5 },
		{ 1ll << 32, 9 },
		{ INT64_MAX, 9 },
		{ -1, 1 },
		{ -32, 1 },
		{ -33, 2 },
		{ -128, 2 },
		{ -129, 3 },
		{ -32768, 3 },
		{ -32769, 5 },
		{ INT32_MIN, 5 },
		{ (int64_t)INT32_MIN - 1, 9 },
		{ INT64_MIN, 9 },
	};
	struct bb_buf b;

	bb_buf_init(&b, 1 << 20);
	for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
		bb_buf_clear(&b);
		msgpack_add_int(&b, ints[i].value);
		assert_int_equal(b.len, ints[i].size);
		const struct msgpack_value v = read_one(bb_buf_str(&b));
		assert_true(v.i == ints[i].value);
		assert_int_equal(v.kind, ints[i].value < 0 ? MSGPACK_INT : MSGPACK_UINT);
	}
	static const size_t lengths[] = { 0, 31, 32, 255, 256, 65535, 65536 };
	static const size_t str_heads[] = { 1, 1, 2, 2, 3, 3, 5 };
	static const size_t bin_heads[] = { 2, 2, 2, 2, 3, 3, 5 };
	static char text[65536];
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		const struct bb_str s = { text, lengths[i] };
		bb_buf_clear(&b);
		msgpack_add_str(&b, s);
		assert_int_equal(b.len, str_heads[i] + lengths[i]);
		assert_bytes(bb_buf_str(&b), MSGPACK_STR, s);
		bb_buf_clear(&b);
		msgpack_add_bin(&b, s);
		assert_int_equal(b.len, bin_heads[i] + lengths[i]);
		assert_bytes(bb_buf_str(&b), MSGPACK_BIN, s);
	}
	bb_buf_clear(&b);
	msgpack_add_double(&b, 1732423923.5);
	assert_double(bb_buf_str(&b), 1732423923.5);
	static const uint32_t counts[] = { 0, 15, 16, 65535, 65536 };
	static const size_t count_heads[] = { 1, 1, 3, 3, 5 };
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		bb_buf_clear(&b);
		msgpack_add_array(&b, counts[i]);
		assert_int_equal(b.len, count_heads[i]);
		for (uint32_t k = 0; k < counts[i]; k++)
			msgpack_add_nil(&b);
		assert_int_equal(read_one(bb_buf_str(&b)).count, counts[i]);
		bb_buf_clear(&b);
		msgpack_add_map(&b, counts[i]);
		assert_int_equal(b.len, count_heads[i]);
		for (uint32_t k = 0; k < counts[i] * 2; k++)
			msgpack_add_nil(&b);
		assert_int_equal(read_one(bb_buf_str(&b)).count, counts[i]);
	}
	assert_int_equal(b.err, 0);
	bb_buf_fini(&b);
}

static void a_full_buffer_keeps_its_error(void **state)
{
	struct bb_buf b;

	bb_buf_init(&b, 4);
	msgpack_add_str(&b, BB_STR("too long"));
	msgpack_add_nil(&b);
	assert_int_equal(b.err, -BB_ELIMIT);
	bb_buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),
		cmocka_unit_test(strings),
		cmocka_unit_test(containers),
		cmocka_unit_test(skip_passes_over_one_value),
		cmocka_unit_test(cut_off),
		cmocka_unit_test(lies_are_refused),
		cmocka_unit_test(depth_is_limited),
		cmocka_unit_test(writes_the_shortest_form),
		cmocka_unit_test(a_full_buffer_keeps_its_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
