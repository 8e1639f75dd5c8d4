/* What every command shares while it runs: where its cluster is, how it asks, how it fails. */
#include "console/command.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

void cli_catch_interrupt(void)
{
	/* Without SA_RESTART, so that a command that waits for input or sleeps wakes up; only once,
	 * so that a second ^C ends a program that does not listen. */
	struct sigaction on = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &on, NULL);
}

bool cli_interrupted(void)
{
	return interrupted != 0;
}

void cli_sleep_ms(uint64_t ms)
{
	struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

	if (!interrupted)
		nanosleep(&left, NULL);
}

static int output_by_name(const char *name, enum output *ret_output, struct err *e)
{
	static const char *const names[] = {"table", "json", "tsv"};

	for (size_t i = 0; i < 3; i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret_output = (enum output)i;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID, "DROVER_OUTPUT is '%s'; it takes table, json or tsv", name);
}

/* $XDG_CONFIG_HOME/drover/drover.ini, or below ~/.config. */
static int load_own_settings(struct console_conf *ret_conf, struct err *e)
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char path[CONF_PATH_MAX];

	*ret_conf = (struct console_conf){0};
	if (base && base[0] == '/')
		snprintf(path, sizeof path, "%s/drover/drover.ini", base);
	else if (home && home[0] == '/')
		snprintf(path, sizeof path, "%s/.config/drover/drover.ini", home);
	else
		return 0;
	int rc = console_conf_load(path, ret_conf, e);
	/* Somebody else's home, as under sudo, is no reason to stop. */
	return rc == ERR_IO ? 0 : rc;
}

static bool choose_color(const struct console_conf *own)
{
	const char *no = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	if ((no && no[0]) || (term && strcmp(term, "dumb") == 0))
		return false;
	if (own->color != CONF_COLOR_AUTO)
		return own->color == CONF_COLOR_ALWAYS;
	return isatty(STDOUT_FILENO) && term && term[0];
}

int cli_init(struct cli *cli, struct err *e)
{
	const char *output = getenv("DROVER_OUTPUT");
	struct console_conf own;
	int rc = load_own_settings(&own, e);

	if (rc)
		return rc;
	cli->color = choose_color(&own);
	cli->output = (enum output)own.output;
	return output && output[0] ? output_by_name(output, &cli->output, e) : 0;
}

int cli_load(struct cli *cli, struct err *e)
{
	char found[CONF_PATH_MAX];
	const char *path = cli->config;
	int rc;

	if (!path)
		path = getenv("DROVER_CONFIG");
	if (!path || !path[0]) {
		rc = cluster_conf_find(".", found, sizeof found, e);
		if (rc)
			return rc;
		path = found;
	}
	struct cluster_conf *conf = malloc(sizeof *conf);
	if (!conf)
		return err_set(e, ERR_NOMEM, "no memory for the cluster file");
	rc = cluster_conf_load(path, conf, e);
	if (rc) {
		free(conf);
		return rc;
	}
	free(cli->conf);
	cli->conf = conf;
	return 0;
}

void cli_done(struct cli *cli)
{
	client_free(cli->client);
	if (cli->hub)
		hub_free(cli->hub);
	free(cli->conf);
	cli->client = NULL;
	cli->hub = NULL;
	cli->conf = NULL;
}

/* A node is who its public key in cluster.ini says; nobody else may answer as one. */
static bool trust_nodes(void *ctx, struct link_identity *claimed, enum link_purpose purpose)
{
	const struct cluster_conf *conf = ctx;

	(void)purpose;
	if (claimed->kind != LINK_NODE)
		return false;
	for (uint32_t i = 0; i < conf->nodes_n; i++) {
		const struct conf_node *node = &conf->nodes[i];
		if (node->id == claimed->node_id)
			return claimed->role = LINK_ROLE_NODE,
			       memcmp(node->key, claimed->key, LINK_KEY_BYTES) == 0;
	}
	return false;
}

static int make_hub(struct cli *cli, struct err *e)
{
	struct hub_options o = {
		.cluster_id = cli->conf->id,
		.self.kind = LINK_USER,
		.trust = trust_nodes,
		.trust_ctx = cli->conf,
	};
	sigset_t all, before;
	int rc;

	if (cli->hub)
		return 0;
	rc = key_load(cli->conf->user_key, o.secret, o.self.key, e);
	if (rc) {
		err_wrap(e, "the key of user %s", cli->conf->user);
		return rc;
	}
	snprintf(o.self.name, sizeof o.self.name, "%s", cli->conf->user);
	/* The network's threads inherit this mask: signals are the main thread's alone. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = hub_new(&cli->hub, &o, e);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	explicit_bzero(o.secret, sizeof o.secret);
	return rc;
}

int cli_connect_to(struct cli *cli, const struct client_node *nodes, size_t n, uint32_t connections)
{
	int rc = make_hub(cli, &cli->err);

	if (rc)
		return rc;
	client_free(cli->client);
	cli->client = NULL;
	struct client_options o = {
		.hub = cli->hub,
		.nodes = nodes,
		.nodes_n = n,
		.connections = connections,
	};
	return client_new(&cli->client, &o, &cli->err);
}

int cli_connect(struct cli *cli)
{
	struct client_node nodes[CONF_NODES_MAX];

	if (cli->client)
		return 0;
	for (uint32_t i = 0; i < cli->conf->nodes_n; i++) {
		nodes[i] = (struct client_node){
			.id = cli->conf->nodes[i].id,
			.address = cli->conf->nodes[i].rpc,
		};
	}
	return cli_connect_to(cli, nodes, cli->conf->nodes_n, 1);
}

static int exit_code_of(int code)
{
	switch (code) {
	case 0:
		return EXIT_DONE;
	case ERR_INVALID:
	case ERR_CONFIG:
		return EXIT_USAGE;
	case ERR_UNREACHABLE:
	case ERR_CLOSED:
		return EXIT_UNREACHABLE;
	case ERR_TIMEOUT:
	case ERR_UNKNOWN_OUTCOME:
		return EXIT_TIMED_OUT;
	case ERR_NO_QUORUM:
	case ERR_NOT_LEADER: /* as the last word after all tries: nobody leads */
		return EXIT_NO_QUORUM;
	case ERR_REFUSED:
	case ERR_AUTH:
		return EXIT_REFUSED;
	default:
		return EXIT_FAILED;
	}
}

int cli_fail(struct cli *cli, const struct err *e)
{
	if (cli_interrupted())
		return EXIT_INTERRUPTED;
	fprintf(stderr, "drover %s: %s\n", cli->command->name,
		e->text[0] ? e->text : err_meaning(e->code));
	return exit_code_of(e->code);
}

int cli_usage(struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "drover %s: ", cli->command->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nusage: ");
	help_synopsis(stderr, cli->command);
	fprintf(stderr, "\n");
	return EXIT_USAGE;
}

bool cli_confirm(struct cli *cli, const char *fmt, ...)
{
	char line[64];
	va_list ap;

	if (cli->yes)
		return true;
	va_start(ap, fmt);
	fflush(stdout);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
		fprintf(stderr,
			"\ndrover %s: refused without a terminal to ask on; --yes does it\n",
			cli->command->name);
		return false;
	}
	fprintf(stderr, " Go on? [y/N] ");
	fflush(stderr);
	if (!fgets(line, sizeof line, stdin)) {
		fprintf(stderr, "\n");
		return false;
	}
	line[strcspn(line, "\n")] = 0;
	return strcasecmp(line, "y") == 0 || strcasecmp(line, "yes") == 0;
}
