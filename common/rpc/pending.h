/* A connection's open requests, by id. Threads: the owner's lock. */
#ifndef DROVER_COMMON_RPC_PENDING_H
#define DROVER_COMMON_RPC_PENDING_H

#include "common/rpc.h"

#define PENDING_MAX 65536

struct pending {
	uint64_t id;
	uint64_t due_us;
	rpc_done *done;
	void *ctx;
	struct pending *next; /* in its bucket, or in a list of the owner's */
	struct blob *body;    /* of one that waits to be sent: what rpc_start was given */
	uint16_t method;
};

struct pending_table {
	struct pending **buckets;
	size_t buckets_n; /* a power of two, or 0 */
	size_t n;
	struct pending *spare; /* kept for the next requests */
	size_t spare_n;
};

void pending_init(struct pending_table *t);
void pending_done(struct pending_table *t); /* empty */

struct pending *pending_alloc(struct pending_table *t); /* NULL: no memory */
void pending_release(struct pending_table *t, struct pending *p);

bool pending_put(struct pending_table *t, struct pending *p); /* false: no memory, or PENDING_MAX */
struct pending *pending_take(struct pending_table *t, uint64_t id); /* NULL: unknown */
/* Takes out all that were due by then (UINT64_MAX: all), as a list; *ret_next_us is when the
 * earliest of the rest is due. */
struct pending *pending_take_due(struct pending_table *t, uint64_t now_us, uint64_t *ret_next_us);

#endif
