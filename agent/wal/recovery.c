/* The argument why this is right stands at the top of segment.c. Nothing on disk is changed before
 * all of the log has been read and found sound. */
#include "agent/wal/wal_state.h"

#include "agent/wal/scan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HINT                                                                                      \
	"nothing was changed; put back a good copy, or empty this node's data folder and let it " \
	"catch up from the others"

#define BUFFER_BYTES (1u << 20)
#define INDEX_MAX (UINT64_MAX >> 1) /* so that adding to one never wraps around */

struct recovery {
	struct wal *w;
	uint64_t *sequences; /* of the files found */
	size_t n;
	size_t cap;
	bool spare_found;

	uint8_t *buf; /* the scan's */
	size_t buf_cap;
	struct scan scan;
	struct segment_header header; /* of the segment at hand, and what was found there */
	struct segment *segment;
	struct disk_file *file;
	bool oldest;
	bool sealed;
	struct scan_tail tail;

	struct group *group;		    /* of the last frame: mostly that of the next */
	uint64_t held_from[WAL_GROUPS_MAX]; /* entries below were in segments that are deleted */
	bool stated[WAL_GROUPS_MAX];	    /* has its STATE frame in this segment */
};

/* For an error at a place in the segment at hand. */
static int refuse(const struct recovery *r, uint64_t offset, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int refuse(const struct recovery *r, uint64_t offset, struct err *e, const char *fmt, ...)
{
	char path[WAL_PATH_MAX + 32], what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	wal_segment_path(r->w, r->segment->sequence, path);
	return err_set(e, ERR_CORRUPT, "%s is damaged at byte %" PRIu64 ": %s; " HINT, path, offset,
		       what);
}

/* "0123456789abcdef.seg" */
static bool parse_name(const char *name, uint64_t *ret_sequence)
{
	uint64_t v = 0;

	for (int i = 0; i < 16; i++) {
		const char *digits = "0123456789abcdef";
		const char *at = name[i] ? strchr(digits, name[i]) : NULL;
		if (!at)
			return false;
		v = v << 4 | (uint64_t)(at - digits);
	}
	*ret_sequence = v;
	return strcmp(name + 16, ".seg") == 0 && v > 0;
}

static int found_name(void *ctx, const char *name, struct err *e)
{
	struct recovery *r = ctx;
	uint64_t sequence;

	if (strcmp(name, WAL_SPARE_NAME) == 0)
		r->spare_found = true;
	if (!parse_name(name, &sequence))
		return 0;
	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 64;
		uint64_t *more = realloc(r->sequences, cap * sizeof *more);
		if (!more)
			return err_set(e, ERR_NOMEM, "no memory to list the log");
		r->sequences = more;
		r->cap = cap;
	}
	r->sequences[r->n++] = sequence;
	return 0;
}

static int by_sequence(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int list_segments(struct recovery *r, struct err *e)
{
	struct wal *w = r->w;
	int rc = w->disk->list(w->disk->ctx, w->dir, found_name, r, e);

	if (rc)
		return rc;
	if (r->n > 0)
		qsort(r->sequences, r->n, sizeof *r->sequences, by_sequence);
	for (size_t i = 1; i < r->n; i++)
		if (r->sequences[i] != r->sequences[i - 1] + 1)
			return err_set(
				e, ERR_CORRUPT,
				"%s: segments %016" PRIx64 " to %016" PRIx64
				" of the log are missing, older and newer ones are there; " HINT,
				w->dir, r->sequences[i - 1] + 1, r->sequences[i] - 1);
	w->segments = calloc(r->n + 4, sizeof(struct segment *));
	if (!w->segments)
		return err_set(e, ERR_NOMEM, "no memory to list the log");
	w->segments_cap = r->n + 4;
	return 0;
}

static int group_of(struct recovery *r, const struct frame *f, struct err *e)
{
	if (r->group && r->group->id == f->group)
		return 0;
	unsigned known = r->w->groups_n;
	int rc = wal_group_get(r->w, f->group, &r->group, e);
	if (rc == 0 && r->w->groups_n > known)
		r->held_from[known] = 1;
	return rc;
}

static int on_entry(struct recovery *r, const struct frame *f, uint32_t offset, struct err *e)
{
	struct group *g = r->group;

	if (f->index != g->last_index + 1)
		return refuse(r, offset, e, "entry %" PRIu64 " of group %u follows entry %" PRIu64,
			      f->index, g->id, g->last_index);
	if (f->term < (g->runs_n > 0 ? g->runs[g->runs_n - 1].term : g->enc_compact_term))
		return refuse(r, offset, e, "the term of entry %" PRIu64 " of group %u falls",
			      f->index, g->id);
	if (!group_runs_reserve(g, 1) || !group_points_reserve(g, 1))
		return err_set(e, ERR_NOMEM, "no memory for the log's index");
	group_runs_add(g, f->index, f->term);
	g->last_index++;
	wal_note_entry(g, r->segment, f->index, offset);
	return 0;
}

static int on_truncate(struct recovery *r, const struct frame *f, uint32_t offset, struct err *e)
{
	struct group *g = r->group;

	if (f->index > g->last_index || f->index <= g->enc_compact_index)
		return refuse(r, offset, e,
			      "group %u is cut back to %" PRIu64 ", but has %" PRIu64
			      " to %" PRIu64,
			      g->id, f->index, g->enc_compact_index + 1, g->last_index);
	g->last_index = f->index - 1;
	group_runs_cut(g, f->index);
	wal_note_truncate(r->w, g, f->index);
	if (r->held_from[g->slot] > f->index)
		r->held_from[g->slot] = f->index;
	return 0;
}

static int on_compact(struct recovery *r, const struct frame *f, uint32_t offset, struct err *e)
{
	struct group *g = r->group;

	if (f->index <= g->enc_compact_index || f->index > INDEX_MAX)
		return refuse(r, offset, e, "group %u is compacted to %" PRIu64 " after %" PRIu64,
			      g->id, f->index, g->enc_compact_index);
	uint64_t term = group_term_at(g, f->index);
	if (term && term != f->term)
		return refuse(r, offset, e, "group %u is compacted with a wrong term", g->id);
	g->enc_compact_index = f->index;
	g->enc_compact_term = f->term;
	if (f->index > g->last_index) {
		g->last_index = f->index;
		g->runs_n = 0;
		r->held_from[g->slot] = f->index + 1;
	}
	wal_note_compact(g, f->index);
	return 0;
}

static int set_meta(struct group *g, struct slice meta, struct err *e)
{
	struct blob *b = blob_new(meta.p, (uint32_t)meta.n);

	if (!b)
		return err_set(e, ERR_NOMEM, "no memory for a meta record");
	blob_unref(g->enc_meta);
	g->enc_meta = b;
	return 0;
}

/* In the oldest segment the state is news; in a later one it must be what was read so far. */
static int on_state(struct recovery *r, const struct frame *f, struct slice payload,
		    uint32_t offset, struct err *e)
{
	struct group *g = r->group;
	struct frame_state s;

	if (!frame_state_decode(payload, &s) || s.compact_index > f->index ||
	    f->index > INDEX_MAX || r->stated[g->slot])
		return refuse(r, offset, e, "group %u's state is none", g->id);
	r->stated[g->slot] = true;
	if (!r->oldest) {
		if (!g->encoded || s.term != g->enc_term || s.vote != g->enc_vote ||
		    s.compact_index != g->enc_compact_index ||
		    s.compact_term != g->enc_compact_term || f->index != g->last_index ||
		    !!s.meta.p != !!g->enc_meta ||
		    (s.meta.p && !slice_eq(s.meta, blob_slice(g->enc_meta))))
			return refuse(r, offset, e,
				      "group %u's state is not what the segments before say",
				      g->id);
		return 0;
	}
	g->enc_term = s.term;
	g->enc_vote = s.vote;
	g->enc_compact_index = g->disk_compacted = s.compact_index;
	g->enc_compact_term = s.compact_term;
	g->last_index = g->disk_last = f->index;
	r->held_from[g->slot] = f->index + 1;
	return s.meta.p ? set_meta(g, s.meta, e) : 0;
}

static int on_frame(struct recovery *r, const struct frame *f, struct slice payload,
		    uint32_t offset, struct err *e)
{
	if (f->kind == FRAME_SYNCED)
		return 0;
	if (f->kind == FRAME_SEAL) {
		r->sealed = true;
		return 0;
	}
	if ((f->kind == FRAME_STATE) != (offset < r->header.synced))
		return refuse(r, offset, e, "a state stands in the wrong place");
	int rc = group_of(r, f, e);
	if (rc)
		return rc;
	struct group *g = r->group;
	switch (f->kind) {
	case FRAME_ENTRY:
		rc = on_entry(r, f, offset, e);
		break;
	case FRAME_HARD:
		g->enc_term = f->term;
		g->enc_vote = (uint32_t)f->index;
		break;
	case FRAME_TRUNCATE:
		rc = on_truncate(r, f, offset, e);
		break;
	case FRAME_COMPACT:
		rc = on_compact(r, f, offset, e);
		break;
	case FRAME_META:
		rc = set_meta(g, payload, e);
		break;
	case FRAME_STATE:
		rc = on_state(r, f, payload, offset, e);
		break;
	}
	g->encoded = true;
	return rc;
}

/* Opens the file and believes its header. */
static int open_segment(struct recovery *r, bool newest, uint32_t *ret_crc, struct err *e)
{
	struct wal *w = r->w;
	char path[WAL_PATH_MAX + 32];
	uint8_t page[SEGMENT_HEADER_BYTES];
	uint64_t size;
	size_t got;

	wal_segment_path(w, r->segment->sequence, path);
	int rc = w->disk->open(w->disk->ctx, path, newest ? DISK_WRITE : DISK_READ, &r->file, e);
	if (rc)
		return rc;
	rc = w->disk->size(r->file, &size, e);
	if (rc == 0) {
		w->disk->will_read(r->file, 0, size);
		rc = w->disk->pread(r->file, page, sizeof page, 0, &got, e);
	}
	if (rc)
		return rc;
	if (got < sizeof page)
		return refuse(r, got, e, "the file ends within its header page");
	struct err why;
	rc = segment_header_decode(page, &r->header, ret_crc, &why);
	if (rc == ERR_UNSUPPORTED)
		return err_set(e, rc, "%s cannot be read: %s", path, why.text);
	if (rc)
		return refuse(r, 0, e, "%s", why.text);
	if (r->header.sequence != r->segment->sequence)
		return refuse(r, 0, e, "it is segment %016" PRIx64 " under a wrong name",
			      r->header.sequence);
	if (r->header.bytes != size)
		return refuse(r, size, e, "the file has %" PRIu64 " bytes and should have %" PRIu64,
			      size, r->header.bytes);
	return 0;
}

/* That this segment follows the one read before (of which scan still tells the end). */
static int check_link(struct recovery *r, const struct segment *prev, struct err *e)
{
	if (!prev)
		return 0;
	if (memcmp(r->header.prev_id, prev->id, sizeof prev->id) != 0 ||
	    r->header.prev_end != r->scan.offset || r->header.prev_crc != r->scan.chain)
		return refuse(r, 0, e, "it does not continue segment %016" PRIx64, prev->sequence);
	return 0;
}

/* The walk came to an end without a seal. */
static int check_end(struct recovery *r, bool newest, struct err *e)
{
	uint32_t at = r->scan.offset;

	if (!newest)
		return refuse(r, at, e,
			      "the frame there fails its checks, and later segments follow");
	if (at < r->header.synced)
		return refuse(r, at, e,
			      "the frame there fails its checks, and was on disk before the file "
			      "was put to use");
	int rc = scan_tail(&r->scan, &r->tail, e);
	if (rc)
		return rc;
	if (r->tail.proof)
		return refuse(r, at, e,
			      "the frame there fails its checks; it was whole once, for the one at "
			      "byte %u was written after a sync up to byte %u",
			      r->tail.proof, r->tail.proof_synced);
	return 0;
}

/* All groups known so far must have their STATE at a segment's start. */
static int check_states(const struct recovery *r, struct err *e)
{
	for (unsigned i = 0; i < r->w->groups_n; i++)
		if (!r->stated[i])
			return refuse(r, r->scan.offset, e, "group %u's state is missing",
				      r->w->groups[i]->id);
	return 0;
}

static int walk_segment(struct recovery *r, bool newest, struct err *e)
{
	bool states_checked = false;

	r->sealed = false;
	while (!r->sealed) {
		enum scan_result result;
		struct frame f;
		struct slice payload;
		uint32_t offset = r->scan.offset;
		int rc = 0;
		if (!states_checked && offset >= r->header.synced) {
			rc = check_states(r, e);
			states_checked = true;
		}
		if (rc == 0)
			rc = scan_next(&r->scan, &f, &payload, &result, e);
		if (rc)
			return rc;
		if (result != SCAN_FRAME)
			return check_end(r, newest, e);
		rc = on_frame(r, &f, payload, offset, e);
		if (rc)
			return rc;
	}
	return 0;
}

static int recover_segment(struct recovery *r, size_t i, struct err *e)
{
	struct wal *w = r->w;
	bool newest = i + 1 == r->n;
	struct segment *prev = i > 0 ? w->segments[i - 1] : NULL;
	uint32_t crc;

	r->segment = calloc(1, sizeof *r->segment);
	if (!r->segment)
		return err_set(e, ERR_NOMEM, "no memory for another segment");
	r->segment->sequence = r->sequences[i];
	w->segments[w->segments_n++] = r->segment;
	r->oldest = i == 0;
	memset(r->stated, 0, sizeof r->stated);
	int rc = open_segment(r, newest, &crc, e);
	if (rc)
		return rc;
	rc = check_link(r, prev, e);
	if (rc)
		return rc;
	r->segment->bytes = r->header.bytes;
	memcpy(r->segment->id, r->header.id, sizeof r->segment->id);
	scan_begin(&r->scan, w->disk, r->file, &r->header, crc);
	rc = walk_segment(r, newest, e);
	if (rc == 0 && !newest) {
		w->disk->close(r->file);
		r->file = NULL;
	}
	return rc;
}

/* What the caller sees of each group, now that all is read. */
static int settle_groups(struct recovery *r, struct err *e)
{
	struct wal *w = r->w;

	for (unsigned i = 0; i < w->groups_n; i++) {
		struct group *g = w->groups[i];
		if (r->held_from[i] > g->enc_compact_index + 1)
			return err_set(e, ERR_CORRUPT,
				       "%s: entries %" PRIu64 " to %" PRIu64
				       " of group %u are missing, they were in segments before "
				       "%016" PRIx64 " that are gone; " HINT,
				       w->dir, g->enc_compact_index + 1, r->held_from[i] - 1, g->id,
				       r->sequences[0]);
		g->term = g->enc_term;
		g->vote = g->enc_vote;
		g->first_index = g->enc_compact_index + 1;
		g->base_term = g->enc_compact_term;
		g->tail_first = g->last_index + 1;
		g->enc_last = g->last_index;
		group_runs_drop(g, g->first_index);
		if (g->runs_n > 0 && g->runs[0].term < g->base_term)
			return err_set(e, ERR_CORRUPT,
				       "%s: the term of entry %" PRIu64 " of group %u falls; " HINT,
				       w->dir, g->first_index, g->id);
		if (g->enc_meta) {
			g->meta = blob_ref(g->enc_meta);
			w->state_bytes -= wal_state_frame_bytes(NULL);
			w->state_bytes += wal_state_frame_bytes(g->meta);
		}
	}
	if (w->state_bytes > w->state_bytes_max)
		return err_set(e, ERR_INVALID,
			       "segments of %" PRIu64 " bytes are too small for the log in %s",
			       w->segment_bytes, w->dir);
	return 0;
}

/* What may be in the system's cache only is written again: a sync that failed in the process
 * before may have left it there as if it were on disk. */
static int rewrite(struct recovery *r, uint64_t from, uint64_t to, struct err *e)
{
	const struct disk *d = r->w->disk;

	while (from < to) {
		size_t n = to - from < r->buf_cap ? (size_t)(to - from) : r->buf_cap;
		size_t got = 0;
		int rc = d->pread(r->file, r->buf, n, from, &got, e);
		if (rc == 0 && got < n)
			return refuse(r, from + got, e, "the file became shorter");
		if (rc == 0)
			rc = disk_pwrite(d, r->file, r->buf, n, from, e);
		if (rc)
			return rc;
		from += n;
	}
	return 0;
}

/* Makes the newest segment's end what the next batch expects, and the log's current one. */
static int repair_end(struct recovery *r, struct err *e)
{
	struct wal *w = r->w;
	uint32_t end = r->scan.offset;

	int rc = rewrite(r, r->scan.synced, end, e);
	if (rc)
		return rc;
	if (!r->sealed && r->tail.dirty_end > end) {
		w->torn_bytes = r->tail.dirty_end - end;
		rc = wal_fill_zero(w, r->file, end, r->tail.dirty_end, false, e);
	} else {
		rc = w->disk->sync(r->file, e);
	}
	if (rc)
		return rc;
	w->file = r->file;
	r->file = NULL;
	w->segment = r->segment;
	segment_out_at(&w->out, w->file, segment_seed(r->segment->id), end, r->scan.chain, end);
	w->vouched = r->scan.synced;
	return 0;
}

/* A first segment, or the one behind a sealed newest. */
static int begin_segment(struct recovery *r, struct err *e)
{
	struct wal *w = r->w;
	int rc = r->spare_found ? wal_clean_spare(w, e) : wal_take_spare(w, e);

	if (rc == 0)
		rc = wal_roll(w, w->segment, e);
	w->rolling = false;
	return rc;
}

static int recover(struct recovery *r, struct err *e)
{
	struct wal *w = r->w;

	int rc = list_segments(r, e);
	for (size_t i = 0; i < r->n && rc == 0; i++)
		rc = recover_segment(r, i, e);
	if (rc == 0)
		rc = settle_groups(r, e);
	if (rc)
		return rc;
	if (r->sealed && !r->spare_found)
		return refuse(r, r->scan.offset, e,
			      "it is full and sealed, but the segment after it is missing");
	if (r->n > 0)
		rc = repair_end(r, e);
	if (rc)
		return rc;
	w->deletable = true;
	if (r->n == 0 || r->sealed)
		return begin_segment(r, e);
	return r->spare_found ? wal_keep_spare(w, e) : 0;
}

int wal_recover(struct wal *w, struct err *e)
{
	struct recovery *r = calloc(1, sizeof *r);
	int rc;

	if (r) {
		r->buf_cap = w->segment_bytes < BUFFER_BYTES ? SCAN_BUFFER_BYTES_MIN : BUFFER_BYTES;
		r->buf = malloc(r->buf_cap);
		r->scan.buf = r->buf;
		r->scan.buf_cap = r->buf_cap;
	}
	if (r && r->buf) {
		r->w = w;
		rc = recover(r, e);
	} else {
		rc = err_set(e, ERR_NOMEM, "no memory to read the log");
	}
	if (r) {
		if (r->file)
			w->disk->close(r->file);
		free(r->sequences);
		free(r->buf);
	}
	free(r);
	return rc;
}
