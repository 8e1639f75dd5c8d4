#include "console/cluster.h"

#include "common/clock.h"
#include "console/control/control.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

const char *node_state_name(enum node_state state)
{
	static const char *const names[] = {"up", "down", "paused", "unreachable"};

	return names[state];
}

const char *health_name(enum health health)
{
	static const char *const names[] = {"healthy", "degraded", "no_quorum"};

	return names[health];
}

int health_exit_code(enum health health)
{
	static const int codes[] = {EXIT_DONE, EXIT_DEGRADED, EXIT_NO_QUORUM};

	return codes[health];
}

int64_t json_field_int(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

double json_field_real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

const char *json_field_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

const json_t *cluster_group(const struct cluster_node *node, unsigned group)
{
	const json_t *groups = json_object_get(node->status, "groups");

	for (size_t i = 0; i < json_array_size(groups); i++) {
		const json_t *at = json_array_get(groups, i);
		if (json_field_int(at, "group") == group)
			return at;
	}
	return NULL;
}

unsigned cluster_majority(const struct cluster_conf *conf)
{
	unsigned voters = 0;

	for (uint32_t i = 0; i < conf->nodes_n; i++)
		voters += conf->nodes[i].role == CONF_VOTER;
	return voters / 2 + 1;
}

/* Answers on their way, one for each node asked. */
struct asking {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t left;
};

struct ask {
	struct asking *all;
	json_t **ret_status;
	char *why;
};

static void on_status(void *ctx, int status, struct slice body)
{
	struct ask *ask = ctx;
	struct asking *all = ask->all;
	json_t *object = NULL;

	if (status == 0)
		object = json_loadb((const char *)body.p, body.n, 0, NULL);
	pthread_mutex_lock(&all->lock);
	if (json_is_object(object)) {
		*ask->ret_status = object;
	} else if (status == 0) {
		json_decref(object);
		snprintf(ask->why, 160, "its answer is no status");
	} else {
		snprintf(ask->why, 160, "%.*s", (int)(body.n < 159 ? body.n : 159),
			 body.n ? (const char *)body.p : "");
		if (!body.n)
			snprintf(ask->why, 160, "%s", err_meaning(status));
	}
	all->left--;
	pthread_cond_signal(&all->changed);
	pthread_mutex_unlock(&all->lock);
}

int cluster_ask_nodes(struct cli *cli, const struct conf_node *const *nodes, size_t n,
		      uint32_t timeout_ms, json_t **ret_status, char (*ret_why)[160], struct err *e)
{
	struct asking all = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
	struct ask asks[CONF_NODES_MAX];
	int rc;

	memset(ret_status, 0, n * sizeof *ret_status);
	if (n == 0)
		return 0;
	rc = cli_connect(cli);
	if (rc) {
		*e = cli->err;
		return rc;
	}
	for (size_t i = 0; i < n; i++) {
		struct err why = {0};
		struct rpc_conn *conn = client_conn(cli->client, nodes[i]->id);
		asks[i] = (struct ask){&all, &ret_status[i], ret_why[i]};
		ret_why[i][0] = 0;
		pthread_mutex_lock(&all.lock);
		all.left++;
		pthread_mutex_unlock(&all.lock);
		rc = conn ? rpc_start(conn, RPC_STATUS, NULL, 0, timeout_ms, on_status, &asks[i],
				      &why)
			  : err_set(&why, ERR_UNREACHABLE, "there is no connection to it");
		if (conn)
			rpc_conn_nudge(conn);
		if (rc)
			on_status(&asks[i], rc, slice_str(why.text));
	}
	/* Every request ends by its timeout, so this does too. */
	pthread_mutex_lock(&all.lock);
	while (all.left)
		pthread_cond_wait(&all.changed, &all.lock);
	pthread_mutex_unlock(&all.lock);
	pthread_cond_destroy(&all.changed);
	pthread_mutex_destroy(&all.lock);
	return 0;
}

static void look_at_all(const struct cluster_conf *conf, struct cluster_view *view)
{
	view->conf = conf;
	view->n = conf->nodes_n;
	for (uint32_t i = 0; i < conf->nodes_n; i++) {
		struct control_look look;
		control_of(&conf->nodes[i])->look(&conf->nodes[i], &look);
		view->nodes[i] = (struct cluster_node){
			.conf = &conf->nodes[i],
			.pid = look.pid,
			.state = look.state == CONTROL_DOWN	? NODE_DOWN
				 : look.state == CONTROL_PAUSED ? NODE_PAUSED
								: NODE_UNREACHABLE,
		};
	}
}

int cluster_ask(struct cli *cli, uint32_t timeout_ms, struct cluster_view *ret_view, struct err *e)
{
	const struct conf_node *nodes[CONF_NODES_MAX] = {0};
	struct cluster_node *asked[CONF_NODES_MAX];
	json_t *status[CONF_NODES_MAX];
	char why[CONF_NODES_MAX][160];
	size_t n = 0;
	int rc;

	look_at_all(cli->conf, ret_view);
	for (uint32_t i = 0; i < ret_view->n; i++) {
		if (ret_view->nodes[i].state != NODE_UNREACHABLE)
			continue;
		nodes[n] = ret_view->nodes[i].conf;
		asked[n++] = &ret_view->nodes[i];
	}
	rc = cluster_ask_nodes(cli, nodes, n, timeout_ms, status, why, e);
	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++) {
		asked[i]->status = status[i];
		memcpy(asked[i]->why, why[i], sizeof asked[i]->why);
		if (!status[i])
			continue;
		asked[i]->state = NODE_UP;
		if (!asked[i]->pid)
			asked[i]->pid = (pid_t)json_field_int(status[i], "pid");
	}
	cluster_judge(ret_view);
	return 0;
}

void cluster_view_done(struct cluster_view *view)
{
	for (uint32_t i = 0; i < view->n; i++)
		json_decref(view->nodes[i].status);
	view->n = 0;
}

/* All that the node says, and what must be there of every node; what it cannot know stays null. */
static json_t *node_json(const struct cluster_node *node)
{
	static const char *const keys[] = {"version",	 "uptime_s",	 "rss_bytes",	"addresses",
					   "sync_state", "writes_per_s", "reads_per_s", "groups",
					   "log",	 "links"};
	const struct conf_node *conf = node->conf;
	json_t *o = json_object();

	json_object_set_new(o, "id", json_integer(conf->id));
	json_object_set_new(o, "name", json_string(conf->name));
	json_object_set_new(o, "state", json_string(node_state_name(node->state)));
	json_object_set_new(o, "pid", node->pid ? json_integer(node->pid) : json_null());
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		json_object_set_new(o, keys[i], json_null());
	json_object_set_new(o, "addresses",
			    json_pack("{s:s,s:s,s:n,s:n}", "peer", conf->peer, "rpc", conf->rpc,
				      "http", "mysql"));
	if (node->status)
		json_object_update_existing(o, node->status);
	json_object_set_new(o, "state", json_string(node_state_name(node->state)));
	return o;
}

json_t *cluster_json(const struct cluster_view *view)
{
	json_t *nodes = json_array();

	for (uint32_t i = 0; i < view->n; i++)
		json_array_append_new(nodes, node_json(&view->nodes[i]));
	return json_pack("{s:s,s:s,s:o}", "cluster_id", view->conf->id, "health",
			 health_name(view->health), "nodes", nodes);
}

/* DROVER_SEED makes random and minority repeatable. */
static uint64_t choose_seed(void)
{
	const char *given = getenv("DROVER_SEED");
	uint64_t seed = 0;

	if (given && given[0])
		return strtoull(given, NULL, 10);
	if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
		seed = clock_mono_us();
	return seed;
}

int cli_nodes(struct cli *cli, int argc, char **argv, struct node_set *ret_set, struct err *e)
{
	struct cluster_view *view;
	int rc;

	if (!cluster_words_need_view(argc, argv))
		return cluster_resolve(cli->conf, NULL, argc, argv, choose_seed(), ret_set, e);
	view = malloc(sizeof *view);
	if (!view)
		return err_set(e, ERR_NOMEM, "no memory to ask the cluster");
	rc = cluster_ask(cli, 2000, view, e);
	if (rc == 0) {
		rc = cluster_resolve(cli->conf, view, argc, argv, choose_seed(), ret_set, e);
		cluster_view_done(view);
	}
	free(view);
	return rc;
}
