/* Compares the nodes' data: a mark goes through each group's log, and every node tells the digest
 * of its namespaces at just that entry.
 *
 * Threads: as client_rpc; blocks for up to timeout_ms.
 */
#ifndef DROVER_CONSOLE_LOAD_DIGEST_H
#define DROVER_CONSOLE_LOAD_DIGEST_H

#include "common/client.h"
#include "common/conf.h"

#include <jansson.h>

#define DIGEST_HEX 33

struct digest_node {
	const struct conf_node *node;
	json_t *namespaces; /* {"main":"hex", …}; NULL: the node did not tell */
	int code;	    /* why not */
	char why[200];
	char hex[DIGEST_HEX]; /* one for all of them */
};

struct digest_group {
	uint32_t group;
	uint64_t index;
	uint32_t n;
	struct digest_node nodes[CONF_NODES_MAX];
	bool differs;
	json_t *different; /* array: names of the namespaces whose digests differ */
};

/* Asks for one group. ERR_NO_QUORUM: it has no leader that could commit a mark; other errors of
 * asking. A node that cannot be asked is not an error: its row says why. ret_group is the caller's
 * to end with digest_group_done when 0 was returned. `interrupted` may be NULL. */
int digest_ask(struct client *c, const struct conf_node *const *nodes, uint32_t n, uint32_t group,
	       uint32_t timeout_ms, bool (*interrupted)(void), struct digest_group *ret_group,
	       struct err *e);
void digest_group_done(struct digest_group *g);

/* Fills hex, differs and different from the nodes' answers; digest_ask does it. */
void digest_compare(struct digest_group *g);

#endif
