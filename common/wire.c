#include "common/wire.h"

#include <endian.h>
#include <string.h>

void wire_u8(struct buf *b, uint8_t v)
{
	buf_append(b, &v, 1);
}

void wire_u16(struct buf *b, uint16_t v)
{
	v = htole16(v);
	buf_append(b, &v, sizeof v);
}

void wire_u32(struct buf *b, uint32_t v)
{
	v = htole32(v);
	buf_append(b, &v, sizeof v);
}

void wire_u64(struct buf *b, uint64_t v)
{
	v = htole64(v);
	buf_append(b, &v, sizeof v);
}

void wire_varint(struct buf *b, uint64_t v)
{
	uint8_t *to = buf_reserve(b, 10);
	size_t n = 0;

	if (!to)
		return;
	while (v >= 0x80) {
		to[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	to[n++] = (uint8_t)v;
	b->len += n;
}

void wire_svarint(struct buf *b, int64_t v)
{
	wire_varint(b, ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0));
}

void wire_bytes(struct buf *b, struct slice s)
{
	wire_varint(b, s.n);
	buf_append(b, s.p, s.n);
}

void wire_str(struct buf *b, const char *s)
{
	wire_bytes(b, slice_str(s));
}

struct slice rd_take(struct rd *r, size_t n)
{
	if (r->bad || n > rd_left(r)) {
		r->bad = true;
		return (struct slice){NULL, 0};
	}
	struct slice s = {r->p, n};
	if (n)
		r->p += n;
	return s;
}

uint8_t rd_u8(struct rd *r)
{
	struct slice s = rd_take(r, 1);
	return s.n ? s.p[0] : 0;
}

uint16_t rd_u16(struct rd *r)
{
	uint16_t v = 0;
	struct slice s = rd_take(r, sizeof v);
	if (s.n)
		memcpy(&v, s.p, sizeof v);
	return le16toh(v);
}

uint32_t rd_u32(struct rd *r)
{
	uint32_t v = 0;
	struct slice s = rd_take(r, sizeof v);
	if (s.n)
		memcpy(&v, s.p, sizeof v);
	return le32toh(v);
}

uint64_t rd_u64(struct rd *r)
{
	uint64_t v = 0;
	struct slice s = rd_take(r, sizeof v);
	if (s.n)
		memcpy(&v, s.p, sizeof v);
	return le64toh(v);
}

uint64_t rd_varint(struct rd *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (r->bad || r->p == r->end)
			break;
		uint8_t byte = *r->p++;
		uint64_t part = byte & 0x7f;
		if (shift == 63 && part > 1)
			break;
		v |= part << shift;
		if (byte < 0x80) {
			if (byte == 0 && shift > 0)
				break;
			return v;
		}
	}
	r->bad = true;
	return 0;
}

int64_t rd_svarint(struct rd *r)
{
	uint64_t v = rd_varint(r);
	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

struct slice rd_bytes(struct rd *r)
{
	uint64_t n = rd_varint(r);

	if (n > rd_left(r)) {
		r->bad = true;
		return (struct slice){NULL, 0};
	}
	return rd_take(r, (size_t)n);
}

uint64_t rd_count(struct rd *r, size_t min_bytes)
{
	uint64_t n = rd_varint(r);

	if (r->bad || n > rd_left(r) / (min_bytes ? min_bytes : 1)) {
		r->bad = true;
		return 0;
	}
	return n;
}

void rd_text(struct rd *r, char *ret_text, size_t size)
{
	struct slice s = rd_bytes(r);

	ret_text[0] = 0;
	if (r->bad)
		return;
	if (s.n >= size || (s.n && memchr(s.p, 0, s.n))) {
		r->bad = true;
		return;
	}
	if (s.n)
		memcpy(ret_text, s.p, s.n);
	ret_text[s.n] = 0;
}
