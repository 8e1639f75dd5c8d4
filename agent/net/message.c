#include "agent/net/message.h"

#include <stdlib.h>

enum { FLAG_GRANTED = 1, FLAG_TRANSFER = 2 };

static void put_append(struct buf *b, const struct raft_message *m, const struct wal_entry *entries,
		       size_t n)
{
	wire_varint(b, m->prev_index);
	wire_varint(b, m->prev_term);
	wire_varint(b, m->commit);
	wire_varint(b, m->round);
	wire_varint(b, n);
	if (n == 0)
		return;
	/* Only runs that begin within what is really sent. */
	uint32_t runs = 0;
	while (runs < m->runs_n && m->runs[runs].first <= m->prev_index + n)
		runs++;
	wire_varint(b, runs);
	for (uint32_t i = 0; i < runs; i++) {
		wire_varint(b, m->runs[i].first);
		wire_varint(b, m->runs[i].term);
	}
	for (size_t i = 0; i < n; i++) {
		wire_u8(b, entries[i].kind);
		wire_varint(b, entries[i].data->size_bytes);
	}
}

void message_put(struct buf *b, uint32_t group, const struct raft_message *m,
		 const struct wal_entry *entries, size_t n)
{
	wire_varint(b, group);
	wire_u8(b, (uint8_t)m->kind);
	wire_u8(b, (uint8_t)((m->granted ? FLAG_GRANTED : 0) | (m->transfer ? FLAG_TRANSFER : 0)));
	wire_varint(b, m->from);
	wire_varint(b, m->to);
	wire_varint(b, m->term);
	switch (m->kind) {
	case RAFT_PRE_VOTE:
	case RAFT_VOTE:
		wire_varint(b, m->prev_index);
		wire_varint(b, m->prev_term);
		break;
	case RAFT_APPEND:
		put_append(b, m, entries, n);
		break;
	case RAFT_APPEND_REPLY:
		wire_varint(b, m->prev_index);
		wire_varint(b, m->match);
		wire_varint(b, m->hint_index);
		wire_varint(b, m->hint_term);
		wire_varint(b, m->round);
		break;
	case RAFT_READ:
	case RAFT_READ_REPLY:
		wire_varint(b, m->round);
		wire_varint(b, m->read_index);
		break;
	default:
		break;
	}
}

static int get_entries(struct message *m, struct rd *r, struct err *e)
{
	struct raft_message *q = &m->raft;
	struct rd sizes;

	uint64_t runs = rd_count(r, 2);
	if (runs > RAFT_APPEND_RUNS_MAX || q->count > MESSAGE_ENTRIES_MAX)
		return err_set(e, ERR_PROTOCOL, "append with too many entries or terms");
	q->runs_n = (uint32_t)runs;
	for (uint64_t i = 0; i < runs; i++) {
		q->runs[i].first = rd_varint(r);
		q->runs[i].term = rd_varint(r);
	}
	sizes = *r;
	for (uint32_t i = 0; i < q->count; i++) {
		rd_u8(r);
		if (rd_varint(r) > WAL_ENTRY_BYTES_MAX)
			r->bad = true;
	}
	if (!rd_ok(r))
		return err_set(e, ERR_PROTOCOL, "append with malformed entries");
	m->entries = calloc(q->count, sizeof *m->entries);
	if (!m->entries)
		return err_set(e, ERR_NOMEM, "no memory for %u entries of an append", q->count);
	for (uint32_t i = 0, run = 0; i < q->count; i++) {
		struct wal_entry *entry = &m->entries[i];
		entry->index = q->prev_index + 1 + i;
		while (run + 1 < q->runs_n && q->runs[run + 1].first <= entry->index)
			run++;
		entry->term = q->runs_n ? q->runs[run].term : 0;
		entry->kind = rd_u8(&sizes);
		struct slice data = rd_take(r, (size_t)rd_varint(&sizes));
		if (!rd_ok(r))
			return err_set(e, ERR_PROTOCOL, "append cut off in its entries");
		entry->data = blob_new(data.p, (uint32_t)data.n);
		if (!entry->data)
			return err_set(e, ERR_NOMEM, "no memory for an entry of an append");
	}
	return 0;
}

static int get_append(struct message *m, struct rd *r, struct err *e)
{
	struct raft_message *q = &m->raft;

	q->prev_index = rd_varint(r);
	q->prev_term = rd_varint(r);
	q->commit = rd_varint(r);
	q->round = rd_varint(r);
	q->count = (uint32_t)rd_count(r, 2);
	if (!rd_ok(r))
		return err_set(e, ERR_PROTOCOL, "malformed append");
	return q->count > 0 ? get_entries(m, r, e) : 0;
}

int message_get(struct message *ret_message, struct slice body, struct err *e)
{
	struct message m = {0};
	struct raft_message *q = &m.raft;
	struct rd r = rd_of(body);
	int rc = 0;

	uint64_t group = rd_varint(&r);
	uint8_t kind = rd_u8(&r), flags = rd_u8(&r);
	uint64_t from = rd_varint(&r), to = rd_varint(&r);
	q->term = rd_varint(&r);
	if (!rd_ok(&r) || group >= WAL_GROUPS_MAX || kind == 0 || kind >= RAFT_MESSAGE_KINDS ||
	    from > UINT16_MAX || to > UINT16_MAX)
		return err_set(e, ERR_PROTOCOL, "malformed message head");
	m.group = (uint32_t)group;
	q->kind = (enum raft_message_kind)kind;
	q->from = (raft_id)from;
	q->to = (raft_id)to;
	q->granted = flags & FLAG_GRANTED;
	q->transfer = flags & FLAG_TRANSFER;
	switch (q->kind) {
	case RAFT_PRE_VOTE:
	case RAFT_VOTE:
		q->prev_index = rd_varint(&r);
		q->prev_term = rd_varint(&r);
		break;
	case RAFT_APPEND:
		rc = get_append(&m, &r, e);
		break;
	case RAFT_APPEND_REPLY:
		q->prev_index = rd_varint(&r);
		q->match = rd_varint(&r);
		q->hint_index = rd_varint(&r);
		q->hint_term = rd_varint(&r);
		q->round = rd_varint(&r);
		break;
	case RAFT_READ:
	case RAFT_READ_REPLY:
		q->round = rd_varint(&r);
		q->read_index = rd_varint(&r);
		break;
	default:
		break;
	}
	if (rc == 0 && !rd_end(&r))
		rc = err_set(e, ERR_PROTOCOL, "message of kind %u with a malformed body", kind);
	if (rc < 0) {
		message_done(&m);
		return rc;
	}
	*ret_message = m;
	return 0;
}

void message_done(struct message *m)
{
	if (m->entries)
		wal_entries_unref(m->entries, m->raft.count);
	free(m->entries);
	m->entries = NULL;
}
