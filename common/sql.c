#include "common/sql.h"

#include <endian.h>
#include <string.h>

#define REQUEST_VERSION 1
#define ANSWER_VERSION 1

void sql_request_begin(struct sql_writer *w, struct buf *b, const struct sql_request *head,
		       uint32_t statements_n)
{
	*w = (struct sql_writer){.b = b};
	wire_u8(b, REQUEST_VERSION);
	wire_u8(b, (uint8_t)head->mode);
	wire_u8(b, (uint8_t)head->level);
	wire_varint(b, head->flags);
	wire_varint(b, head->timeout_ms);
	wire_varint(b, head->max_rows);
	wire_u64(b, head->client);
	wire_varint(b, head->sequence);
	wire_varint(b, head->min_index);
	wire_bytes(b, head->namespace);
	wire_varint(b, statements_n);
}

/* Text: 0 for "the same as before", else its length + 1 and the bytes. The parameters' encoded
 * size stands before them, so that a walker can step over them. */
void sql_request_add(struct sql_writer *w, struct slice text, const struct value *params,
		     uint32_t params_n)
{
	if (w->n > 0 && slice_eq(text, w->last)) {
		wire_varint(w->b, 0);
	} else {
		wire_varint(w->b, text.n + 1);
		buf_append(w->b, text.p, text.n);
		w->last = text;
	}
	wire_varint(w->b, params_n);
	if (params_n > 0) {
		size_t at = w->b->len;
		uint32_t size;
		wire_u32(w->b, 0);
		for (uint32_t i = 0; i < params_n; i++)
			value_put(w->b, &params[i]);
		if (buf_ok(w->b)) {
			size = htole32((uint32_t)(w->b->len - at - sizeof size));
			memcpy(w->b->data + at, &size, sizeof size);
		}
	}
	w->n++;
}

bool sql_request_decode(struct slice in, struct sql_request *ret_request)
{
	struct rd r = rd_of(in);
	struct sql_request q = {0};

	if (rd_u8(&r) != REQUEST_VERSION)
		return false;
	uint8_t mode = rd_u8(&r), level = rd_u8(&r);
	uint64_t flags = rd_varint(&r);
	uint64_t timeout_ms = rd_varint(&r);
	uint64_t max_rows = rd_varint(&r);
	q.client = rd_u64(&r);
	q.sequence = rd_varint(&r);
	q.min_index = rd_varint(&r);
	q.namespace = rd_bytes(&r);
	uint64_t n = rd_count(&r, 2);
	if (!rd_ok(&r) || mode > SQL_WRITE || level > SQL_LINEARIZABLE || flags > UINT32_MAX ||
	    timeout_ms > UINT32_MAX || max_rows > UINT32_MAX || n > UINT32_MAX ||
	    q.namespace.n >= SQL_NAMESPACE_MAX)
		return false;
	q.mode = (enum sql_mode)mode;
	q.level = (enum sql_level)level;
	q.flags = (uint32_t)flags;
	q.timeout_ms = (uint32_t)timeout_ms;
	q.max_rows = (uint32_t)max_rows;
	q.statements_n = (uint32_t)n;
	q.statements = rd_take(&r, rd_left(&r));
	*ret_request = q;
	return true;
}

void sql_cursor_init(struct sql_cursor *c, const struct sql_request *r)
{
	*c = (struct sql_cursor){.rd = rd_of(r->statements), .left = r->statements_n};
}

int sql_cursor_next(struct sql_cursor *c, struct sql_statement *ret_statement)
{
	struct sql_statement s = {0};

	if (c->left == 0)
		return rd_end(&c->rd) ? 0 : -1;
	uint64_t n = rd_varint(&c->rd);
	if (n == 0)
		s.text = c->last;
	else
		s.text = rd_take(&c->rd, (size_t)(n - 1));
	uint64_t params_n = rd_varint(&c->rd);
	if (params_n > SQL_PARAMS_MAX)
		return -1;
	if (params_n > 0)
		s.params = rd_of(rd_take(&c->rd, rd_u32(&c->rd)));
	if (!rd_ok(&c->rd) || (s.text.p == NULL && n == 0))
		return -1;
	s.params_n = (uint32_t)params_n;
	c->last = s.text;
	c->left--;
	*ret_statement = s;
	return 1;
}

void sql_answer_encode(struct buf *b, const struct sql_answer *a)
{
	wire_u8(b, ANSWER_VERSION);
	wire_svarint(b, a->status);
	wire_varint(b, a->group);
	wire_varint(b, a->index);
	if (a->status != 0) {
		wire_bytes(b, a->message);
		wire_varint(b, a->statement);
		wire_svarint(b, a->offset);
		wire_varint(b, a->leader_id);
		wire_bytes(b, a->leader_rpc);
		return;
	}
	wire_varint(b, a->results_n);
	buf_append(b, a->results.p, a->results.n);
}

bool sql_answer_decode(struct slice in, struct sql_answer *ret_answer)
{
	struct rd r = rd_of(in);
	struct sql_answer a = {.offset = -1};

	if (rd_u8(&r) != ANSWER_VERSION)
		return false;
	int64_t status = rd_svarint(&r);
	a.group = rd_varint(&r);
	a.index = rd_varint(&r);
	if (status > 0 || status < -4096)
		return false;
	a.status = (int)status;
	if (status != 0) {
		a.message = rd_bytes(&r);
		a.statement = (uint32_t)rd_varint(&r);
		a.offset = (int32_t)rd_svarint(&r);
		a.leader_id = (uint32_t)rd_varint(&r);
		a.leader_rpc = rd_bytes(&r);
		if (!rd_end(&r))
			return false;
	} else {
		uint64_t n = rd_count(&r, 3);
		if (!rd_ok(&r) || n > UINT32_MAX)
			return false;
		a.results_n = (uint32_t)n;
		a.results = rd_take(&r, rd_left(&r));
	}
	*ret_answer = a;
	return true;
}

void sql_result_done(struct buf *b, int64_t changes, int64_t last_rowid)
{
	wire_u8(b, SQL_DONE);
	wire_svarint(b, changes);
	wire_svarint(b, last_rowid);
}

/* ROWS: u32 size of what follows, u64 rows, u8 truncated, columns_n, names and types, values. */
void sql_rows_begin(struct sql_rows_writer *w, struct buf *b, uint32_t columns_n)
{
	*w = (struct sql_rows_writer){.b = b};
	wire_u8(b, SQL_ROWS);
	w->at = b->len;
	wire_u32(b, 0);
	wire_u64(b, 0);
	wire_u8(b, 0);
	wire_varint(b, columns_n);
}

void sql_rows_column(struct sql_rows_writer *w, const char *name, const char *declared_type)
{
	wire_str(w->b, name ? name : "");
	wire_str(w->b, declared_type ? declared_type : "");
}

void sql_rows_end(struct sql_rows_writer *w, uint64_t rows_n, bool truncated)
{
	if (!buf_ok(w->b))
		return;
	uint32_t size = htole32((uint32_t)(w->b->len - w->at - sizeof size));
	uint64_t rows = htole64(rows_n);
	uint8_t *to = w->b->data + w->at;
	memcpy(to, &size, sizeof size);
	memcpy(to + 4, &rows, sizeof rows);
	to[12] = truncated;
}

void sql_result_cursor_init(struct sql_result_cursor *c, const struct sql_answer *a)
{
	*c = (struct sql_result_cursor){.rd = rd_of(a->results), .left = a->results_n};
}

static bool rows_decode(struct rd *in, struct sql_result *ret)
{
	struct rd r = rd_of(rd_take(in, rd_u32(in)));

	if (!rd_ok(in))
		return false;
	ret->rows_n = rd_u64(&r);
	ret->truncated = rd_u8(&r) != 0;
	uint64_t columns_n = rd_count(&r, 2);
	ret->names = r;
	for (uint64_t i = 0; i < columns_n * 2 && rd_ok(&r); i++)
		rd_bytes(&r);
	if (!rd_ok(&r) || columns_n > UINT32_MAX)
		return false;
	if (columns_n == 0 ? ret->rows_n != 0 : ret->rows_n > rd_left(&r) / columns_n)
		return false;
	ret->columns_n = (uint32_t)columns_n;
	ret->values = r;
	return true;
}

int sql_result_next(struct sql_result_cursor *c, struct sql_result *ret_result)
{
	struct sql_result res = {0};

	if (c->left == 0)
		return rd_end(&c->rd) ? 0 : -1;
	uint8_t kind = rd_u8(&c->rd);
	switch (kind) {
	case SQL_DONE:
		res.changes = rd_svarint(&c->rd);
		res.last_rowid = rd_svarint(&c->rd);
		break;
	case SQL_ROWS:
		if (!rows_decode(&c->rd, &res))
			return -1;
		break;
	default:
		return -1;
	}
	if (!rd_ok(&c->rd))
		return -1;
	res.kind = (enum sql_result_kind)kind;
	c->left--;
	*ret_result = res;
	return 1;
}
