#include "text/chat_text.h"

#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/log.h"
#include "text/gguf.h"
#include "wire/json.h"

#define ARENA_MAX (4u << 20)
#define SPECIALS_MAX 64 /* further special tokens that a template may name */

struct chat_text {
	struct template *plain;
	struct template *with_tools; /* NULL: the plain one */
	struct bb_arena arena;
	struct bb_str bos, eos, pad, unk; /* p NULL: none */
	struct bb_str more;		  /* {"name": "text"}: further ones */
};

/* ---- files ---- */

static int file_check(struct bb_str file, const char *name, struct text_error *e)
{
	struct json_error at;

	if (!file.p)
		return 0;
	if (file.len > CHAT_TEXT_FILE_MAX) {
		text_error_set(e, "%s: it is larger than %u MiB", name, CHAT_TEXT_FILE_MAX >> 20);
		return -BB_ELIMIT;
	}
	if (json_check(file, JSON_DEPTH_MAX, &at)) {
		text_error_set(e, "%s: it is not valid JSON: %s at byte %zu", name, at.what,
			       at.offset);
		return -BB_ESYNTAX;
	}
	if (json_type_of(bb_str_trim(file)) != JSON_OBJECT) {
		text_error_set(e, "%s: it is no JSON object", name);
		return -BB_EINVALID;
	}
	return 0;
}

static bool member(struct bb_str file, const char *name, struct json_member *out)
{
	return file.p && json_get(bb_str_trim(file), bb_str_of(name), out);
}

/* ---- templates ---- */

static int compile(struct bb_str source, const char *where, struct template **out,
		   struct text_error *e)
{
	struct text_error inner = { "" };
	const int rc = template_create(source, out, &inner);

	if (rc)
		text_error_set(e, "%s: %s", where,
			       inner.message[0] ? inner.message : bb_error_info(rc)->text);
	return rc;
}

/* A raw JSON string that is a template. */
static int compile_raw(struct bb_str raw, const char *where, struct template **out,
		       struct text_error *e)
{
	struct bb_buf text;

	bb_buf_init(&text, TEMPLATE_SOURCE_MAX);
	int rc = json_string_decode_buf(raw, &text);
	if (rc)
		text_error_set(e, "%s: its chat_template cannot be read: %s", where,
			       bb_error_info(rc)->text);
	else
		rc = compile(bb_buf_str(&text), where, out, e);
	bb_buf_fini(&text);
	return rc;
}

/* [{"name": "default", "template": "…"}, …] */
static int compile_named(struct chat_text *c, struct bb_str list, const char *where,
			 struct text_error *e)
{
	struct json_pull j;
	struct bb_str one;
	enum json_type type;
	struct json_member name, source;
	int rc = 0;

	json_pull_init(&j, list);
	json_pull_array(&j);
	while (!rc && json_pull_more(&j) && json_pull_value(&j, &one, &type)) {
		if (type != JSON_OBJECT || !json_get(one, BB_STR("name"), &name) ||
		    !json_get(one, BB_STR("template"), &source) || source.type != JSON_STRING)
			continue;
		if (!c->plain && json_string_eq(name.value, BB_STR("default")))
			rc = compile_raw(source.value, where, &c->plain, e);
		else if (!c->with_tools && json_string_eq(name.value, BB_STR("tool_use")))
			rc = compile_raw(source.value, where, &c->with_tools, e);
	}
	return rc;
}

static int compile_member(struct chat_text *c, struct bb_str file, const char *where,
			  struct text_error *e)
{
	struct json_member m;

	if (c->plain || !member(file, "chat_template", &m))
		return 0;
	if (m.type == JSON_STRING)
		return compile_raw(m.value, where, &c->plain, e);
	return m.type == JSON_ARRAY ? compile_named(c, m.value, where, e) : 0;
}

/* ---- special tokens ---- */

/* A text, or an object with `content`. */
static int special_take(struct chat_text *c, struct bb_str file, const char *name,
			struct bb_str *out)
{
	struct json_member m, content;

	if (out->p || !member(file, name, &m))
		return 0;
	if (m.type == JSON_OBJECT) {
		if (!json_get(m.value, BB_STR("content"), &content))
			return 0;
		m = content;
	}
	if (m.type != JSON_STRING)
		return 0;
	struct bb_str text;
	int rc = json_string_decode(m.value, &c->arena, &text);
	if (rc)
		return rc;
	*out = bb_arena_dup(&c->arena, text);
	return out->p ? 0 : -BB_ENOMEM;
}

static bool is_known_special(struct bb_str key)
{
	static const struct bb_str known[] = { BB_STR_INIT("bos_token"), BB_STR_INIT("eos_token"),
					       BB_STR_INIT("pad_token"), BB_STR_INIT("unk_token") };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (bb_str_eq(key, known[i]))
			return true;
	return false;
}

/* What else is called …_token: cls_token, sep_token, mask_token, image_token, … */
static int specials_more(struct chat_text *c, struct bb_str file)
{
	struct json_pull j;
	struct json_member content, m = { 0 };
	struct bb_buf b;
	uint32_t count = 0;

	if (!file.p || c->more.p)
		return 0;
	bb_buf_init(&b, ARENA_MAX);
	bb_buf_lit(&b, "{");
	json_pull_init(&j, file);
	json_pull_object(&j);
	while (count < SPECIALS_MAX && json_pull_key(&j, &m.key) &&
	       json_pull_value(&j, &m.value, &m.type)) {
		if (!bb_str_ends(m.key, BB_STR("_token")) || is_known_special(m.key))
			continue;
		if (m.type == JSON_OBJECT && json_get(m.value, BB_STR("content"), &content)) {
			m.value = content.value;
			m.type = content.type;
		}
		if (m.type != JSON_STRING)
			continue;
		bb_buf_add(&b, ",", count++ ? 1 : 0);
		bb_buf_printf(&b, "\"%.*s\":%.*s", BB_ARG(m.key), BB_ARG(m.value));
	}
	bb_buf_lit(&b, "}");
	int rc = b.err;
	if (!rc && count) {
		c->more = bb_arena_dup(&c->arena, bb_buf_str(&b));
		rc = c->more.p ? 0 : -BB_ENOMEM;
	}
	bb_buf_fini(&b);
	return rc;
}

static int specials_take(struct chat_text *c, struct bb_str file)
{
	int rc = special_take(c, file, "bos_token", &c->bos);

	if (!rc)
		rc = special_take(c, file, "eos_token", &c->eos);
	if (!rc)
		rc = special_take(c, file, "pad_token", &c->pad);
	if (!rc)
		rc = special_take(c, file, "unk_token", &c->unk);
	return rc ? rc : specials_more(c, file);
}

/* ---- life ---- */

static struct chat_text *chat_alloc(void)
{
	struct chat_text *c = bb_alloc_zero(1, sizeof(*c));

	if (c)
		bb_arena_init(&c->arena, ARENA_MAX);
	return c;
}

void chat_text_destroy(struct chat_text *c)
{
	if (!c)
		return;
	template_destroy(c->plain);
	template_destroy(c->with_tools);
	bb_arena_fini(&c->arena);
	bb_free(c);
}

static int take_files(struct chat_text *c, const struct chat_files *f, struct text_error *e)
{
	int rc = file_check(f->template_json, "chat_template.json", e);

	if (!rc)
		rc = file_check(f->config, "tokenizer_config.json", e);
	if (!rc)
		rc = file_check(f->special_map, "special_tokens_map.json", e);
	if (!rc && f->jinja.p)
		rc = compile(f->jinja, "chat_template.jinja", &c->plain, e);
	if (!rc)
		rc = compile_member(c, f->template_json, "chat_template.json", e);
	if (!rc)
		rc = compile_member(c, f->config, "tokenizer_config.json", e);
	if (!rc && !c->plain) {
		text_error_set(e, "there is no chat template: neither chat_template.jinja nor "
				  "chat_template in tokenizer_config.json");
		return -BB_EABSENT;
	}
	if (!rc)
		rc = specials_take(c, f->config);
	return rc ? rc : specials_take(c, f->special_map);
}

int chat_text_create(const struct chat_files *files, struct chat_text **out, struct text_error *e)
{
	struct chat_text *c = chat_alloc();

	if (!c)
		return -BB_ENOMEM;
	const int rc = take_files(c, files, e);
	if (rc) {
		chat_text_destroy(c);
		return rc;
	}
	*out = c;
	return 0;
}

/* ---- GGUF ---- */

/* The texts of the special tokens, by their ids. */
static int gguf_specials(struct chat_text *c, const struct gguf *g)
{
	const struct {
		const char *key;
		struct bb_str *out;
	} list[] = {
		{ "tokenizer.ggml.bos_token_id", &c->bos },
		{ "tokenizer.ggml.eos_token_id", &c->eos },
		{ "tokenizer.ggml.padding_token_id", &c->pad },
		{ "tokenizer.ggml.unknown_token_id", &c->unk },
	};
	const struct gguf_pair *tokens = gguf_array(g, "tokenizer.ggml.tokens", GGUF_STRING);
	size_t at = 0;
	uint64_t id;

	for (uint64_t i = 0; tokens && i < tokens->count; i++) {
		const struct bb_str text = gguf_array_text(tokens, &at);
		for (size_t k = 0; k < sizeof(list) / sizeof(list[0]); k++) {
			if (!gguf_u64(g, list[k].key, &id) || id != i)
				continue;
			*list[k].out = bb_arena_dup(&c->arena, text);
			if (!list[k].out->p)
				return -BB_ENOMEM;
		}
	}
	return 0;
}

static int take_gguf(struct chat_text *c, const struct gguf *g, struct bb_str jinja,
		     struct text_error *e)
{
	struct bb_str source;
	int rc = 0;

	if (jinja.p)
		rc = compile(jinja, "chat_template.jinja", &c->plain, e);
	else if (gguf_template(g, BB_STR(""), &source))
		rc = compile(source, "tokenizer.chat_template", &c->plain, e);
	if (!rc && !jinja.p && gguf_template(g, BB_STR("tool_use"), &source))
		rc = compile(source, "tokenizer.chat_template.tool_use", &c->with_tools, e);
	if (!rc && !c->plain) {
		text_error_set(e, "there is no chat template in the file's metadata");
		return -BB_EABSENT;
	}
	return rc ? rc : gguf_specials(c, g);
}

int chat_text_create_gguf(struct bb_str file, struct bb_str jinja, struct chat_text **out,
			  struct text_error *e)
{
	struct gguf g;
	int rc = gguf_open(file, &g, e);

	if (rc)
		return rc;
	struct chat_text *c = chat_alloc();
	rc = c ? take_gguf(c, &g, jinja, e) : -BB_ENOMEM;
	gguf_close(&g);
	if (rc) {
		chat_text_destroy(c);
		return rc;
	}
	*out = c;
	return 0;
}

/* ---- rendering ---- */

/* Does the request bring tools along? */
static bool has_tools(struct bb_str body)
{
	struct json_member tools;
	struct json_pull j;

	if (!json_get(body, BB_STR("tools"), &tools) || tools.type != JSON_ARRAY)
		return false;
	json_pull_init(&j, tools.value);
	return json_pull_array(&j) && json_pull_more(&j);
}

int chat_text_render(const struct chat_text *c, const struct template_input *in, struct bb_buf *out,
		     struct text_error *e)
{
	struct template_input own = *in;
	const bool is_tooled = c->with_tools && has_tools(bb_str_trim(in->body));

	own.bos_token = c->bos;
	own.eos_token = c->eos;
	own.pad_token = c->pad;
	own.unk_token = c->unk;
	own.special_json = c->more;
	return template_render(is_tooled ? c->with_tools : c->plain, &own, out, e);
}

struct bb_str chat_text_bos(const struct chat_text *c)
{
	return c->bos;
}
