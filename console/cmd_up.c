#include "console/lifecycle.h"
#include "console/make_cluster.h"
#include "console/status_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct flag flags[] = {
	{"nodes", 0, FLAG_NUMBER, "N", "3", "for a new cluster: voting nodes"},
	{"shards", 0, FLAG_NUMBER, "N", "1", "for a new cluster: data groups"},
	{"base-port", 0, FLAG_NUMBER, "N", NULL, "for a new cluster: as in 'drover init'"},
	{"timeout", 't', FLAG_DURATION, "TIME", "30s", "wait at most this long for each step"},
	{0},
};

/* DIR, else -c and DROVER_CONFIG, else here. Parents are not searched: "up" in a new folder means a
 * new cluster. */
static int find_file(struct cli *cli, char *ret_path, struct err *e)
{
	const char *named = cli->config ? cli->config : getenv("DROVER_CONFIG");
	int n;

	if (cli->argc)
		n = snprintf(ret_path, CONF_PATH_MAX, "%s/cluster.ini", cli->argv[0]);
	else if (named && named[0])
		n = snprintf(ret_path, CONF_PATH_MAX, "%s", named);
	else
		n = snprintf(ret_path, CONF_PATH_MAX, "cluster.ini");
	return n < CONF_PATH_MAX ? 0 : err_set(e, ERR_INVALID, "the path is too long");
}

static int make_new(struct cli *cli, const char *path, struct err *e)
{
	char dir[CONF_PATH_MAX];
	const char *slash = strrchr(path, '/');
	struct make_options o = {
		.dir = dir,
		.nodes = cli_number(cli, "nodes"),
		.shards = cli_number(cli, "shards"),
		.base_port = cli_number(cli, "base-port"),
	};

	if (strcmp(slash ? slash + 1 : path, "cluster.ini") != 0)
		return err_set(e, ERR_NOT_FOUND, "%s: there is no such file", path);
	snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
	cli->conf = malloc(sizeof *cli->conf);
	if (!cli->conf)
		return err_set(e, ERR_NOMEM, "no memory to make a cluster");
	int rc = make_cluster(&o, cli->conf, e);
	if (rc) {
		free(cli->conf);
		cli->conf = NULL;
		return rc;
	}
	fprintf(stderr, "made the cluster %s in %s\n", cli->conf->id, cli->conf->dir);
	return 0;
}

/* --nodes for a cluster that is there already, with another number, is a wish that cannot be met.
 */
static int check_same(struct cli *cli, struct err *e)
{
	if (cli_given(cli, "nodes") && cli_number(cli, "nodes") != cli->conf->nodes_n)
		return err_set(e, ERR_INVALID,
			       "%s is there already with %u nodes; --nodes is for a new cluster",
			       cli->conf->path, cli->conf->nodes_n);
	if (cli_given(cli, "shards") && cli_number(cli, "shards") != cli->conf->shards)
		return err_set(e, ERR_INVALID,
			       "%s is there already with %u shards; --shards is for a new cluster",
			       cli->conf->path, cli->conf->shards);
	return 0;
}

static int find_or_make(struct cli *cli, struct err *e)
{
	char path[CONF_PATH_MAX];
	int rc = find_file(cli, path, e);

	if (rc)
		return rc;
	if (access(path, F_OK) && errno == ENOENT)
		return make_new(cli, path, e);
	cli->config = path;
	rc = cli_load(cli, e);
	cli->config = NULL;
	return rc ? rc : check_same(cli, e);
}

/* How to call drover so that it finds this cluster from here. */
static void print_next(const struct cli *cli)
{
	char here[CONF_PATH_MAX], found[CONF_PATH_MAX], call[CONF_PATH_MAX + 16] = "drover";
	const char *file = cli->conf->path;

	if (!getenv("DROVER_CONFIG") &&
	    (cluster_conf_find(".", found, sizeof found, NULL) || strcmp(found, file) != 0)) {
		size_t n = getcwd(here, sizeof here) ? strlen(here) : 0;
		bool below = n > 1 && strncmp(file, here, n) == 0 && file[n] == '/';
		snprintf(call, sizeof call, "drover -c %s", below ? file + n + 1 : file);
	}
	printf("\nConnect:  %s sql\n"
	       "Look:     %s status --watch 1\n"
	       "Break:    %s kill leader\n"
	       "Stop:     %s stop all\n",
	       call, call, call, call);
}

static int wait_and_show(struct cli *cli, uint64_t timeout_ms)
{
	struct cluster_view *view = malloc(sizeof *view);
	struct err e = {0};
	int code;

	if (!view)
		return EXIT_FAILED;
	int rc = life_wait_healthy(cli, timeout_ms, view, &e);
	if (rc && rc != ERR_TIMEOUT) {
		free(view);
		return cli_fail(cli, &e);
	}
	code = health_exit_code(view->health);
	status_print(cli, view, false, stdout, "\n");
	cluster_view_done(view);
	free(view);
	if (cli_interrupted())
		return EXIT_INTERRUPTED;
	if (cli->output == OUTPUT_TABLE && code == EXIT_DONE)
		print_next(cli);
	return code;
}

static int run_up(struct cli *cli)
{
	uint64_t timeout_ms = cli_duration_ms(cli, "timeout");
	struct node_set all = {0};
	struct outcomes *o = malloc(sizeof *o);
	struct err e = {0};
	int code;

	if (!o)
		return EXIT_FAILED;
	int rc = find_or_make(cli, &e);
	for (uint32_t i = 0; rc == 0 && i < cli->conf->nodes_n; i++) {
		if (cli->conf->nodes[i].control == CONF_CONTROL_LOCAL)
			all.nodes[all.n++] = &cli->conf->nodes[i];
	}
	if (rc == 0)
		rc = life_start(cli, &all, timeout_ms, o, &e);
	if (rc) {
		free(o);
		return cli_fail(cli, &e);
	}
	for (uint32_t i = 0; i < o->n; i++) {
		if (o->items[i].code)
			fprintf(stderr, "%s: %s\n", o->items[i].node->name, o->items[i].text);
	}
	code = outcomes_code(o);
	free(o);
	if (cli_interrupted())
		return EXIT_INTERRUPTED;
	/* When a node failed to start the cluster cannot get healthy: show what there is. */
	int shown = wait_and_show(cli, code ? 2000 : timeout_ms);
	return code ? code : shown;
}

const struct command command_up = {
	.name = "up",
	.arguments = "[DIR]",
	.arguments_max = 1,
	.traits = COMMAND_OUTPUT,
	.help = "make a cluster where there is none, start all nodes, wait until it serves",
	.details =
		"May be given again at any time: what is there stays, what runs goes on running. "
		"Ends with the status table and how to connect.",
	.flags = flags,
	.run = run_up,
};
