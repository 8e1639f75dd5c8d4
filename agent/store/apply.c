#include "agent/store/apply.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SLOTS 256
#define MASKED_MAX 32 /* statements with a column mask, a table */
#define TABLES_MAX 1024

/* A statement for some of the columns. */
struct apply_masked {
	sqlite3_stmt *stmt;
	uint8_t kind; /* RECORD_INSERT, or RECORD_UPDATE | its flags */
	uint8_t *mask;
};

struct apply_table {
	uint64_t hash;
	struct apply_table *chain;
	struct record_table def; /* slices point into `bytes` */
	uint8_t *bytes;
	size_t mask_n;
	sqlite3_stmt *insert, *delete;
	struct apply_masked masked[MASKED_MAX];
	uint32_t masked_n, masked_last;
};

int applier_init(struct applier *a, struct connection *c, uint32_t statements_max, struct err *e)
{
	memset(a, 0, sizeof *a);
	a->connection = c;
	a->statements_max = statements_max < 64 ? 64 : statements_max;
	a->slots = calloc(SLOTS, sizeof *a->slots);
	if (!a->slots)
		return err_set(e, ERR_NOMEM, "no memory for statements");
	return 0;
}

static void table_free(struct apply_table *t)
{
	sqlite3_finalize(t->insert);
	sqlite3_finalize(t->delete);
	for (uint32_t i = 0; i < t->masked_n; i++) {
		sqlite3_finalize(t->masked[i].stmt);
		free(t->masked[i].mask);
	}
	free(t->bytes);
	free(t);
}

void applier_forget(struct applier *a)
{
	for (uint32_t i = 0; i < SLOTS && a->slots; i++) {
		while (a->slots[i]) {
			struct apply_table *t = a->slots[i];
			a->slots[i] = t->chain;
			table_free(t);
		}
	}
	memset(a->numbered, 0, sizeof a->numbered);
	sqlite3_finalize(a->sequence_delete);
	sqlite3_finalize(a->sequence_insert);
	a->sequence_delete = a->sequence_insert = NULL;
	a->tables_n = a->statements_n = 0;
}

void applier_done(struct applier *a)
{
	applier_forget(a);
	free(a->slots);
	a->slots = NULL;
}

/* What SQLite says of a record that does not fit: this node's data differs, unless the disk or
 * memory is at fault. */
static int mismatch(struct applier *a, const struct record_table *def, struct err *e)
{
	int code = connection_error(a->connection, e);

	if (code == ERR_NOMEM || code == ERR_IO || code == ERR_DISK_FULL || code == ERR_BUSY)
		return code;
	if (e) {
		e->code = ERR_CORRUPT;
		if (def)
			err_wrap(e, "table %.*s", (int)def->name.n, def->name.p);
	}
	return ERR_CORRUPT;
}

static int find_table(struct applier *a, struct slice definition, struct apply_table **ret_table,
		      struct err *e)
{
	uint64_t hash = XXH3_64bits(definition.p, definition.n);
	struct apply_table **slot = &a->slots[hash % SLOTS];

	for (struct apply_table *t = *slot; t; t = t->chain) {
		if (t->hash == hash && slice_eq(t->def.definition, definition)) {
			*ret_table = t;
			return 0;
		}
	}
	struct apply_table *t = calloc(1, sizeof *t);
	if (!t || !(t->bytes = malloc(definition.n))) {
		free(t);
		return err_set(e, ERR_NOMEM, "no memory for a table's statements");
	}
	memcpy(t->bytes, definition.p, definition.n);
	if (!record_table_decode(slice_of(t->bytes, definition.n), &t->def)) {
		table_free(t);
		return err_set(e, ERR_CORRUPT, "a table's definition does not decode");
	}
	t->hash = hash;
	t->mask_n = (t->def.columns_n + 7) / 8;
	t->chain = *slot;
	*slot = t;
	a->tables_n++;
	*ret_table = t;
	return 0;
}

static bool in_mask(const uint8_t *mask, uint32_t column)
{
	return !mask || mask[column / 8] >> (column % 8) & 1;
}

static void append_table(sqlite3_str *sql, const struct record_table *def)
{
	sqlite3_str_appendf(sql, "main.\"%.*w\"", (int)def->name.n, (const char *)def->name.p);
}

/* Parameters: the key's, then the rowid moved to, then the columns', as the record has them. */
static void append_where(sqlite3_str *sql, const struct record_table *def)
{
	struct rd keys = def->keys;

	sqlite3_str_appendall(sql, " WHERE ");
	if (def->keys_n == 0) {
		connection_append_name(sql, def->rowid_name);
		sqlite3_str_appendall(sql, "=?1");
	}
	for (uint32_t i = 0; i < def->keys_n; i++) {
		if (i)
			sqlite3_str_appendall(sql, " AND ");
		connection_append_name(sql, record_table_column(def, (uint32_t)rd_varint(&keys)));
		sqlite3_str_appendf(sql, "=?%u", i + 1);
	}
}

static void append_insert(sqlite3_str *sql, const struct record_table *def, const uint8_t *mask)
{
	struct rd columns = def->columns;
	uint32_t n = 0;

	/* OR ABORT overrides a constraint's own ON CONFLICT clause. */
	sqlite3_str_appendall(sql, "INSERT OR ABORT INTO ");
	append_table(sql, def);
	sqlite3_str_appendall(sql, "(");
	if (def->keys_n == 0) {
		connection_append_name(sql, def->rowid_name);
		n++;
	}
	for (uint32_t i = 0; i < def->columns_n; i++) {
		struct slice name = rd_bytes(&columns);
		if (!in_mask(mask, i))
			continue;
		if (n++)
			sqlite3_str_appendall(sql, ",");
		connection_append_name(sql, name);
	}
	sqlite3_str_appendall(sql, ")VALUES(");
	for (uint32_t i = 0; i < n; i++)
		sqlite3_str_appendall(sql, i ? ",?" : "?");
	sqlite3_str_appendall(sql, ")");
}

static void append_update(sqlite3_str *sql, const struct record_table *def, const uint8_t *mask,
			  bool moved)
{
	struct rd columns = def->columns;
	uint32_t at = def->keys_n ? def->keys_n : 1;
	bool first = true;

	sqlite3_str_appendall(sql, "UPDATE OR ABORT ");
	append_table(sql, def);
	sqlite3_str_appendall(sql, " SET ");
	if (moved) {
		connection_append_name(sql, def->rowid_name);
		sqlite3_str_appendf(sql, "=?%u", ++at);
		first = false;
	}
	for (uint32_t i = 0; i < def->columns_n; i++) {
		struct slice name = rd_bytes(&columns);
		if (!in_mask(mask, i))
			continue;
		if (!first)
			sqlite3_str_appendall(sql, ",");
		connection_append_name(sql, name);
		sqlite3_str_appendf(sql, "=?%u", ++at);
		first = false;
	}
	append_where(sql, def);
}

static int make(struct applier *a, struct apply_table *t, uint8_t kind, const uint8_t *mask,
		sqlite3_stmt **ret_stmt, struct err *e)
{
	sqlite3_str *str = sqlite3_str_new(NULL);

	switch (kind & 0x0f) {
	case RECORD_INSERT:
		append_insert(str, &t->def, mask);
		break;
	case RECORD_UPDATE:
		append_update(str, &t->def, mask, kind & RECORD_MOVED);
		break;
	default:
		sqlite3_str_appendall(str, "DELETE FROM ");
		append_table(str, &t->def);
		append_where(str, &t->def);
		break;
	}
	char *sql = sqlite3_str_finish(str);
	if (!sql)
		return err_set(e, ERR_NOMEM, "no memory for a statement");
	int code = connection_prepare(a->connection, sql, ret_stmt, e);
	sqlite3_free(sql);
	if (code)
		return mismatch(a, &t->def, e);
	a->statements_n++;
	return 0;
}

static int find_masked(struct applier *a, struct apply_table *t, uint8_t kind, struct slice mask,
		       sqlite3_stmt **ret_stmt, struct err *e)
{
	for (uint32_t n = 0; n < t->masked_n; n++) {
		uint32_t i = (t->masked_last + n) % t->masked_n;
		struct apply_masked *m = &t->masked[i];
		if (m->kind == kind && memcmp(m->mask, mask.p, t->mask_n) == 0) {
			t->masked_last = i;
			*ret_stmt = m->stmt;
			return 0;
		}
	}
	uint8_t *copy = malloc(t->mask_n + 1);
	if (!copy)
		return err_set(e, ERR_NOMEM, "no memory for a statement");
	memcpy(copy, mask.p, t->mask_n);
	sqlite3_stmt *stmt = NULL;
	int code = make(a, t, kind, copy, &stmt, e);
	if (code) {
		free(copy);
		return code;
	}
	/* At the bound the one after the last used makes room. */
	uint32_t at = t->masked_n < MASKED_MAX ? t->masked_n++ : (t->masked_last + 1) % MASKED_MAX;
	if (t->masked[at].stmt) {
		sqlite3_finalize(t->masked[at].stmt);
		free(t->masked[at].mask);
		a->statements_n--;
	}
	t->masked[at] = (struct apply_masked){stmt, kind, copy};
	t->masked_last = at;
	*ret_stmt = stmt;
	return 0;
}

static int find_statement(struct applier *a, struct apply_table *t, const struct record *rec,
			  sqlite3_stmt **ret_stmt, struct err *e)
{
	sqlite3_stmt **kept = rec->kind == RECORD_DELETE ? &t->delete
			      : rec->mask.p		 ? NULL
							 : &t->insert;
	if (!kept) {
		bool moved = rec->new_rowid != rec->rowid;
		return find_masked(a, t, (uint8_t)(rec->kind | (moved ? RECORD_MOVED : 0)),
				   rec->mask, ret_stmt, e);
	}
	int code = *kept ? 0 : make(a, t, (uint8_t)rec->kind, NULL, kept, e);
	if (!code)
		*ret_stmt = *kept;
	return code;
}

static int apply_row(struct applier *a, const struct record *rec, struct err *e)
{
	struct apply_table *t = a->numbered[rec->table_number];
	sqlite3_stmt *stmt = NULL;
	struct record_value v;
	int at = 0, rc = SQLITE_OK;
	int code = find_statement(a, t, rec, &stmt, e);

	if (code)
		return code;
	if (t->def.keys_n == 0)
		rc = sqlite3_bind_int64(stmt, ++at, rec->rowid);
	if (rec->kind == RECORD_UPDATE && rec->new_rowid != rec->rowid)
		rc = sqlite3_bind_int64(stmt, ++at, rec->new_rowid);
	while (rc == SQLITE_OK && record_value_next(&a->iter, &v))
		rc = connection_bind(stmt, ++at, &v.value);
	if (rc == SQLITE_OK && !rd_ok(&a->iter.rd))
		return err_set(e, ERR_CORRUPT, "a row record does not decode");
	if (rc != SQLITE_OK || sqlite3_step(stmt) != SQLITE_DONE) {
		code = mismatch(a, &t->def, e);
		sqlite3_reset(stmt);
		return code;
	}
	sqlite3_reset(stmt);
	if (rec->kind != RECORD_INSERT && sqlite3_changes(a->connection->db) != 1)
		return err_set(e, ERR_CORRUPT, "table %.*s: a row to %s is not there",
			       (int)t->def.name.n, (const char *)t->def.name.p,
			       rec->kind == RECORD_UPDATE ? "update" : "delete");
	return 0;
}

static int apply_text(struct applier *a, struct slice text, struct err *e)
{
	sqlite3_stmt *stmt = NULL;
	int code = 0;

	a->schema_changed = true;
	if (sqlite3_prepare_v2(a->connection->db, (const char *)text.p, (int)text.n, &stmt, NULL) !=
	    SQLITE_OK)
		return mismatch(a, NULL, e);
	if (!stmt)
		return err_set(e, ERR_CORRUPT, "an empty statement");
	while (sqlite3_step(stmt) == SQLITE_ROW)
		;
	if (sqlite3_reset(stmt) != SQLITE_OK)
		code = mismatch(a, NULL, e);
	sqlite3_finalize(stmt);
	return code;
}

static int apply_sequence(struct applier *a, const struct record *rec, struct err *e)
{
	struct value name = value_text(rec->text);
	int code = 0;

	if (!a->sequence_delete)
		code = connection_prepare(a->connection,
					  "DELETE FROM main.sqlite_sequence WHERE name=?1",
					  &a->sequence_delete, e);
	if (!code && !a->sequence_insert)
		code = connection_prepare(a->connection,
					  "INSERT INTO main.sqlite_sequence VALUES(?1,?2)",
					  &a->sequence_insert, e);
	if (code)
		return mismatch(a, NULL, e);
	connection_bind(a->sequence_delete, 1, &name);
	code = connection_finish(a->connection, a->sequence_delete, e);
	if (!code && rec->present) {
		connection_bind(a->sequence_insert, 1, &name);
		connection_bind(a->sequence_insert, 2, &rec->value);
		code = connection_finish(a->connection, a->sequence_insert, e);
	}
	return code ? mismatch(a, NULL, e) : 0;
}

static int apply_record(struct applier *a, const struct record *rec, struct err *e)
{
	switch (rec->kind) {
	case RECORD_TABLE:
		return find_table(a, rec->table->definition, &a->numbered[rec->table_number], e);
	case RECORD_INSERT:
	case RECORD_UPDATE:
	case RECORD_DELETE:
		return apply_row(a, rec, e);
	case RECORD_TEXT:
		return apply_text(a, rec->text, e);
	case RECORD_SEQUENCE:
		return apply_sequence(a, rec, e);
	default:
		return 0;
	}
}

int applier_run(struct applier *a, struct slice payload, uint64_t index, struct sessions *sessions,
		struct applied *ret_applied, struct err *e)
{
	struct connection *c = a->connection;
	struct applied done = {0};
	struct record rec;
	uint64_t client = 0, sequence = 0;
	uint32_t ordinal = 0;
	int got, code = 0;
	bool before = c->internal;

	if (a->statements_n > a->statements_max || a->tables_n > TABLES_MAX)
		applier_forget(a);
	if (!record_iter_init(&a->iter, payload))
		return err_set(e, ERR_CORRUPT, "the payload is not of a known form");
	c->internal = true;
	while ((got = record_next(&a->iter, &rec)) == 1 && !code) {
		if (rec.kind == RECORD_BEGIN) {
			client = rec.client;
			sequence = rec.sequence;
			done.hlc_us = rec.hlc_us;
		} else if (rec.kind == RECORD_END) {
			if (sessions && client && sequence)
				code = sessions_put(sessions, client, sequence, index, ordinal,
						    rec.answer, e);
			ordinal++;
		} else {
			code = apply_record(a, &rec, e);
			done.rows += rec.kind != RECORD_TABLE;
		}
	}
	c->internal = before;
	if (!code && got < 0)
		code = err_set(e, ERR_CORRUPT, "the payload does not decode");
	if (!code)
		*ret_applied = done;
	return code;
}
