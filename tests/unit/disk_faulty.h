/* A disk in memory that fails as it is told, for tests and simulators.
 *
 * It keeps two images: what programs see, and what is on the disk for good.
 * Every write is held, in pieces of a sector, until its file is synced; every
 * change of a name until its folder is. A power cut (faulty_crash) keeps each
 * piece and each change, or loses it, or keeps the first part of a piece, as
 * the dice fall; they depend on the seed alone.
 *
 * Threads: any; one lock for all.
 */
#ifndef DROVER_TESTS_UNIT_DISK_FAULTY_H
#define DROVER_TESTS_UNIT_DISK_FAULTY_H

#include "common/disk.h"

struct faulty;

enum faulty_op {
	FAULTY_OPEN,
	FAULTY_READ,
	FAULTY_WRITE,
	FAULTY_SYNC,
	FAULTY_TRUNCATE,
	FAULTY_SYNC_DIR,
	FAULTY_RENAME,
	FAULTY_UNLINK,
	FAULTY_OPS
};

struct faulty *faulty_new(uint64_t seed);
void faulty_free(struct faulty *d); /* open files are closed by their owners first */
const struct disk *faulty_door(struct faulty *d);

/* Files may have so many bytes in all; 0: no bound (the start). */
void faulty_set_room(struct faulty *d, uint64_t bytes);

/* The `after`-th (0: the next) operation of this kind fails with sys_errno, once. A sync that
 * fails forgets what it should have written, as systems do: programs still see it, but a later
 * sync does not bring it to the disk. A write that fails has done a part. */
void faulty_fail(struct faulty *d, enum faulty_op op, unsigned after, int sys_errno);

/* Takes back what faulty_fail armed and has not happened. */
void faulty_heal(struct faulty *d);

/* Each operation of this kind takes so long. */
void faulty_slow(struct faulty *d, enum faulty_op op, unsigned us);

/* The power goes during the `after`-th operation from now on that changes something; it and all
 * later ones fail, until faulty_crash. */
void faulty_cut_power(struct faulty *d, uint64_t after);
/* Operations that changed something so far. */
uint64_t faulty_changes(struct faulty *d);

/* The power comes back: what was not synced is lost or not. Files open from before must only be
 * closed. */
void faulty_crash(struct faulty *d);

/* All that is, as it is, to go back to. */
struct faulty *faulty_copy(struct faulty *d);

/* A file's bytes, to damage them (what is seen and what is for good alike). False: no such. */
bool faulty_size(struct faulty *d, const char *path, uint64_t *ret_bytes);
bool faulty_peek(struct faulty *d, const char *path, uint64_t offset, void *to, size_t n);
bool faulty_poke(struct faulty *d, const char *path, uint64_t offset, const void *p, size_t n);
bool faulty_set_size(struct faulty *d, const char *path, uint64_t bytes);
bool faulty_remove(struct faulty *d, const char *path);
unsigned faulty_count(struct faulty *d); /* files */

#endif
