/* drover sql */
#include "console/command.h"
#include "console/sql/prompt.h"
#include "console/sql/request.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct sql_run {
	struct cli *cli;
	struct requester *requester;
	uint32_t timeout_ms;
	bool (*interrupted)(void);
	bool was_interrupted;
	bool fresh; /* nothing was answered yet, and no level of reads was asked for */
};

static int execute(void *ctx, const struct session *s, const struct client_statement *statements,
		   size_t n, struct buf *ret_body, struct sql_answer *ret_answer, struct err *e)
{
	struct sql_run *run = ctx;
	int rc;
	struct client_request r = {
		.namespace = s->namespace,
		.level = s->level,
		.node = s->node,
		.timeout_ms = run->timeout_ms,
		.statements = statements,
		.statements_n = n,
	};

	/* A new session has seen nothing and could be shown anything. Let it begin with what is
	 * committed now: the command before this one may have written it. */
	if (run->fresh && r.level == SQL_SESSION)
		r.level = SQL_LINEARIZABLE;
	rc = requester_run(run->requester, &r, run->interrupted, ret_body, ret_answer,
			   &run->was_interrupted, e);
	if (rc == 0)
		run->fresh = false;
	return rc;
}

static int run_stream(struct session *s, FILE *f, const char *name, struct err *e)
{
	struct buf text;
	int rc = script_read(f, name, &text, e);

	if (rc) {
		fprintf(stderr, "drover sql: %s\n", e->text);
		return rc;
	}
	rc = session_script(s, name, buf_slice(&text), e);
	buf_done(&text);
	return rc;
}

static int run_file(struct session *s, const char *path, struct err *e)
{
	if (strcmp(path, "-") == 0)
		return run_stream(s, stdin, "standard input", e);
	FILE *f = fopen(path, "rb");
	if (!f) {
		int rc = err_sys(e, ERR_IO, errno, "%s", path);
		fprintf(stderr, "drover sql: %s\n", e->text);
		return rc;
	}
	int rc = run_stream(s, f, path, e);
	fclose(f);
	return rc;
}

/* -e and -f run in this order when both are given; neither: the prompt, or standard input. */
static int run_all(struct cli *cli, struct sql_run *run, struct session *s, struct err *e)
{
	const char *text = cli_text(cli, "execute");
	const char *path = cli_text(cli, "file");
	int rc = 0;

	if (text)
		rc = session_script(s, NULL, slice_str(text), e);
	if (!rc && path)
		rc = run_file(s, path, e);
	if (text || path)
		return rc;
	if (!isatty(STDIN_FILENO))
		return run_stream(s, stdin, "standard input", e);
	run->interrupted = prompt_interrupted;
	rc = prompt_run(s, e);
	if (rc)
		fprintf(stderr, "drover sql: %s\n", e->text);
	return rc;
}

/* The session has told what is wrong; only the code is left to say. */
static int code_of(const struct sql_run *run, const struct err *e)
{
	if (run->was_interrupted)
		return EXIT_INTERRUPTED;
	switch (e->code) {
	case ERR_UNREACHABLE:
	case ERR_CLOSED:
		return EXIT_UNREACHABLE;
	case ERR_TIMEOUT:
	case ERR_UNKNOWN_OUTCOME:
		return EXIT_TIMED_OUT;
	case ERR_NO_QUORUM:
	case ERR_NOT_LEADER: /* until the deadline: nobody does */
		return EXIT_NO_QUORUM;
	case ERR_REFUSED:
	case ERR_AUTH:
		return EXIT_REFUSED;
	default:
		return EXIT_FAILED;
	}
}

static int set_session(struct cli *cli, struct session *s, struct err *e)
{
	const char *namespace = cli_text(cli, "namespace");
	struct node_set nodes;

	if (!sql_level_parse(cli_text(cli, "read"), &s->level))
		return err_set(e, ERR_INVALID,
			       "--read takes stale, session or linearizable, not '%s'",
			       cli_text(cli, "read"));
	if (!namespace[0] || strlen(namespace) >= sizeof s->namespace)
		return err_set(e, ERR_INVALID, "a namespace's name has 1 to %d characters",
			       SQL_NAMESPACE_MAX - 1);
	snprintf(s->namespace, sizeof s->namespace, "%s", namespace);
	s->print.form = (enum print_form)cli->output;
	s->print.color = cli->color;
	s->timing = cli_flag(cli, "timing");
	if (cli->argc == 0)
		return 0;
	int rc = cli_nodes(cli, cli->argc, cli->argv, &nodes, e);
	if (rc)
		return rc;
	if (nodes.n != 1)
		return err_set(e, ERR_INVALID, "'%s' names %u nodes; SQL runs on one", cli->argv[0],
			       nodes.n);
	s->node = nodes.nodes[0]->id;
	return 0;
}

static int run_sql(struct cli *cli)
{
	struct sql_run run = {.cli = cli, .interrupted = cli_interrupted};
	struct session s;
	struct err e = {0};
	int rc, code = EXIT_DONE;

	run.timeout_ms = (uint32_t)cli_duration_ms(cli, "timeout");
	run.fresh = !cli_given(cli, "read");
	if (cli_connect(cli))
		return cli_fail(cli, &cli->err);
	session_init(&s, execute, &run);
	rc = set_session(cli, &s, &e);
	if (!rc)
		rc = requester_new(&run.requester, cli->client, &e);
	if (rc) {
		code = cli_fail(cli, &e);
	} else if (run_all(cli, &run, &s, &e)) {
		code = code_of(&run, &e);
	}
	/* Ends what was left behind by ^C, so that leaving does not wait for it. */
	client_free(cli->client);
	cli->client = NULL;
	requester_free(run.requester);
	session_done(&s);
	return code;
}

static const struct flag sql_flags[] = {
	{"namespace", 'd', FLAG_TEXT, "NAMESPACE", "main", "the database to work in"},
	{"execute", 'e', FLAG_TEXT, "SQL", NULL, "run these statements"},
	{"file", 'f', FLAG_TEXT, "FILE", NULL, "run the statements in FILE ('-': standard input)"},
	{"read", 0, FLAG_TEXT, "LEVEL", "session", "reads are stale, session or linearizable"},
	{"timeout", 0, FLAG_DURATION, "DURATION", "10s", "give a request up after this long"},
	{"timing", 0, FLAG_BOOL, NULL, NULL, "show how long each request took"},
	{0},
};

const struct command command_sql = {
	.name = "sql",
	.arguments = "[NODE]",
	.arguments_max = 1,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT,
	.help = "run SQL, or open a prompt for it",
	.details =
		"Each statement is a request of its own; those from BEGIN to COMMIT are collected "
		"and\n"
		"sent as one, which is executed as a whole or not at all, with their results at\n"
		"COMMIT. The first error ends a script. With NODE reads are answered by that "
		"node;\n"
		"writes always go to the leader. CREATE NAMESPACE n, DROP NAMESPACE n and SHOW\n"
		"NAMESPACES are statements too.\n"
		"\n"
		"Reads see at least what this session has seen or written, and it begins with what "
		"is\n"
		"committed at its start; without a quorum, --read stale shows a node's own data.\n"
		"\n"
		"With -o json each statement gives one line: its rows as an array of objects, or\n"
		"{\"changes\":N,\"last_rowid\":N}; blobs are {\"hex\":\"00ff\"}.",
	.flags = sql_flags,
	.run = run_sql,
};
