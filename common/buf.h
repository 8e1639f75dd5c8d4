/* Growing byte buffers, borrowed slices and shared blobs.
 *
 * Invariants of `struct buf`:
 *   - data points to cap bytes (or is NULL with cap 0), len <= cap <= max;
 *   - every buffer has a ceiling `max`, chosen where it is made;
 *   - failure is sticky: an append that would pass the ceiling, or for which
 *     there is no memory, sets `failed`, appends nothing, and so does every
 *     later append. An encoder therefore writes all its parts and asks once,
 *     with buf_ok().
 *
 * A `struct slice` borrows; it is valid as long as what it points into.
 * A `struct blob` is immutable bytes with an atomic reference count, shared by
 * the log, the network and the store; any thread may ref and unref.
 */
#ifndef DROVER_COMMON_BUF_H
#define DROVER_COMMON_BUF_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
	const uint8_t *p;
	size_t n;
};

struct slice slice_of(const void *p, size_t n);
struct slice slice_str(const char *s);
bool slice_eq(struct slice a, struct slice b);

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;
	bool failed;
};

/* An empty buffer that may grow to max_bytes; takes no memory yet. */
void buf_init(struct buf *b, size_t max_bytes);
void buf_done(struct buf *b);

/* Forgets content and failure; keeps the memory. */
void buf_clear(struct buf *b);

static inline bool buf_ok(const struct buf *b)
{
	return !b->failed;
}

static inline struct slice buf_slice(const struct buf *b)
{
	return (struct slice){b->data, b->len};
}

/* Room for n more bytes behind len; NULL (and failed) if that passes the ceiling.
 * The caller writes there and adds to len. */
uint8_t *buf_reserve(struct buf *b, size_t n);

void buf_append(struct buf *b, const void *p, size_t n);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap);

/* Cuts back to len bytes (an earlier b->len). */
void buf_cut(struct buf *b, size_t len);

/* The content as a NUL-terminated string (the NUL is not counted in len); "" when empty or
 * failed. Borrowed until the next change. */
const char *buf_str(struct buf *b);

struct blob {
	atomic_uint refs;
	uint32_t size_bytes;
	uint8_t data[];
};

/* One reference for the caller; NULL without memory. `p` may be NULL: the content is then left
 * for the caller to fill before sharing it. */
struct blob *blob_new(const void *p, uint32_t size_bytes);
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* NULL is fine */

static inline struct slice blob_slice(const struct blob *b)
{
	return (struct slice){b->data, b->size_bytes};
}

#endif
