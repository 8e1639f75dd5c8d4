#include "console/command.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* getopt_long's answers for the flags that every command has, above any letter. */
enum { OPT_OWN = 1000, OPT_JSON = 2000, OPT_YES, OPT_VERSION };

const struct flag flags_output[] = {
	{"output", 'o', FLAG_TEXT, "table|json|tsv", "table", "the form of the results"},
	{"json", 0, FLAG_BOOL, NULL, NULL, "the same as -o json"},
	{0},
};

const struct flag flags_destructive[] = {
	{"yes", 0, FLAG_BOOL, NULL, NULL, "do it without asking"},
	{"dry-run", 'n', FLAG_BOOL, NULL, NULL, "say what would be done, do nothing"},
	{0},
};

const struct flag flags_everywhere[] = {
	{"config", 'c', FLAG_TEXT, "FILE", NULL,
	 "the cluster file (default: cluster.ini here or above)"},
	{"help", 'h', FLAG_BOOL, NULL, NULL, "show this help"},
	{"version", 0, FLAG_BOOL, NULL, NULL, "show the version"},
	{0},
};

const struct command *command_find(const char *name)
{
	for (size_t i = 0; commands[i]; i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

static size_t flags_count(const struct flag *flags)
{
	size_t n = 0;

	while (flags && flags[n].name)
		n++;
	return n;
}

static size_t flag_row(const struct cli *cli, const char *name)
{
	const struct flag *flags = cli->command->flags;
	size_t n = flags_count(flags);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(flags[i].name, name) == 0)
			return i;
	}
	assert(!"a command asks for a flag that is not in its table");
	return 0;
}

static bool parse_integer(const char *text, int64_t *ret_number)
{
	char *end;

	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (errno || end == text || *end)
		return false;
	*ret_number = n;
	return true;
}

static bool parse_real(const char *text, double *ret_number)
{
	char *end;

	errno = 0;
	double r = strtod(text, &end);
	if (errno || end == text || *end || !isfinite(r))
		return false;
	*ret_number = r;
	return true;
}

/* One "NUMBER UNIT" step of a duration; NULL when it is none. */
static const char *duration_step(const char *p, double *ret_ms)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = {{"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 36e5}, {"d", 864e5}, {"", 1e3}};
	size_t digits = strspn(p, "0123456789.");
	char *end;

	if (digits == 0 || digits > 15)
		return NULL;
	double n = strtod(p, &end);
	if (end != p + digits)
		return NULL;
	size_t letters = strspn(end, "dhms");
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (strlen(units[i].unit) == letters && strncmp(end, units[i].unit, letters) == 0) {
			*ret_ms = n * units[i].ms;
			return end + letters;
		}
	}
	return NULL;
}

bool duration_parse(const char *text, uint64_t *ret_ms)
{
	double sum = 0, ms = 0;
	const char *p = text;

	do {
		p = duration_step(p, &ms);
		if (!p)
			return false;
		sum += ms;
	} while (*p);
	/* A hundred years: what is longer is a slip of the hand, and would overflow deadlines. */
	if (sum > 3.2e12)
		return false;
	*ret_ms = (uint64_t)(sum + 0.5);
	return true;
}

static int check_value(const struct command *c, const struct flag *flag, const char *text,
		       struct err *e)
{
	int64_t number;
	double real;
	uint64_t ms;

	switch (flag->type) {
	case FLAG_BOOL:
	case FLAG_TEXT:
		return 0;
	case FLAG_NUMBER:
		if (parse_integer(text, &number))
			return 0;
		return err_set(e, ERR_INVALID, "--%s takes a whole number, not '%s'", flag->name,
			       text);
	case FLAG_REAL:
	case FLAG_OPTIONAL_REAL:
		if (parse_real(text, &real))
			return 0;
		return err_set(e, ERR_INVALID, "--%s takes a number, not '%s'", flag->name, text);
	case FLAG_DURATION:
		if (duration_parse(text, &ms))
			return 0;
		return err_set(e, ERR_INVALID,
			       "--%s takes a time such as 30s, 500ms, 2m or 1h, not '%s'",
			       flag->name, text);
	}
	assert(!"a flag of no type");
	return err_set(e, ERR_INVALID, "%s: --%s cannot be used", c->name, flag->name);
}

static int set_output(struct cli *cli, const char *text, struct err *e)
{
	static const char *const names[] = {"table", "json", "tsv"};

	for (size_t i = 0; i < 3; i++) {
		if (strcmp(text, names[i]) == 0) {
			cli->output = (enum output)i;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID, "-o takes table, json or tsv, not '%s'", text);
}

/* What getopt_long needs, made from the rows. */
struct getopt_tables {
	struct option longs[COMMAND_FLAGS_MAX + 16];
	char shorts[2 * COMMAND_FLAGS_MAX + 48];
	size_t longs_n;
	size_t shorts_n;
};

static void add_option(struct getopt_tables *t, const struct flag *flag, int answer)
{
	int has = flag->type == FLAG_BOOL	     ? no_argument
		  : flag->type == FLAG_OPTIONAL_REAL ? optional_argument
						     : required_argument;

	t->longs[t->longs_n++] = (struct option){flag->name, has, NULL, answer};
	if (!flag->letter)
		return;
	t->shorts[t->shorts_n++] = flag->letter;
	for (int i = 0; i < has; i++)
		t->shorts[t->shorts_n++] = ':';
}

static void make_tables(const struct command *c, bool permute, struct getopt_tables *t)
{
	size_t n = flags_count(c->flags);

	assert(n <= COMMAND_FLAGS_MAX);
	memset(t, 0, sizeof *t);
	if (!permute)
		t->shorts[t->shorts_n++] = '+';
	t->shorts[t->shorts_n++] = ':'; /* getopt: tell a missing value from an unknown flag */
	for (size_t i = 0; i < n; i++)
		add_option(t, &c->flags[i], OPT_OWN + (int)i);
	if (c->traits & COMMAND_OUTPUT) {
		add_option(t, &flags_output[0], 'o');
		add_option(t, &flags_output[1], OPT_JSON);
	}
	if (c->traits & COMMAND_DESTRUCTIVE) {
		add_option(t, &flags_destructive[0], OPT_YES);
		add_option(t, &flags_destructive[1], 'n');
	}
	add_option(t, &flags_everywhere[0], 'c');
	add_option(t, &flags_everywhere[1], 'h');
	add_option(t, &flags_everywhere[2], OPT_VERSION);
}

static int own_flag(struct cli *cli, size_t row, int argc, char **argv, struct err *e)
{
	const struct flag *flag = &cli->command->flags[row];
	struct flag_value *v = &cli->values[row];
	double real;

	v->given = true;
	/* "--watch 5": getopt knows only "--watch=5" for values that may be left out. */
	if (flag->type == FLAG_OPTIONAL_REAL && !optarg && optind < argc &&
	    parse_real(argv[optind], &real))
		optarg = argv[optind++];
	if (!optarg)
		return 0;
	v->text = optarg;
	return check_value(cli->command, flag, optarg, e);
}

/* Says which flag getopt stumbled over, as the user wrote it. */
static int flag_error(const struct getopt_tables *t, int answer, char **argv, struct err *e)
{
	const char *word = optind > 0 ? argv[optind - 1] : "";

	if (answer == ':')
		return err_set(e, ERR_INVALID, "%s needs a value", word);
	/* A single letter that is unknown is in optopt; long ones leave it 0 or at their row. */
	if (optopt > 0 && optopt < OPT_OWN && strncmp(word, "--", 2) != 0)
		return err_set(e, ERR_INVALID, "there is no flag -%c", optopt);
	if (optopt > 0)
		return err_set(e, ERR_INVALID, "%s takes no value", word);
	unsigned begin_so = 0;
	for (size_t i = 0; i < t->longs_n; i++)
		begin_so += strncmp(t->longs[i].name, word + 2, strlen(word + 2)) == 0;
	if (begin_so > 1)
		return err_set(e, ERR_INVALID, "%s is the beginning of several flags", word);
	return err_set(e, ERR_INVALID, "there is no flag %s", word);
}

static int check_counts(const struct cli *cli, struct err *e)
{
	const struct command *c = cli->command;

	if (cli->argc < c->arguments_min)
		return err_set(e, ERR_INVALID, "%s is missing", c->arguments);
	if (c->arguments_max >= 0 && cli->argc > c->arguments_max) {
		if (c->arguments_max == 0)
			return err_set(e, ERR_INVALID, "takes no arguments, but was given '%s'",
				       cli->argv[0]);
		return err_set(e, ERR_INVALID, "'%s' is one argument too many",
			       cli->argv[c->arguments_max]);
	}
	return 0;
}

/* One answer of getopt. */
static int take_option(struct cli *cli, const struct getopt_tables *t, int answer, int argc,
		       char **argv, struct err *e)
{
	if (answer >= OPT_OWN && answer < OPT_OWN + COMMAND_FLAGS_MAX)
		return own_flag(cli, (size_t)(answer - OPT_OWN), argc, argv, e);
	if ((cli->command->traits & COMMAND_OUTPUT) && answer == 'o')
		return set_output(cli, optarg, e);
	for (size_t i = 0; cli->command->flags && cli->command->flags[i].name; i++) {
		if (cli->command->flags[i].letter == answer)
			return own_flag(cli, i, argc, argv, e);
	}
	switch (answer) {
	case OPT_JSON:
		cli->output = OUTPUT_JSON;
		return 0;
	case OPT_YES:
		cli->yes = true;
		return 0;
	case 'n':
		cli->dry_run = true;
		return 0;
	case 'c':
		cli->config = optarg;
		return 0;
	case 'h':
		cli->help = true;
		return 0;
	case OPT_VERSION:
		cli->version = true;
		return 0;
	default:
		return flag_error(t, answer, argv, e);
	}
}

static int parse_flags(struct cli *cli, const struct command *c, bool permute, int argc,
		       char **argv, struct err *e)
{
	struct getopt_tables t;
	int answer, rc;

	make_tables(c, permute, &t);
	cli->command = c;
	for (size_t i = 0; i < flags_count(c->flags); i++)
		cli->values[i] = (struct flag_value){.text = c->flags[i].fallback};
	optind = 0; /* glibc: forget what an earlier parse left */
	opterr = 0;
	while ((answer = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
		rc = take_option(cli, &t, answer, argc, argv, e);
		if (rc)
			return rc;
	}
	cli->argc = argc - optind;
	cli->argv = argv + optind;
	return 0;
}

int cli_parse(struct cli *cli, const struct command *c, int argc, char **argv, struct err *e)
{
	int rc = parse_flags(cli, c, true, argc, argv, e);

	if (rc || cli->help || cli->version)
		return rc;
	return check_counts(cli, e);
}

/* The flags in front of the command's name. */
static const struct command before_command = {.name = "drover", .traits = COMMAND_OUTPUT};

static int print_version(void)
{
	printf("drover %s\n", DROVER_VERSION);
	return EXIT_DONE;
}

/* "start --hepl": what is wrong, and where to read on. */
static int wrong_usage(struct cli *cli)
{
	return cli_usage(cli, "%s", cli->err.text);
}

static int no_command(void)
{
	/* The console will open here; until then the overview is the best answer for a person,
	 * while a script that forgot the command should notice. */
	if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
		help_overview(stdout);
		return EXIT_DONE;
	}
	fprintf(stderr, "drover: which command? 'drover --help' lists them\n");
	return EXIT_USAGE;
}

static int run_command(struct cli *cli, const struct command *c, int argc, char **argv)
{
	if (cli_parse(cli, c, argc, argv, &cli->err))
		return wrong_usage(cli);
	if (cli->help) {
		help_command(stdout, c);
		return EXIT_DONE;
	}
	if (cli->version)
		return print_version();
	if ((c->traits & COMMAND_NEEDS_CLUSTER) && cli_load(cli, &cli->err))
		return cli_fail(cli, &cli->err);
	return c->run(cli);
}

int command_main(int argc, char **argv)
{
	struct cli cli = {.command = &before_command};
	int code;

	if (cli_init(&cli, &cli.err)) {
		fprintf(stderr, "drover: %s\n", cli.err.text);
		return EXIT_USAGE;
	}
	if (parse_flags(&cli, &before_command, false, argc, argv, &cli.err)) {
		fprintf(stderr, "drover: %s; 'drover --help' shows what there is\n", cli.err.text);
		return EXIT_USAGE;
	}
	if (cli.version)
		return print_version();
	if (cli.argc == 0 && cli.help) {
		help_overview(stdout);
		return EXIT_DONE;
	}
	if (cli.argc == 0)
		return no_command();
	const struct command *c = command_find(cli.argv[0]);
	if (c) {
		code = run_command(&cli, c, cli.argc, cli.argv);
		cli_done(&cli);
		return code;
	}
	const char *near = command_nearest(cli.argv[0]);
	fprintf(stderr, "drover: there is no command '%s'; ", cli.argv[0]);
	if (near)
		fprintf(stderr, "did you mean '%s'?\n", near);
	else
		fprintf(stderr, "'drover --help' lists them\n");
	return EXIT_USAGE;
}

bool cli_flag(const struct cli *cli, const char *name)
{
	return cli->values[flag_row(cli, name)].given;
}

bool cli_given(const struct cli *cli, const char *name)
{
	return cli->values[flag_row(cli, name)].given;
}

const char *cli_text(const struct cli *cli, const char *name)
{
	return cli->values[flag_row(cli, name)].text;
}

/* The value was checked when it was parsed; fallbacks are the table's own. */
int64_t cli_number(const struct cli *cli, const char *name)
{
	const char *text = cli_text(cli, name);
	int64_t number = 0;

	if (text && !parse_integer(text, &number))
		assert(!"a number in the table that is none");
	return number;
}

double cli_real(const struct cli *cli, const char *name)
{
	const char *text = cli_text(cli, name);
	double real = 0;

	if (text && !parse_real(text, &real))
		assert(!"a number in the table that is none");
	return real;
}

uint64_t cli_duration_ms(const struct cli *cli, const char *name)
{
	const char *text = cli_text(cli, name);
	uint64_t ms = 0;

	if (text && !duration_parse(text, &ms))
		assert(!"a time in the table that is none");
	return ms;
}
