#include "common/link/out.h"

#include <assert.h>
#include <stdlib.h>

void out_init(struct out *o, size_t bytes_max)
{
	*o = (struct out){0};
	buf_init(&o->bytes, bytes_max);
}

void out_done(struct out *o)
{
	out_clear(o);
	buf_done(&o->bytes);
	free(o->blobs);
	o->blobs = NULL;
	o->blobs_cap = 0;
}

struct out_mark out_mark(const struct out *o)
{
	return (struct out_mark){o->bytes.len, o->blobs_n, o->size};
}

bool out_append(struct out *o, const void *p, size_t n)
{
	buf_append(&o->bytes, p, n);
	if (!buf_ok(&o->bytes))
		return false;
	o->size += n;
	return true;
}

bool out_append_blob(struct out *o, struct blob *b)
{
	if (o->blobs_n == o->blobs_cap) {
		size_t cap = o->blobs_cap ? o->blobs_cap * 2 : 8;
		struct out_blob *blobs = realloc(o->blobs, cap * sizeof *blobs);
		if (!blobs)
			return false;
		o->blobs = blobs;
		o->blobs_cap = cap;
	}
	o->blobs[o->blobs_n++] = (struct out_blob){o->bytes.len, blob_ref(b)};
	o->size += b->size_bytes;
	return true;
}

void out_cancel(struct out *o, struct out_mark mark)
{
	while (o->blobs_n > mark.blobs)
		blob_unref(o->blobs[--o->blobs_n].blob);
	o->bytes.failed = false;
	buf_cut(&o->bytes, mark.bytes);
	o->size = mark.size;
}

unsigned out_iov(const struct out *o, nng_iov *ret_iov)
{
	size_t at = o->bytes_at, i = o->blob_i, skip = o->blob_at;
	unsigned n = 0;

	while (n < OUT_IOV_MAX) {
		size_t end = i < o->blobs_n ? o->blobs[i].at : o->bytes.len;
		if (end > at) {
			ret_iov[n++] = (nng_iov){o->bytes.data + at, end - at};
			at = end;
			continue;
		}
		if (i == o->blobs_n)
			break;
		struct blob *b = o->blobs[i++].blob;
		if (b->size_bytes > skip)
			ret_iov[n++] = (nng_iov){b->data + skip, b->size_bytes - skip};
		skip = 0;
	}
	return n;
}

void out_advance(struct out *o, size_t n)
{
	o->sent += n;
	assert(o->sent <= o->size);
	while (n > 0) {
		size_t end = o->blob_i < o->blobs_n ? o->blobs[o->blob_i].at : o->bytes.len;
		size_t step = end - o->bytes_at;
		if (step > 0) {
			step = step < n ? step : n;
			o->bytes_at += step;
			n -= step;
			continue;
		}
		struct blob *b = o->blobs[o->blob_i].blob;
		step = b->size_bytes - o->blob_at;
		step = step < n ? step : n;
		o->blob_at += step;
		n -= step;
		if (o->blob_at == b->size_bytes) {
			blob_unref(b);
			o->blob_i++;
			o->blob_at = 0;
		}
	}
}

void out_clear(struct out *o)
{
	while (o->blob_i < o->blobs_n)
		blob_unref(o->blobs[o->blob_i++].blob);
	o->blobs_n = o->blob_i = o->blob_at = 0;
	o->bytes_at = o->size = o->sent = 0;
	buf_clear(&o->bytes);
}

void out_shrink(struct out *o, size_t keep_bytes)
{
	if (o->size > 0)
		return;
	if (o->bytes.cap > keep_bytes)
		buf_done(&o->bytes);
	free(o->blobs);
	o->blobs = NULL;
	o->blobs_cap = 0;
}
