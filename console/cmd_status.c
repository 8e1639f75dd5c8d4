#include "common/clock.h"
#include "console/status_view.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASK_MS 1000

static const struct flag flags[] = {
	{"watch", 'w', FLAG_OPTIONAL_REAL, "SECONDS", NULL,
	 "again and again, every second or as said"},
	{"groups", 'g', FLAG_BOOL, NULL, NULL, "one line a node and group"},
	{0},
};

/* One look; the exit code. */
static int show(struct cli *cli, FILE *f, const char *eol)
{
	struct cluster_view *view = malloc(sizeof *view);
	struct err e = {0};
	int code;

	if (!view)
		return EXIT_FAILED;
	if (cluster_ask(cli, ASK_MS, view, &e)) {
		free(view);
		return cli_fail(cli, &e);
	}
	status_print(cli, view, cli_flag(cli, "groups"), f, eol);
	code = health_exit_code(view->health);
	cluster_view_done(view);
	free(view);
	return code;
}

/* Redraws in place on a terminal: written in one go, so that nothing flickers. */
static int redraw(struct cli *cli, double seconds)
{
	char *text = NULL, when[32];
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return EXIT_FAILED;
	clock_format(clock_wall_us(), when);
	fprintf(f, "\033[Hevery %.3gs, %.19sZ, cluster %s; ^C ends\033[K\n", seconds, when,
		cli->conf->id);
	int code = show(cli, f, "\033[K\n");
	fprintf(f, "\033[J");
	fclose(f);
	fwrite(text, 1, size, stdout);
	fflush(stdout);
	free(text);
	return code;
}

static int watch(struct cli *cli, double seconds)
{
	bool screen = isatty(STDOUT_FILENO) && cli->output == OUTPUT_TABLE;
	const char *term = getenv("TERM");
	int code;

	if (!term || strcmp(term, "dumb") == 0)
		screen = false;
	if (screen)
		printf("\033[2J");
	for (unsigned round = 0;; round++) {
		uint64_t begun_ms = clock_mono_ms();
		if (screen) {
			code = redraw(cli, seconds);
		} else {
			if (round && cli->output != OUTPUT_JSON)
				printf("\n");
			code = show(cli, stdout, "\n");
			fflush(stdout);
		}
		/* Failing to ask at all will not get better. */
		if (cli_interrupted())
			return EXIT_INTERRUPTED;
		if (code != EXIT_DONE && code != EXIT_DEGRADED && code != EXIT_NO_QUORUM)
			return code;
		if (ferror(stdout))
			return EXIT_FAILED;
		uint64_t took_ms = clock_mono_ms() - begun_ms;
		uint64_t every_ms = (uint64_t)(seconds * 1000);
		if (took_ms < every_ms)
			cli_sleep_ms(every_ms - took_ms);
		if (cli_interrupted())
			return EXIT_INTERRUPTED;
	}
}

static int run_status(struct cli *cli)
{
	double seconds = cli_text(cli, "watch") ? cli_real(cli, "watch") : 1;

	if (!cli_given(cli, "watch"))
		return show(cli, stdout, "\n");
	if (seconds < 0.1 || seconds > 86400)
		return cli_usage(cli, "--watch takes 0.1 to 86400 seconds, not %g", seconds);
	return watch(cli, seconds);
}

const struct command command_status = {
	.name = "status",
	.arguments_max = 0,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT,
	.help = "every node's state, role, progress and lag, and a verdict",
	.details = "Exit code 0: healthy, 3: degraded, 4: no quorum. Healthy is: all nodes are up, "
		   "and "
		   "every group has a leader that all of them know and that none is far behind. "
		   "With "
		   "several data groups a node's indexes are sums, its lag is the worst; --groups "
		   "tells "
		   "them apart.",
	.flags = flags,
	.run = run_status,
};
