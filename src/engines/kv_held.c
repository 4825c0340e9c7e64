#include "engines/kv_held.h"

#include <string.h>

#include "base/log.h"

/* In front of each payload. */
struct head {
	uint64_t sequence;
	uint32_t len;
};

void kv_held_init(struct kv_held *h)
{
	bb_buf_init(&h->bytes, KV_HELD_MAX);
	h->at = 0;
}

void kv_held_clear(struct kv_held *h)
{
	bb_buf_fini(&h->bytes);
	h->at = 0;
}

void kv_held_add(struct kv_held *h, const struct zmq_batch *b)
{
	const struct head head = { b->sequence, (uint32_t)b->payload.len };

	if (b->payload.len > KV_HELD_MAX ||
	    b->payload.len + sizeof(head) > KV_HELD_MAX - h->bytes.len ||
	    bb_buf_reserve(&h->bytes, sizeof(head) + b->payload.len)) {
		h->bytes.err = 0;
		return;
	}
	bb_buf_add(&h->bytes, &head, sizeof(head));
	bb_buf_add(&h->bytes, b->payload.p, b->payload.len);
}

static bool head_get(const struct kv_held *h, struct head *out)
{
	if (h->at == h->bytes.len)
		return false;
	memcpy(out, h->bytes.p + h->at, sizeof(*out));
	return true;
}

bool kv_held_first(const struct kv_held *h, struct zmq_batch *out)
{
	struct head head;

	if (!head_get(h, &head))
		return false;
	*out = (struct zmq_batch){
		.sequence = head.sequence,
		.payload = { h->bytes.p + h->at + sizeof(head), head.len },
	};
	return true;
}

void kv_held_pop(struct kv_held *h)
{
	struct head head;

	BB_ASSERT(head_get(h, &head));
	(void)head_get(h, &head);
	h->at += sizeof(head) + head.len;
	if (h->at == h->bytes.len)
		kv_held_clear(h);
}
