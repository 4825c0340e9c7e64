#include "text/text_error.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"

void text_error_set(struct text_error *e, const char *format, ...)
{
	va_list args;

	if (!e)
		return;
	va_start(args, format);
	vsnprintf(e->message, sizeof(e->message), format, args);
	va_end(args);
}

int text_error_invalid(struct text_error *e, const char *format, ...)
{
	va_list args;

	if (e) {
		va_start(args, format);
		vsnprintf(e->message, sizeof(e->message), format, args);
		va_end(args);
	}
	return -BB_EINVALID;
}
