/* The shell's completion. The script is the same for ever; it asks this program for the words, so
 * that commands and flags come from the table, and nodes from the cluster file. */
#include "console/command.h"

#include <stdlib.h>
#include <string.h>

static const char bash_script[] =
	"# Completion of drover for bash. The words come from the program itself.\n"
	"_drover()\n"
	"{\n"
	"\tlocal IFS=$'\\n'\n"
	"\t# shellcheck disable=SC2207\n"
	"\tCOMPREPLY=($(\"${COMP_WORDS[0]}\" completion words -- "
	"\"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null))\n"
	"}\n"
	"complete -o default -F _drover drover\n";

static void offer(const char *prefix, const char *word, const char *start)
{
	char whole[96];

	snprintf(whole, sizeof whole, "%s%s", prefix, word);
	if (strncmp(whole, start, strlen(start)) == 0)
		printf("%s\n", whole);
}

static void offer_flags(const struct flag *flags, const char *start)
{
	for (; flags && flags->name; flags++)
		offer("--", flags->name, start);
}

static void offer_command_flags(const struct command *c, const char *start)
{
	offer_flags(c->flags, start);
	if (c->traits & COMMAND_DESTRUCTIVE)
		offer_flags(flags_destructive, start);
	if (c->traits & COMMAND_OUTPUT)
		offer_flags(flags_output, start);
	offer_flags(flags_everywhere, start);
}

static void offer_nodes(struct cli *cli, const char *start)
{
	static const char *const words[] = {"all", "leader", "followers", "minority", "random"};

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		offer("", words[i], start);
	if (cli_load(cli, NULL))
		return;
	for (uint32_t i = 0; i < cli->conf->nodes_n; i++)
		offer("", cli->conf->nodes[i].name, start);
}

static void offer_commands(const char *start)
{
	for (size_t i = 0; commands[i]; i++)
		offer("", commands[i]->name, start);
}

/* words: what stands on the line behind "drover", the last one being typed. */
static int complete(struct cli *cli, int n, char **words)
{
	const char *start = n ? words[n - 1] : "";
	const char *before = n > 1 ? words[n - 2] : "";
	const struct command *c = NULL;

	for (int i = 0; i + 1 < n && !c; i++) {
		if ((strcmp(words[i], "-c") == 0 || strcmp(words[i], "--config") == 0) && i + 2 < n)
			cli->config = words[i + 1];
		c = command_find(words[i]);
	}
	if (strcmp(before, "-o") == 0 || strcmp(before, "--output") == 0) {
		offer("", "table", start);
		offer("", "json", start);
		offer("", "tsv", start);
	} else if (strcmp(before, "-c") == 0 || strcmp(before, "--config") == 0) {
		return EXIT_DONE; /* a file: the shell's own */
	} else if (!c && start[0] == '-') {
		offer_flags(flags_everywhere, start);
		offer_flags(flags_output, start);
	} else if (!c || strcmp(c->name, "help") == 0) {
		offer_commands(start);
	} else if (start[0] == '-') {
		offer_command_flags(c, start);
	} else if (c->arguments && strstr(c->arguments, "NODE")) {
		offer_nodes(cli, start);
	}
	return EXIT_DONE;
}

static int run_completion(struct cli *cli)
{
	if (strcmp(cli->argv[0], "bash") == 0 && cli->argc == 1) {
		fputs(bash_script, stdout);
		return EXIT_DONE;
	}
	if (strcmp(cli->argv[0], "words") == 0)
		return complete(cli, cli->argc - 1, cli->argv + 1);
	return cli_usage(cli, "only bash is offered, not '%s'", cli->argv[0]);
}

const struct command command_completion = {
	.name = "completion",
	.arguments = "bash",
	.arguments_min = 1,
	.arguments_max = -1,
	.help = "print the completion script for a shell",
	.details = "In ~/.bashrc: eval \"$(drover completion bash)\"",
	.run = run_completion,
};
