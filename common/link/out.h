/* What a link has to send: small frames packed into one run of bytes, large
 * payloads held by reference and woven in where they belong.
 *
 * A link has two: one is filled while the other is written. Appending never
 * moves an `out` that is being written. The memory is kept for the next round;
 * out_shrink gives back what a burst has left.
 *
 * Threads: the owner's lock.
 */
#ifndef DROVER_COMMON_LINK_OUT_H
#define DROVER_COMMON_LINK_OUT_H

#include "common/buf.h"

#include <nng/nng.h>

#define OUT_IOV_MAX 8 /* NNG 1.5.2 takes no more in one write */

struct out_blob {
	size_t at; /* it goes before this byte of `bytes` */
	struct blob *blob;
};

struct out {
	struct buf bytes;
	struct out_blob *blobs;
	size_t blobs_n, blobs_cap;
	size_t size;		/* bytes and blobs together */
	size_t sent;		/* of size */
	size_t bytes_at;	/* next of bytes to be written */
	size_t blob_i, blob_at; /* next blob to be written, and where in it */
};

void out_init(struct out *o, size_t bytes_max);
void out_done(struct out *o);

/* A frame is appended in parts; when one of them fails (false: no memory), out_cancel takes back
 * what came after the mark. */
struct out_mark {
	size_t bytes, blobs, size;
};
struct out_mark out_mark(const struct out *o);
bool out_append(struct out *o, const void *p, size_t n);
bool out_append_blob(struct out *o, struct blob *b); /* takes a reference of its own */
void out_cancel(struct out *o, struct out_mark mark);

static inline size_t out_left(const struct out *o)
{
	return o->size - o->sent;
}

/* The next write; returns the number of iovs, 0 when all is sent. */
unsigned out_iov(const struct out *o, nng_iov *ret_iov);
void out_advance(struct out *o, size_t n);
void out_clear(struct out *o); /* forgets everything, keeps the memory */
void out_shrink(struct out *o, size_t keep_bytes);

#endif
