#include "agent/wal/wal_state.h"

#include "common/crc32c.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define READ_BUFFER_BYTES (128u << 10)

/* What one wal_read has taken so far, and the segment it is reading. */
struct reading {
	struct wal *w;
	uint32_t group;
	struct wal_entry *entries;
	size_t n;
	size_t max;
	uint64_t bytes;
	uint64_t max_bytes;

	struct segment *segment; /* pinned */
	bool growing;		 /* it was the current one when it was last looked up */
	struct disk_file *file;
	uint32_t seed;
	uint8_t *buf;
	uint64_t buf_at;
	size_t buf_n;
};

/* Entries in one piece of a segment: all of the group's from there on, in order. */
struct stretch {
	uint64_t from;
	uint64_t last;
	uint32_t offset;
};

static bool wants_more(const struct reading *r, uint64_t size_bytes)
{
	return r->n < r->max && (r->n == 0 || r->bytes + size_bytes <= r->max_bytes);
}

static void take(struct reading *r, uint64_t index, uint64_t term, uint8_t kind,
		 struct blob *take_data)
{
	r->entries[r->n++] = (struct wal_entry){
		.index = index,
		.term = term,
		.kind = kind,
		.data = take_data,
	};
	r->bytes += take_data->size_bytes;
}

/* Lock held. */
static void take_from_tail(struct reading *r, const struct group *g, uint64_t from)
{
	for (uint64_t i = from; i <= g->last_index; i++) {
		const struct tail_slot *slot = group_tail_at(g, i);
		if (!wants_more(r, slot->data->size_bytes))
			break;
		take(r, i, slot->term, slot->kind, blob_ref(slot->data));
	}
}

static void leave_segment(struct reading *r)
{
	if (r->file)
		r->w->disk->close(r->file);
	r->file = NULL;
	if (r->segment) {
		wal_lock(r->w);
		r->segment->pins--;
		if (r->segment == r->w->segments[0])
			r->w->deletable = true;
		wal_unlock(r->w);
	}
	r->segment = NULL;
}

static int damaged(const struct reading *r, uint64_t offset, const char *what, struct err *e)
{
	char path[WAL_PATH_MAX + 32];

	wal_segment_path(r->w, r->segment->sequence, path);
	return err_set(e, ERR_CORRUPT,
		       "%s is damaged at byte %" PRIu64
		       ": %s; check the disk, then put back a good copy of the file, or empty this "
		       "node's data folder and let it catch up from the others",
		       path, offset, what);
}

/* Up to n bytes at the offset; *ret_p into the buffer. */
static int have(struct reading *r, uint64_t offset, size_t n, const uint8_t **ret_p, struct err *e)
{
	if (offset < r->buf_at || offset + n > r->buf_at + r->buf_n) {
		r->buf_n = 0;
		int rc =
			r->w->disk->pread(r->file, r->buf, READ_BUFFER_BYTES, offset, &r->buf_n, e);
		if (rc)
			return rc;
		r->buf_at = offset;
		if (r->buf_n < n)
			return damaged(r, offset + r->buf_n, "the file is too short", e);
	}
	*ret_p = r->buf + (offset - r->buf_at);
	return 0;
}

static int enter_segment(struct reading *r, struct segment *s, struct err *e)
{
	char path[WAL_PATH_MAX + 32];

	if (!r->buf) {
		r->buf = malloc(READ_BUFFER_BYTES);
		if (!r->buf)
			return err_set(e, ERR_NOMEM, "no memory to read the log");
	}
	r->buf_n = 0;
	r->seed = segment_seed(s->id);
	wal_segment_path(r->w, s->sequence, path);
	int rc = r->w->disk->open(r->w->disk->ctx, path, DISK_READ, &r->file, e);
	/* "Not found" would say that the entry was compacted. */
	return rc == ERR_NOT_FOUND
		       ? err_set(e, ERR_CORRUPT, "%s is gone, somebody removed it", path)
		       : rc;
}

/* The payload of the frame at the offset, checked. */
static int read_payload(struct reading *r, uint64_t offset, const struct frame *f,
			const uint8_t header[FRAME_HEADER_BYTES], struct blob **ret_data,
			struct err *e)
{
	static const uint8_t zeros[FRAME_ALIGN];
	struct blob *b = blob_new(NULL, f->length);
	uint64_t at = offset + FRAME_HEADER_BYTES;
	size_t done = 0, got = 0;
	int rc = 0;

	if (!b)
		return err_set(e, ERR_NOMEM, "no memory for an entry of %u bytes", f->length);
	if (at >= r->buf_at && at < r->buf_at + r->buf_n) {
		done = (size_t)(r->buf_at + r->buf_n - at);
		done = done < f->length ? done : f->length;
		memcpy(b->data, r->buf + (at - r->buf_at), done);
	}
	if (done < f->length)
		rc = r->w->disk->pread(r->file, b->data + done, f->length - done, at + done, &got,
				       e);
	if (rc == 0) {
		uint32_t crc = frame_crc_begin(header, r->seed, (uint32_t)offset);
		crc = crc32c(crc, b->data, f->length);
		crc = crc32c(crc, zeros, frame_bytes(f->length) - FRAME_HEADER_BYTES - f->length);
		if (done + got < f->length || crc != f->crc)
			rc = damaged(r, offset, "an entry's checksum is wrong", e);
	}
	if (rc) {
		blob_unref(b);
		return rc;
	}
	*ret_data = b;
	return 0;
}

static int read_stretch(struct reading *r, const struct stretch *st, struct err *e)
{
	uint64_t offset = st->offset, index = st->from;

	while (index <= st->last) {
		const uint8_t *p = NULL;
		struct frame f;
		uint8_t header[FRAME_HEADER_BYTES];
		if (offset + FRAME_HEADER_BYTES > r->segment->bytes)
			return damaged(r, offset, "an entry is missing before the segment's end",
				       e);
		int rc = have(r, offset, FRAME_HEADER_BYTES, &p, e);
		if (rc)
			return rc;
		memcpy(header, p, sizeof header);
		if (!frame_decode(header, (uint32_t)offset, r->segment->bytes - offset, &f) ||
		    !frame_check(header, r->seed, (uint32_t)offset))
			return damaged(r, offset, "no entry begins there any more", e);
		/* The stretch begins at or before the entry asked for. */
		if (f.kind == FRAME_ENTRY && f.group == r->group && f.index >= index) {
			if (f.index > index)
				return damaged(r, offset, "an entry before it is missing", e);
			if (!wants_more(r, f.length))
				return 0;
			struct blob *data = NULL;
			rc = read_payload(r, offset, &f, header, &data, e);
			if (rc)
				return rc;
			take(r, index++, f.term, f.entry_kind, data);
		}
		offset += frame_bytes(f.length);
	}
	return 0;
}

/* Lock held: the piece of disk that holds `from`, which is below tail_first; pins its segment. */
static struct segment *find_stretch(struct reading *r, const struct group *g, uint64_t from,
				    struct stretch *ret_stretch)
{
	size_t at = group_points_find(g, from);
	uint64_t last = g->tail_first - 1;

	if (at + 1 < g->points_n && g->points[at + 1].index <= last)
		last = g->points[at + 1].index - 1;
	*ret_stretch = (struct stretch){from, last, g->points[at].offset};
	struct segment *s = g->points[at].segment;
	if (s != r->segment)
		s->pins++;
	/* What was read while the segment grew may be older than the entries looked for now. */
	else if (r->growing)
		r->buf_n = 0;
	r->growing = s == r->w->segments[r->w->segments_n - 1];
	return s;
}

static int read_some(struct reading *r, uint64_t from, bool *ret_end, struct err *e)
{
	struct wal *w = r->w;
	struct stretch st;

	*ret_end = true;
	wal_lock(w);
	struct group *g = wal_group_find(w, r->group);
	if (!g || from > g->last_index || from < g->first_index) {
		/* Compacted under way: what was read so far is an answer. */
		int rc = 0;
		if (g && from < g->first_index && r->n == 0)
			rc = err_set(e, ERR_NOT_FOUND,
				     "entry %" PRIu64
				     " of group %u is compacted, the log begins at "
				     "%" PRIu64,
				     from, r->group, g->first_index);
		wal_unlock(w);
		return rc;
	}
	if (from >= g->tail_first) {
		take_from_tail(r, g, from);
		wal_unlock(w);
		return 0;
	}
	struct segment *s = find_stretch(r, g, from, &st);
	wal_unlock(w);
	if (s != r->segment) {
		leave_segment(r);
		r->segment = s;
		int rc = enter_segment(r, s, e);
		if (rc)
			return rc;
	}
	size_t before = r->n;
	int rc = read_stretch(r, &st, e);
	*ret_end = r->n - before < st.last - st.from + 1;
	return rc;
}

int wal_read(struct wal *w, uint32_t group, uint64_t from, size_t n, uint64_t max_bytes,
	     struct wal_entry *ret_entries, size_t *ret_n, struct err *e)
{
	struct reading r = {
		.w = w,
		.group = group,
		.entries = ret_entries,
		.max = n,
		.max_bytes = max_bytes,
	};
	bool end = false;
	int rc = wal_alive(w, e);

	while (rc == 0 && !end && r.n < n)
		rc = read_some(&r, from + r.n, &end, e);
	leave_segment(&r);
	free(r.buf);
	if (rc) {
		wal_entries_unref(ret_entries, r.n);
		return rc;
	}
	*ret_n = r.n;
	return 0;
}

size_t wal_read_tail(struct wal *w, uint32_t group, uint64_t from, size_t n, uint64_t max_bytes,
		     struct wal_entry *ret_entries)
{
	struct reading r = {.w = w, .entries = ret_entries, .max = n, .max_bytes = max_bytes};

	if (atomic_load(&w->dead))
		return 0;
	wal_lock(w);
	struct group *g = wal_group_find(w, group);
	if (g && from >= g->tail_first && from >= g->first_index)
		take_from_tail(&r, g, from);
	wal_unlock(w);
	return r.n;
}

void wal_entries_unref(struct wal_entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		blob_unref(entries[i].data);
}
