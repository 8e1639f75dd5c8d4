#include "agent/wal/wal_state.h"

#include "common/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PUBLISH_AT_ONCE 2048 /* items a hold of the lock */
#define EVICT_AT_ONCE 256
#define ITEMS_KEPT 65536 /* memory for so many stays when a burst is over */

/* A segment is never filled to the last byte: its seal must fit. */
static uint64_t room_in(const struct wal *w)
{
	uint64_t used = w->out.offset + frame_bytes(0);

	return used < w->segment->bytes ? w->segment->bytes - used : 0;
}

/* How many of the items taken, from the first one not written on, fit into `room` bytes. */
static size_t count_fitting(const struct wal *w, uint64_t room)
{
	size_t n = 0;

	for (size_t i = w->taking_at; i < w->taking.n; i++, n++) {
		uint32_t bytes = wal_item_bytes(&w->taking.row[i]);
		if (bytes > room)
			break;
		room -= bytes;
	}
	return n;
}

/* Keeps in mind what the frames put so far say about the group. */
static void note_encoded(struct group *g, const struct item *it)
{
	g->encoded = true;
	switch (it->kind) {
	case FRAME_ENTRY:
		g->enc_last = it->index;
		break;
	case FRAME_HARD:
		g->enc_term = it->term;
		g->enc_vote = (uint32_t)it->index;
		break;
	case FRAME_TRUNCATE:
		g->enc_last = it->index - 1;
		break;
	case FRAME_COMPACT:
		g->enc_compact_index = it->index;
		g->enc_compact_term = it->term;
		if (g->enc_last < it->index)
			g->enc_last = it->index;
		break;
	case FRAME_META:
		blob_unref(g->enc_meta);
		g->enc_meta = blob_ref(it->data);
		break;
	}
}

/* Frames for the next n items, in the current segment. */
static int put_items(struct wal *w, size_t from, size_t n, struct err *e)
{
	for (size_t i = from; i < from + n; i++) {
		struct item *it = &w->taking.row[i];
		/* Slots are never taken away, and the group was there when the item was staged. */
		struct group *g = w->groups[it->slot];
		it->segment = w->segment;
		it->offset = w->out.offset;
		if (it->kind == 0)
			continue;
		struct frame f = {
			.kind = it->kind,
			.entry_kind = it->entry_kind,
			.group = g->id,
			.index = it->index,
			.term = it->term,
		};
		struct slice payload = it->data ? blob_slice(it->data) : slice_of(NULL, 0);
		int rc = segment_put(&w->out, &f, &payload, it->data ? 1 : 0, e);
		if (rc)
			return rc;
		note_encoded(g, it);
	}
	return 0;
}

static int put_bare(struct wal *w, enum frame_kind kind, struct err *e)
{
	struct frame f = {.kind = (uint8_t)kind};

	return segment_put(&w->out, &f, NULL, 0, e);
}

/* Flushes and syncs the current segment; from then on frames may say so. */
static int sync_file(struct wal *w, struct err *e)
{
	int rc = segment_flush(&w->out, e);

	if (rc)
		return rc;
	uint64_t began = clock_mono_us();
	rc = w->disk->sync(w->file, e);
	if (rc)
		return rc;
	uint64_t us = clock_mono_us() - began;
	w->vouched = w->out.synced;
	w->out.synced = w->out.offset;
	wal_lock(w);
	w->sync_us[w->syncs++ % WAL_SYNC_SAMPLES] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
	w->written_bytes = w->out.written_bytes;
	wal_unlock(w);
	return 0;
}

/* The groups as they stand between the last frame put and the next. `n` groups, fixed before. */
static int put_states(struct wal *w, unsigned n, struct err *e)
{
	static const uint8_t one = 1;

	for (unsigned i = 0; i < n; i++) {
		struct group *g = w->groups[i];
		uint8_t head[FRAME_STATE_BYTES];
		if (!g->encoded)
			continue;
		struct frame_state s = {
			.term = g->enc_term,
			.vote = g->enc_vote,
			.compact_index = g->enc_compact_index,
			.compact_term = g->enc_compact_term,
		};
		struct frame f = {.kind = FRAME_STATE, .group = g->id, .index = g->enc_last};
		struct slice parts[3] = {{head, sizeof head}, {&one, 1}, {NULL, 0}};
		if (g->enc_meta)
			parts[2] = blob_slice(g->enc_meta);
		frame_state_encode(&s, head);
		int rc = segment_put(&w->out, &f, parts, g->enc_meta ? 3 : 1, e);
		if (rc)
			return rc;
	}
	return 0;
}

static struct segment *segment_new(struct wal *w, uint64_t sequence)
{
	struct segment *s = calloc(1, sizeof *s);
	uint64_t id[2] = {w->random(w->random_ctx), w->random(w->random_ctx)};

	if (!s)
		return NULL;
	s->sequence = sequence;
	s->bytes = w->segment_bytes;
	memcpy(s->id, id, sizeof s->id);
	return s;
}

static int segments_reserve(struct wal *w, struct err *e)
{
	int rc = 0;

	wal_lock(w);
	if (w->segments_n == w->segments_cap) {
		size_t cap = w->segments_cap ? w->segments_cap * 2 : 16;
		struct segment **more = realloc(w->segments, cap * sizeof(struct segment *));
		if (more) {
			w->segments = more;
			w->segments_cap = cap;
		} else {
			rc = err_set(e, ERR_NOMEM, "no memory for another segment");
		}
	}
	wal_unlock(w);
	return rc;
}

static int open_current(struct wal *w, const char *path, struct err *e)
{
	w->disk->close(w->file);
	w->file = NULL;
	return w->disk->open(w->disk->ctx, path, DISK_WRITE, &w->file, e);
}

/* Gives spare.seg, synced, the segment's name. */
static int name_segment(struct wal *w, uint64_t sequence, struct err *e)
{
	char from[WAL_PATH_MAX + 32], to[WAL_PATH_MAX + 32];

	wal_path(w, WAL_SPARE_NAME, from);
	wal_segment_path(w, sequence, to);
	int rc = w->disk->rename(w->disk->ctx, from, to, e);
	if (rc == 0)
		rc = w->disk->sync_dir(w->disk->ctx, w->dir, e);
	/* So that an error names the file as people find it. */
	if (rc == 0)
		rc = open_current(w, to, e);
	w->out.file = w->file;
	return rc;
}

/* Header page and STATE frames of a segment that follows `prev`. */
static int put_beginning(struct wal *w, const struct segment *s, const struct segment *prev,
			 struct err *e)
{
	struct segment_header h = {
		.sequence = s->sequence,
		.bytes = s->bytes,
		.synced = SEGMENT_HEADER_BYTES,
	};

	memcpy(h.id, s->id, sizeof h.id);
	if (prev) {
		memcpy(h.prev_id, prev->id, sizeof h.prev_id);
		h.prev_end = w->out.offset;
		h.prev_crc = w->out.chain;
	}
	wal_lock(w);
	unsigned groups_n = w->groups_n;
	wal_unlock(w);
	for (unsigned i = 0; i < groups_n; i++)
		if (w->groups[i]->encoded)
			h.synced += wal_state_frame_bytes(w->groups[i]->enc_meta);
	uint32_t crc = segment_header_encode(&h, w->page);
	segment_out_at(&w->out, w->file, segment_seed(s->id), 0, crc, SEGMENT_HEADER_BYTES);
	int rc = segment_put_raw(&w->out, w->page, SEGMENT_HEADER_BYTES, e);
	if (rc == 0)
		rc = put_states(w, groups_n, e);
	assert(rc || w->out.offset == h.synced);
	/* Whoever reads the frames that follow reads them in a named file, which is synced so far.
	 */
	w->out.synced = h.synced;
	return rc;
}

int wal_roll(struct wal *w, const struct segment *prev, struct err *e)
{
	struct segment *s = segment_new(w, prev ? prev->sequence + 1 : 1);
	char spare[WAL_PATH_MAX + 32];

	if (!s)
		return err_set(e, ERR_NOMEM, "no memory for another segment");
	wal_path(w, WAL_SPARE_NAME, spare);
	int rc = segments_reserve(w, e);
	if (rc == 0)
		rc = open_current(w, spare, e);
	if (rc == 0)
		rc = put_beginning(w, s, prev, e);
	if (rc) {
		free(s);
		return rc;
	}
	w->segment = s;
	rc = put_items(w, w->taking_at, count_fitting(w, room_in(w)), e);
	if (rc == 0)
		rc = sync_file(w, e);
	if (rc == 0)
		rc = name_segment(w, s->sequence, e);
	/* Only now: the one before may be deleted once it is no longer the last. After an error the
	 * log is dead and nothing looks at the list any more but wal_free. */
	wal_lock(w);
	w->segments[w->segments_n++] = s;
	w->deletable = rc == 0;
	wal_unlock(w);
	return rc;
}

int wal_vouch(struct wal *w, bool sync, struct err *e)
{
	/* Room for this and the seal. */
	if (w->vouched >= w->out.synced || room_in(w) < frame_bytes(0))
		return 0;
	int rc = put_bare(w, FRAME_SYNCED, e);
	w->vouched = w->out.synced;
	if (rc == 0)
		rc = segment_flush(&w->out, e);
	if (rc == 0 && sync)
		rc = w->disk->sync(w->file, e);
	return rc ? wal_die(w, e) : 0;
}

/* Lock held: one item is on disk. */
static void publish(struct wal *w, struct item *it, struct wal_synced *rows, size_t *n)
{
	struct group *g = w->groups[it->slot];

	switch (it->kind) {
	case FRAME_ENTRY:
		wal_note_entry(g, it->segment, it->index, it->offset);
		break;
	case FRAME_TRUNCATE:
		wal_note_truncate(w, g, it->index);
		if (--g->truncations_waiting == 0)
			g->truncated_low = UINT64_MAX;
		break;
	case FRAME_COMPACT:
		wal_note_compact(g, it->index);
		w->deletable = true;
		break;
	}
	w->staged_bytes -= wal_item_bytes(it);
	if (!it->job_end)
		return;
	size_t i = 0;
	while (i < *n && rows[i].group != g->id)
		i++;
	if (i == *n)
		rows[(*n)++].group = g->id;
	rows[i].persist_id = it->persist_id;
	rows[i].last_index = group_durable(g);
}

static void evict(struct wal *w)
{
	struct blob *gone[EVICT_AT_ONCE];
	size_t n;

	do {
		wal_lock(w);
		n = wal_tail_evict(w, gone, EVICT_AT_ONCE);
		wal_unlock(w);
		for (size_t i = 0; i < n; i++)
			blob_unref(gone[i]);
	} while (n == EVICT_AT_ONCE);
}

/* The items before `end` are on disk; drops them. */
static void publish_until(struct wal *w, size_t end, struct wal_synced *rows, size_t *n)
{
	while (w->taking_at < end) {
		size_t stop =
			end - w->taking_at > PUBLISH_AT_ONCE ? w->taking_at + PUBLISH_AT_ONCE : end;
		wal_lock(w);
		for (size_t i = w->taking_at; i < stop; i++)
			publish(w, &w->taking.row[i], rows, n);
		wal_unlock(w);
		for (; w->taking_at < stop; w->taking_at++)
			blob_unref(w->taking.row[w->taking_at].data);
	}
	evict(w);
}

/* Points can be noted without failing after this. */
static int reserve_points(struct wal *w, struct err *e)
{
	size_t want[WAL_GROUPS_MAX] = {0};
	size_t entries[WAL_GROUPS_MAX] = {0};
	int rc = 0;

	/* One at a segment's start, one every step, one after each truncation. A step is met by
	 * bytes of all groups, so each group may have a point for each step of the whole. */
	uint64_t all = 0;
	for (size_t i = w->taking_at; i < w->taking.n; i++) {
		const struct item *it = &w->taking.row[i];
		entries[it->slot] += it->kind == FRAME_ENTRY;
		want[it->slot] += it->kind == FRAME_TRUNCATE;
		all += wal_item_bytes(it);
	}
	size_t steps = (size_t)(all / WAL_POINT_STEP) + 4;
	wal_lock(w);
	for (unsigned i = 0; i < w->groups_n && rc == 0; i++) {
		/* No more points than entries. */
		size_t n = want[i] + steps < entries[i] ? want[i] + steps : entries[i];
		if (n > 0 && !group_points_reserve(w->groups[i], n))
			rc = err_set(e, ERR_NOMEM, "no memory for the log's index");
	}
	wal_unlock(w);
	return rc;
}

/* Writes as many items as the current segment and the next hold. *ret_full: nothing was written, as
 * nothing fits and there is no space for another segment; any other error is final. */
static int sync_round(struct wal *w, struct wal_synced *rows, size_t *ret_n, bool *ret_full,
		      struct err *e)
{
	bool spare = false;
	size_t fit = count_fitting(w, room_in(w));
	int rc = 0;

	if (w->taking_at + fit < w->taking.n) {
		rc = wal_take_spare(w, e);
		spare = rc == 0;
		/* On a full disk what fits is still written. */
		*ret_full = rc == ERR_DISK_FULL && fit == 0;
		if (rc && (rc != ERR_DISK_FULL || fit == 0))
			return rc;
	}
	size_t end = w->taking_at + fit;
	rc = put_items(w, w->taking_at, fit, e);
	if (rc == 0 && spare)
		rc = put_bare(w, FRAME_SEAL, e);
	if (rc == 0)
		rc = sync_file(w, e);
	if (rc == 0)
		publish_until(w, end, rows, ret_n);
	if (!spare)
		return rc;
	if (rc == 0)
		rc = wal_roll(w, w->segment, e);
	wal_rolled(w);
	if (rc)
		return rc;
	while (end < w->taking.n && w->taking.row[end].segment == w->segment)
		end++;
	publish_until(w, end, rows, ret_n);
	return 0;
}

/* The staged list becomes the one worked on. */
static void take_staged(struct wal *w)
{
	struct items done = w->taking;

	done.n = 0;
	if (done.cap > ITEMS_KEPT) {
		free(done.row);
		done = (struct items){0};
	}
	wal_lock(w);
	w->taking = w->staged;
	w->staged = done;
	wal_unlock(w);
	w->taking_at = 0;
}

int wal_sync(struct wal *w, struct wal_synced *ret_rows, size_t *ret_n, struct err *e)
{
	struct err why;
	bool full = false;
	size_t n = 0;
	int rc = wal_alive(w, e);

	if (rc)
		return rc;
	/* First what a full disk left over, then what has been staged since. */
	for (int turn = 0; turn < 2 && rc == 0; turn++) {
		if (turn == 1)
			take_staged(w);
		if (w->taking_at < w->taking.n)
			rc = reserve_points(w, &why);
		while (rc == 0 && w->taking_at < w->taking.n)
			rc = sync_round(w, ret_rows, &n, &full, &why);
	}
	/* What did become durable must be told; the next call says that the disk is full. */
	if (rc == 0 || (full && n > 0)) {
		*ret_n = n;
		return 0;
	}
	if (e)
		*e = why;
	return full ? rc : wal_die(w, e);
}
