#include "console/command.h"

#include <string.h>

/* Where the help of a flag or command starts on its line. */
#define HELP_COLUMN 26
#define HELP_WIDTH 100

static void print_wrapped(FILE *f, const char *text, int indent)
{
	int at = indent;

	while (*text) {
		int word = (int)strcspn(text, " ");
		if (at > indent && at + 1 + word > HELP_WIDTH) {
			fprintf(f, "\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			fputc(' ', f);
			at++;
		}
		fwrite(text, 1, (size_t)word, f);
		at += word;
		text += word;
		text += strspn(text, " ");
	}
	fputc('\n', f);
}

static void print_row(FILE *f, const char *left, const char *help)
{
	fprintf(f, "  %-*s", HELP_COLUMN - 2, left);
	if (strlen(left) > HELP_COLUMN - 3)
		fprintf(f, "\n%*s", HELP_COLUMN, "");
	print_wrapped(f, help, HELP_COLUMN);
}

static void flag_word(const struct flag *flag, char *text, size_t size)
{
	const char *value = flag->value ? flag->value : "VALUE";

	if (flag->type == FLAG_BOOL)
		snprintf(text, size, "--%s", flag->name);
	else if (flag->type == FLAG_OPTIONAL_REAL)
		snprintf(text, size, "--%s [%s]", flag->name, value);
	else
		snprintf(text, size, "--%s %s", flag->name, value);
}

static void print_flags(FILE *f, const struct flag *flags)
{
	char word[96], left[104], help[256];

	for (; flags && flags->name; flags++) {
		flag_word(flags, word, sizeof word);
		if (flags->letter)
			snprintf(left, sizeof left, "-%c, %s", flags->letter, word);
		else
			snprintf(left, sizeof left, "    %s", word);
		if (flags->fallback)
			snprintf(help, sizeof help, "%s (default %s)", flags->help,
				 flags->fallback);
		else
			snprintf(help, sizeof help, "%s", flags->help);
		print_row(f, left, help);
	}
}

static void synopsis_flags(FILE *f, const struct flag *flags)
{
	for (; flags && flags->name; flags++) {
		char word[96];
		flag_word(flags, word, sizeof word);
		/* The short form is what people type; the value stays. */
		if (flags->letter && flags->type == FLAG_BOOL)
			fprintf(f, " [-%c]", flags->letter);
		else if (flags->letter && flags->type == FLAG_OPTIONAL_REAL)
			fprintf(f, " [-%c [%s]]", flags->letter, flags->value);
		else if (flags->letter && flags->value)
			fprintf(f, " [-%c %s]", flags->letter, flags->value);
		else
			fprintf(f, " [%s]", word);
	}
}

void help_synopsis(FILE *f, const struct command *c)
{
	fprintf(f, "drover %s", c->name);
	synopsis_flags(f, c->flags);
	if (c->traits & COMMAND_DESTRUCTIVE)
		synopsis_flags(f, flags_destructive);
	if (c->traits & COMMAND_OUTPUT)
		fprintf(f, " [-o %s]", flags_output[0].value);
	if (c->arguments && c->arguments[0])
		fprintf(f, " %s", c->arguments);
}

void help_command(FILE *f, const struct command *c)
{
	help_synopsis(f, c);
	fprintf(f, "\n\n");
	print_wrapped(f, c->help, 0);
	if (c->details) {
		fputc('\n', f);
		print_wrapped(f, c->details, 0);
	}
	fputc('\n', f);
	print_flags(f, c->flags);
	if (c->traits & COMMAND_DESTRUCTIVE)
		print_flags(f, flags_destructive);
	if (c->traits & COMMAND_OUTPUT)
		print_flags(f, flags_output);
	print_flags(f, flags_everywhere);
}

void help_overview(FILE *f)
{
	char left[96];

	fprintf(f, "drover: a replicated SQL database on a handful of machines\n\n"
		   "  drover [-c FILE] COMMAND [ARGUMENTS]\n\n");
	for (size_t i = 0; commands[i]; i++) {
		snprintf(left, sizeof left, "%s %s", commands[i]->name,
			 commands[i]->arguments ? commands[i]->arguments : "");
		print_row(f, left, commands[i]->help);
	}
	fprintf(f,
		"\nA NODE is an id (2), a name (n2) or leader, followers, minority, random, all.\n"
		"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 degraded, 4 no quorum, 5 "
		"unreachable,\n"
		"6 timed out, 7 consistency violation, 8 refused, 130 interrupted.\n\n"
		"Start here: 'drover up demo' makes and starts three nodes in ./demo.\n"
		"'drover help COMMAND' tells more.\n");
}

/* Edit distance of two short words, a swap of neighbours counting as one. */
static int distance(const char *a, const char *b)
{
	enum { WORD_MAX = 24 };
	int rows[WORD_MAX + 1][WORD_MAX + 1];
	int an = (int)strlen(a), bn = (int)strlen(b);

	if (an > WORD_MAX || bn > WORD_MAX)
		return WORD_MAX;
	for (int i = 0; i <= an; i++) {
		for (int j = 0; j <= bn; j++) {
			if (i == 0 || j == 0) {
				rows[i][j] = i + j;
				continue;
			}
			int best = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			if (rows[i - 1][j] + 1 < best)
				best = rows[i - 1][j] + 1;
			if (rows[i][j - 1] + 1 < best)
				best = rows[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    rows[i - 2][j - 2] + 1 < best)
				best = rows[i - 2][j - 2] + 1;
			rows[i][j] = best;
		}
	}
	return rows[an][bn];
}

const char *command_nearest(const char *name)
{
	const char *best = NULL;
	int least = 3;

	for (size_t i = 0; commands[i]; i++) {
		const char *other = commands[i]->name;
		int d = distance(name, other);
		if (strlen(name) >= 3 && strncmp(name, other, strlen(name)) == 0)
			d = 0;
		if (d < least && d < (int)strlen(other)) {
			least = d;
			best = other;
		}
	}
	return best;
}

static int run_help(struct cli *cli)
{
	if (cli->argc == 0) {
		help_overview(stdout);
		return EXIT_DONE;
	}
	const struct command *c = command_find(cli->argv[0]);
	if (!c) {
		const char *near = command_nearest(cli->argv[0]);
		return cli_usage(cli, "there is no command '%s'%s%s", cli->argv[0],
				 near ? "; perhaps " : "", near ? near : "");
	}
	help_command(stdout, c);
	return EXIT_DONE;
}

const struct command command_help = {
	.name = "help",
	.arguments = "[COMMAND]",
	.arguments_max = 1,
	.help = "what a command does, and its flags",
	.run = run_help,
};
