#include "gateway/jwks_ring.h"

#include <pthread.h>

#include "base/alloc.h"

struct jwks_ring {
	uint32_t refs;	  /* atomic */
	uint32_t version; /* atomic; written under the lock */
	bool has_wish;	  /* atomic */
	pthread_mutex_t lock;
	struct jwks *set;
};

int jwks_ring_create(struct jwks_ring **out)
{
	struct jwks_ring *r = bb_alloc_zero(1, sizeof(*r));

	if (!r)
		return -BB_ENOMEM;
	r->refs = 1;
	pthread_mutex_init(&r->lock, NULL);
	*out = r;
	return 0;
}

struct jwks_ring *jwks_ring_get(struct jwks_ring *r)
{
	__atomic_add_fetch(&r->refs, 1, __ATOMIC_RELAXED);
	return r;
}

void jwks_ring_put(struct jwks_ring *r)
{
	if (!r || __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	jwks_put(r->set);
	pthread_mutex_destroy(&r->lock);
	bb_free(r);
}

void jwks_ring_set(struct jwks_ring *r, struct jwks *set)
{
	pthread_mutex_lock(&r->lock);
	struct jwks *old = r->set;
	r->set = set;
	__atomic_store_n(&r->version, r->version + 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&r->lock);
	jwks_put(old);
}

uint32_t jwks_ring_version(const struct jwks_ring *r)
{
	return __atomic_load_n(&r->version, __ATOMIC_ACQUIRE);
}

struct jwks *jwks_ring_keys(struct jwks_ring *r, uint32_t *version)
{
	pthread_mutex_lock(&r->lock);
	struct jwks *set = r->set ? jwks_get(r->set) : NULL;
	*version = r->version;
	pthread_mutex_unlock(&r->lock);
	return set;
}

void jwks_ring_wish(struct jwks_ring *r)
{
	__atomic_store_n(&r->has_wish, true, __ATOMIC_RELAXED);
}

bool jwks_ring_has_wish(const struct jwks_ring *r)
{
	return __atomic_load_n(&r->has_wish, __ATOMIC_RELAXED);
}

void jwks_ring_drop_wish(struct jwks_ring *r)
{
	__atomic_store_n(&r->has_wish, false, __ATOMIC_RELAXED);
}
