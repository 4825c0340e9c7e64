#include "text/split_behavior.h"

bool split_behavior_of(struct bb_str name, enum split_behavior *out)
{
	static const char *const names[] = {
		[SPLIT_REMOVED] = "Removed",
		[SPLIT_ISOLATED] = "Isolated",
		[SPLIT_PREVIOUS] = "MergedWithPrevious",
		[SPLIT_NEXT] = "MergedWithNext",
		[SPLIT_CONTIGUOUS] = "Contiguous",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (bb_str_eq(name, bb_str_of(names[i]))) {
			*out = (enum split_behavior)i;
			return true;
		}
	}
	return false;
}

void split_behavior_begin(struct split_state *s, enum split_behavior behavior,
			  struct piece_list *out)
{
	*s = (struct split_state){ .behavior = behavior, .out = out };
}

/* Is the new range one piece with the one that is held? */
static bool joins(const struct split_state *s, enum split_part part)
{
	switch (s->behavior) {
	case SPLIT_PREVIOUS: return part == SPLIT_MATCH && s->held_part == SPLIT_GAP;
	case SPLIT_NEXT: return part == SPLIT_GAP && s->held_part == SPLIT_MATCH;
	case SPLIT_CONTIGUOUS: return part == s->held_part;
	case SPLIT_REMOVED:
	case SPLIT_ISOLATED: break;
	}
	return false;
}

int split_behavior_put(struct split_state *s, size_t begin, size_t end, enum split_part part)
{
	if (s->behavior == SPLIT_ISOLATED || s->behavior == SPLIT_REMOVED) {
		if (part == SPLIT_MATCH && s->behavior == SPLIT_REMOVED)
			return 0;
		return piece_list_add(s->out, begin, end);
	}
	if (s->has_held && joins(s, part)) {
		s->held.end = (uint32_t)end;
		s->held_part = part;
		return 0;
	}
	const int rc = split_behavior_end(s);
	s->held = (struct piece){ (uint32_t)begin, (uint32_t)end };
	s->held_part = part;
	s->has_held = true;
	return rc;
}

int split_behavior_end(struct split_state *s)
{
	if (!s->has_held)
		return 0;
	s->has_held = false;
	return piece_list_add(s->out, s->held.begin, s->held.end);
}
