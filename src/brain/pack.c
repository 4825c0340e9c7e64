#include "brain/pack.h"

#define VARINT_MAX 10

static void put(struct pack *k, const void *data, size_t size)
{
	if (k->err)
		return;
	const int rc = bb_buf_put(k->out, data, size);
	if (rc)
		pack_fail(k, rc);
}

static void put_varint(struct pack *k, uint64_t v)
{
	struct bb_buf *b = k->out;

	if (k->err)
		return;
	const int rc = b->cap - b->len < VARINT_MAX ? bb_buf_reserve(b, VARINT_MAX) : 0;
	if (rc) {
		pack_fail(k, rc);
		return;
	}
	uint8_t *p = (uint8_t *)b->p + b->len;
	for (; v > 0x7f; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	b->len = (size_t)(p - (uint8_t *)b->p);
}

static uint64_t get_varint(struct pack *k)
{
	uint64_t v = 0;

	for (unsigned shift = 0; !k->err && shift < 64; shift += 7) {
		if (k->p == k->end)
			break;
		const uint64_t byte = *k->p++;
		if (shift == 63 && byte > 1)
			break;
		v |= (byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return v;
	}
	pack_fail(k, -BB_ESYNTAX);
	return 0;
}

void pack_u64(struct pack *k, uint64_t *v)
{
	if (pack_is_reading(k))
		*v = get_varint(k);
	else
		put_varint(k, *v);
}

void pack_u32(struct pack *k, uint32_t *v, uint32_t most)
{
	uint64_t wide = *v;

	pack_u64(k, &wide);
	if (wide > most) {
		pack_fail(k, -BB_ESYNTAX);
		wide = 0;
	}
	*v = (uint32_t)wide;
}

void pack_u8(struct pack *k, uint8_t *v)
{
	uint32_t wide = *v;

	pack_u32(k, &wide, UINT8_MAX);
	*v = (uint8_t)wide;
}

void pack_bool(struct pack *k, bool *v)
{
	uint32_t wide = *v;

	pack_u32(k, &wide, 1);
	*v = wide != 0;
}

void pack_i64(struct pack *k, int64_t *v)
{
	uint64_t zigzag = (uint64_t)*v << 1 ^ (uint64_t)(*v >> 63);

	pack_u64(k, &zigzag);
	*v = (int64_t)(zigzag >> 1 ^ -(zigzag & 1));
}

unsigned pack_choice(struct pack *k, unsigned v, unsigned count)
{
	uint32_t wide = v;

	pack_u32(k, &wide, count - 1);
	return wide;
}

static const uint8_t *take(struct pack *k, size_t size)
{
	if (k->err || size > (size_t)(k->end - k->p)) {
		pack_fail(k, -BB_ESYNTAX);
		return NULL;
	}
	k->p += size;
	return k->p - size;
}

void pack_fixed(struct pack *k, uint64_t *v)
{
	uint8_t bytes[8];

	if (!pack_is_reading(k)) {
		for (unsigned i = 0; i < 8; i++)
			bytes[i] = (uint8_t)(*v >> 8 * i);
		put(k, bytes, sizeof(bytes));
		return;
	}
	const uint8_t *from = take(k, sizeof(bytes));
	*v = 0;
	for (unsigned i = 0; from && i < 8; i++)
		*v |= (uint64_t)from[i] << 8 * i;
}

void pack_double(struct pack *k, double *v)
{
	uint64_t bits;

	memcpy(&bits, v, sizeof(bits));
	pack_fixed(k, &bits);
	memcpy(v, &bits, sizeof(bits));
}

void pack_amount(struct pack *k, double *v, double most)
{
	pack_double(k, v);
	if (pack_is_reading(k) && !(*v <= most && *v >= -most)) {
		pack_fail(k, -BB_ESYNTAX);
		*v = 0;
	}
}

void pack_str(struct pack *k, struct bb_str *s)
{
	uint64_t len = s->len;

	pack_u64(k, &len);
	if (!pack_is_reading(k)) {
		if (len)
			put(k, s->p, s->len);
		return;
	}
	const uint8_t *from = take(k, len);
	*s = (struct bb_str){ from ? (const char *)from : "", from ? len : 0 };
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static void put_hashes(struct pack *k, const uint64_t *list, uint32_t count)
{
	if (count)
		put(k, list, count * sizeof(*list));
}
#else
static void put_hashes(struct pack *k, const uint64_t *list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t hash = list[i];
		pack_fixed(k, &hash);
	}
}
#endif

void pack_hash_row(struct pack *k, uint64_t *list, uint32_t count)
{
	if (!pack_is_reading(k))
		put_hashes(k, list, count);
	else
		for (uint32_t i = 0; i < count; i++)
			pack_fixed(k, &list[i]);
}

void pack_hashes(struct pack *k, const uint64_t **list, uint32_t *count)
{
	*count = pack_count(k, *count, UINT32_MAX, sizeof(**list));
	if (!pack_is_reading(k)) {
		put_hashes(k, *list, *count);
		return;
	}
	*list = NULL;
	if (*count == 0)
		return;
	uint64_t *room = pack_room(k, *count, sizeof(*room));
	if (!room) {
		*count = 0;
		return;
	}
	pack_hash_row(k, room, *count);
	*list = room;
}

uint32_t pack_count(struct pack *k, uint32_t count, uint32_t most, size_t size_min)
{
	pack_u32(k, &count, most);
	if (pack_is_reading(k) && count > (size_t)(k->end - k->p) / size_min) {
		pack_fail(k, -BB_ESYNTAX);
		return 0;
	}
	return k->err && pack_is_reading(k) ? 0 : count;
}

void *pack_room(struct pack *k, uint32_t count, size_t size)
{
	size_t bytes;

	if (k->err)
		return NULL;
	if (__builtin_mul_overflow(count, size, &bytes)) {
		pack_fail(k, -BB_ELIMIT);
		return NULL;
	}
	void *room = bb_arena_alloc(k->arena, bytes ? bytes : 1);
	if (!room)
		pack_fail(k, -BB_ENOMEM);
	else
		memset(room, 0, bytes);
	return room;
}
