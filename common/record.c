#include "common/record.h"

#include <string.h>

#define KIND_MASK 0x0f
#define FLAG_MASK 0xf0

static size_t mask_bytes(uint32_t columns_n)
{
	return (columns_n + 7) / 8;
}

bool record_head_decode(struct slice payload, struct record_head *ret_head)
{
	struct rd r = rd_of(payload);
	struct record_head h = {.form = rd_u8(&r)};

	switch (h.form) {
	case RECORD_FORM_BATCH:
		h.namespace = rd_varint(&r);
		h.hlc_us = rd_varint(&r);
		if (!rd_ok(&r))
			return false;
		break;
	case RECORD_FORM_MARK:
		h.mark = rd_varint(&r);
		if (!rd_end(&r))
			return false;
		break;
	default:
		return false;
	}
	*ret_head = h;
	return true;
}

bool record_table_decode(struct slice definition, struct record_table *ret_table)
{
	struct rd r = rd_of(definition);
	struct record_table t = {.definition = definition};

	t.name = rd_bytes(&r);
	uint64_t columns_n = rd_count(&r, 1);
	t.columns = r;
	for (uint64_t i = 0; i < columns_n && rd_ok(&r); i++)
		rd_bytes(&r);
	uint64_t keys_n = rd_varint(&r);
	if (!rd_ok(&r) || t.name.n == 0 || columns_n > RECORD_COLUMNS_MAX || keys_n > columns_n)
		return false;
	t.keys = r;
	for (uint64_t i = 0; i < keys_n; i++)
		if (rd_varint(&r) >= columns_n)
			return false;
	if (keys_n == 0) {
		t.rowid_name = rd_bytes(&r);
		if (t.rowid_name.n == 0)
			return false;
	}
	if (!rd_end(&r))
		return false;
	t.columns_n = (uint32_t)columns_n;
	t.keys_n = (uint32_t)keys_n;
	*ret_table = t;
	return true;
}

struct slice record_table_column(const struct record_table *t, uint32_t column)
{
	struct rd r = t->columns;
	struct slice name = {NULL, 0};

	if (column >= t->columns_n)
		return name;
	for (uint32_t i = 0; i <= column; i++)
		name = rd_bytes(&r);
	return name;
}

bool record_iter_init(struct record_iter *it, struct slice payload)
{
	memset(it, 0, offsetof(struct record_iter, tables));
	if (!record_head_decode(payload, &it->head) || it->head.form != RECORD_FORM_BATCH)
		return false;
	it->rd = rd_of(payload);
	rd_u8(&it->rd);
	rd_varint(&it->rd);
	rd_varint(&it->rd);
	return true;
}

/* A mask with a bit for a column that is not there is malformed. */
static bool mask_take(struct record_iter *it, struct record *rec)
{
	uint32_t n = it->table->columns_n, set = 0;
	struct slice m = rd_take(&it->rd, mask_bytes(n));

	if (!rd_ok(&it->rd))
		return false;
	for (size_t i = 0; i < m.n; i++)
		set += (uint32_t)__builtin_popcount(m.p[i]);
	if (n % 8 && m.p[m.n - 1] >> (n % 8))
		return false;
	if (m.n == 0)
		m.p = (const uint8_t *)""; /* no columns at all: still a mask */
	rec->mask = m;
	rec->values_n = set;
	return true;
}

static bool row_take(struct record_iter *it, struct record *rec, uint8_t flags)
{
	uint64_t number = rd_varint(&it->rd);

	if (!it->inside || !rd_ok(&it->rd) || number >= RECORD_TABLES_MAX ||
	    !(it->defined[number / 64] >> (number % 64) & 1))
		return false;
	it->table = &it->tables[number];
	rec->table_number = (uint32_t)number;
	rec->table = it->table;
	bool rowid = it->table->keys_n == 0;
	if (rowid)
		rec->new_rowid = rec->rowid = rd_svarint(&it->rd);
	switch (rec->kind) {
	case RECORD_INSERT:
		rec->values_n = it->table->columns_n;
		if (flags & ~RECORD_SOME || (flags & RECORD_SOME && !mask_take(it, rec)))
			return false;
		break;
	case RECORD_UPDATE:
		if (flags & ~RECORD_MOVED || (flags && !rowid))
			return false;
		if (!rowid) {
			/* The mask stands behind the key's values, whose size only reading tells:
			 * look ahead for it. */
			struct rd ahead = it->rd;
			for (uint32_t i = 0; i < it->table->keys_n; i++)
				value_get(&ahead);
			if (!rd_ok(&ahead))
				return false;
			struct rd keys = it->rd;
			it->rd = ahead;
			if (!mask_take(it, rec) || rec->values_n == 0)
				return false;
			it->keys = keys;
			it->keys_left = it->table->keys_n;
			break;
		}
		if (flags & RECORD_MOVED)
			rec->new_rowid = rd_svarint(&it->rd);
		if (!mask_take(it, rec) || (rec->values_n == 0 && !flags))
			return false;
		break;
	default:
		if (flags)
			return false;
		if (!rowid) {
			it->keys = it->rd;
			it->keys_left = it->table->keys_n;
			for (uint32_t i = 0; i < it->table->keys_n; i++)
				value_get(&it->rd);
		}
		break;
	}
	it->mask = rec->mask;
	it->values_left = rec->values_n;
	it->column = 0;
	return rd_ok(&it->rd);
}

static bool other_take(struct record_iter *it, struct record *rec)
{
	struct rd *r = &it->rd;
	const uint8_t *from;

	switch (rec->kind) {
	case RECORD_TABLE:
		rec->table_number = rd_u8(r);
		struct slice definition = rd_bytes(r);
		if (!rd_ok(r) || !record_table_decode(definition, &it->tables[rec->table_number]))
			return false;
		rec->table = &it->tables[rec->table_number];
		it->defined[rec->table_number / 64] |= 1ull << (rec->table_number % 64);
		return true;
	case RECORD_BEGIN:
		rec->hlc_us = it->head.hlc_us + rd_varint(r);
		rec->client = rd_u64(r);
		rec->sequence = rd_varint(r);
		if (it->inside)
			return false;
		it->inside = true;
		return rd_ok(r);
	case RECORD_TEXT:
		rec->text = rd_bytes(r);
		return it->inside && rd_ok(r);
	case RECORD_SEQUENCE:
		rec->text = rd_bytes(r);
		uint8_t present = rd_u8(r);
		rec->present = present != 0;
		if (rec->present)
			rec->value = value_get(r);
		return it->inside && present <= 1 && rd_ok(r);
	case RECORD_END:
		from = r->p;
		switch (rd_u8(r)) {
		case RECORD_ANSWER_NONE:
			break;
		case RECORD_ANSWER_RESULTS:
			rd_varint(r);
			rd_bytes(r);
			break;
		case RECORD_ANSWER_SUMS:
			rd_svarint(r);
			rd_svarint(r);
			break;
		default:
			return false;
		}
		if (!rd_ok(r) || !it->inside)
			return false;
		rec->answer = slice_of(from, (size_t)(r->p - from));
		it->inside = false;
		return true;
	default:
		return false;
	}
}

int record_next(struct record_iter *it, struct record *ret_record)
{
	struct record rec = {0};
	struct record_value skipped;

	while (record_value_next(it, &skipped))
		;
	if (!rd_ok(&it->rd))
		return -1;
	if (rd_left(&it->rd) == 0)
		return it->inside ? -1 : 0;
	uint8_t tag = rd_u8(&it->rd);
	bool sound;
	rec.kind = (enum record_kind)(tag & KIND_MASK);
	if (rec.kind >= RECORD_INSERT && rec.kind <= RECORD_DELETE)
		sound = row_take(it, &rec, tag & FLAG_MASK);
	else
		sound = !(tag & FLAG_MASK) && other_take(it, &rec);
	if (!sound) {
		it->rd.bad = true;
		it->keys_left = it->values_left = 0;
		return -1;
	}
	*ret_record = rec;
	return 1;
}

bool record_value_next(struct record_iter *it, struct record_value *ret_value)
{
	if (it->keys_left > 0) {
		struct rd columns = it->table->keys;
		uint64_t column = 0;
		for (uint32_t i = it->keys_left; i <= it->table->keys_n; i++)
			column = rd_varint(&columns);
		it->keys_left--;
		ret_value->key = true;
		ret_value->column = (uint32_t)column;
		ret_value->value = value_get(&it->keys);
		return true;
	}
	if (it->values_left == 0 || !rd_ok(&it->rd))
		return false;
	if (it->mask.p)
		while (!(it->mask.p[it->column / 8] >> (it->column % 8) & 1))
			it->column++;
	ret_value->key = false;
	ret_value->column = it->column++;
	ret_value->value = value_get(&it->rd);
	it->values_left--;
	return rd_ok(&it->rd);
}

bool record_answer_decode(struct slice answer, struct record_results *ret_results)
{
	struct rd r = rd_of(answer);
	struct record_results a = {.kind = (enum record_answer)rd_u8(&r)};
	uint64_t n;

	switch (a.kind) {
	case RECORD_ANSWER_NONE:
		break;
	case RECORD_ANSWER_RESULTS:
		n = rd_varint(&r);
		a.results = rd_bytes(&r);
		if (n > a.results.n)
			return false;
		a.results_n = (uint32_t)n;
		break;
	case RECORD_ANSWER_SUMS:
		a.changes = rd_svarint(&r);
		a.last_rowid = rd_svarint(&r);
		break;
	default:
		return false;
	}
	if (!rd_end(&r))
		return false;
	*ret_results = a;
	return true;
}

void record_put_batch(struct buf *b, uint64_t namespace, uint64_t hlc_us)
{
	wire_u8(b, RECORD_FORM_BATCH);
	wire_varint(b, namespace);
	wire_varint(b, hlc_us);
}

void record_put_mark(struct buf *b, uint64_t mark)
{
	wire_u8(b, RECORD_FORM_MARK);
	wire_varint(b, mark);
}

void record_put_table(struct buf *b, uint8_t number, struct slice definition)
{
	wire_u8(b, RECORD_TABLE);
	wire_u8(b, number);
	wire_bytes(b, definition);
}

void record_put_begin(struct buf *b, uint64_t hlc_delta_us, uint64_t client, uint64_t sequence)
{
	wire_u8(b, RECORD_BEGIN);
	wire_varint(b, hlc_delta_us);
	wire_u64(b, client);
	wire_varint(b, sequence);
}

void record_put_row(struct buf *b, uint8_t kind_and_flags, uint8_t table_number)
{
	uint8_t *to = buf_reserve(b, 3);

	if (!to)
		return;
	*to++ = kind_and_flags;
	if (table_number < 0x80) {
		*to = table_number;
		b->len += 2;
	} else {
		to[0] = table_number;
		to[1] = 1;
		b->len += 3;
	}
}

void record_put_text(struct buf *b, struct slice sql)
{
	wire_u8(b, RECORD_TEXT);
	wire_bytes(b, sql);
}

void record_put_sequence(struct buf *b, struct slice table, const struct value *value)
{
	wire_u8(b, RECORD_SEQUENCE);
	wire_bytes(b, table);
	wire_u8(b, value != NULL);
	if (value)
		value_put(b, value);
}

void record_put_end(struct buf *b, struct slice answer)
{
	wire_u8(b, RECORD_END);
	buf_append(b, answer.p, answer.n);
}

void record_definition_put(struct buf *b, const char *name, const char *const *columns,
			   uint32_t columns_n, const char *rowid_name, const uint32_t *keys,
			   uint32_t keys_n)
{
	wire_str(b, name);
	wire_varint(b, columns_n);
	for (uint32_t i = 0; i < columns_n; i++)
		wire_str(b, columns[i]);
	if (rowid_name) {
		wire_varint(b, 0);
		wire_str(b, rowid_name);
		return;
	}
	wire_varint(b, keys_n);
	for (uint32_t i = 0; i < keys_n; i++)
		wire_varint(b, keys[i]);
}

void record_answer_results(struct buf *b, uint32_t results_n, struct slice results)
{
	wire_u8(b, RECORD_ANSWER_RESULTS);
	wire_varint(b, results_n);
	wire_bytes(b, results);
}

void record_answer_sums(struct buf *b, int64_t changes, int64_t last_rowid)
{
	wire_u8(b, RECORD_ANSWER_SUMS);
	wire_svarint(b, changes);
	wire_svarint(b, last_rowid);
}
