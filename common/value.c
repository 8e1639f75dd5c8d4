#include "common/value.h"

#include <string.h>

struct value value_null(void)
{
	return (struct value){.type = VALUE_NULL};
}

struct value value_int(int64_t i)
{
	return (struct value){.type = VALUE_INT, .i = i};
}

struct value value_real(double r)
{
	return (struct value){.type = VALUE_REAL, .r = r};
}

struct value value_text(struct slice s)
{
	return (struct value){.type = VALUE_TEXT, .s = s};
}

struct value value_blob(struct slice s)
{
	return (struct value){.type = VALUE_BLOB, .s = s};
}

bool value_eq(const struct value *a, const struct value *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case VALUE_NULL:
		return true;
	case VALUE_INT:
		return a->i == b->i;
	case VALUE_REAL:
		return memcmp(&a->r, &b->r, sizeof a->r) == 0;
	case VALUE_TEXT:
	case VALUE_BLOB:
		return slice_eq(a->s, b->s);
	}
	return false;
}

void value_put(struct buf *b, const struct value *v)
{
	uint64_t bits;

	wire_u8(b, (uint8_t)v->type);
	switch (v->type) {
	case VALUE_NULL:
		break;
	case VALUE_INT:
		wire_svarint(b, v->i);
		break;
	case VALUE_REAL:
		memcpy(&bits, &v->r, sizeof bits);
		wire_u64(b, bits);
		break;
	case VALUE_TEXT:
	case VALUE_BLOB:
		wire_bytes(b, v->s);
		break;
	}
}

struct value value_get(struct rd *r)
{
	uint8_t type = rd_u8(r);
	struct value v = {.type = VALUE_NULL};
	uint64_t bits;

	switch (type) {
	case VALUE_NULL:
		break;
	case VALUE_INT:
		v.i = rd_svarint(r);
		break;
	case VALUE_REAL:
		bits = rd_u64(r);
		memcpy(&v.r, &bits, sizeof v.r);
		break;
	case VALUE_TEXT:
	case VALUE_BLOB:
		v.s = rd_bytes(r);
		break;
	default:
		r->bad = true;
	}
	if (r->bad)
		return value_null();
	v.type = (enum value_type)type;
	return v;
}
