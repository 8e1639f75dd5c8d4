/* The encoding of everything drover sends or stores outside SQLite.
 *
 * Integers are little-endian where fixed, and LEB128 where variable (7 bits a
 * byte, low first, at most 10 bytes; only the shortest form is valid). Signed
 * ones are zigzag-mapped first. Byte strings are a varint length and the bytes.
 *
 * Writing goes into a `struct buf`, whose failure is sticky. Reading goes
 * through a `struct rd`, whose failure is sticky too: after the first read past
 * the end or invalid form `bad` is set and every later read returns 0 or an
 * empty slice. A decoder reads all parts, then asks rd_ok() (or rd_end() where
 * nothing may follow) before it believes any of them. Slices point into the
 * input. Nothing here allocates.
 */
#ifndef DROVER_COMMON_WIRE_H
#define DROVER_COMMON_WIRE_H

#include "common/buf.h"

void wire_u8(struct buf *b, uint8_t v);
void wire_u16(struct buf *b, uint16_t v);
void wire_u32(struct buf *b, uint32_t v);
void wire_u64(struct buf *b, uint64_t v);
void wire_varint(struct buf *b, uint64_t v);
void wire_svarint(struct buf *b, int64_t v);
void wire_bytes(struct buf *b, struct slice s);
void wire_str(struct buf *b, const char *s);

struct rd {
	const uint8_t *p;
	const uint8_t *end;
	bool bad;
};

static inline struct rd rd_of(struct slice s)
{
	return (struct rd){s.p, s.n ? s.p + s.n : s.p, false};
}

static inline size_t rd_left(const struct rd *r)
{
	return (size_t)(r->end - r->p);
}

static inline bool rd_ok(const struct rd *r)
{
	return !r->bad;
}

/* Nothing bad, and nothing left. */
static inline bool rd_end(const struct rd *r)
{
	return !r->bad && r->p == r->end;
}

uint8_t rd_u8(struct rd *r);
uint16_t rd_u16(struct rd *r);
uint32_t rd_u32(struct rd *r);
uint64_t rd_u64(struct rd *r);
uint64_t rd_varint(struct rd *r);
int64_t rd_svarint(struct rd *r);
struct slice rd_bytes(struct rd *r);
struct slice rd_take(struct rd *r, size_t n); /* n raw bytes */

/* A count of things that take at least min_bytes each: bad when the rest of the input could not
 * hold that many, so that no decoder reserves memory for a number it was merely told. */
uint64_t rd_count(struct rd *r, size_t min_bytes);

/* A byte string as text into a NUL-terminated array; bad when it does not fit or holds a NUL. */
void rd_text(struct rd *r, char *ret_text, size_t size);

#endif
