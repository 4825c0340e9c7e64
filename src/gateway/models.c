/* models.c: which models there are, as OpenAI's API tells it. */
#include "base/log.h"
#include "gateway/request.h"
#include "os/clock.h"
#include "wire/errorbody.h"

#define NAMES_SHOWN 20
#define TEXT_MAX (4u << 20)

struct listing {
	struct bb_buf *out;
	struct bb_str only; /* a single model's name; empty: all */
	const struct auth_tenant *tenant; /* who may see it */
	uint32_t count;
	uint64_t wall_offset_ns; /* wall clock − monotonic clock */
};

static void entry_add(struct listing *l, struct bb_str name, const struct model_view *v)
{
	const bool is_allowed = auth_allows_model(l->tenant, name) ||
				auth_allows_model(l->tenant, bb_str_of(v->name));

	if (!is_allowed || (l->only.len && !bb_str_eq(l->only, name)))
		return;
	if (l->count++)
		bb_buf_lit(l->out, ",");
	bb_buf_lit(l->out, "{\"id\":");
	bb_buf_add_json(l->out, name);
	bb_buf_printf(l->out, ",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"busbar\"",
		      (unsigned long long)((v->created_ns + l->wall_offset_ns) / OS_SECOND));
	if (v->context_tokens)
		bb_buf_printf(l->out, ",\"max_model_len\":%llu",
			      (unsigned long long)v->context_tokens);
	bb_buf_printf(l->out, ",\"ready\":%s}", v->engines_ready ? "true" : "false");
}

static void on_model(void *user, const struct model_view *v)
{
	struct listing *l = user;

	if (!v->is_listed)
		return;
	entry_add(l, bb_str_of(v->name), v);
	for (uint32_t i = 0; i < v->alias_count; i++)
		if (v->aliases[i][0] != '*')
			entry_add(l, bb_str_of(v->aliases[i]), v);
}

/* The text after "/v1/models/", percent-decoded; empty when it is no good. */
static struct bb_str name_decode(struct bb_str path, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < path.len; i++) {
		unsigned c = (unsigned char)path.p[i];
		if (c == '%') {
			unsigned value = 0;
			if (i + 2 >= path.len)
				return BB_STR("");
			for (int k = 1; k <= 2; k++) {
				const char d = path.p[i + (size_t)k];
				const int digit = d >= '0' && d <= '9'	 ? d - '0'
						  : d >= 'a' && d <= 'f' ? d - 'a' + 10
						  : d >= 'A' && d <= 'F' ? d - 'A' + 10
									 : -1;
				if (digit < 0)
					return BB_STR("");
				value = value * 16 + (unsigned)digit;
			}
			c = value;
			i += 2;
		}
		if (n == size)
			return BB_STR("");
		out[n++] = (char)c;
	}
	return (struct bb_str){ out, n };
}

int models_answer(struct request *r, struct bb_str fields)
{
	int status = 200;
	struct exchange *x = r->x;
	struct gateway *g = r->worker->gateway;
	const struct bb_str prefix = BB_STR("/v1/models/");
	char name[BRAIN_NAME_MAX];
	struct bb_buf out;
	bb_buf_init(&out, TEXT_MAX);
	struct listing l = { .out = &out,
			     .tenant = r->tenant,
			     .wall_offset_ns = clock_wall_ns() - clock_now_ns() };
	const bool is_single = bb_str_starts(x->head->path, prefix) && x->head->path.len > prefix.len;

	if (is_single)
		l.only = name_decode(bb_str_skip(x->head->path, prefix.len), name, sizeof(name));
	else
		bb_buf_lit(&out, "{\"object\":\"list\",\"data\":[");
	if (!is_single || l.only.len) {
		gateway_lock(g);
		brain_models_each(g->brain, on_model, &l);
		gateway_unlock(g);
	}
	if (!is_single)
		bb_buf_lit(&out, "]}");
	if (out.err) {
		status = 503;
		bb_buf_clear(&out);
		openai_error_write(&out, FAMILY_OPENAI, -BB_ENOMEM, BB_STR(""), NULL);
	} else if (is_single && l.count == 0) {
		struct bb_buf message;
		status = 404;
		bb_buf_init(&message, TEXT_MAX);
		models_explain_unknown(r, l.only, &message);
		openai_error_write(&out, FAMILY_OPENAI, -BB_ENOMODEL, bb_buf_str(&message), "model");
		bb_buf_fini(&message);
	}
	exchange_reply(x, status, BB_STR("application/json"), fields, bb_buf_str(&out));
	bb_buf_fini(&out);
	return status;
}

static void on_name(void *user, const struct model_view *v)
{
	struct listing *l = user;

	if (!v->is_listed || !auth_allows_model(l->tenant, bb_str_of(v->name)) ||
	    l->count++ >= NAMES_SHOWN)
		return;
	bb_buf_printf(l->out, "%s`%s`", l->count == 1 ? "; there is " : ", ", v->name);
}

void models_explain_unknown(const struct request *r, struct bb_str name, struct bb_buf *out)
{
	struct gateway *g = r->worker->gateway;
	struct listing l = { .out = out, .tenant = r->tenant };
	const size_t shown = name.len > 100 ? 100 : name.len;

	bb_buf_printf(out, "the model `%.*s` does not exist", (int)shown, name.p ? name.p : "");
	gateway_lock(g);
	brain_models_each(g->brain, on_name, &l);
	gateway_unlock(g);
	if (l.count > NAMES_SHOWN)
		bb_buf_printf(out, " and %u more", l.count - NAMES_SHOWN);
	if (l.count == 0 && !r->tenant)
		bb_buf_lit(out, "; no engine has told of any model yet");
}
