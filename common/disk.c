#include "common/disk.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct disk_file {
	int fd;
	char path[];
};

static int code_of(int sys_errno)
{
	if (sys_errno == ENOENT)
		return ERR_NOT_FOUND;
	if (sys_errno == EEXIST)
		return ERR_EXISTS;
	return ERR_IO;
}

static int real_open(void *ctx, const char *path, enum disk_mode mode, struct disk_file **ret_file,
		     struct err *e)
{
	static const int flags[] = {
		[DISK_READ] = O_RDONLY,
		[DISK_WRITE] = O_RDWR,
		[DISK_CREATE] = O_RDWR | O_CREAT | O_EXCL,
	};
	size_t n = strlen(path) + 1;
	struct disk_file *f = malloc(sizeof *f + n);

	(void)ctx;
	if (!f)
		return err_set(e, ERR_NOMEM, "no memory to open %s", path);
	memcpy(f->path, path, n);
	do
		f->fd = open(path, flags[mode] | O_CLOEXEC, 0640);
	while (f->fd < 0 && errno == EINTR);
	if (f->fd < 0) {
		int sys = errno;
		free(f);
		return err_sys(e, code_of(sys), sys, "cannot %s %s",
			       mode == DISK_CREATE ? "create" : "open", path);
	}
	*ret_file = f;
	return 0;
}

static void real_close(struct disk_file *f)
{
	if (!f)
		return;
	close(f->fd);
	free(f);
}

static int real_pread(struct disk_file *f, void *to, size_t n, uint64_t offset, size_t *ret_n,
		      struct err *e)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = pread(f->fd, (char *)to + done, n - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(e, ERR_IO, errno, "cannot read %s at byte %llu", f->path,
				       (unsigned long long)(offset + done));
		if (got == 0)
			break;
		done += (size_t)got;
	}
	*ret_n = done;
	return 0;
}

static int real_pwritev(struct disk_file *f, const struct iovec *iov, int iov_n, uint64_t offset,
			struct err *e)
{
	struct iovec left[DISK_IOV_MAX];
	struct iovec *v = left;

	assert(iov_n >= 0 && iov_n <= DISK_IOV_MAX);
	memcpy(left, iov, (size_t)iov_n * sizeof *iov);
	while (iov_n > 0) {
		ssize_t put = pwritev(f->fd, v, iov_n, (off_t)offset);
		if (put < 0 && errno == EINTR)
			continue;
		/* Nothing written and no reason given would go on for ever. */
		if (put == 0 && v->iov_len > 0)
			errno = EIO;
		if (put < 0 || (put == 0 && v->iov_len > 0))
			return err_sys(e, errno == EFBIG ? ERR_DISK_FULL : ERR_IO, errno,
				       "cannot write %s at byte %llu", f->path,
				       (unsigned long long)offset);
		offset += (uint64_t)put;
		size_t n = (size_t)put;
		for (; iov_n > 0 && n >= v->iov_len; v++, iov_n--)
			n -= v->iov_len;
		if (iov_n > 0) {
			v->iov_base = (char *)v->iov_base + n;
			v->iov_len -= n;
		}
	}
	return 0;
}

static int real_sync(struct disk_file *f, struct err *e)
{
	if (fdatasync(f->fd) != 0)
		return err_sys(e, ERR_IO, errno, "cannot sync %s to the disk", f->path);
	return 0;
}

static int real_size(struct disk_file *f, uint64_t *ret_bytes, struct err *e)
{
	struct stat st;

	if (fstat(f->fd, &st) != 0)
		return err_sys(e, ERR_IO, errno, "cannot ask for the size of %s", f->path);
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

static int real_truncate(struct disk_file *f, uint64_t bytes, struct err *e)
{
	int rc;

	do
		rc = ftruncate(f->fd, (off_t)bytes);
	while (rc != 0 && errno == EINTR);
	if (rc != 0)
		return err_sys(e, ERR_IO, errno, "cannot set the size of %s", f->path);
	return 0;
}

static void real_will_read(struct disk_file *f, uint64_t offset, uint64_t n)
{
	/* Only hints: whether the system takes them changes nothing but speed. */
	(void)posix_fadvise(f->fd, (off_t)offset, (off_t)n, POSIX_FADV_SEQUENTIAL);
	(void)posix_fadvise(f->fd, (off_t)offset, (off_t)n, POSIX_FADV_WILLNEED);
}

static int real_sync_dir(void *ctx, const char *dir, struct err *e)
{
	int fd, rc;

	(void)ctx;
	do
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return err_sys(e, code_of(errno), errno, "cannot open folder %s", dir);
	rc = fsync(fd) == 0 ? 0 : err_sys(e, ERR_IO, errno, "cannot sync folder %s", dir);
	close(fd);
	return rc;
}

static int real_rename(void *ctx, const char *from, const char *to, struct err *e)
{
	(void)ctx;
	if (rename(from, to) != 0)
		return err_sys(e, code_of(errno), errno, "cannot rename %s to %s", from, to);
	return 0;
}

static int real_unlink(void *ctx, const char *path, struct err *e)
{
	(void)ctx;
	if (unlink(path) != 0)
		return err_sys(e, code_of(errno), errno, "cannot remove %s", path);
	return 0;
}

static int real_list(void *ctx, const char *dir,
		     int (*found)(void *found_ctx, const char *name, struct err *e),
		     void *found_ctx, struct err *e)
{
	DIR *d = opendir(dir);
	int rc = 0;

	(void)ctx;
	if (!d)
		return err_sys(e, code_of(errno), errno, "cannot list folder %s", dir);
	while (rc == 0) {
		errno = 0;
		struct dirent *row = readdir(d);
		if (!row) {
			if (errno)
				rc = err_sys(e, ERR_IO, errno, "cannot list folder %s", dir);
			break;
		}
		if (strcmp(row->d_name, ".") != 0 && strcmp(row->d_name, "..") != 0)
			rc = found(found_ctx, row->d_name, e);
	}
	closedir(d);
	return rc;
}

const struct disk *disk_real(void)
{
	static const struct disk real = {
		.open = real_open,
		.close = real_close,
		.pread = real_pread,
		.pwritev = real_pwritev,
		.sync = real_sync,
		.size = real_size,
		.truncate = real_truncate,
		.will_read = real_will_read,
		.sync_dir = real_sync_dir,
		.rename = real_rename,
		.unlink = real_unlink,
		.list = real_list,
	};

	return &real;
}

int disk_pwrite(const struct disk *d, struct disk_file *f, const void *p, size_t n, uint64_t offset,
		struct err *e)
{
	struct iovec one = {(void *)(uintptr_t)p, n};

	return d->pwritev(f, &one, 1, offset, e);
}
