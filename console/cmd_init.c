#include "console/command.h"
#include "console/make_cluster.h"
#include "console/output.h"

#include <stdlib.h>

static const struct flag flags[] = {
	{"nodes", 0, FLAG_NUMBER, "N", "3", "voting nodes, 1 to 9; an odd number makes sense"},
	{"replicas", 0, FLAG_NUMBER, "N", "0", "read replicas: not offered yet"},
	{"shards", 0, FLAG_NUMBER, "N", "1", "data groups, 1 to 32"},
	{"base-port", 0, FLAG_NUMBER, "N", NULL,
	 "node i listens on N + 4 * (i - 1) and the three ports above (default: 9090 + i for "
	 "nodes, "
	 "7000 + i for clients)"},
	{0},
};

static void warn_of_ports(const struct cluster_conf *conf)
{
	for (uint32_t i = 0; i < conf->nodes_n; i++) {
		const struct conf_node *node = &conf->nodes[i];
		const char *used = address_in_use(node->peer)  ? node->peer
				   : address_in_use(node->rpc) ? node->rpc
							       : NULL;
		if (used)
			fprintf(stderr,
				"drover init: %s is in use now, so %s could not start; edit the "
				"ini files, "
				"or make the cluster with another --base-port\n",
				used, node->name);
	}
}

static void print_made(const struct cli *cli, const struct cluster_conf *conf)
{
	json_t *nodes;

	if (cli->output != OUTPUT_JSON) {
		printf("Made the cluster %s: %u node%s, %s\n", conf->id, conf->nodes_n,
		       conf->nodes_n == 1 ? "" : "s", conf->path);
		return;
	}
	nodes = json_array();
	for (uint32_t i = 0; i < conf->nodes_n; i++) {
		const struct conf_node *node = &conf->nodes[i];
		json_array_append_new(nodes, json_pack("{s:i,s:s,s:s,s:s,s:s}", "id", (int)node->id,
						       "name", node->name, "dir", node->dir, "peer",
						       node->peer, "rpc", node->rpc));
	}
	output_json(stdout, json_pack("{s:s,s:s,s:i,s:o}", "cluster_id", conf->id, "config",
				      conf->path, "shards", (int)conf->shards, "nodes", nodes));
}

static int run_init(struct cli *cli)
{
	struct cluster_conf *conf = malloc(sizeof *conf);
	struct make_options o = {
		.dir = cli->argc ? cli->argv[0] : ".",
		.nodes = cli_number(cli, "nodes"),
		.replicas = cli_number(cli, "replicas"),
		.shards = cli_number(cli, "shards"),
		.base_port = cli_number(cli, "base-port"),
	};
	struct err e = {0};
	int rc, code = EXIT_DONE;

	if (!conf)
		return EXIT_FAILED;
	rc = make_cluster(&o, conf, &e);
	if (rc) {
		code = cli_fail(cli, &e);
		/* Not to overwrite is a refusal, for scripts to tell apart. */
		if (rc == ERR_EXISTS)
			code = EXIT_REFUSED;
	} else {
		print_made(cli, conf);
		warn_of_ports(conf);
	}
	free(conf);
	return code;
}

const struct command command_init = {
	.name = "init",
	.arguments = "[DIR]",
	.arguments_max = 1,
	.traits = COMMAND_OUTPUT,
	.help = "write the files of a local cluster: cluster.ini, nodeN/agent.ini, keys",
	.details = "Nothing is started, nothing is overwritten. Keys are readable by you only.",
	.flags = flags,
	.run = run_init,
};
