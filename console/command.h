/* The command table: one row a command, from which come the shell's commands, --help, completion,
 * the man pages' synopses and, later, the console's prompt.
 *
 * A command's flags are rows too. Before a command runs, its arguments are parsed against them
 * (getopt_long underneath): unknown flags, missing values and wrong counts of arguments end with 2
 * and one line that says what is right. Everywhere: -h/--help, --version, -c/--config FILE,
 * -o/--output table|json|tsv, --json, -n/--dry-run and --yes where the command says so.
 *
 * Results go to stdout, everything else to stderr. A command returns its exit code.
 */
#ifndef DROVER_CONSOLE_COMMAND_H
#define DROVER_CONSOLE_COMMAND_H

#include "common/client.h"
#include "common/conf.h"

enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_DEGRADED = 3,
	EXIT_NO_QUORUM = 4,
	EXIT_UNREACHABLE = 5,
	EXIT_TIMED_OUT = 6,
	EXIT_VIOLATION = 7,
	EXIT_REFUSED = 8,
	EXIT_INTERRUPTED = 130,
};

enum output { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_TSV };

enum flag_type { FLAG_BOOL, FLAG_TEXT, FLAG_NUMBER, FLAG_REAL, FLAG_DURATION, FLAG_OPTIONAL_REAL };

struct flag {
	const char *name; /* long, without dashes */
	char letter;	  /* 0: none */
	enum flag_type type;
	const char *value;    /* what --help calls the value: "SECONDS" */
	const char *fallback; /* default as text, NULL: unset */
	const char *help;
};

enum command_traits {
	COMMAND_NEEDS_CLUSTER = 1, /* cluster.ini is loaded before run */
	COMMAND_DESTRUCTIVE = 2,   /* offers --yes and -n */
	COMMAND_OUTPUT = 4,	   /* offers -o and --json */
};

struct cli;

struct command {
	const char *name;
	const char *arguments; /* "NODE...", "[NODE]" */
	int arguments_min;
	int arguments_max; /* -1: any */
	unsigned traits;
	const char *help;	  /* one line */
	const char *details;	  /* more for --help, may be NULL */
	const struct flag *flags; /* ends with name NULL; may be NULL */
	int (*run)(struct cli *cli);
};

/* All commands, ends with NULL. Each command file defines one `const struct command`. */
extern const struct command *const commands[];
const struct command *command_find(const char *name);

/* Flags that commands have because of their traits, and everywhere; end with name NULL. */
extern const struct flag flags_output[], flags_destructive[], flags_everywhere[];

#define COMMAND_FLAGS_MAX 24 /* rows in one command's own table */

struct flag_value {
	const char *text; /* borrowed from argv or the table; NULL: unset */
	bool given;
};

/* One run of one command. */
struct cli {
	const struct command *command;
	int argc; /* positional arguments */
	char **argv;
	enum output output;
	bool color; /* stdout is a terminal that may have colour */
	bool yes;
	bool dry_run;
	bool help; /* -h: print help instead of running */
	bool version;
	const char *config;			     /* -c; NULL: not given */
	struct cluster_conf *conf;		     /* NEEDS_CLUSTER */
	struct flag_value values[COMMAND_FLAGS_MAX]; /* by row of command->flags */
	/* Made on first use by cli_connect. */
	struct hub *hub;
	struct client *client;
	struct err err;
};

/* Output form and colour from the environment, the user's drover.ini and the terminal.
 * ERR_INVALID when DROVER_OUTPUT or drover.ini say something else. */
int cli_init(struct cli *cli, struct err *e);
/* argv[0] is the command's name. Permutes argv; positional arguments are left in cli->argv.
 * ERR_INVALID with one line that says what is right. */
int cli_parse(struct cli *cli, const struct command *c, int argc, char **argv, struct err *e);
/* -c, DROVER_CONFIG, or ./cluster.ini and its parents, into cli->conf. */
int cli_load(struct cli *cli, struct err *e);
/* Frees what cli_load and cli_connect made. */
void cli_done(struct cli *cli);
/* The whole of `drover ARGS`: returns the exit code. */
int command_main(int argc, char **argv);

/* Flag values by long name; the fallback when not given. Asserts that the flag exists. */
bool cli_flag(const struct cli *cli, const char *name);	       /* FLAG_BOOL: given */
bool cli_given(const struct cli *cli, const char *name);       /* any type: given by the user */
const char *cli_text(const struct cli *cli, const char *name); /* NULL: unset */
int64_t cli_number(const struct cli *cli, const char *name);
double cli_real(const struct cli *cli, const char *name);
uint64_t cli_duration_ms(const struct cli *cli, const char *name); /* "30s", "500ms", "2m", "1h" */

/* "30s", "500ms", "2m", "1h30m", "1.5s"; a number alone is seconds. false: none of these. */
bool duration_parse(const char *text, uint64_t *ret_ms);

/* Hub and client for the cluster, as the user of cluster.ini. Nothing to do when there is one.
 * On failure cli->err says why. Nothing is dialed yet that has to answer. */
int cli_connect(struct cli *cli);
/* A client with more connections a node or to another list of addresses (stress --hosts). Takes the
 * place of the one there was. */
int cli_connect_to(struct cli *cli, const struct client_node *nodes, size_t n,
		   uint32_t connections);

/* Prints "drover COMMAND: text" to stderr and returns the exit code that fits e->code
 * (UNREACHABLE 5, TIMEOUT 6, NO_QUORUM 4, REFUSED 8, CONFIG/INVALID 2 …). */
int cli_fail(struct cli *cli, const struct err *e);
int cli_usage(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Asks on the terminal; true on yes or --yes; without a terminal and --yes false (exit 8). */
bool cli_confirm(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* From main: SIGINT sets a flag; a second one ends the program. */
void cli_catch_interrupt(void);
/* Set by SIGINT: long-running commands look at it and end with 130. */
bool cli_interrupted(void);

/* Sleeps, at most until SIGINT. */
void cli_sleep_ms(uint64_t ms);

/* Help. "drover start [-n] [--yes] NODE..." for the synopsis. */
void help_overview(FILE *f);
void help_command(FILE *f, const struct command *c);
void help_synopsis(FILE *f, const struct command *c);
/* The nearest command to a misspelt one, NULL if none is near. */
const char *command_nearest(const char *name);

/* Which nodes are meant: ids, names, leader, followers, minority, random, all (group 1's roles,
 * asked from the cluster when needed). Each node once. */
struct node_set {
	uint32_t n;
	const struct conf_node *nodes[CONF_NODES_MAX];
};
int cli_nodes(struct cli *cli, int argc, char **argv, struct node_set *ret_set, struct err *e);

#endif
