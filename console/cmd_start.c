/* start, stop, restart, kill, pause, resume. */
#include "console/lifecycle.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const struct flag wait_flags[] = {
	{"timeout", 't', FLAG_DURATION, "TIME", "30s", "wait at most this long for each step"},
	{0},
};

static const struct flag restart_flags[] = {
	{"rolling", 'r', FLAG_BOOL, NULL, NULL,
	 "one node after the other, each time waiting until the cluster is healthy and has caught "
	 "up"},
	{"timeout", 't', FLAG_DURATION, "TIME", "30s", "wait at most this long for each step"},
	{0},
};

static int run_start(struct cli *cli)
{
	struct node_set set;
	struct outcomes o;
	struct err e = {0};

	if (cli_nodes(cli, cli->argc, cli->argv, &set, &e) ||
	    life_start(cli, &set, cli_duration_ms(cli, "timeout"), &o, &e))
		return cli_fail(cli, &e);
	outcomes_print(cli, &o);
	return outcomes_code(&o);
}

static int run_stop(struct cli *cli)
{
	struct node_set set;
	struct outcomes o;
	struct err e = {0};
	int code;

	if (cli_nodes(cli, cli->argc, cli->argv, &set, &e))
		return cli_fail(cli, &e);
	if (!life_consent(cli, &set, "stop", &code))
		return code;
	life_stop(&set, cli_duration_ms(cli, "timeout"), &o);
	outcomes_print(cli, &o);
	return outcomes_code(&o);
}

static int take_away(struct cli *cli, const char *verb, int number)
{
	struct node_set set;
	struct outcomes o;
	struct err e = {0};
	int code;

	if (cli_nodes(cli, cli->argc, cli->argv, &set, &e))
		return cli_fail(cli, &e);
	if (!life_consent(cli, &set, verb, &code))
		return code;
	life_signal(&set, number, &o);
	outcomes_print(cli, &o);
	return outcomes_code(&o);
}

static int run_kill(struct cli *cli)
{
	return take_away(cli, "kill", SIGKILL);
}

static int run_pause(struct cli *cli)
{
	return take_away(cli, "pause", SIGSTOP);
}

static int run_resume(struct cli *cli)
{
	struct node_set set;
	struct outcomes o;
	struct err e = {0};

	if (cli_nodes(cli, cli->argc, cli->argv, &set, &e))
		return cli_fail(cli, &e);
	life_signal(&set, SIGCONT, &o);
	outcomes_print(cli, &o);
	return outcomes_code(&o);
}

static void only(const struct conf_node *node, struct node_set *ret_set)
{
	ret_set->n = 1;
	ret_set->nodes[0] = node;
}

/* The stop half's failures end a restart; its successes are not worth a line of their own. */
static int stop_and_start(struct cli *cli, const struct node_set *set, struct outcomes *o,
			  struct err *e)
{
	uint64_t timeout_ms = cli_duration_ms(cli, "timeout");

	life_stop(set, timeout_ms, o);
	if (outcomes_code(o) || cli_interrupted())
		return 0;
	return life_start(cli, set, timeout_ms, o, e);
}

static int restart_together(struct cli *cli, const struct node_set *set)
{
	struct outcomes o;
	struct err e = {0};
	int code;

	if (life_loses_quorum(cli->conf, set) && !cli->yes && !cli->dry_run)
		fprintf(stderr, "'drover restart --rolling' does it without an interruption.\n");
	if (!life_consent(cli, set, "restart", &code))
		return code;
	if (stop_and_start(cli, set, &o, &e))
		return cli_fail(cli, &e);
	outcomes_print(cli, &o);
	return outcomes_code(&o);
}

/* The leader comes last, so that leadership moves once and not with every step. */
static void leader_last(const struct cluster_view *view, struct node_set *set)
{
	const struct cluster_node *leader = cluster_leader(view, 1);

	for (uint32_t i = 0; leader && i + 1 < set->n; i++) {
		if (set->nodes[i] != leader->conf)
			continue;
		set->nodes[i] = set->nodes[i + 1];
		set->nodes[i + 1] = leader->conf;
	}
}

/* Down already: restarting it takes nothing away from the others. */
static bool is_up(const struct cluster_view *view, const struct conf_node *node)
{
	for (uint32_t i = 0; i < view->n; i++) {
		if (view->nodes[i].conf == node)
			return view->nodes[i].state == NODE_UP;
	}
	return false;
}

static int roll_one(struct cli *cli, const struct conf_node *node, struct cluster_view *view,
		    struct outcome *ret_outcome, struct err *e)
{
	uint64_t timeout_ms = cli_duration_ms(cli, "timeout");
	struct node_set set;
	struct outcomes o;

	int rc = cluster_ask(cli, 1000, view, e);
	if (rc)
		return rc;
	bool up = is_up(view, node);
	cluster_view_done(view);
	only(node, &set);
	if (up && life_loses_quorum(cli->conf, &set))
		return err_set(e, ERR_REFUSED,
			       "%s is left as it is: without it too few voters would run to go on",
			       node->name);
	if (up) {
		rc = life_wait_healthy(cli, timeout_ms, view, e);
		cluster_view_done(view);
		if (rc) {
			err_wrap(e, "%s is left as it is", node->name);
			return rc;
		}
	}
	rc = stop_and_start(cli, &set, &o, e);
	*ret_outcome = o.items[0];
	if (rc || outcomes_code(&o))
		return rc;
	ret_outcome->did = "restarted";
	snprintf(ret_outcome->text, sizeof ret_outcome->text, "restarted, pid %d",
		 (int)ret_outcome->pid);
	return 0;
}

static int restart_rolling(struct cli *cli, struct node_set *set)
{
	struct cluster_view *view = malloc(sizeof *view);
	struct outcomes o = {0};
	struct err e = {0};
	int rc, code;

	if (!view)
		return EXIT_FAILED;
	rc = cluster_ask(cli, 1000, view, &e);
	if (rc)
		goto out;
	leader_last(view, set);
	cluster_view_done(view);
	if (cli->dry_run) {
		char names[400];
		life_names(set, names, sizeof names);
		printf("would restart %s, one after the other\n", names);
		goto out;
	}
	for (uint32_t i = 0; i < set->n && !rc && !outcomes_code(&o) && !cli_interrupted(); i++) {
		struct outcomes step = {.n = 1};
		rc = roll_one(cli, set->nodes[i], view, &step.items[0], &e);
		if (rc)
			break;
		o.items[o.n++] = step.items[0];
		/* A person wants to see each step when it is done. */
		if (cli->output == OUTPUT_TABLE) {
			outcomes_print(cli, &step);
			fflush(stdout);
		}
	}
	if (rc == 0 && outcomes_code(&o) == 0 && !cli_interrupted()) {
		rc = life_wait_healthy(cli, cli_duration_ms(cli, "timeout"), view, &e);
		cluster_view_done(view);
	}
out:
	free(view);
	if (o.n && cli->output != OUTPUT_TABLE)
		outcomes_print(cli, &o);
	code = outcomes_code(&o);
	if (cli_interrupted())
		return EXIT_INTERRUPTED;
	return rc ? cli_fail(cli, &e) : code;
}

static int run_restart(struct cli *cli)
{
	struct node_set set;
	struct err e = {0};

	if (cli_nodes(cli, cli->argc, cli->argv, &set, &e))
		return cli_fail(cli, &e);
	return cli_flag(cli, "rolling") ? restart_rolling(cli, &set) : restart_together(cli, &set);
}

const struct command command_start = {
	.name = "start",
	.arguments = "NODE...",
	.arguments_min = 1,
	.arguments_max = -1,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT,
	.help = "start nodes and wait until they answer",
	.details = "A node that runs already is left alone. When an agent ends as soon as it is "
		   "started, "
		   "the last lines of its log are shown.",
	.flags = wait_flags,
	.run = run_start,
};

const struct command command_stop = {
	.name = "stop",
	.arguments = "NODE...",
	.arguments_min = 1,
	.arguments_max = -1,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT | COMMAND_DESTRUCTIVE,
	.help = "stop nodes in order: leadership is handed over first",
	.details =
		"Asks before it takes away the majority. A node that does not run is left alone.",
	.flags = wait_flags,
	.run = run_stop,
};

const struct command command_restart = {
	.name = "restart",
	.arguments = "NODE...",
	.arguments_min = 1,
	.arguments_max = -1,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT | COMMAND_DESTRUCTIVE,
	.help = "stop and start nodes; --rolling: one at a time, without an interruption",
	.flags = restart_flags,
	.run = run_restart,
};

const struct command command_kill = {
	.name = "kill",
	.arguments = "NODE...",
	.arguments_min = 1,
	.arguments_max = -1,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT | COMMAND_DESTRUCTIVE,
	.help = "end nodes at once with SIGKILL, as a crash would",
	.details = "Nothing that was acknowledged is lost. Asks before it takes away the majority.",
	.run = run_kill,
};

const struct command command_pause = {
	.name = "pause",
	.arguments = "NODE...",
	.arguments_min = 1,
	.arguments_max = -1,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT | COMMAND_DESTRUCTIVE,
	.help = "freeze nodes with SIGSTOP, as a machine that hangs would",
	.run = run_pause,
};

const struct command command_resume = {
	.name = "resume",
	.arguments = "NODE...",
	.arguments_min = 1,
	.arguments_max = -1,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT,
	.help = "let paused nodes go on (SIGCONT)",
	.run = run_resume,
};
