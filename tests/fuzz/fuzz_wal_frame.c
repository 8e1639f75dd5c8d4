/* Recovery of a log made of anything: bytes as they come, or frames that are sound in themselves
 * and say anything. Either it is refused, or it opens; then all it claims to hold can be read, it
 * takes more, and what comes back after that is the same. */
#include "agent/wal/wal.h"

#include "agent/wal/segment.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES 8
#define BYTES SEGMENT_BYTES_MIN

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A few files in memory. */
static struct disk_file {
	char name[64];
	uint8_t *bytes;
	size_t n;
} files[FILES];

static struct disk_file *file_find(const char *name)
{
	for (int i = 0; i < FILES; i++)
		if (files[i].bytes && strcmp(files[i].name, name) == 0)
			return &files[i];
	return NULL;
}

static struct disk_file *file_new(const char *name)
{
	for (int i = 0; i < FILES; i++) {
		if (files[i].bytes)
			continue;
		files[i].bytes = calloc(1, BYTES);
		assert(files[i].bytes && strlen(name) < sizeof files[i].name);
		strcpy(files[i].name, name);
		files[i].n = 0;
		return &files[i];
	}
	return NULL;
}

static int mem_open(void *ctx, const char *path, enum disk_mode mode, struct disk_file **ret_file,
		    struct err *e)
{
	struct disk_file *f = file_find(path);

	(void)ctx;
	if (mode == DISK_CREATE)
		f = f ? NULL : file_new(path);
	if (!f)
		return err_set(e, mode == DISK_CREATE ? ERR_DISK_FULL : ERR_NOT_FOUND, "open");
	*ret_file = f;
	return 0;
}

static void mem_close(struct disk_file *f)
{
	(void)f;
}

static int mem_pread(struct disk_file *f, void *to, size_t n, uint64_t offset, size_t *ret_n,
		     struct err *e)
{
	size_t left = offset < f->n ? f->n - (size_t)offset : 0;

	(void)e;
	*ret_n = n < left ? n : left;
	if (*ret_n)
		memcpy(to, f->bytes + offset, *ret_n);
	return 0;
}

static int mem_pwritev(struct disk_file *f, const struct iovec *iov, int iov_n, uint64_t offset,
		       struct err *e)
{
	(void)e;
	for (int i = 0; i < iov_n; offset += iov[i++].iov_len) {
		assert(offset + iov[i].iov_len <= BYTES);
		memcpy(f->bytes + offset, iov[i].iov_base, iov[i].iov_len);
		if (offset + iov[i].iov_len > f->n)
			f->n = (size_t)offset + iov[i].iov_len;
	}
	return 0;
}

static int mem_sync(struct disk_file *f, struct err *e)
{
	(void)f;
	(void)e;
	return 0;
}

static int mem_size(struct disk_file *f, uint64_t *ret_bytes, struct err *e)
{
	(void)e;
	*ret_bytes = f->n;
	return 0;
}

static int mem_truncate(struct disk_file *f, uint64_t bytes, struct err *e)
{
	(void)e;
	assert(bytes <= f->n);
	f->n = (size_t)bytes;
	return 0;
}

static void mem_will_read(struct disk_file *f, uint64_t offset, uint64_t n)
{
	(void)f;
	(void)offset;
	(void)n;
}

static int mem_sync_dir(void *ctx, const char *dir, struct err *e)
{
	(void)ctx;
	(void)dir;
	(void)e;
	return 0;
}

static int mem_unlink(void *ctx, const char *path, struct err *e)
{
	struct disk_file *f = file_find(path);

	(void)ctx;
	if (!f)
		return err_set(e, ERR_NOT_FOUND, "unlink");
	free(f->bytes);
	f->bytes = NULL;
	return 0;
}

static int mem_rename(void *ctx, const char *from, const char *to, struct err *e)
{
	struct disk_file *f = file_find(from);

	mem_unlink(ctx, to, NULL);
	if (!f)
		return err_set(e, ERR_NOT_FOUND, "rename");
	strcpy(f->name, to);
	return 0;
}

static int mem_list(void *ctx, const char *dir,
		    int (*found)(void *found_ctx, const char *name, struct err *e), void *found_ctx,
		    struct err *e)
{
	int rc = 0;

	(void)ctx;
	for (int i = 0; i < FILES && rc == 0; i++)
		if (files[i].bytes)
			rc = found(found_ctx, files[i].name + strlen(dir) + 1, e);
	return rc;
}

static const struct disk mem = {
	.open = mem_open,
	.close = mem_close,
	.pread = mem_pread,
	.pwritev = mem_pwritev,
	.sync = mem_sync,
	.size = mem_size,
	.truncate = mem_truncate,
	.will_read = mem_will_read,
	.sync_dir = mem_sync_dir,
	.rename = mem_rename,
	.unlink = mem_unlink,
	.list = mem_list,
};

static uint64_t draw(void *ctx)
{
	(void)ctx;
	return 4;
}

/* Input, taken byte by byte; zeros at its end. */
static const uint8_t *in;
static size_t in_n;

static unsigned next(void)
{
	if (in_n == 0)
		return 0;
	in_n--;
	return *in++;
}

/* A number near others, sometimes far from all. */
static uint64_t next_index(uint64_t near)
{
	unsigned b = next();

	if (b == 255)
		return UINT64_MAX - next();
	return b < 128 ? near + b % 4 : near - b % 16;
}

static uint32_t begin_segment(uint64_t sequence, const struct segment_header *prev,
			      uint32_t prev_end, uint32_t prev_crc, struct segment_header *h,
			      struct disk_file **ret_file)
{
	char name[64] = "/l/000000000000000x.seg";

	*h = (struct segment_header){.sequence = sequence, .bytes = BYTES};
	h->id[0] = (uint8_t)sequence;
	h->synced = SEGMENT_HEADER_BYTES + next() % 32 * 8;
	if (prev) {
		memcpy(h->prev_id, prev->id, sizeof h->prev_id);
		h->prev_end = prev_end;
		h->prev_crc = prev_crc;
	}
	name[18] = (char)('0' + sequence);
	*ret_file = file_new(name);
	(*ret_file)->n = BYTES;
	return segment_header_encode(h, (*ret_file)->bytes);
}

static void make_frames(void)
{
	struct segment_header h, before;
	struct disk_file *f;
	uint64_t sequence = 1 + next() % 3;
	uint32_t chain = begin_segment(sequence, NULL, 0, 0, &h, &f);
	uint32_t at = SEGMENT_HEADER_BYTES;
	uint64_t last[4] = {0};

	while (in_n > 0) {
		uint8_t payload[256], header[FRAME_HEADER_BYTES];
		unsigned how = next(), group = next() % 4;
		struct frame frame = {
			.kind = (uint8_t)(how % FRAME_KINDS),
			.entry_kind = (uint8_t)group,
			.group = group,
			.prev = chain,
			.synced = next() % 4 ? h.synced : at,
			.index = next_index(last[group] + (how % FRAME_KINDS == FRAME_ENTRY)),
			.term = next() % 8,
		};
		struct slice part = {payload, next()};
		for (size_t i = 0; i < part.n; i++)
			payload[i] = in_n % 3 ? 0 : (uint8_t)next();
		if (frame.kind == FRAME_STATE && part.n < FRAME_STATE_BYTES)
			part.n = FRAME_STATE_BYTES;
		if (frame.kind != FRAME_ENTRY && frame.kind != FRAME_META &&
		    frame.kind != FRAME_STATE)
			part.n = 0;
		if (at + frame_bytes((uint32_t)part.n) + 40 > BYTES)
			break;
		if (how >= 250)
			frame.prev ^= 1;
		frame_encode(&frame, segment_seed(h.id), at, &part, 1, header);
		memcpy(f->bytes + at, header, sizeof header);
		memcpy(f->bytes + at + sizeof header, payload, part.n);
		chain = frame.crc;
		at += frame_bytes((uint32_t)part.n);
		if (frame.kind == FRAME_ENTRY || frame.kind == FRAME_COMPACT)
			last[group] = frame.index;
		if (frame.kind == FRAME_SEAL && sequence < 6) {
			before = h;
			chain = begin_segment(++sequence, &before, at, chain, &h, &f);
			at = SEGMENT_HEADER_BYTES;
		}
	}
}

static void make_bytes(void)
{
	struct segment_header h;
	struct disk_file *f;
	unsigned at = next() % 2 ? 0 : SEGMENT_HEADER_BYTES;

	begin_segment(1, NULL, 0, 0, &h, &f);
	for (; in_n > 0 && at < BYTES; at++)
		f->bytes[at] = (uint8_t)next();
}

static int open_log(struct wal **ret_wal)
{
	struct wal_options o = {
		.dir = "/l",
		.disk = &mem,
		.random = draw,
		.segment_bytes = BYTES,
	};
	struct err e;

	int rc = wal_open(ret_wal, &o, &e);
	if (rc && getenv("WAL_FUZZ_SAY"))
		fprintf(stderr, "%s\n", e.text);
	return rc;
}

static void read_all(struct wal *w, uint32_t group, const struct wal_group_state *s)
{
	struct wal_entry out[16];
	struct err e;
	size_t n;

	for (uint64_t at = s->first_index; s->first_index && at <= s->last_index; at += n) {
		int rc = wal_read(w, group, at, 16, 4000, out, &n, &e);
		assert(rc == 0 && n > 0);
		for (size_t i = 0; i < n; i++)
			assert(out[i].index == at + i);
		wal_entries_unref(out, n);
	}
}

static void go_on(struct wal *w)
{
	struct wal_group_state before[4], after;
	struct wal_synced rows[WAL_GROUPS_MAX];
	struct err e;
	size_t n;

	for (uint32_t g = 0; g < 4; g++) {
		wal_group(w, g, &before[g]);
		read_all(w, g, &before[g]);
		uint64_t term = before[g].runs_n ? before[g].runs[before[g].runs_n - 1].term
						 : before[g].base_term;
		struct wal_entry entry = {before[g].last_index + 1, term, 1, blob_new("x", 1)};
		struct wal_job job = {.group = g, .entries = &entry, .entries_n = 1};
		int rc = wal_stage(w, &job, &e);
		assert(rc == 0);
		blob_unref(entry.data);
	}
	int rc = wal_sync(w, rows, &n, &e);
	assert(rc == 0 || rc == ERR_DISK_FULL);
	wal_free(w);
	if (rc)
		return;
	rc = open_log(&w);
	assert(rc == 0);
	for (uint32_t g = 0; g < 4; g++) {
		wal_group(w, g, &after);
		assert(after.last_index == before[g].last_index + 1);
		assert(after.term == before[g].term && after.vote == before[g].vote);
		read_all(w, g, &after);
	}
	wal_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wal *w;

	in = data;
	in_n = size;
	unsigned how = next();
	if (how % 4)
		make_frames();
	else
		make_bytes();
	if (how & 4)
		file_new("/l/spare.seg");
	if (open_log(&w) == 0)
		go_on(w);
	for (int i = 0; i < FILES; i++) {
		free(files[i].bytes);
		files[i].bytes = NULL;
	}
	return 0;
}
