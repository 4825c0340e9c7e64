/* Members that leave a body, of shield.h. */
#include "wire/shield.h"

static size_t skip_space(struct bb_str body, size_t at)
{
	while ((unsigned char)body.p[at] <= ' ')
		at++;
	return at;
}

/* Where the comma is that belongs to the cut [at, end), of which it becomes a part. */
static void take_comma(struct bb_str body, size_t *at, size_t *end)
{
	const size_t behind = skip_space(body, *end);

	if (body.p[behind] == ',') {
		*end = skip_space(body, behind + 1);
		return;
	}
	size_t before = *at - 1;
	while ((unsigned char)body.p[before] <= ' ')
		before--;
	if (body.p[before] == ',')
		*at = before;
}

void shield_end(const struct shield_scan *s, struct bb_str body, struct shield_cuts *cuts)
{
	cuts->count = 0;
	for (uint32_t i = 0; i < s->cuts.count;) {
		size_t at = s->cuts.list[i].at, end = at + s->cuts.list[i].len;
		/* Neighbours go together, so that the comma between them is taken once. */
		for (i++; i < s->cuts.count; i++) {
			const size_t comma = skip_space(body, end);
			const size_t next = s->cuts.list[i].at;
			if (body.p[comma] != ',' || skip_space(body, comma + 1) != next)
				break;
			end = next + s->cuts.list[i].len;
		}
		take_comma(body, &at, &end);
		cuts->list[cuts->count].at = at;
		cuts->list[cuts->count++].len = end - at;
	}
}

int shield_splice(const struct shield_cuts *cuts, struct splice_set *set)
{
	for (uint32_t i = 0; i < cuts->count; i++) {
		const int rc = splice_add(set, cuts->list[i].at, cuts->list[i].len, BB_STR(""));
		if (rc)
			return rc;
	}
	return 0;
}
