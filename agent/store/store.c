#include "agent/store/store.h"

#include "agent/store/execute.h"
#include "agent/store/state.h"
#include "common/clock.h"
#include "common/record.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where an id stands, or would. */
static size_t place_of(const struct store *s, uint64_t id)
{
	size_t low = 0, high = s->namespaces_n;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (s->namespaces[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct namespace *find_locked(const struct store *s, uint64_t id)
{
	size_t at = place_of(s, id);

	return at < s->namespaces_n && s->namespaces[at]->id == id ? s->namespaces[at] : NULL;
}

struct namespace *state_find(struct store *s, uint64_t id)
{
	pthread_mutex_lock(&s->lock);
	struct namespace *ns = find_locked(s, id);
	pthread_mutex_unlock(&s->lock);
	return ns && !ns->dropped ? ns : NULL;
}

int state_obtain(struct store *s, uint64_t id, struct namespace **ret_ns, struct err *e)
{
	struct namespace *ns;
	int code = 0;

	pthread_mutex_lock(&s->lock);
	ns = find_locked(s, id);
	if (ns)
		goto out;
	if (s->namespaces_n == s->namespaces_cap) {
		size_t cap = s->namespaces_cap ? s->namespaces_cap * 2 : 16;
		struct namespace **more = realloc(s->namespaces, cap * sizeof *more);
		if (!more) {
			code = err_set(e, ERR_NOMEM, "no memory for a namespace");
			goto out;
		}
		s->namespaces = more;
		s->namespaces_cap = cap;
	}
	ns = malloc(sizeof *ns);
	if (!ns) {
		code = err_set(e, ERR_NOMEM, "no memory for a namespace");
		goto out;
	}
	namespace_init(ns, s, id);
	size_t at = place_of(s, id);
	memmove(s->namespaces + at + 1, s->namespaces + at,
		(s->namespaces_n - at) * sizeof *s->namespaces);
	s->namespaces[at] = ns;
	s->namespaces_n++;
out:
	pthread_mutex_unlock(&s->lock);
	if (!code)
		*ret_ns = ns;
	return code;
}

/* Closes the clean namespace that was used longest ago, when many are open. */
static void close_one(struct store *s)
{
	struct namespace *oldest = NULL;
	size_t open = 0;

	for (size_t i = 0; i < s->namespaces_n; i++) {
		struct namespace *ns = s->namespaces[i];
		open += ns->open;
		if (ns->open && !ns->in_transaction && (!oldest || ns->used < oldest->used))
			oldest = ns;
	}
	if (open >= OPEN_MAX && oldest)
		namespace_close(oldest);
}

int state_open(struct store *s, struct namespace *ns, struct err *e)
{
	ns->used = ++s->uses;
	if (ns->open)
		return 0;
	close_one(s);
	return namespace_open(ns, e);
}

void state_dirty(struct store *s, struct namespace *ns, uint64_t index)
{
	pthread_mutex_lock(&s->lock);
	if (index < ns->dirty_from)
		ns->dirty_from = index;
	pthread_mutex_unlock(&s->lock);
}

/* Knows the namespaces by their files. */
static int scan(struct store *s, struct err *e)
{
	DIR *dir = opendir(s->dir);
	struct dirent *entry;
	int code = 0;

	if (!dir)
		return err_sys(e, ERR_IO, errno, "cannot read folder %s", s->dir);
	while (!code && (entry = readdir(dir))) {
		unsigned long long id;
		char name[64];
		struct namespace *ns;
		if (sscanf(entry->d_name, "ns-%llu.db", &id) != 1)
			continue;
		snprintf(name, sizeof name, "ns-%llu.db", id);
		if (strcmp(name, entry->d_name) != 0 || marks_is_dropped(&s->marks, id))
			continue;
		code = state_obtain(s, id, &ns, e);
		if (!code)
			ns->has_file = true;
	}
	closedir(dir);
	return code;
}

static int copy_options(struct store *s, const struct store_options *o, struct err *e)
{
	s->o = *o;
	s->dir = strdup(o->dir);
	s->vfs = o->vfs ? strdup(o->vfs) : NULL;
	s->first_schema = o->first_schema ? strdup(o->first_schema) : NULL;
	if (!s->dir || (o->vfs && !s->vfs) || (o->first_schema && !s->first_schema))
		return err_set(e, ERR_NOMEM, "no memory for a store");
	if (strlen(s->dir) > STORE_PATH_MAX - 64)
		return err_set(e, ERR_LIMIT, "the folder's name is too long");
	if (!s->o.sessions_max)
		s->o.sessions_max = 10000;
	if (!s->o.rows_max)
		s->o.rows_max = UINT32_MAX;
	if (!s->o.entry_bytes_max)
		s->o.entry_bytes_max = SQL_ANSWER_BYTES_MAX;
	return 0;
}

int store_open(struct store **ret_store, const struct store_options *o, struct err *e)
{
	struct store *s = calloc(1, sizeof *s);
	struct err local = {0};
	int code;

	e = e ? e : &local;
	if (!s)
		return err_set(e, ERR_NOMEM, "no memory for a store");
	code = copy_options(s, o, e);
	if (!code)
		code = marks_open(&s->marks, s->dir, s->vfs, o->group, &s->durable, e);
	if (code) {
		free(s->dir);
		free(s->vfs);
		free(s->first_schema);
		free(s);
		return code;
	}
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->gate, NULL);
	s->applied = s->durable;
	code = scan(s, e);
	if (!code && s->first_schema) {
		struct namespace *ns;
		code = state_obtain(s, o->first_schema_ns, &ns, e);
		if (!code)
			code = state_open(s, ns, e);
	}
	if (code) {
		store_free(s);
		return code;
	}
	*ret_store = s;
	return 0;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->namespaces_n; i++) {
		namespace_done(s->namespaces[i]);
		free(s->namespaces[i]);
	}
	marks_close(&s->marks);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->gate);
	free(s->namespaces);
	free(s->speculative);
	free(s->dir);
	free(s->vfs);
	free(s->first_schema);
	free(s);
}

int store_held(struct store *s, uint64_t *ret_index, struct err *e)
{
	uint64_t held = store_durable(s);

	for (size_t i = 0; i < s->namespaces_n; i++) {
		struct namespace *ns = s->namespaces[i];
		int code = ns->has_file ? state_open(s, ns, e) : 0;
		if (code)
			return code;
		if (ns->applied > held)
			held = ns->applied;
	}
	*ret_index = held;
	return 0;
}

uint64_t store_replay_from(struct store *s)
{
	return store_durable(s) + 1;
}

uint64_t store_durable(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	uint64_t durable = s->durable;
	pthread_mutex_unlock(&s->lock);
	return durable;
}

uint64_t store_applied(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	uint64_t applied = s->applied;
	pthread_mutex_unlock(&s->lock);
	return applied;
}

static void set_applied(struct store *s, uint64_t index)
{
	pthread_mutex_lock(&s->lock);
	if (index > s->applied)
		s->applied = index;
	pthread_mutex_unlock(&s->lock);
}

int store_execute(struct store *s, uint64_t id, struct store_request *const *requests, size_t n,
		  uint64_t now_us, struct buf *payload, struct err *e)
{
	struct namespace *ns;
	struct err local = {0};
	size_t start = payload->len;
	int code;

	e = e ? e : &local;
	assert(!s->unproposed);
	if (marks_is_dropped(&s->marks, id))
		return err_set(e, ERR_NOT_FOUND, "namespace %llu was dropped",
			       (unsigned long long)id);
	code = state_obtain(s, id, &ns, e);
	if (!code && ns->broken)
		code = err_set(e, ERR_IO, "namespace %llu must be rewound first",
			       (unsigned long long)id);
	if (!code)
		code = state_open(s, ns, e);
	if (!code)
		code = execute_batch(ns, requests, n, now_us, payload, e);
	if (!code && payload->len > start) {
		s->unproposed = ns;
		ns->speculative++;
		if (!ns->since_us)
			ns->since_us = now_us;
	}
	return code;
}

static void push_speculative(struct store *s, struct namespace *ns, uint64_t index)
{
	if (s->speculative_n == s->speculative_cap) {
		size_t cap = s->speculative_cap ? s->speculative_cap * 2 : 64;
		struct speculative *more = realloc(s->speculative, cap * sizeof *more);
		/* Sixteen bytes for each entry in the air; without them nothing can go on. */
		if (!more)
			abort();
		s->speculative = more;
		s->speculative_cap = cap;
	}
	s->speculative[s->speculative_n++] = (struct speculative){ns, index};
}

void store_proposed(struct store *s, uint64_t index, uint64_t term)
{
	struct namespace *ns = s->unproposed;

	assert(ns);
	assert(s->speculative_n == 0 || s->speculative[s->speculative_n - 1].index < index);
	assert(index > ns->applied);
	s->unproposed = NULL;
	push_speculative(s, ns, index);
	ns->applied = index;
	ns->term = term;
	sessions_proposed(&ns->sessions, index);
	state_dirty(s, ns, index);
}

void store_committed(struct store *s, uint64_t index)
{
	size_t n = 0;

	while (n < s->speculative_n && s->speculative[n].index <= index)
		s->speculative[n++].ns->speculative--;
	if (n) {
		memmove(s->speculative, s->speculative + n,
			(s->speculative_n - n) * sizeof *s->speculative);
		s->speculative_n -= n;
	}
	set_applied(s, index);
}

size_t store_speculative(struct store *s)
{
	return s->speculative_n + (s->unproposed != NULL);
}

/* Rolls a namespace back to its last commit; the store's applied index goes back with it. */
static void lose(struct store *s, struct namespace *ns)
{
	namespace_rollback(ns);
	ns->speculative = 0;
	pthread_mutex_lock(&s->lock);
	if (ns->dirty_from <= s->applied)
		s->applied = ns->dirty_from - 1;
	ns->dirty_from = UINT64_MAX;
	pthread_mutex_unlock(&s->lock);
}

int store_rewind(struct store *s, struct err *e)
{
	(void)e;
	for (size_t i = 0; i < s->namespaces_n; i++) {
		struct namespace *ns = s->namespaces[i];
		if (ns->speculative || ns->broken)
			lose(s, ns);
	}
	s->speculative_n = 0;
	s->unproposed = NULL;
	pthread_mutex_lock(&s->lock);
	s->stats.rewinds++;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int apply_batch(struct store *s, const struct record_head *head, uint64_t index,
		       uint64_t term, struct slice payload, struct err *e)
{
	struct namespace *ns;
	struct applied done;
	int code;

	if (marks_is_dropped(&s->marks, head->namespace))
		return 0;
	code = state_obtain(s, head->namespace, &ns, e);
	if (!code && ns->broken)
		code = err_set(e, ERR_IO, "it must be rewound first");
	if (!code)
		code = state_open(s, ns, e);
	if (code || index <= ns->applied)
		return code;
	code = namespace_set_mode(ns, MODE_APPLY, e);
	if (!code)
		code = sessions_load(&ns->sessions, &ns->connection, e);
	if (!code)
		code = namespace_begin(ns, e);
	if (code)
		return code;
	state_dirty(s, ns, index);
	code = applier_run(&ns->applier, payload, index, &ns->sessions, &done, e);
	if (ns->applier.schema_changed) {
		namespace_schema_changed(ns);
		ns->applier.schema_changed = false;
	}
	if (code) {
		ns->broken = true;
		return code;
	}
	ns->changed = true;
	ns->applied = index;
	ns->term = term;
	ns->hlc_us = done.hlc_us;
	if (done.hlc_us > s->hlc_us)
		s->hlc_us = done.hlc_us;
	ns->rows += done.rows;
	if (!ns->since_us)
		ns->since_us = clock_wall_us();
	pthread_mutex_lock(&s->lock);
	s->stats.rows_applied += done.rows;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

int store_apply(struct store *s, uint64_t index, uint64_t term, struct slice payload, struct err *e)
{
	struct record_head head;
	struct err local = {0};
	int code = 0;

	e = e ? e : &local;
	assert(store_speculative(s) == 0);
	if (payload.n) {
		if (!record_head_decode(payload, &head))
			return err_set(e, ERR_CORRUPT,
				       "entry %llu: the payload is not of a known form",
				       (unsigned long long)index);
		if (head.form == RECORD_FORM_BATCH)
			code = apply_batch(s, &head, index, term, payload, e);
		if (code)
			return err_wrap(e, "namespace %llu, entry %llu",
					(unsigned long long)head.namespace,
					(unsigned long long)index);
	}
	set_applied(s, index);
	return 0;
}

bool store_readable(struct store *s, uint64_t id, uint64_t index)
{
	pthread_mutex_lock(&s->lock);
	struct namespace *ns = find_locked(s, id);
	bool readable = s->applied >= index && (!ns || ns->dirty_from > index);
	pthread_mutex_unlock(&s->lock);
	return readable;
}

int store_flush(struct store *s, uint64_t id, struct err *e)
{
	struct err local = {0};
	int code = 0, failed = 0;

	e = e ? e : &local;
	for (size_t i = 0; i < s->namespaces_n && !failed; i++) {
		struct namespace *ns = s->namespaces[i];
		if ((id && ns->id != id) || !ns->open || ns->dropped)
			continue;
		if (ns->speculative)
			code = err_set(e, ERR_BUSY,
				       "namespace %llu has batches without consensus yet",
				       (unsigned long long)ns->id);
		else
			failed = namespace_flush(ns, e);
	}
	return failed ? failed : code;
}

void store_pending(struct store *s, struct store_pending *ret_pending)
{
	struct store_pending p = {0};

	for (size_t i = 0; i < s->namespaces_n; i++) {
		const struct namespace *ns = s->namespaces[i];
		p.rows += ns->rows;
		if (ns->since_us && (!p.since_us || ns->since_us < p.since_us))
			p.since_us = ns->since_us;
	}
	*ret_pending = p;
}

static void delete_files(struct store *s, uint64_t id)
{
	static const char *const endings[] = {"", "-wal", "-shm"};
	sqlite3_vfs *vfs = sqlite3_vfs_find(s->vfs);
	char path[STORE_PATH_MAX], file[STORE_PATH_MAX + 8];

	namespace_path(s->dir, id, path, sizeof path);
	for (size_t i = 0; i < 3; i++) {
		snprintf(file, sizeof file, "%s%s", path, endings[i]);
		if (vfs)
			vfs->xDelete(vfs, file, i == 0);
	}
}

int store_drop(struct store *s, uint64_t id, struct err *e)
{
	struct err local = {0};
	size_t kept = 0;
	int code = marks_drop(&s->marks, id, e ? e : &local);
	struct namespace *ns = state_find(s, id);

	if (code)
		return code;
	if (ns) {
		for (size_t i = 0; i < s->speculative_n; i++)
			if (s->speculative[i].ns != ns)
				s->speculative[kept++] = s->speculative[i];
		s->speculative_n = kept;
		if (s->unproposed == ns)
			s->unproposed = NULL;
		namespace_rollback(ns);
		namespace_close(ns);
		ns->speculative = 0;
		/* Stays in the list, empty: other threads may be looking at it. */
		pthread_mutex_lock(&s->lock);
		ns->dropped = true;
		ns->has_file = false;
		ns->dirty_from = UINT64_MAX;
		ns->wal_bytes = ns->data_bytes = 0;
		pthread_mutex_unlock(&s->lock);
	}
	delete_files(s, id);
	return 0;
}

size_t store_namespaces(struct store *s, uint64_t *ret_ids, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->namespaces_n; i++) {
		if (!s->namespaces[i]->has_file)
			continue;
		if (n < max)
			ret_ids[n] = s->namespaces[i]->id;
		n++;
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

#define SELECT_COLUMNS_MAX 64

static int select_rows(struct connection *c, sqlite3_stmt *stmt,
		       int (*row)(void *ctx, const struct value *values, unsigned n), void *ctx,
		       struct err *e)
{
	struct value values[SELECT_COLUMNS_MAX];
	int n = sqlite3_column_count(stmt), rc;

	if (n > SELECT_COLUMNS_MAX || !sqlite3_stmt_readonly(stmt))
		return err_set(e, ERR_INVALID, "not a query of at most %d columns",
			       SELECT_COLUMNS_MAX);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		for (int i = 0; i < n; i++)
			values[i] = connection_column(stmt, i);
		int code = row(ctx, values, (unsigned)n);
		if (code)
			return err_set(e, code, "a row was not accepted");
	}
	return rc == SQLITE_DONE ? 0 : connection_error(c, e);
}

int store_select(struct store *s, uint64_t id, const char *sql,
		 int (*row)(void *ctx, const struct value *values, unsigned n), void *ctx,
		 struct err *e)
{
	struct namespace *ns = state_find(s, id);
	sqlite3_stmt *stmt = NULL;
	struct err local = {0};
	int code;

	e = e ? e : &local;
	if (!ns)
		return err_set(e, ERR_NOT_FOUND, "namespace %llu is not here",
			       (unsigned long long)id);
	code = state_open(s, ns, e);
	if (!code)
		code = connection_prepare(&ns->connection, sql, &stmt, e);
	if (code)
		return code;
	connection_start_clock(&ns->connection);
	code = select_rows(&ns->connection, stmt, row, ctx, e);
	sqlite3_finalize(stmt);
	return code;
}

void store_stats(struct store *s, struct store_stats *ret_stats)
{
	pthread_mutex_lock(&s->lock);
	struct store_stats stats = s->stats;
	for (size_t i = 0; i < s->namespaces_n; i++) {
		stats.sqlite_wal_bytes += s->namespaces[i]->wal_bytes;
		stats.data_bytes += s->namespaces[i]->data_bytes;
	}
	pthread_mutex_unlock(&s->lock);
	*ret_stats = stats;
}
