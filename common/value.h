/* One SQL value, as SQLite knows them, and its encoding: a type byte, then
 * int: zigzag varint; real: 8 bytes IEEE little-endian; text, blob: length and
 * bytes. Text is UTF-8 as SQLite gave it and may hold NULs. A decoded value's
 * slice points into the input. */
#ifndef DROVER_COMMON_VALUE_H
#define DROVER_COMMON_VALUE_H

#include "common/wire.h"

enum value_type { VALUE_NULL = 0, VALUE_INT = 1, VALUE_REAL = 2, VALUE_TEXT = 3, VALUE_BLOB = 4 };

struct value {
	enum value_type type;
	union {
		int64_t i;
		double r;
		struct slice s;
	};
};

struct value value_null(void);
struct value value_int(int64_t i);
struct value value_real(double r);
struct value value_text(struct slice s);
struct value value_blob(struct slice s);

bool value_eq(const struct value *a, const struct value *b); /* reals by their bits */

void value_put(struct buf *b, const struct value *v);
struct value value_get(struct rd *r); /* NULL and r->bad for an unknown type */

#endif
