/* A scripted cluster for tests of clients: three nodes with an RPC server each,
 * all in this process, that answer SQL requests as told, execute each (client,
 * sequence) once, and count. Other methods are answered with the node's name.
 *
 * One cluster at a time. Its fields are read with the functions below while
 * requests may be under way. */
#ifndef DROVER_TESTS_FAKE_CLUSTER_H
#define DROVER_TESTS_FAKE_CLUSTER_H

#include "tests/unit/link_fixture.h"

#include "common/client.h"

#define FAKE_NODES 3
#define FAKE_EXECUTED_MAX (1u << 16)

enum behaviour {
	PROPER, /* the leader executes, the others say who leads */
	SAY_BUSY,
	SAY_NO_QUORUM,
	SAY_NOT_LEADER, /* without a hint */
	WRONG_HINT,	/* to an address nobody has */
	SAY_UNKNOWN,	/* without having executed it */
	EXECUTE_AND_SAY_UNKNOWN,
	EXECUTE_AND_DROP, /* never answers */
	DROP,
	NONSENSE,
	SAY_CONFLICT,
	SAY_TIMEOUT,
	RPC_REFUSED, /* the RPC itself fails */
	RPC_UNKNOWN,
};

struct executed {
	uint64_t client, sequence;
	unsigned times;
};

struct fake_node {
	struct hub *hub;
	struct rpc_server *server;
	struct hub_options options;
	char address[64];
	uint32_t id;
	enum behaviour script[64]; /* of the next requests; then PROPER */
	unsigned script_n, script_at;
	enum behaviour always; /* after the script */
	unsigned requests;
	struct rpc_call *dropped[4096];
	unsigned dropped_n;
};

struct fake_cluster {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct fake_node nodes[FAKE_NODES];
	uint32_t leader;
	bool hint_by_id_only;
	struct executed executed[FAKE_EXECUTED_MAX];
	uint64_t index, group;
	unsigned writes; /* executed, duplicates not counted */
	struct sql_request last;
	char last_namespace[SQL_NAMESPACE_MAX];
	unsigned unsequenced;
};
extern struct fake_cluster fake;

/* Node 1 leads at first. */
void fake_start(void);
void fake_stop(void);
void fake_node_up(struct fake_node *n); /* again, at the same address */
void fake_node_down(struct fake_node *n);

/* What a node (from 1) does with its next n requests, and with all after them. */
void fake_script(unsigned node, unsigned n, const enum behaviour *what);
void fake_always(unsigned node, enum behaviour what);
void fake_lead(uint32_t id);

unsigned fake_requests(unsigned node);
unsigned fake_writes(void);	    /* executed, with a sequence */
unsigned fake_unsequenced(void);    /* executed, without */
struct sql_request fake_last(void); /* its slices are void */

#endif
