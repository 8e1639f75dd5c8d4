/* The cluster at one moment, as the command line sees it: every node looked at through its control
 * and, where a process runs, asked over RPC, all at once; then judged. `cluster_judge` and
 * `cluster_resolve` are pure, so that tests can make up a cluster. */
#ifndef DROVER_CONSOLE_CLUSTER_H
#define DROVER_CONSOLE_CLUSTER_H

#include "console/command.h"

#include <jansson.h>

enum node_state { NODE_UP, NODE_DOWN, NODE_PAUSED, NODE_UNREACHABLE };
enum health { HEALTH_HEALTHY, HEALTH_DEGRADED, HEALTH_NO_QUORUM };

/* Behind the leader's commit index by more than this a node counts as lagging. */
#define CLUSTER_LAG_ENTRIES 1000

struct cluster_node {
	const struct conf_node *conf;
	enum node_state state;
	pid_t pid;	/* 0: not known */
	json_t *status; /* UP: RPC_STATUS's answer, an object */
	char why[160];	/* UNREACHABLE */
};

struct cluster_view {
	const struct cluster_conf *conf;
	uint32_t n;
	struct cluster_node nodes[CONF_NODES_MAX]; /* as in conf */
	/* By cluster_judge: */
	enum health health;
	char verdict[400];
};

const char *node_state_name(enum node_state state);
const char *health_name(enum health health);
int health_exit_code(enum health health);

/* Looks, asks, judges. Fails only when nobody can be asked at all (no key, no memory, interrupted);
 * ret_view must then not be used. */
int cluster_ask(struct cli *cli, uint32_t timeout_ms, struct cluster_view *ret_view, struct err *e);
void cluster_view_done(struct cluster_view *view);

/* Asks only nodes[0..n) for RPC_STATUS, without a look: ret_status[i] is the answer or NULL (the
 * reason then in why[i]). */
int cluster_ask_nodes(struct cli *cli, const struct conf_node *const *nodes, size_t n,
		      uint32_t timeout_ms, json_t **ret_status, char (*ret_why)[160],
		      struct err *e);

void cluster_judge(struct cluster_view *view);

/* The status document of `drover status -o json`. */
json_t *cluster_json(const struct cluster_view *view);

/* A group in a node's status; NULL when the node does not answer or has no such group. */
const json_t *cluster_group(const struct cluster_node *node, unsigned group);
/* The node that leads the group, known by a majority of the voters; NULL: none. */
const struct cluster_node *cluster_leader(const struct cluster_view *view, unsigned group);
unsigned cluster_majority(const struct cluster_conf *conf);
int64_t json_field_int(const json_t *object, const char *key);
double json_field_real(const json_t *object, const char *key);
const char *json_field_text(const json_t *object, const char *key); /* "" when it is none */

/* Words to nodes; view NULL when no word needs it (cluster_words_need_view). `seed` decides random
 * and minority. ERR_INVALID: no such node; ERR_NO_QUORUM: nobody leads. */
bool cluster_words_need_view(int argc, char *const *argv);
int cluster_resolve(const struct cluster_conf *conf, const struct cluster_view *view, int argc,
		    char *const *argv, uint64_t seed, struct node_set *ret_set, struct err *e);

#endif
