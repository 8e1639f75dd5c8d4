#include "agent/store/reader.h"

#include "agent/store/digest.h"
#include "agent/store/namespace.h"
#include "agent/store/run.h"

#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 4096

struct reader_link {
	char *path;
	struct connection c;
	sqlite3_stmt *begin, *end, *applied;
	uint64_t seen;		  /* what `applied` told, */
	uint32_t version;	  /* when SQLite's own count of changes was this; */
	bool known;		  /* unless nothing was asked yet */
	struct reader_link *next; /* used before this one */
};

struct reader {
	struct reader_options o;
	char *vfs;
	struct reader_link *links; /* last used first */
	uint32_t links_n;
};

struct reader_snapshot {
	struct reader_link *link; /* of its own */
	struct digest *digest;
};

int reader_new(struct reader **ret_reader, const struct reader_options *o, struct err *e)
{
	struct reader *r = calloc(1, sizeof *r);

	if (!r)
		return err_set(e, ERR_NOMEM, "no memory for a reader");
	r->o = *o;
	if (o->vfs && !(r->vfs = strdup(o->vfs))) {
		free(r);
		return err_set(e, ERR_NOMEM, "no memory for a reader");
	}
	if (!r->o.rows_max)
		r->o.rows_max = UINT32_MAX;
	if (!r->o.connections_max)
		r->o.connections_max = 1;
	*ret_reader = r;
	return 0;
}

static void link_free(struct reader_link *k)
{
	if (!k)
		return;
	sqlite3_finalize(k->begin);
	sqlite3_finalize(k->end);
	sqlite3_finalize(k->applied);
	connection_close(&k->c);
	free(k->path);
	free(k);
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	while (r->links) {
		struct reader_link *k = r->links;
		r->links = k->next;
		link_free(k);
	}
	free(r->vfs);
	free(r);
}

/* *ret_link is NULL when the namespace has no file, or one that is just being made. */
static int link_open(struct reader *r, const char *path, struct reader_link **ret_link,
		     struct err *e)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find(r->vfs);
	struct connection_options o = {
		.path = path,
		.vfs = r->vfs,
		.readonly = true,
		.cache_kib = r->o.cache_kib,
		.mmap_bytes = r->o.mmap_bytes,
		.statements_max = r->o.statements_max,
		.statement_ms_max = r->o.statement_ms_max,
		.length_max = r->o.answer_bytes_max,
	};
	int there = 0;
	int64_t tables = 0;

	*ret_link = NULL;
	if (vfs && vfs->xAccess(vfs, path, SQLITE_ACCESS_EXISTS, &there) == SQLITE_OK && !there)
		return 0;
	struct reader_link *k = calloc(1, sizeof *k);
	if (!k || !(k->path = strdup(path))) {
		free(k);
		return err_set(e, ERR_NOMEM, "no memory for a connection");
	}
	int code = connection_open(&k->c, &o, e);
	if (!code)
		code = connection_int(&k->c,
				      "SELECT count(*) FROM sqlite_schema WHERE name='drover_meta'",
				      0, &tables, e);
	if (!code && tables) {
		code = connection_prepare(&k->c, "BEGIN", &k->begin, e);
		if (!code)
			code = connection_prepare(&k->c, "COMMIT", &k->end, e);
		if (!code)
			code = connection_prepare(&k->c, "SELECT applied FROM drover_meta",
						  &k->applied, e);
	}
	if (code || !tables) {
		link_free(k);
		return code;
	}
	*ret_link = k;
	return 0;
}

static int link_get(struct reader *r, const char *path, struct reader_link **ret_link,
		    struct err *e)
{
	struct reader_link **at = &r->links, *k;

	while (*at && strcmp((*at)->path, path) != 0)
		at = &(*at)->next;
	k = *at;
	if (k) {
		*at = k->next;
	} else {
		int code = link_open(r, path, &k, e);
		if (code || !k) {
			*ret_link = NULL;
			return code;
		}
		if (r->links_n == r->o.connections_max) {
			for (at = &r->links; (*at)->next; at = &(*at)->next)
				;
			link_free(*at);
			*at = NULL;
			r->links_n--;
		}
		r->links_n++;
	}
	k->next = r->links;
	r->links = k;
	*ret_link = k;
	return 0;
}

/* The newest entry that the open transaction sees. Asked of SQLite only when the file has changed
 * since: with short reads the question would cost as much as the answer. */
static int link_applied(struct reader_link *k, uint64_t *ret_applied, struct err *e)
{
	uint32_t version = 0;
	int code = 0;

	sqlite3_file_control(k->c.db, "main", SQLITE_FCNTL_DATA_VERSION, &version);
	if (k->known && version == k->version) {
		*ret_applied = k->seen;
		return 0;
	}
	if (sqlite3_step(k->applied) == SQLITE_ROW)
		*ret_applied = (uint64_t)sqlite3_column_int64(k->applied, 0);
	else
		code = connection_error(&k->c, e);
	sqlite3_reset(k->applied);
	/* The question itself may have opened the transaction, and found a newer file. */
	sqlite3_file_control(k->c.db, "main", SQLITE_FCNTL_DATA_VERSION, &version);
	k->seen = *ret_applied;
	k->version = version;
	k->known = code == 0;
	return code;
}

static void link_end(struct reader_link *k)
{
	if (!sqlite3_get_autocommit(k->c.db))
		connection_finish(&k->c, k->end, NULL);
}

static void run_one(struct reader *r, struct connection *c, struct store_request *q,
		    bool *ret_writes)
{
	struct run run = {.c = c, .r = q, .rows_max = r->o.rows_max};

	if (q->sql->max_rows && q->sql->max_rows < run.rows_max)
		run.rows_max = q->sql->max_rows;
	if (r->o.answer_bytes_max && q->results.max > r->o.answer_bytes_max)
		q->results.max = r->o.answer_bytes_max;
	q->wrote = false;
	q->duplicate_of = 0;
	c->internal = false;
	run_request(&run);
	c->internal = true;
	run_done(&run);
	*ret_writes = run.writes;
	if (run.writes && q->sql->mode == SQL_READ) {
		*ret_writes = false;
		q->status = err_set(&q->err, ERR_REFUSED,
				    "the request asks to only read, but would write");
	}
	if (run.writes || q->status) {
		q->results_n = 0;
		buf_clear(&q->results);
	}
}

/* A namespace without a file has no tables, but SELECT 1 works in it. */
static int run_empty(struct reader *r, struct store_request *const *requests, size_t n,
		     bool *ret_writes, struct err *e)
{
	struct connection c;
	struct connection_options o = {.path = ":memory:",
				       .statements_max = 8,
				       .statement_ms_max = r->o.statement_ms_max,
				       .length_max = r->o.answer_bytes_max};
	int code = connection_open(&c, &o, e);

	for (size_t i = 0; i < n && !code; i++)
		run_one(r, &c, requests[i], &ret_writes[i]);
	if (!code)
		connection_close(&c);
	return code;
}

int reader_execute_many(struct reader *r, const char *dir, uint64_t ns,
			struct store_request *const *requests, size_t n, bool *ret_writes,
			uint64_t *ret_applied, struct err *e)
{
	char path[PATH_BYTES];
	struct reader_link *k;
	struct err local = {0};
	int code;

	e = e ? e : &local;
	namespace_path(dir, ns, path, sizeof path);
	code = link_get(r, path, &k, e);
	if (code)
		return code;
	*ret_applied = 0;
	if (!k)
		return run_empty(r, requests, n, ret_writes, e);
	code = connection_finish(&k->c, k->begin, e);
	for (size_t i = 0; i < n && !code; i++)
		run_one(r, &k->c, requests[i], &ret_writes[i]);
	if (!code)
		code = link_applied(k, ret_applied, e);
	link_end(k);
	return code;
}

int reader_execute(struct reader *r, const char *dir, uint64_t ns, struct store_request *request,
		   bool *ret_writes, uint64_t *ret_applied, struct err *e)
{
	return reader_execute_many(r, dir, ns, &request, 1, ret_writes, ret_applied, e);
}

void reader_forget(struct reader *r, const char *dir, uint64_t ns)
{
	char path[PATH_BYTES];

	namespace_path(dir, ns, path, sizeof path);
	for (struct reader_link **at = &r->links; *at; at = &(*at)->next) {
		if (strcmp((*at)->path, path) == 0) {
			struct reader_link *k = *at;
			*at = k->next;
			link_free(k);
			r->links_n--;
			return;
		}
	}
}

int reader_snapshot_open(struct reader *r, const char *dir, uint64_t ns,
			 struct reader_snapshot **ret_snapshot, uint64_t *ret_applied,
			 struct err *e)
{
	char path[PATH_BYTES];
	struct reader_snapshot *s = calloc(1, sizeof *s);
	struct err local = {0};
	int code;

	e = e ? e : &local;
	if (!s)
		return err_set(e, ERR_NOMEM, "no memory for a snapshot");
	namespace_path(dir, ns, path, sizeof path);
	code = link_open(r, path, &s->link, e);
	if (!code && !s->link)
		code = err_set(e, ERR_NOT_FOUND, "namespace %llu has no file here",
			       (unsigned long long)ns);
	if (!code) {
		/* A digest may take longer than a statement may. */
		sqlite3_progress_handler(s->link->c.db, 0, NULL, NULL);
		code = connection_finish(&s->link->c, s->link->begin, e);
		if (!code) /* also what opens the transaction, since nothing is known yet */
			code = link_applied(s->link, ret_applied, e);
	}
	if (!code)
		code = digest_new(&s->digest, &s->link->c, e);
	if (code) {
		reader_snapshot_free(s);
		return code;
	}
	*ret_snapshot = s;
	return 0;
}

int reader_snapshot_digest(struct reader_snapshot *s, uint32_t slice_ms, char *ret_hex,
			   struct err *e)
{
	struct err local = {0};

	return digest_step(s->digest, slice_ms, ret_hex, e ? e : &local);
}

void reader_snapshot_free(struct reader_snapshot *s)
{
	if (!s)
		return;
	digest_free(s->digest);
	if (s->link)
		link_end(s->link);
	link_free(s->link);
	free(s);
}
