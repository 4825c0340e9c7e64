#include "text/char_set.h"

static bool ranges_have(const struct unicode_range *at, size_t count, uint32_t cp)
{
	size_t low = 0, high = count;

	while (low < high) {
		const size_t mid = (low + high) / 2;
		if (cp > at[mid].last)
			low = mid + 1;
		else
			high = mid;
	}
	return low < count && cp >= at[low].first;
}

bool char_set_has(enum unicode_set set, uint32_t cp)
{
	return ranges_have(unicode_sets[set].at, unicode_sets[set].count, cp);
}

uint32_t char_set_lower(uint32_t cp)
{
	if (cp < 0x80)
		return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
	size_t low = 0, high = unicode_lower_count;
	while (low < high) {
		const size_t mid = (low + high) / 2;
		if (cp > unicode_lowers[mid].last)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == unicode_lower_count || cp < unicode_lowers[low].first ||
	    (cp - unicode_lowers[low].first) % unicode_lowers[low].stride)
		return cp;
	return (uint32_t)((int32_t)cp + unicode_lowers[low].delta);
}

bool char_set_is_bert_han(uint32_t cp)
{
	static const struct unicode_range han[] = {
		{ 0x3400, 0x4dbf },   { 0x4e00, 0x9fff },   { 0xf900, 0xfaff },
		{ 0x20000, 0x2a6df }, { 0x2a700, 0x2b73f }, { 0x2b740, 0x2b81f },
		{ 0x2b920, 0x2ceaf }, { 0x2f800, 0x2fa1f },
	};

	return cp >= 0x3400 && ranges_have(han, sizeof(han) / sizeof(han[0]), cp);
}
