#include "sim/gunzip.h"

#include <zlib.h>

#include "base/alloc.h"

#define PIECE_MAX (1u << 20)
#define WINDOW_GZIP (15 + 16) /* the largest window, and gzip's wrapping */

bool gunzip_is_packed(struct bb_str data)
{
	return bb_str_starts(data, BB_STR("\x1f\x8b"));
}

static void *take(void *user, unsigned count, unsigned size)
{
	return bb_alloc_zero(count, size);
}

static void give(void *user, void *block)
{
	bb_free(block);
}

/* One call of inflate with what is left; 0 goes on, 1 a member has ended. */
static int step(z_stream *z, struct bb_str *rest, struct bb_buf *out)
{
	const size_t piece = rest->len < PIECE_MAX ? rest->len : PIECE_MAX;
	const size_t free_size = out->max - out->len;
	const size_t room = free_size < PIECE_MAX ? free_size : PIECE_MAX;
	const int rc = room ? bb_buf_reserve(out, room) : -BB_ELIMIT;

	if (rc)
		return rc;
	z->next_in = (unsigned char *)rest->p;
	z->avail_in = (unsigned)piece;
	z->next_out = (unsigned char *)out->p + out->len;
	z->avail_out = (unsigned)room;
	const int how = inflate(z, Z_NO_FLUSH);
	*rest = bb_str_skip(*rest, piece - z->avail_in);
	out->len += room - z->avail_out;
	if (how == Z_STREAM_END)
		return 1;
	if (how == Z_MEM_ERROR)
		return -BB_ENOMEM;
	/* Without progress the file has ended inside of a member. */
	const bool is_stuck = how == Z_BUF_ERROR || (!rest->len && z->avail_out);
	return how == Z_OK && !is_stuck ? 0 : -BB_ESYNTAX;
}

int gunzip(struct bb_str packed, struct bb_buf *out)
{
	z_stream z = { .zalloc = take, .zfree = give };
	struct bb_str rest = packed;
	int rc = 0;

	if (!gunzip_is_packed(packed))
		return -BB_ESYNTAX;
	if (inflateInit2(&z, WINDOW_GZIP) != Z_OK)
		return -BB_ENOMEM;
	while (rc >= 0) {
		rc = step(&z, &rest, out);
		if (rc == 1 && !rest.len) {
			rc = 0;
			break;
		}
		if (rc == 1 && (!gunzip_is_packed(rest) || inflateReset(&z) != Z_OK))
			rc = -BB_ESYNTAX;
	}
	inflateEnd(&z);
	return rc;
}
