#include "agent/store/state.h"

#include <stdlib.h>
#include <string.h>

#define FRAME_BYTES (4096 + 24)
#define RESET_WAIT_MS 500 /* how long the writer may be kept from its next transaction */

/* What one round found at its beginning: everything up to `safe` was committed in SQLite then. */
struct round {
	uint64_t safe;
	struct namespace **changed;
	uint64_t *flushes;
	size_t n;
};

struct store_checkpointer {
	struct store *store;
};

int store_checkpointer_new(struct store_checkpointer **ret, struct store *s, struct err *e)
{
	struct store_checkpointer *c = calloc(1, sizeof *c);

	if (!c)
		return err_set(e, ERR_NOMEM, "no memory for a checkpointer");
	c->store = s;
	*ret = c;
	return 0;
}

void store_checkpointer_free(struct store_checkpointer *c)
{
	free(c);
}

static int round_begin(struct store *s, struct round *ret_round, struct err *e)
{
	struct round r = {0};

	pthread_mutex_lock(&s->lock);
	r.changed = calloc(s->namespaces_n + 1, sizeof *r.changed);
	r.flushes = calloc(s->namespaces_n + 1, sizeof *r.flushes);
	r.safe = s->applied;
	for (size_t i = 0; i < s->namespaces_n && r.changed && r.flushes; i++) {
		struct namespace *ns = s->namespaces[i];
		if (ns->dirty_from <= r.safe)
			r.safe = ns->dirty_from - 1;
		if (!ns->dropped && ns->flushes > ns->synced) {
			r.changed[r.n] = ns;
			r.flushes[r.n++] = ns->flushes;
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (!r.changed || !r.flushes) {
		free(r.changed);
		free(r.flushes);
		return err_set(e, ERR_NOMEM, "no memory for a checkpoint");
	}
	*ret_round = r;
	return 0;
}

static void set_gate(struct namespace *ns, bool closed)
{
	struct store *s = ns->store;

	pthread_mutex_lock(&s->lock);
	ns->gate = closed;
	if (!closed)
		pthread_cond_broadcast(&s->gate);
	pthread_mutex_unlock(&s->lock);
}

/* Makes what is in the WAL durable where it stands, for when readers keep a checkpoint from
 * moving it all into the file. */
static int sync_wal(struct connection *c, struct err *e)
{
	sqlite3_file *file = NULL;

	sqlite3_file_control(c->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
	if (!file || !file->pMethods)
		return 0; /* there is no WAL: nothing is outside the file */
	if (file->pMethods->xSync(file, SQLITE_SYNC_NORMAL) != SQLITE_OK)
		return err_set(e, ERR_IO, "cannot sync the WAL of %s",
			       sqlite3_db_filename(c->db, "main"));
	return 0;
}

static int checkpoint_failed(struct connection *c, struct err *e)
{
	connection_error(c, e);
	return err_wrap(e, "checkpoint of %s", sqlite3_db_filename(c->db, "main"));
}

/* The WAL has grown long: with the writer held back between two transactions it is emptied and
 * starts over. Not a failure when readers stay too long: the next round tries again. */
static int reset_wal(struct namespace *ns, struct connection *c, struct err *e)
{
	int frames = 0, moved = 0;

	set_gate(ns, true);
	int rc = sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_RESTART, &frames, &moved);
	int code = rc == SQLITE_OK || rc == SQLITE_BUSY ? 0 : checkpoint_failed(c, e);
	set_gate(ns, false);
	return code;
}

static void note_sizes(struct namespace *ns, struct connection *c, int frames)
{
	sqlite3_file *file = NULL;
	sqlite3_int64 size = 0;

	sqlite3_file_control(c->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
	if (file && file->pMethods)
		file->pMethods->xFileSize(file, &size);
	pthread_mutex_lock(&ns->store->lock);
	if (!ns->dropped) {
		ns->data_bytes = (uint64_t)size;
		if (frames >= 0)
			ns->wal_bytes = (uint64_t)frames * FRAME_BYTES;
	}
	pthread_mutex_unlock(&ns->store->lock);
}

static int checkpoint_one(struct store *s, struct namespace *ns, uint64_t flushes,
			  uint64_t restart_bytes, struct err *e)
{
	struct connection c;
	char path[STORE_PATH_MAX];
	int frames = 0, moved = 0;
	int64_t version;

	namespace_path(s->dir, ns->id, path, sizeof path);
	struct connection_options o = {
		.path = path, .vfs = s->vfs, .statements_max = 8, .existing = true};
	int code = connection_open(&c, &o, e);
	if (code)
		return code;
	sqlite3_busy_timeout(c.db, RESET_WAIT_MS);
	code = connection_exec(&c, "PRAGMA synchronous=NORMAL", e);
	if (!code)
		code = connection_exec(&c, "PRAGMA wal_autocheckpoint=0", e);
	if (!code) /* opens the WAL */
		code = connection_int(&c, "PRAGMA schema_version", 0, &version, e);
	if (!code) {
		int rc = sqlite3_wal_checkpoint_v2(c.db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames,
						   &moved);
		if (rc != SQLITE_OK && rc != SQLITE_BUSY)
			code = checkpoint_failed(&c, e);
	}
	if (!code && moved < frames)
		code = sync_wal(&c, e);
	if (!code && (uint64_t)frames * FRAME_BYTES >= restart_bytes)
		code = reset_wal(ns, &c, e);
	if (!code) {
		note_sizes(ns, &c, frames);
		pthread_mutex_lock(&s->lock);
		if (flushes > ns->synced)
			ns->synced = flushes;
		pthread_mutex_unlock(&s->lock);
	}
	connection_close(&c);
	return code;
}

static bool dropped(struct store *s, struct namespace *ns)
{
	pthread_mutex_lock(&s->lock);
	bool is = ns->dropped;
	pthread_mutex_unlock(&s->lock);
	return is;
}

int store_checkpoint(struct store_checkpointer *c, uint64_t restart_bytes, struct err *e)
{
	struct store *s = c->store;
	struct round r = {0};
	struct err local = {0};
	int code;

	e = e ? e : &local;
	code = round_begin(s, &r, e);
	if (code)
		return code;
	for (size_t i = 0; i < r.n && !code; i++) {
		code = checkpoint_one(s, r.changed[i], r.flushes[i], restart_bytes, e);
		/* Its files may go while we work on them: then there is nothing to keep. */
		if (code && dropped(s, r.changed[i]))
			code = 0;
	}
	if (!code && r.safe > store_durable(s)) {
		code = marks_set_durable(&s->marks, r.safe, e);
		if (!code) {
			pthread_mutex_lock(&s->lock);
			s->durable = r.safe;
			pthread_mutex_unlock(&s->lock);
		}
	}
	free(r.changed);
	free(r.flushes);
	return code;
}
