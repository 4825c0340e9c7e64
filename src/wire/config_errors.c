#include "wire/config_errors.h"

#include <stdarg.h>
#include <stdio.h>

#define CONFIG_ERROR_TEXT_MAX 512

void config_errors_init(struct config_errors *e)
{
	*e = (struct config_errors){ 0 };
	bb_arena_init(&e->arena, (size_t)CONFIG_ERRORS_MAX * 2 * CONFIG_ERROR_TEXT_MAX);
}

void config_errors_fini(struct config_errors *e)
{
	bb_arena_fini(&e->arena);
	e->count = e->unlisted_count = 0;
}

static bool is_before(struct config_place a, struct config_place b)
{
	return a.line < b.line || (a.line == b.line && a.column < b.column);
}

void config_errors_add(struct config_errors *e, struct config_place place, const char *format, ...)
{
	char line[CONFIG_ERROR_TEXT_MAX];
	va_list ap;

	if (e->count == CONFIG_ERRORS_MAX) {
		e->unlisted_count++;
		return;
	}
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	const struct bb_str text = bb_arena_dup(&e->arena, bb_str_of(line));
	if (!text.p) {
		e->unlisted_count++;
		return;
	}
	uint32_t at = e->count++;
	for (; at > 0 && is_before(place, e->items[at - 1].place); at--)
		e->items[at] = e->items[at - 1];
	e->items[at] = (struct config_error){ .place = place, .text = text };
}

void config_errors_print(const struct config_errors *e, const char *file_name, struct bb_buf *out)
{
	for (uint32_t i = 0; i < e->count; i++) {
		const struct config_error *x = &e->items[i];
		bb_buf_printf(out, "%s:", file_name);
		if (x->place.line)
			bb_buf_printf(out, "%u:%u:", x->place.line, x->place.column);
		bb_buf_printf(out, " error: %.*s\n", BB_ARG(x->text));
	}
	if (e->unlisted_count)
		bb_buf_printf(out, "%s: error: %u more mistakes are not listed\n", file_name,
			      e->unlisted_count);
}
