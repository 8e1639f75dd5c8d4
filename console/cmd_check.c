/* drover check */
#include "console/command.h"
#include "common/clock.h"
#include "console/check/janitor.h"
#include "console/check/steps.h"
#include "console/output.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct check_run {
	struct cli *cli;
	FILE *progress;
	struct check check;
	uint32_t step; /* over all acts */
	json_t *steps;
	int rc;
	struct err err;
};

static double milliseconds(uint64_t us)
{
	return (double)(us / 10) / 100;
}

static void note(struct check_run *run, const struct step *step, uint64_t us, bool ok,
		 const char *detail)
{
	const char *on = tint_on(run->cli->color, ok ? TINT_GOOD : TINT_BAD);
	const char *off = tint_off(run->cli->color, TINT_GOOD);

	fprintf(run->progress, "%s%s%s %8.1f ms  %s\n", on, ok ? "ok    " : "FAILED", off,
		milliseconds(us), detail);
	fflush(run->progress);
	json_array_append_new(run->steps, json_pack("{s:i,s:s,s:b,s:f,s:s}", "step", (int)run->step,
						    "name", step->name, "ok", ok, "ms",
						    milliseconds(us), "detail", detail));
	if (run->cli->output == OUTPUT_TSV)
		printf("%u\t%s\t%s\t%.2f\t%s\n", run->step, step->name, ok ? "ok" : "failed",
		       milliseconds(us), detail);
}

static void run_step(struct check_run *run, const struct step *step)
{
	struct check *c = &run->check;
	uint64_t start_us;

	run->step++;
	fprintf(run->progress, "%3u  %-62s ", run->step, step->name);
	fflush(run->progress);
	c->detail[0] = 0;
	start_us = clock_mono_us();
	run->rc = step->run(c, &run->err);
	if (!run->rc && cli_interrupted())
		run->rc = err_set(&run->err, ERR_REFUSED, "interrupted");
	note(run, step, clock_mono_us() - start_us, run->rc == 0,
	     run->rc ? run->err.text : c->detail);
}

static void run_act(struct check_run *run, const struct act *act)
{
	struct check *c = &run->check;

	fprintf(run->progress, "%s\n", act->name);
	run->rc = check_begin(c, act, &run->err);
	for (const struct step *step = act->steps; !run->rc && step->name; step++)
		run_step(run, step);
	/* What contradicts an acknowledgement is worth a look at the files. */
	bool keep = c->testbed && (cli_flag(run->cli, "keep") || run->rc == ERR_CORRUPT);
	char dir[CONF_PATH_MAX] = "";
	if (keep)
		snprintf(dir, sizeof dir, "%s", c->testbed->dir);
	check_end(c, keep);
	if (keep)
		fprintf(stderr, "drover check: the cluster's files are kept in %s\n", dir);
}

static int read_flags(struct check_run *run, struct err *e)
{
	struct cli *cli = run->cli;
	int64_t nodes = cli_number(cli, "nodes"), entries = cli_number(cli, "entries"),
		clients = cli_number(cli, "clients"), batch = cli_number(cli, "batch");

	if (nodes < 3 || nodes > 9)
		return err_set(e, ERR_INVALID, "--nodes is 3 to 9");
	if (entries < 1 || entries > 100000000)
		return err_set(e, ERR_INVALID, "--entries is 1 to 100000000");
	if (clients < 1 || clients > FEEDER_CLIENTS_MAX)
		return err_set(e, ERR_INVALID, "--clients is 1 to %d", FEEDER_CLIENTS_MAX);
	if (batch < 1 || batch > 20000)
		return err_set(e, ERR_INVALID, "--batch is 1 to 20000");
	run->check.command = cli->command;
	run->check.nodes = (uint32_t)nodes;
	run->check.entries = (uint64_t)entries;
	run->check.clients = (uint32_t)clients;
	run->check.batch = (uint32_t)batch;
	return 0;
}

static int conclude(struct check_run *run)
{
	bool ok = run->rc == 0;

	if (run->cli->output == OUTPUT_JSON)
		output_json(stdout, json_pack("{s:O,s:I,s:f,s:b}", "steps", run->steps, "entries",
					      (json_int_t)run->check.entries, "entries_per_s",
					      run->check.entries_per_s, "ok", ok));
	else if (ok)
		fprintf(run->progress, "All %u steps hold.\n", run->step);
	if (ok)
		return EXIT_DONE;
	if (cli_interrupted())
		return EXIT_INTERRUPTED;
	if (run->rc != ERR_CORRUPT)
		return cli_fail(run->cli, &run->err);
	fprintf(stderr, "drover check: VIOLATED in step %u: %s\n", run->step, run->err.text);
	return EXIT_VIOLATION;
}

/* SIGTERM and a closed terminal end the run as ^C does: with the cluster put away. */
static void on_end(int number)
{
	(void)number;
	raise(SIGINT);
}

static int run_check(struct cli *cli)
{
	struct check_run run = {.cli = cli, .steps = json_array()};
	struct sigaction end = {.sa_handler = on_end, .sa_flags = (int)SA_RESETHAND};
	int code;

	run.progress = cli->output == OUTPUT_TABLE ? stdout : stderr;
	if (read_flags(&run, &run.err) || janitor_start(&run.err)) {
		json_decref(run.steps);
		return cli_fail(cli, &run.err);
	}
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGHUP, &end, NULL);
	for (const struct act *act = acts; !run.rc && act->name; act++)
		run_act(&run, act);
	code = conclude(&run);
	json_decref(run.steps);
	return code;
}

static const struct flag check_flags[] = {
	{"nodes", 0, FLAG_NUMBER, "N", "3", "nodes of the clusters, 3 to 9"},
	{"entries", 0, FLAG_NUMBER, "N", "50000", "entries to write in each cluster"},
	{"clients", 0, FLAG_NUMBER, "N", "4", "clients that write at once"},
	{"batch", 0, FLAG_NUMBER, "N", "1000", "entries in one transaction"},
	{"keep", 0, FLAG_BOOL, NULL, NULL, "leave the clusters' files there"},
	{0},
};

const struct command command_check = {
	.name = "check",
	.arguments = "",
	.arguments_max = 0,
	.traits = COMMAND_OUTPUT,
	.help = "prove on throw-away clusters that nothing acknowledged is ever lost",
	.details =
		"Makes clusters in a temporary folder on free ports, one after the other, and "
		"goes\n"
		"through the steps: elections, writes, restarts, a deleted log, a bare majority,\n"
		"killed nodes. After each, every node's log is read and held against what was\n"
		"acknowledged. Exit 7, with the files kept, when something is missing or out of\n"
		"order. Everything else is removed in the end, whatever happens.",
	.flags = check_flags,
	.run = run_check,
};
