#include "wire/api.h"

#include "base/log.h"

static const struct api_info info_table[API_COUNT] = {
#define X(name, path, family, body, stream, generates, label)                                      \
	[API_##name] = { BB_STR_INIT(path), FAMILY_##family,                                       \
			 API_BODY_##body,   stream,                                                \
			 generates,	    label },
	API_ENDPOINTS(X)
#undef X
};

static const struct {
	struct bb_str path;
	enum api api;
} alias_table[] = {
#define X(path, name) { BB_STR_INIT(path), API_##name },
	API_ALIASES(X)
#undef X
};

enum api api_from_path(struct bb_str path)
{
	const struct bb_str plain = bb_str_cut(&path, '?');

	for (enum api api = API_NONE + 1; api < API_COUNT; api++) {
		if (bb_str_eq(plain, info_table[api].path))
			return api;
	}
	for (size_t i = 0; i < sizeof(alias_table) / sizeof(alias_table[0]); i++) {
		if (bb_str_eq(plain, alias_table[i].path))
			return alias_table[i].api;
	}
	return API_NONE;
}

const struct api_info *api_info(enum api api)
{
	BB_ASSERT(api > API_NONE && api < API_COUNT);
	return &info_table[api];
}
