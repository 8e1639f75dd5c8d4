/* A VFS in front of the default one, to make disks fail and to see what is synced.
 *
 * Counts, by file, what was written since its last sync. Threads: any. */
#ifndef DROVER_TESTS_UNIT_STORE_VFS_H
#define DROVER_TESTS_UNIT_STORE_VFS_H

#include <stdbool.h>
#include <stdint.h>

#define STORE_VFS_NAME "store-test"

void store_vfs_register(void); /* forgets what was set before */
/* Writes fail from here on: 0 none, else this SQLite code, e.g. SQLITE_FULL, on files whose names
 * hold the text. */
void store_vfs_fail_writes(const char *name_part, int code);
/* Bytes written to files whose names hold the text since each one's last sync. */
uint64_t store_vfs_unsynced(const char *name_part);

#endif
