#include "kv_publisher.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "net/zmq_pub.h"
#include "os/clock.h"
#include "wire/kv_events.h"

#define BATCH_SIZE_MAX (16u << 20)
#define MEDIUM BB_STR("GPU") /* what routers know as the engine's own memory, on a CPU as well */

struct batch {
	struct loop_message message;
	struct kv_publisher *publisher;
	struct bb_buf payload;
};

struct kv_publisher {
	struct loop *loop;
	struct zmq_pub *pub;
	uint32_t block_size;
	struct batch *batch; /* NULL: nothing happened in this step so far */
	struct kv_encoder encoder;
	bool has_lost; /* a batch: routers must forget what they know */
};

int kv_publisher_create(struct loop *loop, const struct engine_options *o,
			struct kv_publisher **out, const char **why)
{
	struct kv_publisher *p = bb_alloc_zero(1, sizeof(*p));
	const struct zmq_pub_config config = {
		.loop = loop,
		.listen = o->kv_events,
		.replay = o->kv_replay_text ? &o->kv_replay : NULL,
		.topic = bb_str_of(o->kv_topic),
		.batches_max = KV_BATCHES_MAX,
	};

	*why = "there is no memory";
	if (!p)
		return -BB_ENOMEM;
	p->loop = loop;
	p->block_size = o->block_size;
	const int rc = zmq_pub_create(&config, &p->pub, why);
	if (rc) {
		bb_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

static void batch_free(struct batch *batch)
{
	bb_buf_fini(&batch->payload);
	bb_free(batch);
}

void kv_publisher_destroy(struct kv_publisher *p)
{
	if (!p)
		return;
	if (p->batch)
		batch_free(p->batch);
	zmq_pub_destroy(p->pub);
	bb_free(p);
}

static void on_batch(struct loop_message *m)
{
	struct batch *batch = BB_CONTAINER(m, struct batch, message);

	/* A batch that cannot be kept uses up its number: subscribers see the gap. */
	const int rc = zmq_pub_send(batch->publisher->pub, bb_buf_str(&batch->payload));
	(void)BB_CHECK(rc == 0, "no memory for a batch of KV events");
	batch_free(batch);
}

/* False: no memory; the loss is remembered. */
static bool batch_begin(struct kv_publisher *p)
{
	if (p->batch)
		return true;
	p->batch = bb_alloc_zero(1, sizeof(*p->batch));
	if (!p->batch) {
		p->has_lost = true;
		return false;
	}
	p->batch->publisher = p;
	p->batch->message.run = on_batch;
	bb_buf_init(&p->batch->payload, BATCH_SIZE_MAX);
	kv_batch_begin(&p->encoder, &p->batch->payload,
		       (double)clock_wall_ns() / (double)OS_SECOND);
	if (p->has_lost)
		kv_add_cleared(&p->encoder);
	p->has_lost = false;
	return true;
}

static void on_stored(void *user, const uint64_t *hashes, uint32_t count, const int32_t *tokens,
		      const uint64_t *parent, struct bb_str salt)
{
	struct kv_publisher *p = user;
	const struct kv_store store = {
		.hashes = hashes,
		.hash_count = count,
		.block_size = p->block_size,
		.tokens = (const uint32_t *)tokens,
		.parent = parent ? *parent : 0,
		.has_parent = parent != NULL,
		.medium = MEDIUM,
		.cache_salt = salt,
	};

	if (batch_begin(p))
		kv_add_stored(&p->encoder, &store);
}

static void on_removed(void *user, uint64_t hash)
{
	struct kv_publisher *p = user;

	if (batch_begin(p))
		kv_add_removed(&p->encoder, &hash, 1, MEDIUM);
}

struct kv_sink kv_publisher_sink(struct kv_publisher *p)
{
	return (struct kv_sink){ .user = p, .stored = on_stored, .removed = on_removed };
}

void kv_publisher_cleared(struct kv_publisher *p)
{
	if (batch_begin(p))
		kv_add_cleared(&p->encoder);
}

void kv_publisher_flush(struct kv_publisher *p)
{
	struct batch *batch = p->batch;

	if (!batch)
		return;
	p->batch = NULL;
	if (kv_batch_end(&p->encoder, 0)) {
		p->has_lost = true;
		batch_free(batch);
		return;
	}
	loop_post(p->loop, &batch->message);
}

uint16_t kv_publisher_port(const struct kv_publisher *p)
{
	return zmq_pub_port(p->pub);
}

uint16_t kv_publisher_replay_port(const struct kv_publisher *p)
{
	return zmq_pub_replay_port(p->pub);
}
