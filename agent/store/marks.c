#include "agent/store/marks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_dropped(struct marks *m, struct err *e)
{
	sqlite3_stmt *stmt = NULL;
	int rc, code = connection_prepare(&m->connection, "SELECT id FROM dropped ORDER BY id",
					  &stmt, e);

	if (code)
		return code;
	while (!code && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		uint64_t *more = realloc(m->dropped, (m->dropped_n + 1) * sizeof *more);
		if (!more) {
			code = err_set(e, ERR_NOMEM, "no memory for dropped namespaces");
			break;
		}
		m->dropped = more;
		more[m->dropped_n++] = (uint64_t)sqlite3_column_int64(stmt, 0);
	}
	if (!code && rc != SQLITE_DONE)
		code = connection_error(&m->connection, e);
	sqlite3_finalize(stmt);
	return code;
}

static int set_up(struct marks *m, uint32_t group, uint64_t *ret_durable, struct err *e)
{
	struct connection *c = &m->connection;
	char sql[160];
	int64_t durable = 0, owner = 0;

	snprintf(sql, sizeof sql, "INSERT OR IGNORE INTO marks VALUES('group', %u), ('durable', 0)",
		 group);
	if (connection_exec(c, "PRAGMA journal_mode=WAL", e) ||
	    connection_exec(c, "PRAGMA synchronous=FULL", e) ||
	    connection_exec(
		    c,
		    "CREATE TABLE IF NOT EXISTS marks(name TEXT PRIMARY KEY, value INTEGER) "
		    "WITHOUT ROWID",
		    e) ||
	    connection_exec(c, "CREATE TABLE IF NOT EXISTS dropped(id INTEGER PRIMARY KEY)", e) ||
	    connection_exec(c, sql, e) ||
	    connection_int(c, "SELECT value FROM marks WHERE name='group'", -1, &owner, e) ||
	    connection_int(c, "SELECT value FROM marks WHERE name='durable'", 0, &durable, e))
		return e->code;
	if (owner != (int64_t)group)
		return err_set(e, ERR_CORRUPT, "the folder belongs to group %lld, not %u",
			       (long long)owner, group);
	*ret_durable = (uint64_t)durable;
	return read_dropped(m, e);
}

int marks_open(struct marks *m, const char *dir, const char *vfs, uint32_t group,
	       uint64_t *ret_durable, struct err *e)
{
	char path[4096];

	memset(m, 0, sizeof *m);
	snprintf(path, sizeof path, "%s/group.db", dir);
	struct connection_options o = {.path = path, .vfs = vfs, .statements_max = 8};
	int code = connection_open(&m->connection, &o, e);
	if (code)
		return code;
	code = set_up(m, group, ret_durable, e);
	if (code) {
		err_wrap(e, "%s", path);
		connection_close(&m->connection);
		free(m->dropped);
		m->dropped = NULL;
		return code;
	}
	pthread_mutex_init(&m->lock, NULL);
	return 0;
}

void marks_close(struct marks *m)
{
	connection_close(&m->connection);
	free(m->dropped);
	pthread_mutex_destroy(&m->lock);
}

int marks_set_durable(struct marks *m, uint64_t index, struct err *e)
{
	char sql[96];

	snprintf(sql, sizeof sql, "UPDATE marks SET value=%lld WHERE name='durable'",
		 (long long)index);
	pthread_mutex_lock(&m->lock);
	int code = connection_exec(&m->connection, sql, e);
	pthread_mutex_unlock(&m->lock);
	return code;
}

static size_t place_of(const struct marks *m, uint64_t ns)
{
	size_t low = 0, high = m->dropped_n;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (m->dropped[middle] < ns)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int marks_drop(struct marks *m, uint64_t ns, struct err *e)
{
	char sql[96];
	int code = 0;

	pthread_mutex_lock(&m->lock);
	size_t at = place_of(m, ns);
	if (at < m->dropped_n && m->dropped[at] == ns)
		goto out;
	uint64_t *more = realloc(m->dropped, (m->dropped_n + 1) * sizeof *more);
	if (!more) {
		code = err_set(e, ERR_NOMEM, "no memory for dropped namespaces");
		goto out;
	}
	m->dropped = more;
	snprintf(sql, sizeof sql, "INSERT OR IGNORE INTO dropped VALUES(%lld)", (long long)ns);
	code = connection_exec(&m->connection, sql, e);
	if (code)
		goto out;
	memmove(more + at + 1, more + at, (m->dropped_n - at) * sizeof *more);
	more[at] = ns;
	m->dropped_n++;
out:
	pthread_mutex_unlock(&m->lock);
	return code;
}

bool marks_is_dropped(struct marks *m, uint64_t ns)
{
	pthread_mutex_lock(&m->lock);
	size_t at = place_of(m, ns);
	bool found = at < m->dropped_n && m->dropped[at] == ns;
	pthread_mutex_unlock(&m->lock);
	return found;
}
