#include "agent/wal/wal.h"

#include "agent/wal/wal_state.h"
#include "common/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_BYTES_DEFAULT (64u << 20)
#define OUT_BYTES (1u << 20) /* written at once */
#define TAIL_BYTES_DEFAULT (16u << 20)

void wal_lock(struct wal *w)
{
	pthread_mutex_lock(&w->lock);
}

void wal_unlock(struct wal *w)
{
	pthread_mutex_unlock(&w->lock);
}

int wal_alive(struct wal *w, struct err *e)
{
	if (atomic_load(&w->dead))
		return err_set(e, ERR_IO,
			       "the log in %s failed to be written before; the process must end",
			       w->dir);
	return 0;
}

int wal_die(struct wal *w, struct err *e)
{
	atomic_store(&w->dead, true);
	if (!e)
		return ERR_IO;
	err_wrap(e, "the log can no longer be written, this process must end");
	/* "Not final" and "try again" are no longer true whatever the disk said. */
	return e->code = ERR_IO;
}

void wal_path(const struct wal *w, const char *name, char ret_path[WAL_PATH_MAX + 32])
{
	snprintf(ret_path, WAL_PATH_MAX + 32, "%s/%s", w->dir, name);
}

void wal_segment_path(const struct wal *w, uint64_t sequence, char ret_path[WAL_PATH_MAX + 32])
{
	snprintf(ret_path, WAL_PATH_MAX + 32, "%s/%016" PRIx64 ".seg", w->dir, sequence);
}

uint32_t wal_state_frame_bytes(const struct blob *meta)
{
	return frame_bytes(FRAME_STATE_BYTES + (meta ? 1 + meta->size_bytes : 0));
}

struct group *wal_group_find(struct wal *w, uint32_t id)
{
	for (unsigned i = 0; i < w->groups_n; i++)
		if (w->groups[i]->id == id)
			return w->groups[i];
	return NULL;
}

int wal_group_get(struct wal *w, uint32_t id, struct group **ret_group, struct err *e)
{
	struct group *g = wal_group_find(w, id);

	if (!g) {
		if (w->groups_n == WAL_GROUPS_MAX)
			return err_set(e, ERR_LIMIT, "the log holds %d groups, no more fit",
				       WAL_GROUPS_MAX);
		g = group_new(id, w->groups_n);
		if (!g)
			return err_set(e, ERR_NOMEM, "no memory for group %u's log", id);
		w->groups[w->groups_n++] = g;
	}
	*ret_group = g;
	return 0;
}

static void items_free(struct items *list, size_t from)
{
	for (size_t i = from; i < list->n; i++)
		blob_unref(list->row[i].data);
	free(list->row);
}

void wal_free(struct wal *w)
{
	if (!w)
		return;
	/* A closed log vouches for its last batch. If it cannot, nothing is lost by that. */
	if (w->file && !atomic_load(&w->dead))
		wal_vouch(w, true, NULL);
	if (w->file)
		w->disk->close(w->file);
	items_free(&w->staged, 0);
	items_free(&w->taking, w->taking_at);
	for (unsigned i = 0; i < w->groups_n; i++)
		group_free(w->groups[i]);
	for (size_t i = 0; i < w->segments_n; i++)
		free(w->segments[i]);
	free(w->segments);
	free(w->out.buf);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

int wal_open(struct wal **ret_wal, const struct wal_options *o, struct err *e)
{
	uint64_t began_ms = clock_mono_ms();
	uint64_t bytes = o->segment_bytes ? o->segment_bytes : SEGMENT_BYTES_DEFAULT;

	if (bytes < SEGMENT_BYTES_MIN || bytes > SEGMENT_BYTES_MAX)
		return err_set(e, ERR_INVALID, "the log's segments must have %u to %u bytes",
			       SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
	if (strlen(o->dir) >= WAL_PATH_MAX)
		return err_set(e, ERR_INVALID, "the path of the log's folder is too long");
	struct wal *w = calloc(1, sizeof *w);
	if (!w)
		return err_set(e, ERR_NOMEM, "no memory for the log");
	w->disk = o->disk;
	snprintf(w->dir, sizeof w->dir, "%s", o->dir);
	w->random = o->random;
	w->random_ctx = o->random_ctx;
	w->segment_bytes = bytes & ~(uint64_t)(SEGMENT_HEADER_BYTES - 1);
	w->state_bytes_max = w->segment_bytes / 4;
	w->state_bytes = WAL_GROUPS_MAX * wal_state_frame_bytes(NULL);
	w->entry_bytes_max = w->segment_bytes / 4;
	if (w->entry_bytes_max > WAL_ENTRY_BYTES_MAX)
		w->entry_bytes_max = WAL_ENTRY_BYTES_MAX;
	w->tail_bytes_max = o->tail_bytes ? o->tail_bytes : TAIL_BYTES_DEFAULT;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->out.disk = o->disk;
	w->out.buf_cap = bytes < OUT_BYTES ? SEGMENT_OUT_BYTES_MIN : OUT_BYTES;
	w->out.buf = malloc(w->out.buf_cap);
	int rc = w->out.buf ? wal_recover(w, e) : err_set(e, ERR_NOMEM, "no memory for the log");
	if (rc) {
		/* What was refused stays as it is. */
		atomic_store(&w->dead, true);
		wal_free(w);
		return rc;
	}
	w->recovered_ms = clock_mono_ms() - began_ms;
	*ret_wal = w;
	return 0;
}

void wal_group(struct wal *w, uint32_t group, struct wal_group_state *ret_state)
{
	*ret_state = (struct wal_group_state){0};
	wal_lock(w);
	struct group *g = wal_group_find(w, group);
	if (g) {
		*ret_state = (struct wal_group_state){
			.term = g->term,
			.vote = g->vote,
			.first_index = g->first_index,
			.last_index = g->last_index,
			.base_term = g->base_term,
			.synced_index = group_durable(g),
			.runs = g->runs,
			.runs_n = g->runs_n,
		};
		if (g->meta)
			ret_state->meta = blob_slice(g->meta);
	}
	wal_unlock(w);
}

/* Makes room for `more` items. */
static bool items_reserve(struct items *list, size_t more)
{
	if (list->n + more <= list->cap)
		return true;
	size_t cap = list->cap < 64 ? 64 : list->cap * 2;
	if (cap < list->n + more)
		cap = list->n + more;
	struct item *row = realloc(list->row, cap * sizeof *row);
	if (!row)
		return false;
	list->row = row;
	list->cap = cap;
	return true;
}

static struct item *items_add(struct wal *w, const struct group *g, enum frame_kind kind)
{
	struct item *it = &w->staged.row[w->staged.n++];

	*it = (struct item){.kind = (uint8_t)kind, .slot = (uint8_t)g->slot};
	return it;
}

/* Everything that may be refused or fail, before anything changes. */
static int stage_check(struct wal *w, const struct wal_job *job, struct group *g, struct err *e)
{
	uint64_t bytes = 3 * frame_bytes(0);
	uint64_t term = job->entries_n ? job->entries[0].term : 0;
	size_t runs = 1;

	for (size_t i = 0; i < job->entries_n; i++) {
		const struct wal_entry *entry = &job->entries[i];
		if (entry->data->size_bytes > w->entry_bytes_max)
			return err_set(e, ERR_LIMIT,
				       "an entry of %u bytes is over the log's bound of %" PRIu64,
				       entry->data->size_bytes, w->entry_bytes_max);
		bytes += frame_bytes(entry->data->size_bytes);
		runs += entry->term != term;
		term = entry->term;
	}
	if (job->meta.p) {
		uint64_t state = w->state_bytes - wal_state_frame_bytes(g->meta) +
				 frame_bytes(FRAME_STATE_BYTES + 1 + (uint32_t)job->meta.n);
		if (job->meta.n > WAL_META_BYTES_MAX || state > w->state_bytes_max)
			return err_set(
				e, ERR_LIMIT,
				"group %u's meta record of %zu bytes is over the log's bound",
				g->id, job->meta.n);
		bytes += frame_bytes((uint32_t)job->meta.n);
	}
	if (w->staged_bytes + bytes > WAL_STAGED_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "%" PRIu64 " bytes wait for the log's disk already",
			       w->staged_bytes);
	if (!items_reserve(&w->staged, job->entries_n + 4) || !group_runs_reserve(g, runs) ||
	    !group_tail_reserve(g, job->entries_n))
		return err_set(e, ERR_NOMEM, "no memory to stage %zu entries", job->entries_n);
	return 0;
}

static void stage_truncate(struct wal *w, struct group *g, uint64_t from)
{
	assert(from >= g->first_index && from <= g->last_index + 1);
	if (from > g->last_index)
		return;
	while (g->last_index >= from && g->tail_first <= g->last_index) {
		struct blob *b = group_tail_pop_last(g);
		w->tail_bytes -= b->size_bytes + WAL_TAIL_COST;
		blob_unref(b);
	}
	if (g->last_index >= from) {
		g->last_index = from - 1;
		g->tail_first = from;
	}
	group_runs_cut(g, from);
	g->truncations_waiting++;
	if (from < g->truncated_low)
		g->truncated_low = from;
	items_add(w, g, FRAME_TRUNCATE)->index = from;
}

static void stage_entry(struct wal *w, struct group *g, const struct wal_entry *entry)
{
	assert(entry->index == g->last_index + 1);
	assert(g->runs_n == 0 ? entry->term >= g->base_term
			      : entry->term >= g->runs[g->runs_n - 1].term);
	group_runs_add(g, entry->index, entry->term);
	g->last_index++;
	*group_tail_at(g, entry->index) = (struct tail_slot){
		.term = entry->term,
		.order = w->order++,
		.data = blob_ref(entry->data),
		.kind = entry->kind,
	};
	w->tail_bytes += entry->data->size_bytes + WAL_TAIL_COST;
	struct item *it = items_add(w, g, FRAME_ENTRY);
	it->entry_kind = entry->kind;
	it->index = entry->index;
	it->term = entry->term;
	it->data = blob_ref(entry->data);
}

static void stage_meta(struct wal *w, struct group *g, struct blob *take_meta)
{
	w->state_bytes -= wal_state_frame_bytes(g->meta);
	blob_unref(g->meta);
	g->meta = take_meta;
	w->state_bytes += wal_state_frame_bytes(g->meta);
	items_add(w, g, FRAME_META)->data = blob_ref(take_meta);
}

int wal_stage(struct wal *w, const struct wal_job *job, struct err *e)
{
	struct blob *meta = NULL;
	struct group *g;
	int rc = wal_alive(w, e);

	if (rc)
		return rc;
	if (job->meta.p && job->meta.n <= WAL_META_BYTES_MAX) {
		meta = blob_new(job->meta.p, (uint32_t)job->meta.n);
		if (!meta)
			return err_set(e, ERR_NOMEM, "no memory for a meta record");
	}
	wal_lock(w);
	rc = wal_group_get(w, job->group, &g, e);
	if (rc == 0)
		rc = stage_check(w, job, g, e);
	if (rc) {
		wal_unlock(w);
		blob_unref(meta);
		return rc;
	}
	size_t before = w->staged.n;
	if (job->hard_changed) {
		g->term = job->term;
		g->vote = job->vote;
		struct item *it = items_add(w, g, FRAME_HARD);
		it->term = job->term;
		it->index = job->vote;
	}
	if (job->truncate_from)
		stage_truncate(w, g, job->truncate_from);
	for (size_t i = 0; i < job->entries_n; i++)
		stage_entry(w, g, &job->entries[i]);
	if (meta)
		stage_meta(w, g, meta);
	if (w->staged.n == before)
		items_add(w, g, 0);
	w->staged.row[w->staged.n - 1].job_end = true;
	w->staged.row[w->staged.n - 1].persist_id = job->persist_id;
	for (size_t i = before; i < w->staged.n; i++)
		w->staged_bytes += wal_item_bytes(&w->staged.row[i]);
	wal_unlock(w);
	return 0;
}

int wal_compact(struct wal *w, uint32_t group, uint64_t index, uint64_t term, struct err *e)
{
	struct group *g;
	int rc = wal_alive(w, e);

	if (rc)
		return rc;
	wal_lock(w);
	rc = wal_group_get(w, group, &g, e);
	if (rc == 0 && !items_reserve(&w->staged, 1))
		rc = err_set(e, ERR_NOMEM, "no memory to stage a compaction");
	if (rc || index < g->first_index)
		goto out;
	assert(index > g->last_index || group_term_at(g, index) == term);
	while (g->tail_first <= index && g->tail_first <= g->last_index) {
		struct blob *b = group_tail_pop_first(g);
		w->tail_bytes -= b->size_bytes + WAL_TAIL_COST;
		blob_unref(b);
	}
	if (index > g->last_index) {
		g->last_index = index;
		g->tail_first = index + 1;
		g->runs_n = 0;
	}
	g->first_index = index + 1;
	g->base_term = term;
	group_runs_drop(g, g->first_index);
	struct item *it = items_add(w, g, FRAME_COMPACT);
	it->index = index;
	it->term = term;
	w->staged_bytes += wal_item_bytes(it);
out:
	wal_unlock(w);
	return rc;
}

uint64_t wal_staged_bytes(struct wal *w)
{
	wal_lock(w);
	uint64_t bytes = w->staged_bytes;
	wal_unlock(w);
	return bytes;
}

void wal_note_entry(struct group *g, struct segment *s, uint64_t index, uint32_t offset)
{
	group_points_note(g, index, s, offset);
	s->last_live[g->slot] = index;
	g->disk_last = index;
}

void wal_note_truncate(struct wal *w, struct group *g, uint64_t from)
{
	group_points_cut(g, from);
	for (size_t i = 0; i < w->segments_n; i++) {
		uint64_t *last = &w->segments[i]->last_live[g->slot];
		if (*last >= from)
			*last = from - 1;
	}
	if (g->disk_last >= from)
		g->disk_last = from - 1;
}

void wal_note_compact(struct group *g, uint64_t index)
{
	g->disk_compacted = index;
	if (g->disk_last < index)
		g->disk_last = index;
}

size_t wal_tail_evict(struct wal *w, struct blob **ret_blobs, size_t max)
{
	size_t n = 0;

	while (n < max && w->tail_bytes > w->tail_bytes_max) {
		struct group *oldest = NULL;
		uint64_t order = UINT64_MAX;
		for (unsigned i = 0; i < w->groups_n; i++) {
			struct group *g = w->groups[i];
			if (g->tail_first > g->last_index || g->tail_first > group_durable(g))
				continue;
			if (group_tail_at(g, g->tail_first)->order < order) {
				order = group_tail_at(g, g->tail_first)->order;
				oldest = g;
			}
		}
		if (!oldest)
			break;
		struct blob *b = group_tail_pop_first(oldest);
		w->tail_bytes -= b->size_bytes + WAL_TAIL_COST;
		ret_blobs[n++] = b;
	}
	return n;
}

bool wal_held_by(struct wal *w, uint32_t *ret_group, uint64_t *ret_index)
{
	bool held = false;

	wal_lock(w);
	for (unsigned i = 0; w->segments_n > 1 && i < w->groups_n && !held; i++) {
		const struct group *g = w->groups[i];
		if (w->segments[0]->last_live[i] >= g->first_index) {
			*ret_group = g->id;
			*ret_index = w->segments[0]->last_live[i];
			held = true;
		}
	}
	wal_unlock(w);
	return held;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

void wal_stats(struct wal *w, struct wal_stats *ret_stats)
{
	uint32_t us[WAL_SYNC_SAMPLES];
	struct wal_stats s = {0};

	wal_lock(w);
	for (size_t i = 0; i < w->segments_n; i++)
		s.bytes += w->segments[i]->bytes;
	if (w->spare)
		s.bytes += w->segment_bytes;
	for (unsigned i = 0; i < w->groups_n; i++)
		s.entries += w->groups[i]->last_index + 1 - w->groups[i]->first_index;
	s.segments = w->segments_n;
	s.syncs = w->syncs;
	s.written_bytes = w->written_bytes;
	s.torn_bytes = w->torn_bytes;
	s.recovered_ms = w->recovered_ms;
	size_t n = w->syncs < WAL_SYNC_SAMPLES ? w->syncs : WAL_SYNC_SAMPLES;
	memcpy(us, w->sync_us, n * sizeof *us);
	wal_unlock(w);
	qsort(us, n, sizeof *us, by_size);
	if (n > 0) {
		s.sync_us_p50 = us[n / 2];
		s.sync_us_p99 = us[n * 99 / 100];
	}
	*ret_stats = s;
}
