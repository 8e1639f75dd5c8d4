/* The door: all file I/O of the log goes through a `struct disk`.
 *
 * disk_real() is the operating system. Tests and simulators bring a disk of
 * their own that is full, slow, torn, lying or failing. Only what the log needs
 * is here, and each operation promises exactly this:
 *
 *   - what pwritev wrote is read back by every later pread, and is on the disk
 *     for good once `sync` of the same file has returned 0 after it. Until then
 *     a power cut may leave any part of it undone;
 *   - sync covers a file's bytes and its size, not its name: open with
 *     DISK_CREATE, rename and unlink are for good after sync_dir of the folder;
 *   - an error from pwritev, truncate or sync leaves unknown which part of the
 *     bytes is written, and must not be retried on the same file: the system
 *     may have dropped them and report success the next time.
 *
 * All functions return 0 or ERR_* with errno in *e and the path in the text:
 * ERR_NOT_FOUND and ERR_EXISTS for a name, ERR_DISK_FULL for no space (or a limit on a file's
 * size), ERR_NOMEM, else ERR_IO. Outputs are untouched on failure. Interrupted and short system
 * calls are carried on inside.
 *
 * Threads: any, also for one file at once.
 */
#ifndef DROVER_COMMON_DISK_H
#define DROVER_COMMON_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/err.h"

#define DISK_IOV_MAX 64

enum disk_mode {
	DISK_READ,   /* exists, only read */
	DISK_WRITE,  /* exists, read and written */
	DISK_CREATE, /* must not exist; read and written */
};

/* Open file; its kind is the disk's own. */
struct disk_file;

struct disk {
	void *ctx;

	int (*open)(void *ctx, const char *path, enum disk_mode mode, struct disk_file **ret_file,
		    struct err *e);
	void (*close)(struct disk_file *f); /* NULL is fine */

	/* Reads up to n bytes; *ret_n < n only where the file ends. */
	int (*pread)(struct disk_file *f, void *to, size_t n, uint64_t offset, size_t *ret_n,
		     struct err *e);
	/* Writes all of iov_n <= DISK_IOV_MAX pieces, one behind the other, or fails. */
	int (*pwritev)(struct disk_file *f, const struct iovec *iov, int iov_n, uint64_t offset,
		       struct err *e);
	int (*sync)(struct disk_file *f, struct err *e);
	int (*size)(struct disk_file *f, uint64_t *ret_bytes, struct err *e);
	int (*truncate)(struct disk_file *f, uint64_t bytes, struct err *e);
	/* A hint that n bytes from offset on are read soon, in order. */
	void (*will_read)(struct disk_file *f, uint64_t offset, uint64_t n);

	int (*sync_dir)(void *ctx, const char *dir, struct err *e);
	int (*rename)(void *ctx, const char *from, const char *to, struct err *e);
	int (*unlink)(void *ctx, const char *path, struct err *e);
	/* Calls found() for each name in the folder ("." and ".." left out), in no order. It must
	 * not change the folder. A return other than 0 ends the listing and is returned. */
	int (*list)(void *ctx, const char *dir,
		    int (*found)(void *found_ctx, const char *name, struct err *e), void *found_ctx,
		    struct err *e);
};

const struct disk *disk_real(void);

/* One piece instead of several. */
int disk_pwrite(const struct disk *d, struct disk_file *f, const void *p, size_t n, uint64_t offset,
		struct err *e);

#endif
