#include "common/disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[200];
static const struct disk *d;

static const char *in_dir(const char *name)
{
	static char paths[2][256];
	static int turn;
	char *path = paths[turn++ % 2];

	snprintf(path, sizeof paths[0], "%s/%s", dir, name);
	return path;
}

static int set_up(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	d = disk_real();
	snprintf(dir, sizeof dir, "%s/drover-disk-XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(void *ctx, const char *name, struct err *e)
{
	(void)ctx;
	return d->unlink(NULL, in_dir(name), e);
}

static int tear_down(void **state)
{
	(void)state;
	d->list(NULL, dir, remove_one, NULL, NULL);
	return rmdir(dir);
}

static void what_is_written_in_pieces_is_read_back(void **state)
{
	struct disk_file *f;
	struct err e;
	char got[32];
	size_t n;
	uint64_t size;
	struct iovec iov[3] = {{(char[]){"abc"}, 3}, {NULL, 0}, {(char[]){"defgh"}, 5}};

	(void)state;
	assert_int_equal(d->open(NULL, in_dir("a"), DISK_CREATE, &f, &e), 0);
	assert_int_equal(d->pwritev(f, iov, 3, 10, &e), 0);
	assert_int_equal(d->sync(f, &e), 0);
	assert_int_equal(d->size(f, &size, &e), 0);
	assert_int_equal(size, 18);
	d->will_read(f, 0, size);
	assert_int_equal(d->pread(f, got, sizeof got, 9, &n, &e), 0);
	assert_int_equal(n, 9);
	assert_memory_equal(got, "\0abcdefgh", 9);
	assert_int_equal(d->pread(f, got, sizeof got, 18, &n, &e), 0);
	assert_int_equal(n, 0);
	assert_int_equal(d->truncate(f, 12, &e), 0);
	assert_int_equal(d->pread(f, got, sizeof got, 10, &n, &e), 0);
	assert_int_equal(n, 2);
	d->close(f);
	assert_int_equal(d->sync_dir(NULL, dir, &e), 0);
}

static int count_name(void *ctx, const char *name, struct err *e)
{
	(void)e;
	assert_true(strcmp(name, "b") == 0 || strcmp(name, "c") == 0);
	return ++*(int *)ctx == 3 ? -77 : 0;
}

static void names_are_listed_moved_and_removed(void **state)
{
	struct disk_file *f;
	struct err e;
	int n = 0;

	(void)state;
	d->unlink(NULL, in_dir("a"), NULL);
	assert_int_equal(d->open(NULL, in_dir("a"), DISK_CREATE, &f, &e), 0);
	d->close(f);
	assert_int_equal(d->rename(NULL, in_dir("a"), in_dir("b"), &e), 0);
	assert_int_equal(d->open(NULL, in_dir("c"), DISK_CREATE, &f, &e), 0);
	d->close(f);
	assert_int_equal(d->list(NULL, dir, count_name, &n, &e), 0);
	assert_int_equal(n, 2);
	n = 2;
	assert_int_equal(d->list(NULL, dir, count_name, &n, &e), -77);
	assert_int_equal(d->unlink(NULL, in_dir("b"), &e), 0);
	assert_int_equal(d->unlink(NULL, in_dir("c"), &e), 0);
}

static void errors_name_the_path_and_the_reason(void **state)
{
	struct disk_file *f = NULL;
	struct err e;

	(void)state;
	assert_int_equal(d->open(NULL, in_dir("none"), DISK_READ, &f, &e), ERR_NOT_FOUND);
	assert_int_equal(e.sys_errno, ENOENT);
	assert_non_null(strstr(e.text, in_dir("none")));
	assert_null(f);
	assert_int_equal(d->open(NULL, in_dir("one"), DISK_CREATE, &f, &e), 0);
	d->close(f);
	assert_int_equal(d->open(NULL, in_dir("one"), DISK_CREATE, &f, &e), ERR_EXISTS);
	assert_int_equal(d->rename(NULL, in_dir("none"), in_dir("x"), &e), ERR_NOT_FOUND);
	assert_int_equal(d->unlink(NULL, in_dir("none"), &e), ERR_NOT_FOUND);
	assert_int_equal(d->sync_dir(NULL, in_dir("none"), &e), ERR_NOT_FOUND);
	assert_int_equal(d->list(NULL, in_dir("none"), count_name, NULL, &e), ERR_NOT_FOUND);

	assert_int_equal(d->open(NULL, in_dir("one"), DISK_READ, &f, &e), 0);
	assert_int_equal(disk_pwrite(d, f, "x", 1, 0, &e), ERR_IO);
	assert_int_equal(e.sys_errno, EBADF);
	d->close(f);
	d->close(NULL);
}

static void a_full_device_is_told_as_such(void **state)
{
	struct disk_file *f;
	struct err e;

	(void)state;
	if (access("/dev/full", W_OK) != 0)
		skip();
	assert_int_equal(d->open(NULL, "/dev/full", DISK_WRITE, &f, &e), 0);
	assert_int_equal(disk_pwrite(d, f, "x", 1, 0, &e), ERR_DISK_FULL);
	assert_int_equal(e.sys_errno, ENOSPC);
	d->close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_in_pieces_is_read_back),
		cmocka_unit_test(names_are_listed_moved_and_removed),
		cmocka_unit_test(errors_name_the_path_and_the_reason),
		cmocka_unit_test(a_full_device_is_told_as_such),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
