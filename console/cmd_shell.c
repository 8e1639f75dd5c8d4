#include "console/control/control.h"
#include "console/command.h"

#include <stdlib.h>

static int run_shell(struct cli *cli)
{
	struct node_set set;
	struct err e = {0};
	int code;

	if (cli_nodes(cli, 1, cli->argv, &set, &e))
		return cli_fail(cli, &e);
	if (set.n != 1)
		return cli_usage(cli, "'%s' is more than one node", cli->argv[0]);
	const struct conf_node *node = set.nodes[0];
	setenv("DROVER_NODE", node->name, 1);
	setenv("DROVER_CONFIG", cli->conf->path, 1);
	if (control_of(node)->shell(node, cli->argv + 1, &code, &e))
		return cli_fail(cli, &e);
	return code;
}

const struct command command_shell = {
	.name = "shell",
	.arguments = "NODE [-- CMD...]",
	.arguments_min = 1,
	.arguments_max = -1,
	.traits = COMMAND_NEEDS_CLUSTER,
	.help = "a shell, or one command, in the node's folder on its machine",
	.details =
		"The command's exit code is drover's. DROVER_NODE and DROVER_CONFIG are set in it.",
	.run = run_shell,
};
