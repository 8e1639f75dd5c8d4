#include "tests/unit/store_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void rig_remove(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	char path[512];

	if (!d)
		return;
	while ((entry = readdir(d))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
		if (unlink(path) != 0)
			rig_remove(path);
	}
	closedir(d);
	rmdir(dir);
}

void rig_reopen(struct rig *g, struct store **s, const char *dir)
{
	struct store_options o = g->o;
	struct err e;

	o.dir = dir;
	store_free(*s);
	*s = NULL;
	if (store_open(s, &o, &e))
		fail_msg("open: %s", e.text);
}

void rig_open(struct rig *g, void (*tune)(struct store_options *o))
{
	const char *tmp = getenv("TMPDIR");

	memset(g, 0, sizeof *g);
	snprintf(g->root, sizeof g->root, "%.40s/store-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(g->root));
	snprintf(g->leader_dir, sizeof g->leader_dir, "%s/leader", g->root);
	snprintf(g->follower_dir, sizeof g->follower_dir, "%s/follower", g->root);
	assert_int_equal(mkdir(g->leader_dir, 0700), 0);
	assert_int_equal(mkdir(g->follower_dir, 0700), 0);
	g->o = (struct store_options){
		.group = 1,
		.statements_max = 64,
		.sessions_max = 100,
		.rows_max = 10000,
		.answer_bytes_max = 8 << 20,
		.entry_bytes_max = 16 << 20,
	};
	if (tune)
		tune(&g->o);
	g->now_us = 1700000000000000;
	buf_init(&g->message, SQL_REQUEST_BYTES_MAX * 2);
	buf_init(&g->request.results, 8 << 20);
	rig_reopen(g, &g->leader, g->leader_dir);
	rig_reopen(g, &g->follower, g->follower_dir);
}

void rig_close(struct rig *g)
{
	store_free(g->leader);
	store_free(g->follower);
	for (size_t i = 0; i < g->log_n; i++)
		buf_done(&g->log[i].payload);
	free(g->log);
	buf_done(&g->message);
	buf_done(&g->request.results);
	rig_remove(g->root);
}

void rig_prepare(struct rig *g, const char *const *texts)
{
	struct sql_writer w;
	uint32_t n = 0;

	while (texts[n])
		n++;
	buf_clear(&g->message);
	sql_request_begin(&w, &g->message, &g->sql, n);
	for (uint32_t i = 0; i < n; i++)
		sql_request_add(&w, slice_str(texts[i]), NULL, 0);
	assert_true(buf_ok(&g->message));
	assert_true(sql_request_decode(buf_slice(&g->message), &g->sql));
}

void rig_prepare_one(struct rig *g, const char *text, const struct value *params, uint32_t n)
{
	struct sql_writer w;

	buf_clear(&g->message);
	sql_request_begin(&w, &g->message, &g->sql, 1);
	sql_request_add(&w, slice_str(text), params, n);
	assert_true(sql_request_decode(buf_slice(&g->message), &g->sql));
}

static struct rig_entry *log_add(struct rig *g)
{
	g->log = realloc(g->log, (g->log_n + 1) * sizeof *g->log);
	assert_non_null(g->log);
	struct rig_entry *entry = &g->log[g->log_n++];
	buf_init(&entry->payload, 64 << 20);
	entry->term = 1;
	return entry;
}

int rig_execute(struct rig *g)
{
	struct store_request *r = &g->request;
	struct err e;
	struct buf payload;

	buf_init(&payload, 64 << 20);
	r->sql = &g->sql;
	g->now_us += 10;
	if (store_execute(g->leader, RIG_NS, &r, 1, g->now_us, &payload, &e))
		fail_msg("execute: %s", e.text);
	assert_int_equal(r->wrote, payload.len > 0);
	if (payload.len) {
		struct rig_entry *entry = log_add(g);
		buf_append(&entry->payload, payload.data, payload.len);
		store_proposed(g->leader, g->log_n, 1);
		store_committed(g->leader, g->log_n);
		if (g->follower)
			rig_replay(g, g->follower, g->log_n, g->log_n);
	}
	buf_done(&payload);
	return r->status;
}

void rig_append(struct rig *g, struct slice payload)
{
	struct rig_entry *entry = log_add(g);

	buf_append(&entry->payload, payload.p, payload.n);
	rig_replay(g, g->leader, g->log_n, g->log_n);
	rig_replay(g, g->follower, g->log_n, g->log_n);
}

void rig_replay(struct rig *g, struct store *s, uint64_t from, uint64_t to)
{
	struct err e;

	for (uint64_t i = from; i <= to; i++)
		if (store_apply(s, i, g->log[i - 1].term, buf_slice(&g->log[i - 1].payload), &e))
			fail_msg("apply: %s", e.text);
}

int rig_run(struct rig *g, const char *text)
{
	const char *texts[] = {text, NULL};

	rig_prepare(g, texts);
	return rig_execute(g);
}

void rig_must(struct rig *g, const char *text)
{
	if (rig_run(g, text))
		fail_msg("%s: %s", text, g->request.err.text);
}

void rig_refused(struct rig *g, const char *text, int code, const char *fragment)
{
	int got = rig_run(g, text);

	if (got != code)
		fail_msg("%s: %s instead of %s (%s)", text, err_name(got), err_name(code),
			 got ? g->request.err.text : "");
	if (!strstr(g->request.err.text, fragment))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, g->request.err.text, fragment);
}

struct sql_result rig_result(struct rig *g, unsigned at)
{
	struct sql_answer a = {.results_n = g->request.results_n,
			       .results = buf_slice(&g->request.results)};
	struct sql_result_cursor cursor;
	struct sql_result result;

	sql_result_cursor_init(&cursor, &a);
	for (unsigned i = 0; i <= at; i++)
		assert_int_equal(sql_result_next(&cursor, &result), 1);
	return result;
}

struct value rig_value(struct rig *g)
{
	for (unsigned i = 0; i < g->request.results_n; i++) {
		struct sql_result result = rig_result(g, i);
		if (result.kind == SQL_ROWS && result.rows_n)
			return value_get(&result.values);
	}
	fail_msg("no rows");
	return value_null();
}

static void dump_value(struct buf *b, sqlite3_stmt *stmt, int i)
{
	switch (sqlite3_column_type(stmt, i)) {
	case SQLITE_INTEGER:
		buf_printf(b, "%lld", (long long)sqlite3_column_int64(stmt, i));
		break;
	case SQLITE_FLOAT:
		buf_printf(b, "%a", sqlite3_column_double(stmt, i));
		break;
	case SQLITE_NULL:
		buf_printf(b, "NULL");
		break;
	default: {
		int text = sqlite3_column_type(stmt, i) == SQLITE_TEXT;
		const unsigned char *p = sqlite3_column_blob(stmt, i);
		int n = sqlite3_column_bytes(stmt, i);
		buf_printf(b, text ? "'" : "x'");
		for (int k = 0; k < n; k++)
			buf_printf(b, p[k] >= ' ' && p[k] < 127 && text ? "%c" : "\\%02x", p[k]);
		buf_printf(b, "'");
	}
	}
}

/* Appends all rows of a query. false: it does not prepare. */
static bool dump_query(struct buf *b, sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;
	int rc;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return false;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(stmt); i++) {
			buf_printf(b, i ? "|" : "");
			dump_value(b, stmt, i);
		}
		buf_printf(b, "\n");
	}
	if (rc != SQLITE_DONE)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_finalize(stmt);
	return true;
}

static sqlite3 *plain_open(const char *dir, uint64_t ns)
{
	char path[256];
	sqlite3 *db;

	snprintf(path, sizeof path, "%s/ns-%llu.db", dir, (unsigned long long)ns);
	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	sqlite3_busy_timeout(db, 10000);
	return db;
}

bool rig_sound(const char *dir, uint64_t ns)
{
	sqlite3 *db = plain_open(dir, ns);
	struct buf b;

	buf_init(&b, 1 << 20);
	dump_query(&b, db, "PRAGMA integrity_check");
	const char *found = buf_str(&b);
	/* Rows that SQLite let pass a constraint (it has such corners) are no damage. */
	bool sound = !strstr(found, "malformed") && !strstr(found, "missing from") &&
		     !strstr(found, "wrong #") && !strstr(found, "Page") && !strstr(found, "Tree");
	if (!sound)
		print_message("integrity_check: %.300s", found);
	buf_done(&b);
	sqlite3_close(db);
	return sound;
}

/* Not by the store's own means: a mistake there must not hide itself. Columns by SELECT *, with
 * the rowid in front where there is one. */
char *rig_dump(const char *dir, uint64_t ns)
{
	sqlite3 *db = plain_open(dir, ns);
	sqlite3_stmt *tables;
	struct buf b;

	buf_init(&b, 1u << 30);
	dump_query(&b, db, "BEGIN");
	dump_query(&b, db, "PRAGMA user_version");
	dump_query(&b, db, "PRAGMA application_id");
	dump_query(&b, db,
		   "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name, type");
	dump_query(&b, db,
		   "SELECT client, sequence, idx, ordinal, answer FROM drover_sessions ORDER BY 1");
	assert_int_equal(sqlite3_prepare_v2(db,
					    "SELECT name FROM sqlite_schema WHERE type='table' AND "
					    "rootpage>0 AND name NOT LIKE 'drover_%' ORDER BY name",
					    -1, &tables, NULL),
			 SQLITE_OK);
	while (sqlite3_step(tables) == SQLITE_ROW) {
		const char *name = (const char *)sqlite3_column_text(tables, 0);
		/* In SQLite's own tables the order of rows is an accident. */
		bool sequence = strncmp(name, "sqlite_", 7) == 0;
		buf_printf(&b, "-- %s\n", name);
		char *sql = sqlite3_mprintf(sequence ? "SELECT * FROM \"%w\" ORDER BY 1, 2"
						     : "SELECT rowid, * FROM \"%w\" ORDER BY 1",
					    name);
		if (!dump_query(&b, db, sql)) {
			sqlite3_free(sql);
			sql = sqlite3_mprintf("SELECT * FROM \"%w\"", name);
			assert_true(dump_query(&b, db, sql));
		}
		sqlite3_free(sql);
	}
	sqlite3_finalize(tables);
	sqlite3_close(db);
	assert_true(buf_ok(&b));
	char *text = strdup(buf_str(&b));
	buf_done(&b);
	return text;
}

int64_t rig_look(const char *dir, uint64_t ns, const char *sql)
{
	sqlite3 *db = plain_open(dir, ns);
	sqlite3_stmt *stmt;
	int64_t value;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return value;
}

void rig_digest(const char *dir, uint64_t ns, char *ret_hex)
{
	struct reader_options o = {.statements_max = 8, .connections_max = 1};
	struct reader *r;
	struct reader_snapshot *s;
	struct err e;
	uint64_t applied;
	int more;

	assert_int_equal(reader_new(&r, &o, &e), 0);
	if (reader_snapshot_open(r, dir, ns, &s, &applied, &e))
		fail_msg("snapshot: %s", e.text);
	while ((more = reader_snapshot_digest(s, 5, ret_hex, &e)) == 1)
		;
	if (more < 0)
		fail_msg("digest: %s", e.text);
	reader_snapshot_free(s);
	reader_free(r);
}

void rig_same(struct rig *g)
{
	struct err e;
	char leader_hex[33], follower_hex[33];

	if (store_flush(g->leader, 0, &e) || store_flush(g->follower, 0, &e))
		fail_msg("flush: %s", e.text);
	assert_true(rig_sound(g->leader_dir, RIG_NS));
	assert_true(rig_sound(g->follower_dir, RIG_NS));
	char *leader = rig_dump(g->leader_dir, RIG_NS);
	char *follower = rig_dump(g->follower_dir, RIG_NS);
	if (strcmp(leader, follower) != 0) {
		size_t at = 0, line = 0;
		for (; leader[at] && leader[at] == follower[at]; at++)
			if (leader[at] == '\n')
				line = at + 1;
		fail_msg("leader and follower differ:\n  leader   %.300s\n  follower %.300s",
			 leader + line, follower + line);
	}
	free(leader);
	free(follower);
	rig_digest(g->leader_dir, RIG_NS, leader_hex);
	rig_digest(g->follower_dir, RIG_NS, follower_hex);
	assert_string_equal(leader_hex, follower_hex);
}
