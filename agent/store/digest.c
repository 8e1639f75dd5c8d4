#include "agent/store/digest.h"

#include "agent/store/schema.h"
#include "common/clock.h"
#include "common/record.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_STATIC_LINKING_ONLY
#define XXH_INLINE_ALL
#include <xxhash.h>

#define ROWS_BETWEEN_LOOKS 128 /* at the clock */
#define ROW_BYTES_MAX (1u << 30)

struct digest {
	struct connection *c;
	struct schema schema;
	XXH3_state_t *hash;
	char **tables; /* still to do, from the end */
	size_t tables_n;
	sqlite3_stmt *rows; /* of the part under way; NULL: begin the next */
	int part;	    /* how many of the fixed parts are begun */
	struct buf scratch;
};

/* Read before the tables. */
static const char *const fixed_parts[] = {
	"SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'drover\\_%' "
	"ESCAPE '\\' ORDER BY name, type",
	"PRAGMA user_version",
	"PRAGMA application_id",
	"SELECT client, sequence, idx, ordinal, answer FROM drover_sessions ORDER BY client",
};
#define FIXED_PARTS ((int)(sizeof fixed_parts / sizeof fixed_parts[0]))

static int list_tables(struct digest *d, struct err *e)
{
	sqlite3_stmt *stmt = NULL;
	int rc, code = connection_prepare(d->c,
					  "SELECT name FROM sqlite_schema WHERE type='table' AND "
					  "rootpage>0 AND name NOT LIKE 'drover\\_%' ESCAPE '\\' "
					  "ORDER BY name DESC",
					  &stmt, e);

	if (code)
		return code;
	while (!code && (rc = sqlite3_step(stmt)) != SQLITE_DONE) {
		if (rc != SQLITE_ROW) {
			code = connection_error(d->c, e);
			break;
		}
		char **more = realloc(d->tables, (d->tables_n + 1) * sizeof *more);
		char *name = strdup((const char *)sqlite3_column_text(stmt, 0));
		if (more)
			d->tables = more;
		if (more && name)
			d->tables[d->tables_n++] = name;
		else
			code = err_set(e, ERR_NOMEM, "no memory for a digest");
		if (!more)
			free(name);
	}
	sqlite3_finalize(stmt);
	return code;
}

int digest_new(struct digest **ret_digest, struct connection *c, struct err *e)
{
	struct digest *d = calloc(1, sizeof *d);

	if (!d)
		return err_set(e, ERR_NOMEM, "no memory for a digest");
	d->c = c;
	schema_init(&d->schema, c);
	buf_init(&d->scratch, ROW_BYTES_MAX);
	d->hash = XXH3_createState();
	int code = d->hash ? list_tables(d, e) : err_set(e, ERR_NOMEM, "no memory for a digest");
	if (code) {
		digest_free(d);
		return code;
	}
	XXH3_128bits_reset(d->hash);
	*ret_digest = d;
	return 0;
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	sqlite3_finalize(d->rows);
	schema_done(&d->schema);
	for (size_t i = 0; i < d->tables_n; i++)
		free(d->tables[i]);
	free(d->tables);
	buf_done(&d->scratch);
	XXH3_freeState(d->hash);
	free(d);
}

static void append_columns(sqlite3_str *sql, const struct record_table *def)
{
	struct rd columns = def->columns;

	if (def->rowid_name.n)
		connection_append_name(sql, def->rowid_name);
	for (uint32_t i = 0; i < def->columns_n; i++) {
		if (i || def->rowid_name.n)
			sqlite3_str_appendall(sql, ",");
		connection_append_name(sql, rd_bytes(&columns));
	}
}

/* NULL: no memory. */
static char *rows_sql(const struct schema_table *t)
{
	struct record_table def;
	sqlite3_str *sql;
	bool sound = record_table_decode(buf_slice(&t->definition), &def);

	assert(sound);
	sql = sqlite3_str_new(NULL);
	sqlite3_str_appendall(sql, "SELECT ");
	append_columns(sql, &def);
	sqlite3_str_appendf(sql, " FROM main.\"%w\" ORDER BY ", t->name);
	if (t->rowid)
		sqlite3_str_appendall(sql, "1");
	for (uint32_t i = 0; i < t->keys_n; i++)
		sqlite3_str_appendf(sql, "%s%u", i ? "," : "", t->keys[i] + 1);
	return sqlite3_str_finish(sql);
}

/* Begins the part of a table. */
static int begin_table(struct digest *d, const char *name, struct err *e)
{
	struct schema_table *t = NULL;
	char *sql;
	int code;

	XXH3_128bits_update(d->hash, name, strlen(name) + 1);
	if (strcmp(name, "sqlite_sequence") == 0)
		return connection_prepare(
			d->c, "SELECT name, seq FROM main.sqlite_sequence ORDER BY 1, 2", &d->rows,
			e);
	if (strncmp(name, "sqlite_", 7) == 0) {
		sql = sqlite3_mprintf("SELECT * FROM main.\"%w\" ORDER BY 1, 2", name);
	} else {
		code = schema_table(&d->schema, name, &t, e);
		if (!code && (!t || t->refusal))
			code = err_set(e, ERR_CORRUPT, "table %s: %s", name,
				       t ? t->refusal : "not there");
		if (code)
			return code;
		sql = rows_sql(t);
	}
	if (!sql)
		return err_set(e, ERR_NOMEM, "no memory for a digest");
	code = connection_prepare(d->c, sql, &d->rows, e);
	sqlite3_free(sql);
	return code;
}

/* Hashes one row; SQLITE_ROW, or how stepping ended. */
static int hash_row(struct digest *d)
{
	int rc = sqlite3_step(d->rows);

	if (rc != SQLITE_ROW)
		return rc;
	buf_clear(&d->scratch);
	for (int i = 0; i < sqlite3_column_count(d->rows); i++) {
		struct value v = connection_column(d->rows, i);
		value_put(&d->scratch, &v);
	}
	if (!buf_ok(&d->scratch))
		return SQLITE_NOMEM;
	XXH3_128bits_update(d->hash, d->scratch.data, d->scratch.len);
	return SQLITE_ROW;
}

static void finish(struct digest *d, char *ret_hex)
{
	XXH128_hash_t h = XXH3_128bits_digest(d->hash);

	snprintf(ret_hex, 33, "%016llx%016llx", (unsigned long long)h.high64,
		 (unsigned long long)h.low64);
}

/* 1: the next part is begun; 0: there is none. */
static int begin_next(struct digest *d, struct err *e)
{
	int code;

	if (d->part < FIXED_PARTS) {
		code = connection_prepare(d->c, fixed_parts[d->part++], &d->rows, e);
		return code ? code : 1;
	}
	if (d->tables_n == 0)
		return 0;
	char *name = d->tables[--d->tables_n];
	code = begin_table(d, name, e);
	free(name);
	return code ? code : 1;
}

int digest_step(struct digest *d, uint32_t slice_ms, char *ret_hex, struct err *e)
{
	uint64_t until = clock_mono_us() + (uint64_t)slice_ms * 1000;

	for (unsigned n = 1;; n++) {
		if (!d->rows) {
			int more = begin_next(d, e);
			if (more == 0)
				finish(d, ret_hex);
			if (more <= 0)
				return more;
		}
		int rc = hash_row(d);
		if (rc == SQLITE_DONE) {
			sqlite3_finalize(d->rows);
			d->rows = NULL;
			/* So that no row can be taken for one of another table. */
			XXH3_128bits_update(d->hash, "\xff", 1);
		} else if (rc == SQLITE_NOMEM) {
			return err_set(e, ERR_NOMEM, "no memory for a digest");
		} else if (rc != SQLITE_ROW) {
			return connection_error(d->c, e);
		}
		if (n % ROWS_BETWEEN_LOOKS == 0 && clock_mono_us() >= until)
			return 1;
	}
}
