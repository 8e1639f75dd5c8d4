#include "agent/wal/wal_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ZERO_BYTES (64u << 10)
#define FILL_SYNC_BYTES (512u << 10)

/* Filling competes with the appends' syncs for the disk, so it is synced in small portions: the
 * system never has much of it to write at once. */
int wal_fill_zero(struct wal *w, struct disk_file *f, uint64_t from, uint64_t to, bool may_quit,
		  struct err *e)
{
	static const uint8_t zeros[ZERO_BYTES];
	uint64_t unsynced = 0;

	while (from < to) {
		struct iovec iov[16];
		uint64_t n = 0;
		int iov_n = 0;
		for (; iov_n < 16 && from + n < to; iov_n++) {
			uint64_t part = to - from - n < ZERO_BYTES ? to - from - n : ZERO_BYTES;
			iov[iov_n] = (struct iovec){(void *)(uintptr_t)zeros, (size_t)part};
			n += part;
		}
		int rc = w->disk->pwritev(f, iov, iov_n, from, e);
		if (rc)
			return rc;
		from += n;
		unsynced += n;
		if (unsynced >= FILL_SYNC_BYTES && from < to) {
			rc = w->disk->sync(f, e);
			if (rc)
				return rc;
			unsynced = 0;
		}
		if (may_quit && atomic_load(&w->quitting))
			return err_set(e, ERR_CLOSED, "the log is being closed");
	}
	return w->disk->sync(f, e);
}

/* Makes spare.seg: under another name until it is filled and synced. */
static int make_spare(struct wal *w, bool may_quit, struct err *e)
{
	char temp[WAL_PATH_MAX + 32], path[WAL_PATH_MAX + 32];
	struct disk_file *f = NULL;

	wal_path(w, WAL_SPARE_TEMP_NAME, temp);
	wal_path(w, WAL_SPARE_NAME, path);
	int rc = w->disk->unlink(w->disk->ctx, temp, e);
	if (rc && rc != ERR_NOT_FOUND)
		return rc;
	rc = w->disk->open(w->disk->ctx, temp, DISK_CREATE, &f, e);
	if (rc)
		return rc;
	rc = wal_fill_zero(w, f, 0, w->segment_bytes, may_quit, e);
	w->disk->close(f);
	if (rc == 0)
		rc = w->disk->rename(w->disk->ctx, temp, path, e);
	if (rc == 0)
		rc = w->disk->sync_dir(w->disk->ctx, w->dir, e);
	if (rc == 0)
		return 0;
	/* Gives the space back; if that fails too, the next try does it. */
	w->disk->unlink(w->disk->ctx, temp, NULL);
	if (rc == ERR_DISK_FULL && e)
		err_wrap(e, "cannot reserve the log's next segment of %llu MiB",
			 (unsigned long long)(w->segment_bytes >> 20));
	return rc;
}

/* Lock held, and held again on return; `reserving` is off on entry. */
static int reserve_locked(struct wal *w, bool may_quit, struct err *e)
{
	w->reserving = true;
	wal_unlock(w);
	int rc = make_spare(w, may_quit, e);
	wal_lock(w);
	w->reserving = false;
	if (rc == 0)
		w->spare = true;
	if (rc == 0 || rc == ERR_DISK_FULL)
		w->full = rc != 0;
	pthread_cond_broadcast(&w->changed);
	return rc;
}

int wal_take_spare(struct wal *w, struct err *e)
{
	int rc = 0;

	wal_lock(w);
	while (w->reserving)
		pthread_cond_wait(&w->changed, &w->lock);
	if (!w->spare)
		rc = reserve_locked(w, false, e);
	if (rc == 0) {
		w->spare = false;
		w->rolling = true;
	}
	wal_unlock(w);
	return rc;
}

void wal_rolled(struct wal *w)
{
	wal_lock(w);
	w->rolling = false;
	pthread_cond_broadcast(&w->changed);
	wal_unlock(w);
}

/* It was synced before it got its name, so a look at its size and first page is enough. */
int wal_keep_spare(struct wal *w, struct err *e)
{
	char path[WAL_PATH_MAX + 32];
	uint8_t page[SEGMENT_HEADER_BYTES];
	struct disk_file *f;
	uint64_t size = 0;
	size_t got = 0;

	wal_path(w, WAL_SPARE_NAME, path);
	int rc = w->disk->open(w->disk->ctx, path, DISK_READ, &f, e);
	if (rc)
		return rc;
	rc = w->disk->size(f, &size, e);
	if (rc == 0)
		rc = w->disk->pread(f, page, sizeof page, 0, &got, e);
	w->disk->close(f);
	if (rc)
		return rc;
	w->spare = size == w->segment_bytes && got == sizeof page;
	for (size_t i = 0; w->spare && i < sizeof page; i++)
		w->spare = page[i] == 0;
	if (w->spare)
		return 0;
	rc = w->disk->unlink(w->disk->ctx, path, e);
	return rc ? rc : w->disk->sync_dir(w->disk->ctx, w->dir, e);
}

/* In its place: that it is there is what tells a crash from a lost newest segment. */
int wal_clean_spare(struct wal *w, struct err *e)
{
	char path[WAL_PATH_MAX + 32];
	struct disk_file *f;
	uint64_t size = 0;

	wal_path(w, WAL_SPARE_NAME, path);
	int rc = w->disk->open(w->disk->ctx, path, DISK_WRITE, &f, e);
	if (rc)
		return rc;
	rc = w->disk->size(f, &size, e);
	if (rc == 0 && size > w->segment_bytes)
		rc = w->disk->truncate(f, w->segment_bytes, e);
	if (rc == 0)
		rc = wal_fill_zero(w, f, 0, w->segment_bytes, false, e);
	w->disk->close(f);
	return rc;
}

bool wal_oldest_unneeded(struct wal *w)
{
	if (w->segments_n < 2 || w->segments[0]->pins > 0)
		return false;
	for (unsigned i = 0; i < w->groups_n; i++)
		if (w->segments[0]->last_live[i] > w->groups[i]->disk_compacted)
			return false;
	return true;
}

/* Oldest first, and each name's end on disk before the next: a crash must not leave a gap. */
static int delete_unneeded(struct wal *w, struct err *e)
{
	for (;;) {
		char path[WAL_PATH_MAX + 32];
		wal_lock(w);
		if (!wal_oldest_unneeded(w)) {
			/* A pinned one is looked at again when the reader leaves. */
			w->deletable = false;
			wal_unlock(w);
			return 0;
		}
		struct segment *s = w->segments[0];
		w->segments_n--;
		memmove(w->segments, w->segments + 1, w->segments_n * sizeof *w->segments);
		for (unsigned i = 0; i < w->groups_n; i++)
			group_points_drop(w->groups[i], s);
		wal_unlock(w);
		wal_segment_path(w, s->sequence, path);
		free(s);
		int rc = w->disk->unlink(w->disk->ctx, path, e);
		if (rc == 0 || rc == ERR_NOT_FOUND)
			rc = w->disk->sync_dir(w->disk->ctx, w->dir, e);
		if (rc)
			return rc;
	}
}

int wal_prepare(struct wal *w, struct err *e)
{
	struct err why;
	int rc = wal_alive(w, e);

	if (rc)
		return rc;
	rc = delete_unneeded(w, &why);
	if (rc == 0) {
		wal_lock(w);
		/* A new spare.seg must not be made while the last one is about to be renamed. */
		while (w->rolling || w->reserving)
			pthread_cond_wait(&w->changed, &w->lock);
		if (!w->spare && !atomic_load(&w->dead))
			rc = reserve_locked(w, true, &why);
		wal_unlock(w);
	}
	if (rc == 0)
		return 0;
	if (e)
		*e = why;
	return rc == ERR_DISK_FULL || rc == ERR_CLOSED ? rc : wal_die(w, e);
}

bool wal_wants_prepare(struct wal *w)
{
	wal_lock(w);
	bool wants = (!w->spare && !w->reserving) || w->deletable;
	wal_unlock(w);
	return wants && !atomic_load(&w->dead);
}

bool wal_room(struct wal *w)
{
	wal_lock(w);
	bool room = !w->full;
	wal_unlock(w);
	return room && !atomic_load(&w->dead);
}
