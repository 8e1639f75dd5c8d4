#include "console/check/testbed.h"
#include "common/clock.h"
#include "console/check/janitor.h"
#include "console/make_cluster.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define PORT_FROM 20000 /* to PORT_TO: below the ports that the system hands out */
#define PORT_TO 32000
#define START_MS 30000
#define STOP_MS 30000
#define LOOK_MS 20

const struct conf_node *testbed_node(const struct testbed *t, uint32_t id)
{
	return &t->cli.conf->nodes[id - 1];
}

static bool all_free(int64_t base, uint32_t nodes)
{
	char address[32];

	for (int64_t port = base; port < base + 4 * (int64_t)nodes; port++) {
		snprintf(address, sizeof address, "127.0.0.1:%lld", (long long)port);
		if (address_in_use(address))
			return false;
	}
	return true;
}

static int find_ports(uint32_t nodes, int64_t *ret_base, struct err *e)
{
	for (int tries = 0; tries < 100; tries++) {
		uint16_t r = 0;
		if (getrandom(&r, sizeof r, 0) != sizeof r)
			r = (uint16_t)clock_mono_us();
		int64_t base = PORT_FROM + r % (PORT_TO - PORT_FROM);
		if (all_free(base, nodes)) {
			*ret_base = base;
			return 0;
		}
	}
	return err_set(e, ERR_IO, "no %u free ports in a row between %d and %d", 4 * nodes,
		       PORT_FROM, PORT_TO);
}

static int make_folder(struct testbed *t, const char *name, struct err *e)
{
	const char *tmp = getenv("TMPDIR");

	if (!tmp || tmp[0] != '/')
		tmp = "/tmp";
	if (snprintf(t->dir, sizeof t->dir, "%s/drover-%s.XXXXXX", tmp, name) >=
	    (int)sizeof t->dir - 64)
		return err_set(e, ERR_LIMIT, "TMPDIR is too long a path");
	if (!mkdtemp(t->dir))
		return err_sys(e, ERR_IO, errno, "a temporary folder in %s", tmp);
	janitor_watch(t->dir);
	return 0;
}

static int add_settings(struct testbed *t, const char *settings, struct err *e)
{
	for (uint32_t id = 1; id <= t->nodes; id++) {
		char path[CONF_PATH_MAX + 32];
		snprintf(path, sizeof path, "%s/agent.ini", testbed_node(t, id)->dir);
		FILE *f = fopen(path, "ae");
		if (!f)
			return err_sys(e, ERR_IO, errno, "%s", path);
		fprintf(f, "\n%s\n", settings);
		if (fclose(f))
			return err_sys(e, ERR_IO, errno, "%s", path);
	}
	return 0;
}

int testbed_new(struct testbed **ret_testbed, const struct command *command, uint32_t nodes,
		const char *settings, struct err *e)
{
	struct testbed *t = calloc(1, sizeof *t);
	struct make_options o = {.nodes = nodes, .shards = 1};
	int rc;

	if (!t)
		return err_set(e, ERR_NOMEM, "no memory for a cluster");
	t->nodes = nodes;
	t->cli.command = command;
	t->cli.conf = calloc(1, sizeof *t->cli.conf);
	rc = t->cli.conf ? make_folder(t, command->name, e)
			 : err_set(e, ERR_NOMEM, "no memory for a cluster");
	if (!rc)
		rc = find_ports(nodes, &o.base_port, e);
	o.dir = t->dir;
	if (!rc)
		rc = make_cluster(&o, t->cli.conf, e);
	if (!rc && settings)
		rc = add_settings(t, settings, e);
	if (!rc && cli_connect(&t->cli)) {
		*e = t->cli.err;
		rc = e->code;
	}
	if (rc) {
		testbed_free(t, false);
		return rc;
	}
	*ret_testbed = t;
	return 0;
}

void testbed_free(struct testbed *t, bool keep)
{
	if (!t)
		return;
	cli_done(&t->cli);
	if (t->dir[0]) {
		janitor_kill_agents(t->dir);
		if (!keep)
			janitor_remove(t->dir);
		janitor_forget(t->dir);
	}
	free(t);
}

static void to_set(const struct testbed *t, uint32_t mask, struct node_set *ret_set)
{
	ret_set->n = 0;
	for (uint32_t id = 1; id <= t->nodes; id++) {
		if (mask >> id & 1)
			ret_set->nodes[ret_set->n++] = testbed_node(t, id);
	}
}

static int interrupted(struct err *e)
{
	return err_set(e, ERR_REFUSED, "interrupted");
}

static int outcome_error(const struct outcomes *o, struct err *e)
{
	for (uint32_t i = 0; i < o->n; i++) {
		if (cli_interrupted())
			return interrupted(e);
		if (o->items[i].code)
			return err_set(e, o->items[i].code == EXIT_TIMED_OUT ? ERR_TIMEOUT : ERR_IO,
				       "%s: %.400s", o->items[i].node->name, o->items[i].text);
	}
	return 0;
}

int testbed_start(struct testbed *t, uint32_t mask, struct err *e)
{
	struct outcomes *o = calloc(1, sizeof *o);
	struct node_set set;
	int rc;

	if (!o)
		return err_set(e, ERR_NOMEM, "no memory to start nodes");
	to_set(t, mask, &set);
	rc = life_start(&t->cli, &set, START_MS, o, e);
	if (!rc)
		rc = outcome_error(o, e);
	free(o);
	return rc;
}

static int take_away(struct testbed *t, uint32_t mask, int number, struct err *e)
{
	struct outcomes *o = calloc(1, sizeof *o);
	struct node_set set;
	int rc;

	if (!o)
		return err_set(e, ERR_NOMEM, "no memory to stop nodes");
	to_set(t, mask, &set);
	if (number)
		life_signal(&set, number, o);
	else
		life_stop(&set, STOP_MS, o);
	rc = outcome_error(o, e);
	free(o);
	return rc;
}

int testbed_stop(struct testbed *t, uint32_t mask, struct err *e)
{
	return take_away(t, mask, 0, e);
}

int testbed_kill(struct testbed *t, uint32_t mask, struct err *e)
{
	return take_away(t, mask, SIGKILL, e);
}

int testbed_empty(struct testbed *t, uint32_t id, struct err *e)
{
	char path[CONF_PATH_MAX + 32];

	snprintf(path, sizeof path, "%s/data", testbed_node(t, id)->dir);
	janitor_remove(path);
	if (access(path, F_OK) == 0)
		return err_set(e, ERR_IO, "%s could not be removed", path);
	return 0;
}

/* 0: every group is led; *ret_leader of group 1. */
static int look_for_leaders(struct testbed *t, struct cluster_view *view, uint32_t *ret_leader,
			    struct err *e)
{
	uint32_t leader = 0;
	int rc = cluster_ask(&t->cli, 1000, view, e);

	if (rc)
		return rc;
	for (unsigned group = 0; !rc && group <= t->cli.conf->shards; group++) {
		const struct cluster_node *node = cluster_leader(view, group);
		if (!node)
			rc = err_set(e, ERR_NO_QUORUM, "group %u has no leader: %s", group,
				     view->verdict);
		else if (group == 1)
			leader = node->conf->id;
	}
	cluster_view_done(view);
	if (!rc && ret_leader)
		*ret_leader = leader;
	return rc;
}

int testbed_leader(struct testbed *t, uint32_t timeout_ms, uint32_t *ret_leader, struct err *e)
{
	uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
	struct cluster_view *view = malloc(sizeof *view);
	int rc;

	if (!view)
		return err_set(e, ERR_NOMEM, "no memory to ask the cluster");
	for (;;) {
		rc = look_for_leaders(t, view, ret_leader, e);
		if (cli_interrupted())
			rc = interrupted(e);
		if (rc == 0 || cli_interrupted() || clock_mono_ms() >= deadline_ms)
			break;
		cli_sleep_ms(LOOK_MS);
	}
	free(view);
	return rc;
}

/* 0: all nodes of the mask are at one and the same entry. */
static int look_whether_settled(struct testbed *t, uint32_t mask, struct cluster_view *view,
				uint64_t *ret_index, struct err *e)
{
	int64_t index = -1;
	int rc = cluster_ask(&t->cli, 1000, view, e);

	if (rc)
		return rc;
	for (uint32_t i = 0; !rc && i < view->n; i++) {
		const struct cluster_node *node = &view->nodes[i];
		if (!(mask >> node->conf->id & 1))
			continue;
		const json_t *group = cluster_group(node, 1);
		if (!group) {
			rc = err_set(e, ERR_UNREACHABLE, "%s does not answer: %s", node->conf->name,
				     node->why);
			break;
		}
		int64_t last = json_field_int(group, "last_index"),
			committed = json_field_int(group, "committed"),
			applied = json_field_int(group, "applied");
		if (index < 0)
			index = last;
		if (last != index || committed != last || applied != last)
			rc = err_set(e, ERR_TIMEOUT,
				     "%s has %" PRId64 " entries, %" PRId64 " committed, %" PRId64
				     " applied; others have %" PRId64,
				     node->conf->name, last, committed, applied, index);
	}
	cluster_view_done(view);
	if (!rc && ret_index)
		*ret_index = (uint64_t)index;
	return rc;
}

int testbed_settle(struct testbed *t, uint32_t mask, uint32_t timeout_ms, uint64_t *ret_index,
		   struct err *e)
{
	uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
	struct cluster_view *view = malloc(sizeof *view);
	int rc;

	if (!view)
		return err_set(e, ERR_NOMEM, "no memory to ask the cluster");
	for (;;) {
		rc = look_whether_settled(t, mask, view, ret_index, e);
		if (cli_interrupted())
			rc = interrupted(e);
		if (rc == 0 || cli_interrupted() || clock_mono_ms() >= deadline_ms)
			break;
		cli_sleep_ms(LOOK_MS);
	}
	free(view);
	return rc;
}

int testbed_sql(struct testbed *t, const char *sql, uint32_t timeout_ms, struct err *e)
{
	struct client_statement st = {.text = slice_str(sql)};
	struct client_request r = {.statements = &st, .statements_n = 1, .timeout_ms = 5000};
	uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
	struct sql_answer answer;
	struct caller *caller;
	struct buf body;
	int rc = caller_new(&caller, t->cli.client, e);

	if (rc)
		return rc;
	buf_init(&body, SQL_ANSWER_BYTES_MAX);
	for (;;) {
		buf_clear(&body);
		rc = client_wait(caller, &r, &body, &answer, e);
		if (rc == 0 || rc == ERR_SQL || clock_mono_ms() >= deadline_ms || cli_interrupted())
			break;
		cli_sleep_ms(LOOK_MS);
	}
	buf_done(&body);
	caller_free(caller);
	return rc;
}

int testbed_client(struct testbed *t, uint32_t connections, struct client **ret_client,
		   struct err *e)
{
	struct client_node nodes[CONF_NODES_MAX];
	struct client_options o = {
		.hub = t->cli.hub, .nodes = nodes, .nodes_n = t->nodes, .connections = connections};

	for (uint32_t i = 0; i < t->nodes; i++)
		nodes[i] = (struct client_node){i + 1, t->cli.conf->nodes[i].rpc};
	return client_new(ret_client, &o, e);
}
