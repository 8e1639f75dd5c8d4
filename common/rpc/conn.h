/* What the cluster client needs of connections beyond common/rpc.h. */
#ifndef DROVER_COMMON_RPC_CONN_H
#define DROVER_COMMON_RPC_CONN_H

#include "common/rpc.h"

/* The first half of rpc_conn_free: ends the link, fails everything, waits for callbacks; later
 * requests are ERR_UNREACHABLE. */
void rpc_conn_stop(struct rpc_conn *c);

#endif
