/*
 * model_list.h: what an engine lists at /v1/models.
 *
 * For: the prober. The list of every kind of engine: {"data":[{"id":…}]} with vLLM's and SGLang's
 * max_model_len, llama.cpp's meta.n_ctx_train, and who owns the models, which tells the kinds apart.
 * Threads: one owner. Memory: a list owns its items; they change only with model_list_read.
 * Errors: -BB_ESYNTAX (no such list, or not JSON), -BB_ENOMEM; the list is as it was then. Models
 * whose names are empty, over BRAIN_NAME_MAX bytes or hold control characters are left out, counted
 * as a peer's oddity.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define MODEL_LIST_MAX 1024 /* models; the rest is left out */
#define MODEL_LIST_OWNER_SIZE 32

struct listed_model {
	uint32_t name_at;        /* in `names` */
	uint32_t name_len;
	uint64_t context_tokens; /* that the engine serves it with; 0: unknown */
	uint64_t trained_tokens; /* that it was trained with; 0: unknown */
	uint64_t is_adapter;     /* 1: it is made of another one, its parent */
};

struct model_list {
	struct listed_model *items;
	uint32_t count;
	struct bb_buf names;
	char owner[MODEL_LIST_OWNER_SIZE]; /* owned_by of the first; "" when absent or too long */
	uint64_t hash;                     /* of all of the above */
};

void model_list_init(struct model_list *l);
void model_list_fini(struct model_list *l);
/* 1 when the list is another one now, 0 when it is the same, or an error. */
BB_MUST int model_list_read(struct model_list *l, struct bb_str body);

static inline struct bb_str model_list_name(const struct model_list *l, uint32_t i)
{
	return (struct bb_str){ l->names.p + l->items[i].name_at, l->items[i].name_len };
}
