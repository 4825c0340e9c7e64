#include "model.h"

#include <ggml-backend.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "host_memory.h"
#include "os/process.h"


#define CTX_DEFAULT_MAX 8192
#define BATCH_DEFAULT_CPU 256
#define BATCH_DEFAULT_GPU 2048
#define UBATCH_MAX 512
#define ONE_THREAD_WEIGHTS (32ull << 20) /* below it, threads cost more than they bring */
#define WORK_MEMORY_BYTES (128ull << 20) /* graphs, logits, heap: besides weights and KV */
#define MIB(bytes) ((double)(bytes) / 1048576.0)

/* libllama says why it failed only in its log: the last error line is kept for our message. */
static pthread_mutex_t last_error_lock = PTHREAD_MUTEX_INITIALIZER;
static char last_error[256];

static void on_llama_log(enum ggml_log_level level, const char *text, void *user)
{
	struct bb_str line = bb_str_trim(bb_str_of(text));

	(void)user;
	if (line.len == 0)
		return;
	if (level != GGML_LOG_LEVEL_ERROR) {
		BB_LOG(BB_LOG_DEBUG, "libllama", "%.*s", BB_ARG(line));
		return;
	}
	BB_LOG(BB_LOG_WARN, "libllama", "%.*s", BB_ARG(line));
	pthread_mutex_lock(&last_error_lock);
	snprintf(last_error, sizeof(last_error), "%.*s", BB_ARG(line));
	pthread_mutex_unlock(&last_error_lock);
}

static int fail(char why[MODEL_WHY_SIZE], int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static int fail(char why[MODEL_WHY_SIZE], int err, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, MODEL_WHY_SIZE, format, ap);
	va_end(ap);
	return err;
}

int model_check_file(const char *path, char why[MODEL_WHY_SIZE])
{
	char magic[4] = "";
	FILE *f = fopen(path, "rb");

	if (!f)
		return fail(why, -BB_ESYSTEM, "%s: %m", path);
	const size_t n = fread(magic, 1, sizeof(magic), f);
	const bool is_broken = ferror(f);
	fclose(f);
	if (is_broken)
		return fail(why, -BB_ESYSTEM, "%s: cannot be read (is it a folder?)", path);
	if (n != sizeof(magic) || memcmp(magic, "GGUF", sizeof(magic)) != 0)
		return fail(why, -BB_EINVALID,
			    "%s: not a GGUF file (it does not begin with the bytes 'GGUF')", path);
	return 0;
}

/* A number from the file's metadata under "<architecture>.<key>", or `otherwise`. */
static uint32_t meta_number(const struct llama_model *llama, const char *key, uint32_t otherwise)
{
	char arch[64], name[160], text[32];
	uint64_t value;

	if (llama_model_meta_val_str(llama, "general.architecture", arch, sizeof(arch)) < 0)
		return otherwise;
	snprintf(name, sizeof(name), "%s.%s", arch, key);
	if (llama_model_meta_val_str(llama, name, text, sizeof(text)) < 0 ||
	    bb_parse_u64(bb_str_of(text), &value) || value > UINT32_MAX)
		return otherwise;
	return (uint32_t)value;
}

static enum llama_pooling_type pooling_type(const struct engine_options *o,
					    const struct llama_model *llama)
{
	switch (o->pooling) {
	case POOLING_NONE: return LLAMA_POOLING_TYPE_NONE;
	case POOLING_MEAN: return LLAMA_POOLING_TYPE_MEAN;
	case POOLING_CLS: return LLAMA_POOLING_TYPE_CLS;
	case POOLING_LAST: return LLAMA_POOLING_TYPE_LAST;
	case POOLING_FROM_MODEL: break;
	}
	return (enum llama_pooling_type)meta_number(llama, "pooling_type", LLAMA_POOLING_TYPE_NONE);
}

static uint64_t kv_token_bytes(const struct llama_model *llama)
{
	const uint32_t heads = (uint32_t)llama_model_n_head(llama);
	const uint32_t width = heads ? (uint32_t)llama_model_n_embd(llama) / heads : 0;
	const uint32_t key = meta_number(llama, "attention.key_length", width);
	const uint32_t value = meta_number(llama, "attention.value_length", width);

	/* Two bytes a number: the cache is f16. */
	return (uint64_t)llama_model_n_layer(llama) * (uint64_t)llama_model_n_head_kv(llama) *
	       (key + value) * 2;
}

/* Called by libllama now and then; false ends the load. */
static bool on_load_progress(float done, void *user)
{
	const bool *gives_up = user;

	return !__atomic_load_n(gives_up, __ATOMIC_RELAXED);
}

static int load_weights(const struct engine_options *o, const bool *gives_up, struct model *m,
			char why[MODEL_WHY_SIZE])
{
	struct llama_model_params p = llama_model_default_params();

	p.n_gpu_layers = o->gpu_layers;
	p.progress_callback = on_load_progress;
	p.progress_callback_user_data = (void *)gives_up;
	last_error[0] = '\0';
	m->llama = llama_model_load_from_file(o->model_path, p);
	if (!m->llama)
		return fail(why, -BB_EINVALID, "%s: libllama cannot load it: %s", o->model_path,
			    last_error[0] ? last_error : "no reason given");
	m->vocab = llama_model_get_vocab(m->llama);
	m->vocab_size = (uint32_t)llama_vocab_n_tokens(m->vocab);
	m->embd_size = (uint32_t)llama_model_n_embd_out(m->llama);
	m->kv_token_bytes = kv_token_bytes(m->llama);
	for (uint32_t t = 0; t < m->vocab_size && m->eog_count < MODEL_EOG_MAX; t++)
		if (llama_vocab_is_eog(m->vocab, (int32_t)t))
			m->eog[m->eog_count++] = (int32_t)t;
	return 0;
}

/* How many tokens the KV cache may have; refuses what does not fit into memory. */
static int choose_ctx(const struct engine_options *o, struct model *m, uint64_t free_bytes,
		      char why[MODEL_WHY_SIZE])
{
	const uint64_t weights = llama_model_size(m->llama);
	const uint64_t other = weights + WORK_MEMORY_BYTES;
	const uint64_t left = free_bytes > other ? free_bytes - other : 0;
	const uint64_t fitting = m->kv_token_bytes ? left / m->kv_token_bytes : UINT32_MAX;
	const uint32_t trained = (uint32_t)llama_model_n_ctx_train(m->llama);
	uint64_t tokens = o->ctx_tokens;

	if (!tokens) {
		tokens = trained && trained < CTX_DEFAULT_MAX ? trained : CTX_DEFAULT_MAX;
		if (tokens > fitting)
			tokens = fitting;
	}
	tokens -= tokens % o->block_size;
	if (!tokens || tokens > fitting)
		return fail(
			why, -BB_ELIMIT,
			"%s: a context of %llu tokens needs %.0f MiB of KV cache besides %.0f MiB "
			"of weights, but only %.0f MiB of memory is free; at most --ctx %llu fits",
			o->model_path,
			(unsigned long long)(o->ctx_tokens ? o->ctx_tokens : o->block_size),
			MIB((o->ctx_tokens ? o->ctx_tokens : o->block_size) * m->kv_token_bytes),
			MIB(weights), MIB(free_bytes), (unsigned long long)fitting);
	if (trained && tokens > trained)
		BB_LOG(BB_LOG_WARN, "context",
		       "--ctx %llu is more than the %u tokens the model was "
		       "trained for: long answers may be poor",
		       (unsigned long long)tokens, trained);
	m->ctx_tokens = (uint32_t)tokens;
	return 0;
}

/* libllama's threads spin while they wait for each other, so more than the free cores is slow. */
static uint32_t choose_threads(const struct engine_options *o, const struct model *m)
{
	if (o->threads)
		return o->threads;
	return llama_model_size(m->llama) < ONE_THREAD_WEIGHTS ? 1 : process_core_count();
}

static int make_context(const struct engine_options *o, struct model *m, char why[MODEL_WHY_SIZE])
{
	struct llama_context_params p = llama_context_default_params();
	const enum llama_pooling_type pooling = pooling_type(o, m->llama);
	const bool has_gpu = o->gpu_layers != 0 && gpu_memory_free_bytes() > 0;

	m->embeds = pooling != LLAMA_POOLING_TYPE_NONE || !llama_model_has_decoder(m->llama);
	m->batch_tokens = o->batch_tokens ? o->batch_tokens
			  : has_gpu	  ? BATCH_DEFAULT_GPU
					  : BATCH_DEFAULT_CPU;
	/* An embedding looks at the whole text at once: it must fit into one step. */
	if (m->embeds || m->batch_tokens > m->ctx_tokens)
		m->batch_tokens = m->ctx_tokens < o->parallel ? o->parallel : m->ctx_tokens;
	m->slot_count = m->embeds ? o->parallel : o->parallel * 4 + 8;
	if (m->slot_count > llama_max_parallel_sequences())
		m->slot_count = (uint32_t)llama_max_parallel_sequences();
	p.n_ctx = m->ctx_tokens;
	p.n_batch = m->batch_tokens;
	p.n_ubatch = m->embeds || m->batch_tokens < UBATCH_MAX ? m->batch_tokens : UBATCH_MAX;
	p.n_seq_max = m->slot_count;
	p.n_outputs_max = m->embeds ? 0 : m->slot_count;
	p.n_threads = p.n_threads_batch = (int32_t)choose_threads(o, m);
	p.pooling_type = pooling;
	p.embeddings = m->embeds;
	p.kv_unified = true;
	p.swa_full = true; /* else an old prefix would have holes and could not be shared */
	m->ctx = llama_init_from_model(m->llama, p);
	if (!m->ctx)
		return fail(why, -BB_ENOMEM, "%s: no context of %u tokens can be made: %s",
			    o->model_path, m->ctx_tokens,
			    last_error[0] ? last_error : "no reason given");
	return 0;
}

/* The template that comes with the model, rendered as transformers and llama.cpp's server do. */
static int read_template(const char *path, struct model *m, struct text_error *e)
{
	const struct bb_str none = { NULL, 0 };
	char *head;
	size_t len;
	int rc = file_read_head(path, CHAT_TEXT_GGUF_MAX, &head, &len);

	if (rc)
		return rc;
	rc = chat_text_create_gguf((struct bb_str){ head, len }, none, &m->chat, e);
	bb_free(head);
	return rc;
}

static void choose_template(const struct engine_options *o, struct model *m)
{
	struct text_error e = { "" };

	if (llama_vocab_get_add_bos(m->vocab) && llama_vocab_bos(m->vocab) >= 0)
		m->bos = bb_str_of(llama_vocab_get_text(m->vocab, llama_vocab_bos(m->vocab)));
	if (m->embeds)
		return;
	const int rc = read_template(o->model_path, m, &e);
	if (rc)
		BB_LOG(BB_LOG_WARN, "chat_template", "ChatML is used: %s",
		       e.message[0] ? e.message : bb_error_info(rc)->text);
}

int model_load(const struct engine_options *o, const bool *gives_up, struct model *m,
	       char why[MODEL_WHY_SIZE])
{
	const uint64_t host_free = host_memory_free_bytes();

	*m = (struct model){ 0 };
	llama_log_set(on_llama_log, NULL);
	llama_backend_init();
	const uint64_t gpu_free = o->gpu_layers ? gpu_memory_free_bytes() : 0;
	if (o->gpu_layers > 0 && !gpu_free)
		BB_LOG(BB_LOG_WARN, "gpu",
		       "--gpu-layers %d: no GPU is usable with this build; the "
		       "model runs on the CPU",
		       o->gpu_layers);
	int rc = load_weights(o, gives_up, m, why);
	if (!rc)
		rc = choose_ctx(o, m, gpu_free ? gpu_free : host_free, why);
	if (!rc)
		rc = make_context(o, m, why);
	if (rc) {
		model_unload(m);
		return rc;
	}
	m->shares_prefixes = !m->embeds && !llama_model_is_recurrent(m->llama) &&
			     !llama_model_is_hybrid(m->llama);
	choose_template(o, m);
	return 0;
}

void model_unload(struct model *m)
{
	chat_text_destroy(m->chat);
	if (m->ctx)
		llama_free(m->ctx);
	if (m->llama)
		llama_model_free(m->llama);
	*m = (struct model){ 0 };
	llama_backend_free();
}

int model_tokenize(const struct model *m, struct bb_str text, enum model_bos bos, int32_t **tokens,
		   uint32_t *count)
{
	const bool add_special = bos == MODEL_BOS_AS_USUAL;

	if (text.len > INT32_MAX / 8)
		return -BB_ELIMIT;
	/* A token has at least one byte, apart from the two that may be put around the text. */
	int32_t room = (int32_t)text.len + 8;
	for (int attempt = 0; attempt < 2; attempt++) {
		int32_t *out = bb_alloc((size_t)room * sizeof(*out));
		if (!out)
			return -BB_ENOMEM;
		const int32_t n = llama_tokenize(m->vocab, text.p ? text.p : "", (int32_t)text.len,
						 out, room, add_special, true);
		if (n >= 0) {
			*tokens = out;
			*count = (uint32_t)n;
			return 0;
		}
		bb_free(out);
		if (n == INT32_MIN)
			return -BB_ELIMIT;
		room = -n;
	}
	return -BB_EINVALID;
}

int model_piece(const struct model *m, int32_t token, enum model_piece kind, struct bb_buf *out)
{
	const bool special = kind == PIECE_WITH_SPECIAL;
	int rc = bb_buf_reserve(out, 64);

	if (rc)
		return rc;
	int32_t n = llama_token_to_piece(m->vocab, token, out->p + out->len,
					 (int32_t)(out->cap - out->len), 0, special);
	if (n < 0) {
		rc = bb_buf_reserve(out, (size_t)-n);
		if (rc)
			return rc;
		n = llama_token_to_piece(m->vocab, token, out->p + out->len,
					 (int32_t)(out->cap - out->len), 0, special);
	}
	if (n > 0)
		out->len += (size_t)n;
	return 0;
}

bool model_is_eog(const struct model *m, int32_t token)
{
	for (uint32_t i = 0; i < m->eog_count; i++)
		if (m->eog[i] == token)
			return true;
	return false;
}
