#include "agent/node/shard_state.h"

#include "agent/node/node.h"
#include "agent/store/reader.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/record.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_AT_ONCE 64
#define BYTES_AT_ONCE (4u << 20)
#define DIGEST_NAMESPACES_MAX 4096
#define DIGEST_SLICE_MS 20

/* A digest being computed: read transactions opened at the mark's state. */
struct digest_work {
	struct shard *s;
	uint64_t index;
	struct reader *reader;
	size_t n;
	struct {
		uint64_t ns;
		struct reader_snapshot *snapshot;
	} rows[];
};

static void keep_digest(struct shard *s, uint64_t index, const struct buf *json)
{
	pthread_mutex_lock(&s->digest_lock);
	struct shard_digest *d = &s->digests[s->digest_next];
	s->digest_next = (s->digest_next + 1) % DIGESTS_KEPT;
	d->index = index;
	buf_clear(&d->json);
	buf_append(&d->json, json->data, json->len);
	pthread_mutex_unlock(&s->digest_lock);
}

bool shard_digest(struct shard *s, uint64_t index, struct buf *b)
{
	bool found = false;

	pthread_mutex_lock(&s->digest_lock);
	for (unsigned i = 0; i < DIGESTS_KEPT && !found; i++) {
		if (s->digests[i].index == index && index != 0) {
			buf_append(b, s->digests[i].json.data, s->digests[i].json.len);
			found = true;
		}
	}
	pthread_mutex_unlock(&s->digest_lock);
	return found;
}

static void *digest_thread(void *arg)
{
	struct digest_work *w = arg;
	struct buf json;
	char hex[33], name[SQL_NAMESPACE_MAX];
	struct err e;
	bool ok = true;

	buf_init(&json, 1u << 20);
	buf_printf(&json, "{\"index\":%llu,\"namespaces\":{", (unsigned long long)w->index);
	const char *comma = "";
	for (size_t i = 0; i < w->n && ok; i++) {
		int rc;
		do {
			rc = reader_snapshot_digest(w->rows[i].snapshot, DIGEST_SLICE_MS, hex, &e);
		} while (rc == 1);
		ok = rc == 0;
		if (w->s->group == CATALOGUE_META_GROUP)
			snprintf(name, sizeof name, "meta");
		else if (!catalogue_name(w->s->node->catalogue, w->rows[i].ns, name, sizeof name))
			continue; /* dropped meanwhile */
		buf_printf(&json, "%s\"%s\":\"%s\"", comma, name, hex);
		comma = ",";
	}
	buf_printf(&json, "}}");
	if (!ok)
		log_warn("store", "%s: no digest at %llu: %s", w->s->name,
			 (unsigned long long)w->index, e.text);
	else if (buf_ok(&json))
		keep_digest(w->s, w->index, &json);
	buf_done(&json);
	for (size_t i = 0; i < w->n; i++)
		reader_snapshot_free(w->rows[i].snapshot);
	reader_free(w->reader);
	free(w);
	return NULL;
}

/* Opens read transactions on exactly the state that the mark asks for, and lets a thread read
 * them. A digest that cannot be begun is missed by who asks for it; the node goes on. */
static int begin_digest(struct shard *s, uint64_t index, struct err *e)
{
	uint64_t ids[DIGEST_NAMESPACES_MAX];
	size_t n = store_namespaces(s->store, ids, DIGEST_NAMESPACES_MAX);
	struct digest_work *w = calloc(1, sizeof *w + n * sizeof w->rows[0]);
	struct reader_options o = {.cache_kib = 1024, .statements_max = 8, .connections_max = 1};
	char dir[CONF_PATH_MAX + 32];
	pthread_t thread;
	int rc = 0;

	if (!w)
		return err_set(e, ERR_NOMEM, "no memory for a digest");
	w->s = s;
	w->index = index;
	snprintf(dir, sizeof dir, "%s/group-%u", s->node->conf->data, s->group);
	rc = reader_new(&w->reader, &o, e);
	for (size_t i = 0; i < n && rc == 0; i++) {
		uint64_t seen;
		rc = reader_snapshot_open(w->reader, dir, ids[i], &w->rows[i].snapshot, &seen, e);
		w->rows[i].ns = ids[i];
		if (rc == 0)
			w->n++;
	}
	if (rc == 0 && pthread_create(&thread, NULL, digest_thread, w) == 0) {
		pthread_detach(thread);
		return 0;
	}
	for (size_t i = 0; i < w->n; i++)
		reader_snapshot_free(w->rows[i].snapshot);
	reader_free(w->reader);
	free(w);
	return rc;
}

static int apply_mark(struct shard *s, uint64_t index, struct err *e)
{
	struct err why;

	int rc = store_flush(s->store, 0, e);
	if (rc == 0 && begin_digest(s, index, &why) < 0)
		log_warn("store", "%s: no digest at %llu: %s", s->name, (unsigned long long)index,
			 why.text);
	return rc;
}

static bool is_mark(const struct wal_entry *entry)
{
	return entry->kind == RAFT_ENTRY_DATA && entry->data->size_bytes > 0 &&
	       entry->data->data[0] == RECORD_FORM_MARK;
}

static int catalogue_add(void *ctx, const struct value *values, unsigned n)
{
	struct catalogue_row *rows = ((void **)ctx)[0];
	size_t *count = ((void **)ctx)[1];
	struct shard *s = ((void **)ctx)[2];

	assert(n == 2);
	if (*count == CATALOGUE_MAX || values[1].s.n >= SQL_NAMESPACE_MAX)
		return ERR_LIMIT;
	struct catalogue_row *row = &rows[(*count)++];
	row->id = (uint64_t)values[0].i;
	row->group = catalogue_group(s->node->catalogue, row->id);
	memcpy(row->name, values[1].s.p, values[1].s.n);
	row->name[values[1].s.n] = 0;
	return 0;
}

static void gone(void *ctx, const struct catalogue_row *row)
{
	struct shard *s = ctx;

	log_info("store", "namespace %s was dropped", row->name);
	shard_drop(s->node->shards[row->group], row->id);
}

static void load_catalogue(struct shard *s)
{
	struct catalogue_row *rows = calloc(CATALOGUE_MAX, sizeof *rows);
	size_t n = 0;
	void *ctx[] = {rows, &n, s};
	struct err e = {0};

	int rc = rows ? 0 : err_set(&e, ERR_NOMEM, "no memory for the catalogue");
	if (rc == 0)
		rc = store_select(s->store, CATALOGUE_META_NS, CATALOGUE_SELECT, catalogue_add, ctx,
				  &e);
	if (rc == 0)
		rc = catalogue_set(s->node->catalogue, rows, n, s->applied, gone, s, &e);
	free(rows);
	if (rc < 0)
		node_fatal(s->node, "meta", &e);
}

void shard_catalogue_first(struct shard *s)
{
	load_catalogue(s);
}

/* An entry that is not one of this node's own speculative batches. */
static int apply_entry(struct shard *s, const struct wal_entry *entry, struct err *e)
{
	struct slice payload = blob_slice(entry->data);
	bool mark = is_mark(entry);

	if (entry->kind != RAFT_ENTRY_DATA || mark)
		payload.n = 0;
	int rc = store_apply(s->store, entry->index, entry->term, payload, e);
	if (rc == 0 && mark)
		rc = apply_mark(s, entry->index, e);
	if (rc == 0 && s->leader && entry->term == s->term)
		s->ready = true;
	return rc;
}

static struct batch *take_inflight(struct shard *s)
{
	struct batch *b = s->inflight;

	s->inflight = b->next;
	if (!s->inflight)
		s->inflight_last = &s->inflight;
	s->inflight_n--;
	return b;
}

static void settle(struct shard *s, uint64_t index)
{
	s->applied = index;
	atomic_store(&s->applied_shown, index);
	struct batch *b = s->inflight && s->inflight->index == index ? take_inflight(s) : NULL;
	if (b) {
		if (b->mark)
			s->fence = false;
		shard_answer_batch(s, b);
	}
	if (s->taken_back && shard_idle(s))
		s->taken_back = false;
}

/* Reads a stretch of the log and applies it; 0 entries is a bug: what is committed is in the log.
 */
static void apply_from_log(struct shard *s, uint64_t to)
{
	struct wal_entry entries[ENTRIES_AT_ONCE];
	size_t want =
		to - s->applied < ENTRIES_AT_ONCE ? (size_t)(to - s->applied) : ENTRIES_AT_ONCE;
	size_t n = 0;
	struct err e;

	if (wal_read(s->node->wal, s->group, s->applied + 1, want, BYTES_AT_ONCE, entries, &n, &e) <
	    0)
		node_fatal(s->node, "log", &e);
	assert(n > 0);
	int rc = 0;
	for (size_t i = 0; i < n && rc == 0; i++) {
		rc = apply_entry(s, &entries[i], &e);
		if (rc == 0)
			settle(s, entries[i].index);
	}
	wal_entries_unref(entries, n);
	if (rc < 0)
		shard_store_failed(s, &e);
}

void shard_apply_committed(struct shard *s)
{
	uint64_t before = s->applied;

	if (s->stalled_until_ms != 0 && clock_mono_ms() >= s->stalled_until_ms)
		s->stalled_until_ms = 0;
	while (s->applied < s->commit && s->stalled_until_ms == 0) {
		struct batch *own = s->inflight;
		if (own && !s->taken_back && own->index == s->applied + 1 && !own->mark) {
			store_committed(s->store, own->index);
			settle(s, own->index);
		} else {
			/* Up to this node's next own batch. */
			uint64_t to = s->commit;
			if (own && !s->taken_back && !own->mark && own->index <= to)
				to = own->index - 1;
			apply_from_log(s, to);
		}
	}
	if (s->applied == before)
		return;
	if (s->applied == s->commit)
		atomic_store(&s->behind_since_us, 0);
	if (s->group == CATALOGUE_META_GROUP)
		load_catalogue(s);
}
