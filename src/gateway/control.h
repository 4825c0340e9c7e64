/*
 * control.h: the control thread: probes, name look-ups, reload, signals, the admin listener.
 *
 * Threads: runs in the thread that called gateway_run; control_kick may come from any.
 * Memory: owns the probers and the snapshot in force.
 * Errors: -BB_ENOMEM, -BB_ESYSTEM, -BB_EINVALID, told by log lines.
 */
#pragma once

#include "gateway/gateway.h"

struct engine_rate {
	double requests, output_tokens; /* per second, over the last ten seconds */
};

/* Takes options->config, also when it fails. */
BB_MUST int control_create(struct gateway *g, const struct gateway_options *options,
			   struct control **out);
/* Starts probing; call once the workers exist. */
BB_MUST int control_start(struct control *c);
void control_run(struct control *c);
void control_destroy(struct control *c);
struct snapshot *control_snapshot(const struct control *c);
struct loop *control_loop(const struct control *c);
/* Reads the configuration again and puts it into force; mistakes are written to `report`. */
BB_MUST int control_reload(struct control *c, struct bb_buf *report);
struct engine_rate control_rate(const struct control *c, uint32_t engine_slot);
/* What comparing its tokens with ours has found; the control thread only. */
const char *control_text_detail(const struct control *c, uint32_t engine_slot);
/* What is known of its KV cache, and what it tells of itself; the control thread only. */
struct kv_status;
struct engine_figures;
bool control_kv(const struct control *c, uint32_t engine_slot, struct kv_status *out,
		struct engine_figures *figures);
/* What kind of engine it was found to be; NULL: not known yet. */
const struct adapter *control_adapter(const struct control *c, struct engine_id id);
/* Any thread: an engine failed a request; it is probed at once. */
void control_kick(struct gateway *g, struct engine_id id);

/* admin.c */
struct admin;
BB_MUST int admin_create(struct gateway *g, struct loop *loop, const struct snapshot *s,
			 struct admin **out);
void admin_set_tls(struct admin *a, struct tls_context *tls);
void admin_destroy(struct admin *a);
/* exposition.c: all metrics as Prometheus text. */
void exposition_write(struct gateway *g, struct bb_buf *out);
/* explain.c: why a request went where it went; false: its id is not known (any more). */
bool explain_write(struct gateway *g, struct bb_str id, struct bb_buf *out);
/* status.c: what GET /admin/status answers. */
void status_write(struct gateway *g, struct bb_buf *out);
