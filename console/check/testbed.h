/* A throw-away cluster in a temporary folder, on free ports: for `check` and the benchmarks.
 *
 * It is gone when testbed_free returns, whatever happened before, and also when the program dies
 * (janitor.h; call janitor_start first thing).
 *
 * Nodes are named by their ids, 1 to n; sets of them are masks with bit 1 << id.
 *
 * Threads: one.
 */
#ifndef DROVER_CONSOLE_CHECK_TESTBED_H
#define DROVER_CONSOLE_CHECK_TESTBED_H

#include "console/lifecycle.h"

struct testbed {
	char dir[CONF_PATH_MAX];
	struct cli cli; /* of this cluster: conf, hub, client */
	uint32_t nodes;
};

/* Makes the cluster's files; nothing runs yet. `command` names itself in messages. `settings`, if
 * not NULL, is put at the end of each agent.ini. */
int testbed_new(struct testbed **ret_testbed, const struct command *command, uint32_t nodes,
		const char *settings, struct err *e);
/* Kills what runs; removes the folder, or keeps it. */
void testbed_free(struct testbed *t, bool keep);

static inline uint32_t testbed_all(const struct testbed *t)
{
	return (2u << t->nodes) - 2;
}

int testbed_start(struct testbed *t, uint32_t mask, struct err *e);
int testbed_stop(struct testbed *t, uint32_t mask, struct err *e);
int testbed_kill(struct testbed *t, uint32_t mask, struct err *e);
/* Deletes all of a node's data; it must not run. */
int testbed_empty(struct testbed *t, uint32_t id, struct err *e);

/* Waits until each group has a leader among the running ones. ret_leader (of group 1) may be NULL.
 * ERR_NO_QUORUM after timeout_ms, ERR_REFUSED when interrupted. */
int testbed_leader(struct testbed *t, uint32_t timeout_ms, uint32_t *ret_leader, struct err *e);

/* Waits until the nodes of the mask have all appended, committed and applied the same entries of
 * group 1. ret_index: the last of them; may be NULL. */
int testbed_settle(struct testbed *t, uint32_t mask, uint32_t timeout_ms, uint64_t *ret_index,
		   struct err *e);

/* Runs statements in "main" as one request until it is done, for at most timeout_ms. Statements
 * that may be done twice only. */
int testbed_sql(struct testbed *t, const char *sql, uint32_t timeout_ms, struct err *e);

/* A client of its own to all of the nodes. */
int testbed_client(struct testbed *t, uint32_t connections, struct client **ret_client,
		   struct err *e);

const struct conf_node *testbed_node(const struct testbed *t, uint32_t id);

#endif
