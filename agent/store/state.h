/* What the store's files share of a store. Private to agent/store. */
#ifndef DROVER_AGENT_STORE_STATE_H
#define DROVER_AGENT_STORE_STATE_H

#include "agent/store/marks.h"
#include "agent/store/namespace.h"
#include "agent/store/store.h"

#include <pthread.h>

#define STORE_PATH_MAX 4096
#define OPEN_MAX 256 /* namespaces with an open connection, as long as others are clean */

struct speculative {
	struct namespace *ns;
	uint64_t index;
};

struct store {
	struct store_options o;
	char *dir, *vfs, *first_schema;
	struct marks marks;
	uint64_t hlc_us;
	uint64_t uses;
	struct namespace *unproposed; /* has a batch without an index */
	struct speculative *speculative;
	size_t speculative_n, speculative_cap;
	/* Shared with other threads, under `lock`. */
	pthread_mutex_t lock;
	pthread_cond_t gate;
	struct namespace **namespaces; /* by id */
	size_t namespaces_n, namespaces_cap;
	uint64_t applied, durable;
	struct store_stats stats;
};

/* The namespace of this id; NULL: not known, or dropped. Takes the lock. */
struct namespace *state_find(struct store *s, uint64_t id);
/* The same, added if it is not known. */
int state_obtain(struct store *s, uint64_t id, struct namespace **ret_ns, struct err *e);
/* Opened, with older ones closed at the bound. */
int state_open(struct store *s, struct namespace *ns, struct err *e);
/* An entry has left something unflushed. */
void state_dirty(struct store *s, struct namespace *ns, uint64_t index);

#endif
