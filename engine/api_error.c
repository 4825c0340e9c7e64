#include "api_error.h"

#include <stdarg.h>
#include <stdio.h>

static const char *type_of(int status)
{
	switch (status) {
	case 400: return "BadRequestError";
	case 404: return "NotFoundError";
	case 405: return "MethodNotAllowedError";
	case 413: return "RequestEntityTooLargeError";
	case 503: return "ServiceUnavailableError";
	default: return "InternalServerError";
	}
}

static void set(struct api_error *e, int status, const char *param, const char *format, va_list ap)
	__attribute__((format(printf, 4, 0)));
static void set(struct api_error *e, int status, const char *param, const char *format, va_list ap)
{
	*e = (struct api_error){ .status = status, .type = type_of(status), .param = param };
	vsnprintf(e->message, sizeof(e->message), format, ap);
}

int api_error_bad(struct api_error *e, const char *param, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	set(e, 400, param, format, ap);
	va_end(ap);
	return -BB_EINVALID;
}

int api_error_set(struct api_error *e, int status, const char *param, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	set(e, status, param, format, ap);
	va_end(ap);
	return -BB_EINVALID;
}

int api_error_internal(struct api_error *e, int err)
{
	const struct bb_error_info *info = bb_error_info(err);

	if (err == -BB_ENOMEM)
		api_error_set(e, 503, NULL, "The engine has no memory left for this request");
	else if (info->http_status < 500)
		api_error_set(e, info->http_status, NULL, "%s", info->text);
	else
		api_error_set(e, 500, NULL, "%s", info->text);
	return err;
}
