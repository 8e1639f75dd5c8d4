#include "tests/unit/disk_faulty.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512u
#define NAMES_MAX 512

struct piece {
	struct piece *next;
	uint64_t offset;
	size_t n;
	uint8_t bytes[];
};

struct image {
	uint8_t *bytes;
	uint64_t n;
	uint64_t cap;
};

struct inode {
	unsigned refs; /* names in both lists, pending changes, open files */
	struct image seen;
	struct image good;
	struct piece *pieces; /* in the order written */
	struct piece **pieces_end;
};

struct name {
	char *path;
	struct inode *inode;
};

struct names {
	struct name row[NAMES_MAX];
	unsigned n;
};

/* A change of a name that is not for good yet: `to` gets the inode (NULL: goes), `from` goes. */
struct change {
	struct change *next;
	char *from;
	char *to;
	struct inode *inode;
};

struct faulty {
	struct disk door;
	pthread_mutex_t lock;
	uint64_t dice;
	uint64_t room;
	struct {
		bool armed;
		unsigned after;
		int sys_errno;
		unsigned slow_us;
	} faults[FAULTY_OPS];
	uint64_t changes;
	uint64_t cut_at; /* UINT64_MAX: never */
	bool dark;
	struct names seen;
	struct names good;
	struct change *pending;
	struct change **pending_end;
};

struct disk_file {
	struct faulty *d;
	struct inode *inode;
	bool read_only;
	char *path;
};

static uint64_t roll_dice(struct faulty *d)
{
	uint64_t z = d->dice += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void *must(void *p)
{
	assert(p);
	return p;
}

static void image_size(struct image *im, uint64_t n)
{
	if (n > im->cap) {
		im->cap = n > im->cap * 2 ? n : im->cap * 2;
		im->bytes = must(realloc(im->bytes, im->cap));
	}
	if (n > im->n)
		memset(im->bytes + im->n, 0, n - im->n);
	im->n = n;
}

static void image_put(struct image *im, uint64_t offset, const void *p, size_t n)
{
	if (offset + n > im->n)
		image_size(im, offset + n);
	if (n > 0)
		memcpy(im->bytes + offset, p, n);
}

static void image_copy(struct image *to, const struct image *from)
{
	image_size(to, 0);
	image_put(to, 0, from->bytes, from->n);
}

static void pieces_drop(struct inode *in)
{
	while (in->pieces) {
		struct piece *p = in->pieces;
		in->pieces = p->next;
		free(p);
	}
	in->pieces_end = &in->pieces;
}

static void inode_unref(struct inode *in)
{
	if (!in || --in->refs > 0)
		return;
	pieces_drop(in);
	free(in->seen.bytes);
	free(in->good.bytes);
	free(in);
}

static struct name *name_find(struct names *list, const char *path)
{
	for (unsigned i = 0; i < list->n; i++)
		if (strcmp(list->row[i].path, path) == 0)
			return &list->row[i];
	return NULL;
}

static void name_remove(struct names *list, const char *path)
{
	struct name *row = name_find(list, path);

	if (!row)
		return;
	free(row->path);
	inode_unref(row->inode);
	*row = list->row[--list->n];
}

static void name_set(struct names *list, const char *path, struct inode *in)
{
	in->refs++;
	name_remove(list, path);
	assert(list->n < NAMES_MAX);
	list->row[list->n++] = (struct name){must(strdup(path)), in};
}

static void change_apply(struct names *list, const struct change *c)
{
	if (c->from) {
		struct name *row = name_find(list, c->from);
		/* A rename of what never came to be, because an earlier change was lost. */
		if (!row || (c->inode && row->inode != c->inode))
			return;
	}
	if (c->to)
		name_set(list, c->to, c->inode);
	if (c->from)
		name_remove(list, c->from);
}

static void change_add(struct faulty *d, const char *from, const char *to, struct inode *in)
{
	struct change *c = must(calloc(1, sizeof *c));

	c->from = from ? must(strdup(from)) : NULL;
	c->to = to ? must(strdup(to)) : NULL;
	c->inode = in;
	in->refs++;
	*d->pending_end = c;
	d->pending_end = &c->next;
	change_apply(&d->seen, c);
}

static void changes_drop(struct faulty *d)
{
	while (d->pending) {
		struct change *c = d->pending;
		d->pending = c->next;
		inode_unref(c->inode);
		free(c->from);
		free(c->to);
		free(c);
	}
	d->pending_end = &d->pending;
}

/* Begins an operation: whether it fails. *ret_partly: it is the one during which the power goes. */
static int begin(struct faulty *d, enum faulty_op op, const char *path, bool *ret_partly,
		 struct err *e)
{
	bool changes = op != FAULTY_READ && op != FAULTY_OPEN;

	*ret_partly = false;
	if (d->faults[op].slow_us) {
		unsigned us = d->faults[op].slow_us;
		pthread_mutex_unlock(&d->lock);
		usleep(us);
		pthread_mutex_lock(&d->lock);
	}
	if (!d->dark && changes && d->changes++ >= d->cut_at) {
		d->dark = true;
		*ret_partly = true;
		return err_sys(e, ERR_IO, EIO, "%s: the power went", path);
	}
	if (d->dark)
		return err_sys(e, ERR_IO, EIO, "%s: the power is off", path);
	if (d->faults[op].armed && d->faults[op].after-- == 0) {
		d->faults[op].armed = false;
		*ret_partly = true;
		return err_sys(e, ERR_IO, d->faults[op].sys_errno, "%s", path);
	}
	return 0;
}

static int faulty_open(void *ctx, const char *path, enum disk_mode mode,
		       struct disk_file **ret_file, struct err *e)
{
	struct faulty *d = ctx;
	bool partly;

	pthread_mutex_lock(&d->lock);
	int rc = begin(d, FAULTY_OPEN, path, &partly, e);
	struct name *row = name_find(&d->seen, path);
	if (rc == 0 && mode == DISK_CREATE && row)
		rc = err_sys(e, ERR_EXISTS, EEXIST, "%s", path);
	if (rc == 0 && mode != DISK_CREATE && !row)
		rc = err_sys(e, ERR_NOT_FOUND, ENOENT, "%s", path);
	if (rc == 0) {
		struct disk_file *f = must(calloc(1, sizeof *f));
		f->d = d;
		f->read_only = mode == DISK_READ;
		f->path = must(strdup(path));
		if (row) {
			f->inode = row->inode;
		} else {
			f->inode = must(calloc(1, sizeof *f->inode));
			f->inode->pieces_end = &f->inode->pieces;
			d->changes++;
			change_add(d, NULL, path, f->inode);
		}
		f->inode->refs++;
		*ret_file = f;
	}
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static void faulty_close(struct disk_file *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->d->lock);
	inode_unref(f->inode);
	pthread_mutex_unlock(&f->d->lock);
	free(f->path);
	free(f);
}

static int faulty_pread(struct disk_file *f, void *to, size_t n, uint64_t offset, size_t *ret_n,
			struct err *e)
{
	const struct image *im = &f->inode->seen;
	bool partly;

	pthread_mutex_lock(&f->d->lock);
	int rc = begin(f->d, FAULTY_READ, f->path, &partly, e);
	if (rc == 0) {
		size_t left = offset < im->n ? (size_t)(im->n - offset) : 0;
		n = n < left ? n : left;
		if (n > 0)
			memcpy(to, im->bytes + offset, n);
		*ret_n = n;
	}
	pthread_mutex_unlock(&f->d->lock);
	return rc;
}

static uint64_t used(const struct faulty *d)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < d->seen.n; i++)
		n += d->seen.row[i].inode->seen.n;
	return n;
}

static void write_bytes(struct inode *in, const uint8_t *p, size_t n, uint64_t offset)
{
	image_put(&in->seen, offset, p, n);
	while (n > 0) {
		size_t part = SECTOR - offset % SECTOR;
		part = part < n ? part : n;
		struct piece *piece = must(malloc(sizeof *piece + part));
		*piece = (struct piece){.offset = offset, .n = part};
		memcpy(piece->bytes, p, part);
		*in->pieces_end = piece;
		in->pieces_end = &piece->next;
		offset += part;
		p += part;
		n -= part;
	}
}

static int faulty_pwritev(struct disk_file *f, const struct iovec *iov, int iov_n, uint64_t offset,
			  struct err *e)
{
	struct faulty *d = f->d;
	uint64_t total = 0;
	bool partly;

	assert(iov_n > 0 && iov_n <= DISK_IOV_MAX && !f->read_only);
	pthread_mutex_lock(&d->lock);
	for (int i = 0; i < iov_n; i++)
		total += iov[i].iov_len;
	int rc = begin(d, FAULTY_WRITE, f->path, &partly, e);
	if (rc == 0 && d->room && offset + total > f->inode->seen.n &&
	    used(d) + offset + total - f->inode->seen.n > d->room)
		rc = err_sys(e, ERR_IO, ENOSPC, "%s", f->path);
	if (partly)
		total = roll_dice(d) % (total + 1);
	for (int i = 0; i < iov_n && (rc == 0 || partly); i++) {
		size_t n = iov[i].iov_len < total ? iov[i].iov_len : (size_t)total;
		write_bytes(f->inode, iov[i].iov_base, n, offset);
		offset += n;
		total -= n;
	}
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static int faulty_sync(struct disk_file *f, struct err *e)
{
	struct inode *in = f->inode;
	bool partly;

	pthread_mutex_lock(&f->d->lock);
	int rc = begin(f->d, FAULTY_SYNC, f->path, &partly, e);
	if (rc == 0) {
		for (struct piece *p = in->pieces; p; p = p->next)
			image_put(&in->good, p->offset, p->bytes, p->n);
		image_size(&in->good, in->seen.n);
	}
	if (rc == 0 || (partly && !f->d->dark))
		pieces_drop(in);
	pthread_mutex_unlock(&f->d->lock);
	return rc;
}

static int faulty_size_of(struct disk_file *f, uint64_t *ret_bytes, struct err *e)
{
	(void)e;
	pthread_mutex_lock(&f->d->lock);
	*ret_bytes = f->inode->seen.n;
	pthread_mutex_unlock(&f->d->lock);
	return 0;
}

static int faulty_truncate(struct disk_file *f, uint64_t bytes, struct err *e)
{
	bool partly;

	pthread_mutex_lock(&f->d->lock);
	int rc = begin(f->d, FAULTY_TRUNCATE, f->path, &partly, e);
	if (rc == 0) {
		image_size(&f->inode->seen, bytes);
		image_size(&f->inode->good, bytes);
		pieces_drop(f->inode);
	}
	pthread_mutex_unlock(&f->d->lock);
	return rc;
}

static void faulty_will_read(struct disk_file *f, uint64_t offset, uint64_t n)
{
	(void)f;
	(void)offset;
	(void)n;
}

static int faulty_sync_dir(void *ctx, const char *dir, struct err *e)
{
	struct faulty *d = ctx;
	bool partly;

	pthread_mutex_lock(&d->lock);
	int rc = begin(d, FAULTY_SYNC_DIR, dir, &partly, e);
	if (rc == 0) {
		for (const struct change *c = d->pending; c; c = c->next)
			change_apply(&d->good, c);
		changes_drop(d);
	}
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static int faulty_rename(void *ctx, const char *from, const char *to, struct err *e)
{
	struct faulty *d = ctx;
	bool partly;

	pthread_mutex_lock(&d->lock);
	int rc = begin(d, FAULTY_RENAME, from, &partly, e);
	struct name *row = name_find(&d->seen, from);
	if (rc == 0 && !row)
		rc = err_sys(e, ERR_NOT_FOUND, ENOENT, "%s", from);
	if (row && (rc == 0 || (partly && d->dark)))
		change_add(d, from, to, row->inode);
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static int faulty_unlink(void *ctx, const char *path, struct err *e)
{
	struct faulty *d = ctx;
	bool partly;

	pthread_mutex_lock(&d->lock);
	int rc = begin(d, FAULTY_UNLINK, path, &partly, e);
	struct name *row = name_find(&d->seen, path);
	if (rc == 0 && !row)
		rc = err_sys(e, ERR_NOT_FOUND, ENOENT, "%s", path);
	if (row && (rc == 0 || (partly && d->dark)))
		change_add(d, path, NULL, row->inode);
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static int faulty_list(void *ctx, const char *dir,
		       int (*found)(void *found_ctx, const char *name, struct err *e),
		       void *found_ctx, struct err *e)
{
	struct faulty *d = ctx;
	size_t n = strlen(dir);
	int rc = 0;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < d->seen.n && rc == 0; i++) {
		const char *path = d->seen.row[i].path;
		if (strncmp(path, dir, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/'))
			rc = found(found_ctx, path + n + 1, e);
	}
	pthread_mutex_unlock(&d->lock);
	return rc;
}

struct faulty *faulty_new(uint64_t seed)
{
	struct faulty *d = must(calloc(1, sizeof *d));

	d->dice = seed;
	d->cut_at = UINT64_MAX;
	d->pending_end = &d->pending;
	pthread_mutex_init(&d->lock, NULL);
	d->door = (struct disk){
		.ctx = d,
		.open = faulty_open,
		.close = faulty_close,
		.pread = faulty_pread,
		.pwritev = faulty_pwritev,
		.sync = faulty_sync,
		.size = faulty_size_of,
		.truncate = faulty_truncate,
		.will_read = faulty_will_read,
		.sync_dir = faulty_sync_dir,
		.rename = faulty_rename,
		.unlink = faulty_unlink,
		.list = faulty_list,
	};
	return d;
}

static void names_drop(struct names *list)
{
	while (list->n > 0)
		name_remove(list, list->row[0].path);
}

void faulty_free(struct faulty *d)
{
	if (!d)
		return;
	changes_drop(d);
	names_drop(&d->seen);
	names_drop(&d->good);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

const struct disk *faulty_door(struct faulty *d)
{
	return &d->door;
}

void faulty_set_room(struct faulty *d, uint64_t bytes)
{
	pthread_mutex_lock(&d->lock);
	d->room = bytes;
	pthread_mutex_unlock(&d->lock);
}

void faulty_fail(struct faulty *d, enum faulty_op op, unsigned after, int sys_errno)
{
	pthread_mutex_lock(&d->lock);
	d->faults[op].armed = true;
	d->faults[op].after = after;
	d->faults[op].sys_errno = sys_errno;
	pthread_mutex_unlock(&d->lock);
}

void faulty_heal(struct faulty *d)
{
	pthread_mutex_lock(&d->lock);
	for (int i = 0; i < FAULTY_OPS; i++)
		d->faults[i].armed = false;
	pthread_mutex_unlock(&d->lock);
}

void faulty_slow(struct faulty *d, enum faulty_op op, unsigned us)
{
	pthread_mutex_lock(&d->lock);
	d->faults[op].slow_us = us;
	pthread_mutex_unlock(&d->lock);
}

void faulty_cut_power(struct faulty *d, uint64_t after)
{
	pthread_mutex_lock(&d->lock);
	d->cut_at = d->changes + after;
	pthread_mutex_unlock(&d->lock);
}

uint64_t faulty_changes(struct faulty *d)
{
	pthread_mutex_lock(&d->lock);
	uint64_t n = d->changes;
	pthread_mutex_unlock(&d->lock);
	return n;
}

/* What of a file's writes reached the disk; `keep` of 100. */
static void crash_inode(struct faulty *d, struct inode *in, unsigned keep)
{
	for (struct piece *p = in->pieces; p; p = p->next) {
		size_t n = p->n;
		if (roll_dice(d) % 100 >= keep)
			continue;
		if (roll_dice(d) % 20 == 0)
			n = roll_dice(d) % (n + 1);
		image_put(&in->good, p->offset, p->bytes, n);
	}
	pieces_drop(in);
	image_copy(&in->seen, &in->good);
}

void faulty_crash(struct faulty *d)
{
	static const unsigned keeps[] = {0, 20, 50, 80, 100};

	pthread_mutex_lock(&d->lock);
	unsigned keep = keeps[roll_dice(d) % 5];
	for (const struct change *c = d->pending; c; c = c->next)
		if (roll_dice(d) % 100 < keep)
			change_apply(&d->good, c);
	changes_drop(d);
	for (unsigned i = 0; i < d->seen.n; i++)
		crash_inode(d, d->seen.row[i].inode, keep);
	names_drop(&d->seen);
	for (unsigned i = 0; i < d->good.n; i++) {
		struct name *row = &d->good.row[i];
		/* Names that were already gone from sight were not visited above; twice is fine. */
		crash_inode(d, row->inode, keep);
		name_set(&d->seen, row->path, row->inode);
	}
	d->dark = false;
	d->cut_at = UINT64_MAX;
	for (int i = 0; i < FAULTY_OPS; i++)
		d->faults[i].armed = false;
	pthread_mutex_unlock(&d->lock);
}

struct faulty *faulty_copy(struct faulty *d)
{
	struct faulty *copy = faulty_new(d->dice);

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < d->seen.n; i++) {
		struct inode *in = must(calloc(1, sizeof *in));
		in->pieces_end = &in->pieces;
		image_copy(&in->seen, &d->seen.row[i].inode->seen);
		image_copy(&in->good, &in->seen);
		name_set(&copy->seen, d->seen.row[i].path, in);
		name_set(&copy->good, d->seen.row[i].path, in);
	}
	pthread_mutex_unlock(&d->lock);
	return copy;
}

bool faulty_size(struct faulty *d, const char *path, uint64_t *ret_bytes)
{
	pthread_mutex_lock(&d->lock);
	struct name *row = name_find(&d->seen, path);
	if (row)
		*ret_bytes = row->inode->seen.n;
	pthread_mutex_unlock(&d->lock);
	return row != NULL;
}

bool faulty_peek(struct faulty *d, const char *path, uint64_t offset, void *to, size_t n)
{
	pthread_mutex_lock(&d->lock);
	struct name *row = name_find(&d->seen, path);
	bool ok = row && offset + n <= row->inode->seen.n;
	if (ok && n > 0)
		memcpy(to, row->inode->seen.bytes + offset, n);
	pthread_mutex_unlock(&d->lock);
	return ok;
}

bool faulty_poke(struct faulty *d, const char *path, uint64_t offset, const void *p, size_t n)
{
	pthread_mutex_lock(&d->lock);
	struct name *row = name_find(&d->seen, path);
	if (row) {
		image_put(&row->inode->seen, offset, p, n);
		image_put(&row->inode->good, offset, p, n);
	}
	pthread_mutex_unlock(&d->lock);
	return row != NULL;
}

bool faulty_set_size(struct faulty *d, const char *path, uint64_t bytes)
{
	pthread_mutex_lock(&d->lock);
	struct name *row = name_find(&d->seen, path);
	if (row) {
		image_size(&row->inode->seen, bytes);
		image_size(&row->inode->good, bytes);
	}
	pthread_mutex_unlock(&d->lock);
	return row != NULL;
}

bool faulty_remove(struct faulty *d, const char *path)
{
	pthread_mutex_lock(&d->lock);
	bool was = name_find(&d->seen, path) != NULL;
	name_remove(&d->seen, path);
	name_remove(&d->good, path);
	pthread_mutex_unlock(&d->lock);
	return was;
}

unsigned faulty_count(struct faulty *d)
{
	pthread_mutex_lock(&d->lock);
	unsigned n = d->seen.n;
	pthread_mutex_unlock(&d->lock);
	return n;
}
