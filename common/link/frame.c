#include "common/link/frame.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_READS_TO_SHRINK 8

void frame_head(uint8_t *to, uint8_t type, uint32_t body_bytes)
{
	uint32_t length = htole32(body_bytes + 1);

	memcpy(to, &length, sizeof length);
	to[4] = type;
}

void frame_in_init(struct frame_in *f, uint32_t body_bytes_max)
{
	*f = (struct frame_in){.body_bytes_max = body_bytes_max};
}

void frame_in_done(struct frame_in *f)
{
	free(f->data);
	f->data = NULL;
	f->cap = f->start = f->end = 0;
}

static uint32_t length_at(const struct frame_in *f)
{
	uint32_t length;

	memcpy(&length, f->data + f->start, sizeof length);
	return le32toh(length);
}

/* The size the buffer should have before the next read. */
static size_t want_cap(const struct frame_in *f)
{
	size_t have = f->end - f->start, cap = f->cap;

	if (cap == 0)
		return FRAME_IN_START_BYTES;
	if (have >= sizeof(uint32_t)) {
		size_t frame = sizeof(uint32_t) + (size_t)length_at(f);
		/* An unsound length is found by frame_in_next before it gets here. */
		if (frame > cap)
			return have < cap ? cap : frame < 2 * cap ? frame : 2 * cap;
	}
	if (f->filled && cap < FRAME_IN_BUSY_BYTES)
		return 2 * cap;
	if (f->small_reads >= SMALL_READS_TO_SHRINK && cap > FRAME_IN_START_BYTES) {
		size_t less = cap / 4 > FRAME_IN_START_BYTES ? cap / 4 : FRAME_IN_START_BYTES;
		if (have < less)
			return less;
	}
	return cap;
}

uint8_t *frame_in_room(struct frame_in *f, size_t *ret_n)
{
	size_t have = f->end - f->start;
	size_t cap = want_cap(f);

	if (cap != f->cap) {
		uint8_t *data = malloc(cap);
		if (!data)
			return NULL;
		if (have)
			memcpy(data, f->data + f->start, have);
		free(f->data);
		f->data = data;
		f->cap = cap;
		f->start = 0;
		f->end = have;
		f->small_reads = 0;
	} else if (have == 0) {
		f->start = f->end = 0;
	} else if (f->start > 0 && (f->cap - f->end < f->cap / 2 || f->end == f->cap)) {
		memmove(f->data, f->data + f->start, have);
		f->start = 0;
		f->end = have;
	}
	assert(f->end < f->cap);
	*ret_n = f->cap - f->end;
	return f->data + f->end;
}

void frame_in_add(struct frame_in *f, size_t n)
{
	assert(n <= f->cap - f->end);
	f->filled = n == f->cap - f->end;
	f->small_reads = n < f->cap / 4 ? f->small_reads + 1 : 0;
	f->end += n;
}

struct slice frame_in_peek(const struct frame_in *f)
{
	if (!f->data)
		return slice_of(NULL, 0);
	return slice_of(f->data + f->start, f->end - f->start);
}

void frame_in_skip(struct frame_in *f, size_t n)
{
	assert(n <= f->end - f->start);
	f->start += n;
}

int frame_in_next(struct frame_in *f, uint8_t *ret_type, struct slice *ret_body, struct err *e)
{
	size_t have = f->end - f->start;

	if (have < sizeof(uint32_t))
		return 0;
	uint32_t length = length_at(f);
	if (length == 0)
		return err_set(e, ERR_PROTOCOL, "a frame of length 0");
	if (length - 1 > f->body_bytes_max)
		return err_set(e, ERR_PROTOCOL, "a frame of %u bytes, more than the %u allowed",
			       length - 1, f->body_bytes_max);
	if (have - sizeof length < length)
		return 0;
	const uint8_t *p = f->data + f->start + sizeof length;
	*ret_type = p[0];
	*ret_body = slice_of(p + 1, length - 1);
	f->start += sizeof length + length;
	return 1;
}
