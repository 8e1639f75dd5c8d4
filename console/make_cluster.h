/* Makes a local cluster's files: cluster.ini, nodeN/agent.ini, keys. For `init`, `up` and `check`.
 */
#ifndef DROVER_CONSOLE_MAKE_CLUSTER_H
#define DROVER_CONSOLE_MAKE_CLUSTER_H

#include "common/conf.h"

struct make_options {
	const char *dir;   /* made when missing */
	int64_t nodes;	   /* 1..9 */
	int64_t replicas;  /* 0: not offered yet */
	int64_t shards;	   /* 1..32 */
	int64_t base_port; /* 0: peers 9091.., RPC 7001..; else node i has base + 4 * (i - 1) + 0..3
			    */
};

/* ERR_INVALID: a number out of range. ERR_EXISTS: something is there already; nothing is written
 * then. On other failures what was written is removed again. */
int make_cluster(const struct make_options *o, struct cluster_conf *ret_conf, struct err *e);

/* Makes the data folder with its mark of a new cluster's founding member. An agent with an empty
 * data folder takes part in votes at once only if it finds this: otherwise it may be a member that
 * lost its data, and with it what it has promised. So: only where no member has any data. */
int make_founding(const char *data, struct err *e);

/* Whether somebody listens at the address now. */
bool address_in_use(const char *address);

#endif
