#include "base/err.h"

static const struct bb_error_info error_table[BB_E_COUNT] = {
	[BB_OK] = { "OK", 200, "", "", false, "no error" },
#define X(name, status, type, code, retry, text)                                                   \
	[BB_E##name] = { #name, status, type, code, retry, text },
	BB_ERRORS(X)
#undef X
};

const struct bb_error_info *bb_error_info(int err)
{
	if (err <= -BB_E_COUNT || err >= BB_E_COUNT)
		err = BB_ESYSTEM;
	if (err < 0)
		err = -err;
	return &error_table[err];
}
