#include "agent/store/connection.h"

#include "agent/store/classify.h"
#include "common/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define PROGRESS_OPS 4096 /* virtual machine steps between two looks at the clock */
#define BUSY_MS 30000	  /* only a checkpoint can hold the write lock, and it is bounded */

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Spares a process-wide lock around each allocation. Too late when somebody has started SQLite
 * before; then it stays as it is. */
static void configure_process(void)
{
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	sqlite3_initialize();
}

static int progress(void *ctx)
{
	struct connection *c = ctx;
	uint64_t now;

	if (c->internal)
		return 0;
	now = clock_mono_us();
	if (c->deadline_us == 0)
		c->deadline_us = now + (uint64_t)c->statement_ms_max * 1000;
	else if (now > c->deadline_us)
		c->timed_out = true;
	return c->timed_out;
}

static void set_limits(struct connection *c, const struct connection_options *o)
{
	uint64_t length = o->length_max ? o->length_max : SQL_ANSWER_BYTES_MAX;

	if (length > 1000000000)
		length = 1000000000;
	sqlite3_limit(c->db, SQLITE_LIMIT_LENGTH, (int)length);
	sqlite3_limit(c->db, SQLITE_LIMIT_SQL_LENGTH, SQL_REQUEST_BYTES_MAX);
	sqlite3_limit(c->db, SQLITE_LIMIT_VARIABLE_NUMBER, SQL_PARAMS_MAX);
	sqlite3_limit(c->db, SQLITE_LIMIT_ATTACHED, 0);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0, NULL);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
}

static int set_pragmas(struct connection *c, const struct connection_options *o, struct err *e)
{
	char sql[64];

	if (connection_exec(c, "PRAGMA temp_store=MEMORY", e))
		return e->code;
	if (o->cache_kib) {
		snprintf(sql, sizeof sql, "PRAGMA cache_size=-%u", o->cache_kib);
		if (connection_exec(c, sql, e))
			return e->code;
	}
	if (o->mmap_bytes) {
		snprintf(sql, sizeof sql, "PRAGMA mmap_size=%llu",
			 (unsigned long long)o->mmap_bytes);
		if (connection_exec(c, sql, e))
			return e->code;
	}
	return 0;
}

int connection_open(struct connection *c, const struct connection_options *o, struct err *e)
{
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
		    (o->readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) |
		    (o->readonly || o->existing ? 0 : SQLITE_OPEN_CREATE);
	struct err local;

	if (!e)
		e = &local;
	pthread_once(&once, configure_process);
	memset(c, 0, sizeof *c);
	c->internal = true;
	c->statement_ms_max = o->statement_ms_max;
	int rc = sqlite3_open_v2(o->path, &c->db, flags, o->vfs);
	if (rc != SQLITE_OK) {
		if (!c->db)
			return err_set(e, ERR_NOMEM, "no memory to open %s", o->path);
		connection_error(c, e);
		err_wrap(e, "cannot open %s", o->path);
		goto fail;
	}
	set_limits(c, o);
	sqlite3_busy_timeout(c->db, BUSY_MS);
	sqlite3_set_authorizer(c->db, classify_authorize, c);
	if (o->statement_ms_max)
		sqlite3_progress_handler(c->db, PROGRESS_OPS, progress, c);
	if (set_pragmas(c, o, e) || statement_cache_init(&c->cache, o->statements_max, e))
		goto fail;
	return 0;
fail:
	connection_close(c);
	return e->code;
}

void connection_close(struct connection *c)
{
	if (!c->db)
		return;
	statement_cache_done(&c->cache);
	sqlite3_close_v2(c->db);
	c->db = NULL;
}

static int code_of(int extended)
{
	switch (extended & 0xff) {
	case SQLITE_FULL:
		return ERR_DISK_FULL;
	case SQLITE_NOMEM:
		return ERR_NOMEM;
	case SQLITE_IOERR:
		return extended == SQLITE_IOERR_NOMEM ? ERR_NOMEM : ERR_IO;
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return ERR_IO;
	case SQLITE_CORRUPT:
		/* A full-text table may hold what its content table contradicts: the client's. */
		return extended == SQLITE_CORRUPT_VTAB ? ERR_SQL : ERR_CORRUPT;
	case SQLITE_NOTADB:
		return ERR_CORRUPT;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return ERR_BUSY;
	case SQLITE_INTERRUPT:
		return ERR_TIMEOUT;
	case SQLITE_AUTH:
		return ERR_UNSUPPORTED;
	case SQLITE_TOOBIG:
		return ERR_LIMIT;
	default:
		return ERR_SQL;
	}
}

int connection_error(struct connection *c, struct err *e)
{
	int code = code_of(sqlite3_extended_errcode(c->db));

	if (c->refusal_code) {
		code = c->refusal_code;
		err_set(e, code, "%s", c->refusal);
		c->refusal_code = 0;
	} else if (code == ERR_TIMEOUT && c->timed_out) {
		err_set(e, code, "the statement ran longer than %u ms", c->statement_ms_max);
	} else {
		err_set(e, code, "%s", sqlite3_errmsg(c->db));
		if (e && (code == ERR_IO || code == ERR_DISK_FULL))
			e->sys_errno = sqlite3_system_errno(c->db);
	}
	return code;
}

int connection_exec(struct connection *c, const char *sql, struct err *e)
{
	bool before = c->internal;

	c->internal = true;
	int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
	c->internal = before;
	return rc == SQLITE_OK ? 0 : connection_error(c, e);
}

int connection_prepare(struct connection *c, const char *sql, sqlite3_stmt **ret_stmt,
		       struct err *e)
{
	bool before = c->internal;
	sqlite3_stmt *stmt;

	c->internal = true;
	int rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
	c->internal = before;
	if (rc != SQLITE_OK)
		return connection_error(c, e);
	*ret_stmt = stmt;
	return 0;
}

int connection_finish(struct connection *c, sqlite3_stmt *stmt, struct err *e)
{
	bool before = c->internal;
	int rc, code = 0;

	c->internal = true;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		;
	if (rc != SQLITE_DONE)
		code = connection_error(c, e);
	sqlite3_reset(stmt);
	c->internal = before;
	return code;
}

int connection_int(struct connection *c, const char *sql, int64_t none, int64_t *ret_value,
		   struct err *e)
{
	bool before = c->internal;
	sqlite3_stmt *stmt = NULL;
	int code = connection_prepare(c, sql, &stmt, e);

	if (code)
		return code;
	c->internal = true;
	int rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*ret_value = sqlite3_column_int64(stmt, 0);
	else if (rc == SQLITE_DONE)
		*ret_value = none;
	else
		code = connection_error(c, e);
	sqlite3_finalize(stmt);
	c->internal = before;
	return code;
}

int connection_bind(sqlite3_stmt *stmt, int at, const struct value *v)
{
	switch (v->type) {
	case VALUE_NULL:
		return sqlite3_bind_null(stmt, at);
	case VALUE_INT:
		return sqlite3_bind_int64(stmt, at, v->i);
	case VALUE_REAL:
		return sqlite3_bind_double(stmt, at, v->r);
	case VALUE_TEXT:
		return sqlite3_bind_text64(stmt, at, v->s.n ? (const char *)v->s.p : "", v->s.n,
					   SQLITE_STATIC, SQLITE_UTF8);
	case VALUE_BLOB:
		/* A null pointer would bind NULL, even with length 0. */
		return sqlite3_bind_blob64(stmt, at, v->s.n ? (const void *)v->s.p : "", v->s.n,
					   SQLITE_STATIC);
	}
	return SQLITE_MISUSE;
}

void connection_append_name(sqlite3_str *sql, struct slice name)
{
	static const char *const bare[] = {"rowid", "_rowid_", "oid"};

	for (size_t i = 0; i < sizeof bare / sizeof bare[0]; i++)
		if (name.n == strlen(bare[i]) &&
		    sqlite3_strnicmp((const char *)name.p, bare[i], (int)name.n) == 0) {
			sqlite3_str_appendall(sql, bare[i]);
			return;
		}
	sqlite3_str_appendf(sql, "\"%.*w\"", (int)name.n, (const char *)name.p);
}
