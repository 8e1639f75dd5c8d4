#include "tests/unit/store_vfs.h"

#include <assert.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX 256

/* What is known of a file, by name; stays when it is closed. */
struct known {
	char *name;
	uint64_t unsynced;
};

struct shim {
	sqlite3_file base;
	struct known *known; /* NULL: a file without a name */
	sqlite3_file *real;  /* right behind this struct */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct known files[FILES_MAX];
static size_t files_n;
static int fail_code;
static char fail_part[64];
static sqlite3_vfs vfs;
static sqlite3_vfs *real_vfs;

static struct known *find(const char *name)
{
	struct known *k = NULL;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < files_n && !k; i++)
		if (strcmp(files[i].name, name) == 0)
			k = &files[i];
	if (!k) {
		assert(files_n < FILES_MAX);
		k = &files[files_n++];
		k->name = strdup(name);
		k->unsynced = 0;
	}
	pthread_mutex_unlock(&lock);
	return k;
}

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct shim *)f)->real;
}

static int on_close(sqlite3_file *f)
{
	return real_of(f)->pMethods->xClose(real_of(f));
}

static int on_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
	return real_of(f)->pMethods->xRead(real_of(f), to, n, at);
}

static int on_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
	struct shim *s = (struct shim *)f;
	int code = SQLITE_OK;

	if (s->known) {
		pthread_mutex_lock(&lock);
		if (fail_code && strstr(s->known->name, fail_part))
			code = fail_code;
		else
			s->known->unsynced += (uint64_t)n;
		pthread_mutex_unlock(&lock);
	}
	return code ? code : s->real->pMethods->xWrite(s->real, from, n, at);
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int on_sync(sqlite3_file *f, int flags)
{
	struct shim *s = (struct shim *)f;
	uint64_t before = 0;

	if (s->known) {
		pthread_mutex_lock(&lock);
		before = s->known->unsynced;
		pthread_mutex_unlock(&lock);
	}
	int code = s->real->pMethods->xSync(s->real, flags);
	if (s->known && code == SQLITE_OK) {
		pthread_mutex_lock(&lock);
		s->known->unsynced -= before;
		pthread_mutex_unlock(&lock);
	}
	return code;
}

static int on_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return real_of(f)->pMethods->xFileSize(real_of(f), size);
}

static int on_lock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int on_unlock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int on_check(sqlite3_file *f, int *result)
{
	return real_of(f)->pMethods->xCheckReservedLock(real_of(f), result);
}

static int on_control(sqlite3_file *f, int op, void *arg)
{
	return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int on_sector(sqlite3_file *f)
{
	return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int on_device(sqlite3_file *f)
{
	return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static int on_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **to)
{
	return real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend, to);
}

static int on_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
	return real_of(f)->pMethods->xShmLock(real_of(f), at, n, flags);
}

static void on_shm_barrier(sqlite3_file *f)
{
	real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int on_shm_unmap(sqlite3_file *f, int delete)
{
	return real_of(f)->pMethods->xShmUnmap(real_of(f), delete);
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = on_close,
	.xRead = on_read,
	.xWrite = on_write,
	.xTruncate = on_truncate,
	.xSync = on_sync,
	.xFileSize = on_size,
	.xLock = on_lock,
	.xUnlock = on_unlock,
	.xCheckReservedLock = on_check,
	.xFileControl = on_control,
	.xSectorSize = on_sector,
	.xDeviceCharacteristics = on_device,
	.xShmMap = on_shm_map,
	.xShmLock = on_shm_lock,
	.xShmBarrier = on_shm_barrier,
	.xShmUnmap = on_shm_unmap,
};

static int on_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
	struct shim *s = (struct shim *)f;

	(void)v;
	memset(s, 0, sizeof *s);
	s->real = (sqlite3_file *)(s + 1);
	s->known = name ? find(name) : NULL;
	int code = real_vfs->xOpen(real_vfs, name, s->real, flags, ret_flags);
	if (s->real->pMethods)
		s->base.pMethods = &methods;
	return code;
}

void store_vfs_register(void)
{
	real_vfs = sqlite3_vfs_find(NULL);
	vfs = *real_vfs;
	vfs.zName = STORE_VFS_NAME;
	vfs.szOsFile = (int)sizeof(struct shim) + real_vfs->szOsFile;
	vfs.pNext = NULL;
	vfs.xOpen = on_open;
	sqlite3_vfs_register(&vfs, 0);
	store_vfs_fail_writes("", 0);
	pthread_mutex_lock(&lock);
	while (files_n)
		free(files[--files_n].name);
	pthread_mutex_unlock(&lock);
}

void store_vfs_fail_writes(const char *name_part, int code)
{
	pthread_mutex_lock(&lock);
	strncpy(fail_part, name_part, sizeof fail_part - 1);
	fail_code = code;
	pthread_mutex_unlock(&lock);
}

uint64_t store_vfs_unsynced(const char *name_part)
{
	uint64_t n = 0;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < files_n; i++)
		if (strstr(files[i].name, name_part))
			n += files[i].unsynced;
	pthread_mutex_unlock(&lock);
	return n;
}
