#include "cmd/reply_json.h"

#include <string.h>

double reply_number(yyjson_val *object, const char *key)
{
	return yyjson_get_num(yyjson_obj_get(object, key));
}

const char *reply_text(yyjson_val *object, const char *key)
{
	const char *value = yyjson_get_str(yyjson_obj_get(object, key));

	return value ? value : "";
}

int reply_width(yyjson_val *list, const char *key, int least)
{
	size_t i, max;
	yyjson_val *item;
	int width = least;

	yyjson_arr_foreach(list, i, max, item)
	{
		const int len = (int)strlen(reply_text(item, key));
		if (len > width)
			width = len;
	}
	return width;
}
