#include "agent/store/namespace.h"

#include "agent/store/state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAL_KEEP_BYTES (64 << 20) /* a reset WAL file is cut to this */

static const char *const sql_texts[SQL_N] = {
	[SQL_BEGIN] = "BEGIN IMMEDIATE",
	[SQL_COMMIT] = "COMMIT",
	[SQL_ROLLBACK] = "ROLLBACK",
	[SQL_SAVEPOINT] = "SAVEPOINT drover_request",
	[SQL_RELEASE] = "RELEASE drover_request",
	[SQL_ROLLBACK_TO] = "ROLLBACK TO drover_request",
	[SQL_META] = "UPDATE drover_meta SET applied=?1, term=?2, hlc=?3",
	[SQL_SCHEMA_VERSION] = "PRAGMA schema_version",
};

void namespace_init(struct namespace *ns, struct store *s, uint64_t id)
{
	memset(ns, 0, sizeof *ns);
	ns->id = id;
	ns->store = s;
	ns->dirty_from = UINT64_MAX;
	ns->retained_end = &ns->retained;
	sessions_init(&ns->sessions, s->o.sessions_max);
}

void namespace_done(struct namespace *ns)
{
	namespace_close(ns);
	sessions_done(&ns->sessions);
}

void namespace_path(const char *dir, uint64_t id, char *ret_path, size_t size)
{
	snprintf(ret_path, size, "%s/ns-%llu.db", dir, (unsigned long long)id);
}

/* Instead of SQLite's automatic checkpoints: notes how long the WAL has grown. */
static int on_wal(void *ctx, sqlite3 *db, const char *name, int pages)
{
	struct namespace *ns = ctx;

	(void)db;
	(void)name;
	pthread_mutex_lock(&ns->store->lock);
	ns->wal_bytes = (uint64_t)pages * (4096 + 24);
	pthread_mutex_unlock(&ns->store->lock);
	return SQLITE_OK;
}

/* A new file, or one whose making was cut short. */
static int create(struct namespace *ns, struct err *e)
{
	struct store *s = ns->store;
	struct connection *c = &ns->connection;

	if (connection_exec(c, "BEGIN IMMEDIATE", e) ||
	    connection_exec(c,
			    "CREATE TABLE drover_meta(id INTEGER PRIMARY KEY, applied INTEGER NOT "
			    "NULL, term INTEGER NOT NULL, hlc INTEGER NOT NULL)",
			    e) ||
	    connection_exec(c,
			    "CREATE TABLE drover_sessions(client INTEGER PRIMARY KEY, sequence "
			    "INTEGER NOT NULL, idx INTEGER NOT NULL, ordinal INTEGER NOT NULL, "
			    "answer BLOB NOT NULL)",
			    e) ||
	    connection_exec(c, "INSERT INTO drover_meta VALUES(1, 0, 0, 0)", e))
		return e->code;
	if (s->first_schema && ns->id == s->o.first_schema_ns &&
	    connection_exec(c, s->first_schema, e))
		return err_wrap(e, "first schema");
	return connection_exec(c, "COMMIT", e);
}

static int read_meta(struct namespace *ns, struct err *e)
{
	struct connection *c = &ns->connection;
	int64_t tables = 0, applied = 0, term = 0, hlc = 0;

	if (connection_int(c, "SELECT count(*) FROM sqlite_schema WHERE name='drover_meta'", 0,
			   &tables, e) ||
	    (tables == 0 && create(ns, e)) ||
	    connection_int(c, "SELECT applied FROM drover_meta", -1, &applied, e) ||
	    connection_int(c, "SELECT term FROM drover_meta", 0, &term, e) ||
	    connection_int(c, "SELECT hlc FROM drover_meta", 0, &hlc, e))
		return e->code;
	if (applied < 0)
		return err_set(e, ERR_CORRUPT, "drover_meta is empty");
	ns->applied = ns->flushed = (uint64_t)applied;
	ns->term = (uint64_t)term;
	ns->hlc_us = (uint64_t)hlc;
	if (ns->hlc_us > ns->store->hlc_us)
		ns->store->hlc_us = ns->hlc_us;
	return 0;
}

static int set_up(struct namespace *ns, struct err *e)
{
	struct connection *c = &ns->connection;
	char limit[64];

	snprintf(limit, sizeof limit, "PRAGMA journal_size_limit=%d", WAL_KEEP_BYTES);
	if (connection_exec(c, "PRAGMA page_size=4096", e) ||
	    connection_exec(c, "PRAGMA journal_mode=WAL", e) ||
	    connection_exec(c, "PRAGMA synchronous=NORMAL", e) ||
	    connection_exec(c, "PRAGMA secure_delete=OFF", e) || connection_exec(c, limit, e))
		return e->code;
	sqlite3_wal_hook(c->db, on_wal, ns);
	if (read_meta(ns, e) || capture_attach(&ns->capture, e))
		return e->code;
	for (int i = 0; i < SQL_N; i++)
		if (connection_prepare(c, sql_texts[i], &ns->sql[i], e))
			return e->code;
	return 0;
}

int namespace_open(struct namespace *ns, struct err *e)
{
	struct store *s = ns->store;
	char path[STORE_PATH_MAX];

	if (ns->open)
		return 0;
	namespace_path(s->dir, ns->id, path, sizeof path);
	struct connection_options o = {
		.path = path,
		.vfs = s->vfs,
		.cache_kib = s->o.cache_kib,
		.statements_max = s->o.statements_max,
		.statement_ms_max = s->o.statement_ms_max,
	};
	int code = connection_open(&ns->connection, &o, e);
	if (code)
		return code;
	ns->open = true;
	schema_init(&ns->schema, &ns->connection);
	capture_init(&ns->capture, &ns->connection, &ns->schema);
	ns->connection.schema = &ns->schema;
	code = applier_init(&ns->applier, &ns->connection, s->o.statements_max, e);
	if (!code)
		code = set_up(ns, e);
	if (code) {
		namespace_close(ns);
		return err_wrap(e, "%s", path);
	}
	ns->mode = MODE_NONE;
	pthread_mutex_lock(&s->lock);
	ns->has_file = true;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void forget_retained(struct namespace *ns)
{
	while (ns->retained) {
		struct retained *next = ns->retained->next;
		free(ns->retained);
		ns->retained = next;
	}
	ns->retained_end = &ns->retained;
	ns->retained_bytes = 0;
	ns->not_retained = false;
}

void namespace_close(struct namespace *ns)
{
	if (!ns->open)
		return;
	forget_retained(ns);
	for (int i = 0; i < SQL_N; i++) {
		sqlite3_finalize(ns->sql[i]);
		ns->sql[i] = NULL;
	}
	applier_done(&ns->applier);
	sequences_done(&ns->sequences);
	schema_done(&ns->schema);
	sessions_forget(&ns->sessions);
	connection_close(&ns->connection);
	ns->open = ns->in_transaction = ns->changed = false;
	ns->mode = MODE_NONE;
}

int namespace_run(struct namespace *ns, enum namespace_sql which, struct err *e)
{
	return connection_finish(&ns->connection, ns->sql[which], e);
}

int namespace_run_watched(struct namespace *ns, enum namespace_sql which, struct err *e)
{
	ns->capture.mode = CAPTURE_WATCH;
	ns->capture.stray = 0;
	int code = namespace_run(ns, which, e);
	ns->capture.mode = CAPTURE_OFF;
	if (!code && ns->capture.stray)
		code = err_set(e, ERR_CORRUPT,
			       "a virtual table changed %llu rows that no log entry has",
			       (unsigned long long)ns->capture.stray);
	return code;
}

void namespace_schema_changed(struct namespace *ns)
{
	statement_cache_clear(&ns->connection.cache);
	capture_forget_tables(&ns->capture);
	schema_forget(&ns->schema);
	sequences_forget(&ns->sequences);
}

static int set_flags(struct namespace *ns, enum namespace_mode mode, struct err *e)
{
	sqlite3 *db = ns->connection.db;
	bool execute = mode == MODE_EXECUTE;

	/* The hook first: flags make SQLite prepare every statement again, and those must see it.
	 */
	capture_hook(&ns->capture, execute);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, execute, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_FKEY, execute, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, execute, NULL);
	return connection_exec(&ns->connection,
			       execute ? "PRAGMA ignore_check_constraints=OFF"
				       : "PRAGMA ignore_check_constraints=ON",
			       e);
}

int namespace_set_mode(struct namespace *ns, enum namespace_mode mode, struct err *e)
{
	int code;

	if (ns->mode == mode)
		return 0;
	if (ns->mode != MODE_NONE) {
		/* What is unflushed is committed by the log: batches are never speculative when
		 * the mode changes. From here on everything unflushed is our own, and retained. */
		code = namespace_flush(ns, e);
		if (!code)
			code = schema_load(&ns->schema, e);
		if (!code && ns->schema.virtual_tables) {
			namespace_close(ns);
			code = namespace_open(ns, e);
		}
		if (code)
			return code;
	}
	code = set_flags(ns, mode, e);
	if (!code)
		ns->mode = mode;
	return code;
}

int namespace_begin(struct namespace *ns, struct err *e)
{
	struct store *s = ns->store;

	if (ns->in_transaction)
		return 0;
	/* A checkpoint that wants to reset the WAL needs the moment between two transactions. */
	pthread_mutex_lock(&s->lock);
	while (ns->gate)
		pthread_cond_wait(&s->gate, &s->lock);
	pthread_mutex_unlock(&s->lock);
	int code = namespace_run(ns, SQL_BEGIN, e);
	if (!code)
		ns->in_transaction = true;
	return code;
}

static int write_meta(struct namespace *ns, struct err *e)
{
	sqlite3_stmt *stmt = ns->sql[SQL_META];

	sqlite3_bind_int64(stmt, 1, (int64_t)ns->applied);
	sqlite3_bind_int64(stmt, 2, (int64_t)ns->term);
	sqlite3_bind_int64(stmt, 3, (int64_t)ns->hlc_us);
	return namespace_run(ns, SQL_META, e);
}

int namespace_flush(struct namespace *ns, struct err *e)
{
	struct store *s = ns->store;
	int code = 0;

	if (!ns->in_transaction)
		return 0;
	if (ns->broken)
		return err_set(e, ERR_REFUSED, "namespace %llu must be rewound first",
			       (unsigned long long)ns->id);
	assert(ns->speculative == 0);
	ns->capture.mode = CAPTURE_OFF;
	if (ns->changed)
		code = write_meta(ns, e);
	if (!code && ns->changed)
		code = sessions_flush(&ns->sessions, &ns->connection, e);
	if (!code)
		code = namespace_run_watched(ns, SQL_COMMIT, e);
	if (code) {
		ns->broken = true;
		return err_wrap(e, "namespace %llu: commit", (unsigned long long)ns->id);
	}
	ns->in_transaction = false;
	ns->flushed = ns->applied;
	ns->rows = ns->since_us = 0;
	forget_retained(ns);
	pthread_mutex_lock(&s->lock);
	ns->dirty_from = UINT64_MAX;
	if (ns->changed) {
		ns->flushes++;
		s->stats.flushes++;
	}
	pthread_mutex_unlock(&s->lock);
	ns->changed = false;
	return 0;
}

void namespace_rollback(struct namespace *ns)
{
	if (ns->open) {
		struct err ignored;
		ns->capture.mode = CAPTURE_OFF;
		/* A failed ROLLBACK leaves nothing to do but to close, which rolls back too. */
		if (!sqlite3_get_autocommit(ns->connection.db) &&
		    namespace_run(ns, SQL_ROLLBACK, &ignored))
			namespace_close(ns);
		else
			namespace_schema_changed(ns);
	}
	ns->in_transaction = ns->changed = ns->broken = false;
	ns->applied = ns->flushed;
	ns->rows = ns->since_us = 0;
	sessions_forget(&ns->sessions);
	forget_retained(ns);
}

void namespace_retain(struct namespace *ns, struct slice payload)
{
	struct retained *r = NULL;

	if (ns->retained_bytes + payload.n <= RETAINED_BYTES_MAX)
		r = malloc(sizeof *r + payload.n);
	if (!r) {
		ns->not_retained = true;
		return;
	}
	r->next = NULL;
	r->n = payload.n;
	memcpy(r->bytes, payload.p, payload.n);
	*ns->retained_end = r;
	ns->retained_end = &r->next;
	ns->retained_bytes += payload.n;
}

static int replay_all(struct namespace *ns, struct slice batch, struct err *e)
{
	struct applied done;
	int code = namespace_begin(ns, e);

	for (struct retained *r = ns->retained; r && !code; r = r->next)
		code = applier_run(&ns->applier, slice_of(r->bytes, r->n), 0, NULL, &done, e);
	if (!code && batch.n)
		code = applier_run(&ns->applier, batch, 0, NULL, &done, e);
	return code;
}

/* The connection is closed and opened without losing what belongs to the open transaction. */
static int reopen(struct namespace *ns, struct err *e)
{
	struct retained *retained = ns->retained, **end = ns->retained_end;
	struct sessions sessions = ns->sessions;
	struct capture capture = ns->capture;
	uint64_t applied = ns->applied, term = ns->term, hlc_us = ns->hlc_us;
	uint64_t flushed = ns->flushed;
	size_t retained_bytes = ns->retained_bytes;
	bool changed = ns->changed;

	ns->retained = NULL;
	sessions_init(&ns->sessions, sessions.max);
	namespace_close(ns);
	int code = namespace_open(ns, e);
	ns->retained = retained;
	ns->retained_end = retained ? end : &ns->retained;
	ns->retained_bytes = retained_bytes;
	sessions_done(&ns->sessions);
	ns->sessions = sessions;
	capture.connection = ns->capture.connection;
	capture.absent = ns->capture.absent;
	ns->capture = capture;
	capture_forget_tables(&ns->capture);
	ns->applied = applied;
	ns->term = term;
	ns->hlc_us = hlc_us;
	ns->flushed = flushed;
	ns->changed = changed;
	return code;
}

int namespace_replay(struct namespace *ns, struct slice batch, struct err *e)
{
	bool virtual_tables = ns->schema.loaded && ns->schema.virtual_tables;
	int code = 0;

	ns->in_transaction = false;
	if (ns->not_retained) {
		ns->broken = true;
		return err_set(e, ERR_IO,
			       "SQLite rolled back entries that are not in memory any more");
	}
	namespace_schema_changed(ns);
	ns->capture.mode = CAPTURE_OFF;
	if (virtual_tables)
		code = reopen(ns, e);
	if (!code)
		code = set_flags(ns, MODE_APPLY, e);
	if (!code)
		code = replay_all(ns, batch, e);
	if (!code)
		code = set_flags(ns, MODE_EXECUTE, e);
	ns->mode = MODE_EXECUTE;
	/* An entry of our own that does not apply to what it was captured from is no corruption
	 * of the disk: give the caller the chance to apply the log again. */
	if (code) {
		ns->broken = true;
		if (code == ERR_CORRUPT && e)
			e->code = code = ERR_IO;
		return err_wrap(e, "namespace %llu: bringing back its transaction",
				(unsigned long long)ns->id);
	}
	return 0;
}
