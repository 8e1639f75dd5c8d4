/* group.db: what a group knows beside its namespaces' files. The index up to which all of them
 * are durable, and the ids of dropped namespaces.
 *
 * Each change is synced before the call returns.
 * Threads: any; a lock inside.
 */
#ifndef DROVER_AGENT_STORE_MARKS_H
#define DROVER_AGENT_STORE_MARKS_H

#include "agent/store/connection.h"

#include <pthread.h>

struct marks {
	pthread_mutex_t lock;
	struct connection connection;
	uint64_t *dropped; /* ascending */
	size_t dropped_n;
};

int marks_open(struct marks *m, const char *dir, const char *vfs, uint32_t group,
	       uint64_t *ret_durable, struct err *e);
void marks_close(struct marks *m);
int marks_set_durable(struct marks *m, uint64_t index, struct err *e);
int marks_drop(struct marks *m, uint64_t ns, struct err *e);
bool marks_is_dropped(struct marks *m, uint64_t ns);

#endif
