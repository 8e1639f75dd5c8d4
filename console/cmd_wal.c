/* drover wal */
#include "console/command.h"
#include "console/load/change.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define LAST_SHOWN "20"
#define FOLLOW_MS 1000
#define NAMESPACES_BYTES (1u << 20)

struct wal_run {
	struct cli *cli;
	const struct conf_node *node;
	uint32_t group;
	struct buf body;
	struct buf list;
	json_t *namespaces; /* RPC_NAMESPACES' answer */
	uint64_t unknown;   /* an id that it does not hold: not asked for again */
	struct change_printer *printer;
};

static const char *find_namespace(const json_t *list, uint64_t id)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *at = json_array_get(list, i);
		if ((uint64_t)json_integer_value(json_object_get(at, "id")) == id)
			return json_string_value(json_object_get(at, "name"));
	}
	return NULL;
}

/* Asks again for an id that is not known: it may have been made meanwhile. */
static const char *namespace_name(void *ctx, uint64_t id)
{
	struct wal_run *run = ctx;
	const char *name;

	if (run->group == 0)
		return "(meta)";
	name = find_namespace(run->namespaces, id);
	if (name || id == run->unknown)
		return name;
	buf_clear(&run->list);
	if (client_rpc(run->cli->client, run->node->id, RPC_NAMESPACES, (struct slice){0}, 5000,
		       &run->list, NULL) == 0) {
		json_decref(run->namespaces);
		run->namespaces = json_loadb((const char *)run->list.data, run->list.len, 0, NULL);
	}
	name = find_namespace(run->namespaces, id);
	if (!name)
		run->unknown = id;
	return name;
}

static int fetch(struct wal_run *run, uint64_t from, uint64_t n, uint32_t wait_ms,
		 struct log_page *ret_page, struct err *e)
{
	struct log_page_request r = {
		.node = run->node->id,
		.group = run->group,
		.from = from,
		.n = n,
		.wait_ms = wait_ms,
	};

	return log_page_fetch(run->cli->client, &r, &run->body, ret_page, e);
}

static int print_page(struct wal_run *run, struct log_page *page, uint64_t *next, uint64_t *left,
		      struct err *e)
{
	struct log_entry entry;
	int rc = 0;

	while (*left > 0 && (rc = log_page_next(page, &entry, e)) == 1) {
		*next = entry.index + 1;
		(*left)--;
		rc = change_print(run->printer, &entry, e);
		if (rc)
			break;
	}
	return rc < 0 ? rc : 0;
}

/* Where to begin, and how many entries to show. */
static int choose_range(struct wal_run *run, uint64_t *ret_from, uint64_t *ret_n, struct err *e)
{
	struct cli *cli = run->cli;
	int64_t from = cli_number(cli, "from"), n = cli_number(cli, "number");
	struct log_page page;
	int rc;

	if (cli_given(cli, "from") && from < 1)
		return err_set(e, ERR_INVALID, "--from is an index, 1 or more");
	if (n < 0)
		return err_set(e, ERR_INVALID, "-n is a number of entries");
	rc = fetch(run, UINT64_MAX, 0, 0, &page, e);
	if (rc)
		return rc;
	*ret_n = cli_given(cli, "from") && !cli_given(cli, "number") ? UINT64_MAX : (uint64_t)n;
	if (!cli_given(cli, "from")) {
		*ret_from = page.committed >= (uint64_t)n ? page.committed - (uint64_t)n + 1 : 1;
		if (*ret_from < page.first_index)
			*ret_from = page.first_index;
		return 0;
	}
	*ret_from = (uint64_t)from;
	if (*ret_from < page.first_index) {
		fprintf(stderr,
			"drover wal: %s has entries from %" PRIu64
			" on; what came before is no longer in its log\n",
			run->node->name, page.first_index);
		*ret_from = page.first_index;
	}
	return 0;
}

/* Up to what is committed now. */
static int print_range(struct wal_run *run, uint64_t *next, uint64_t n, struct err *e)
{
	struct log_page page;
	int rc;

	while (n > 0 && !cli_interrupted()) {
		rc = fetch(run, *next, n, 0, &page, e);
		if (!rc)
			rc = print_page(run, &page, next, &n, e);
		if (rc || page.count == 0)
			return rc;
	}
	return 0;
}

/* Until ^C; a node that goes away is waited for. */
static int follow(struct wal_run *run, uint64_t next, struct err *e)
{
	struct log_page page;
	bool told = false;

	while (!cli_interrupted()) {
		uint64_t left = UINT64_MAX;
		int rc = fetch(run, next, 1000, FOLLOW_MS, &page, e);

		fflush(stdout);
		if (rc == ERR_UNREACHABLE || rc == ERR_CLOSED || rc == ERR_TIMEOUT ||
		    rc == ERR_BUSY) {
			if (!told)
				fprintf(stderr, "drover wal: %s; waiting for it\n", e->text);
			told = true;
			cli_sleep_ms(FOLLOW_MS);
			continue;
		}
		if (rc)
			return rc;
		told = false;
		if (next < page.first_index) {
			fprintf(stderr,
				"drover wal: entries %" PRIu64 " to %" PRIu64
				" are no longer in the log\n",
				next, page.first_index - 1);
			next = page.first_index;
			continue;
		}
		rc = print_page(run, &page, &next, &left, e);
		fflush(stdout);
		if (rc)
			return rc;
	}
	return 0;
}

static int choose_node(struct wal_run *run, struct err *e)
{
	struct cli *cli = run->cli;
	struct node_set set;
	int64_t group = cli_number(cli, "group");
	int rc;

	if (group < 0 || group > cli->conf->shards)
		return err_set(e, ERR_INVALID, "--group is 0 to %u", cli->conf->shards);
	run->group = (uint32_t)group;
	rc = cli_nodes(cli, cli->argc, cli->argv, &set, e);
	if (rc)
		return rc;
	if (set.n != 1)
		return err_set(e, ERR_INVALID, "'%s' names %u nodes; a log is one node's",
			       cli->argv[0], set.n);
	run->node = set.nodes[0];
	return 0;
}

static int show(struct wal_run *run, struct err *e)
{
	uint64_t from = 0, n = 0;
	int rc = choose_range(run, &from, &n, e);

	if (rc)
		return rc;
	change_print_heads(run->printer);
	rc = print_range(run, &from, n, e);
	if (!rc && cli_flag(run->cli, "follow"))
		rc = follow(run, from, e);
	return rc;
}

static int run_wal(struct cli *cli)
{
	struct wal_run run = {.cli = cli};
	struct err e = {0};
	int rc = cli_connect(cli);

	if (rc)
		return cli_fail(cli, &cli->err);
	buf_init(&run.body, 80u << 20);
	buf_init(&run.list, NAMESPACES_BYTES);
	rc = choose_node(&run, &e);
	if (!rc)
		rc = change_printer_new(&run.printer, stdout, (enum print_form)cli->output,
					namespace_name, &run, &e);
	if (!rc)
		rc = show(&run, &e);
	fflush(stdout);
	change_printer_free(run.printer);
	json_decref(run.namespaces);
	buf_done(&run.list);
	buf_done(&run.body);
	if (rc)
		return cli_fail(cli, &e);
	return cli_interrupted() ? EXIT_INTERRUPTED : EXIT_DONE;
}

static const struct flag wal_flags[] = {
	{"group", 0, FLAG_NUMBER, "N", "1", "the group whose log it is; 0 is meta"},
	{"from", 0, FLAG_NUMBER, "INDEX", NULL, "begin at this entry (default: the last ones)"},
	{"number", 'n', FLAG_NUMBER, "N", LAST_SHOWN,
	 "show so many entries (with --from: all there are)"},
	{"follow", 'f', FLAG_BOOL, NULL, NULL, "go on with new entries as they are committed"},
	{0},
};

const struct command command_wal = {
	.name = "wal",
	.arguments = "NODE",
	.arguments_min = 1,
	.arguments_max = 1,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT,
	.help = "show a node's log: every change, decoded",
	.details =
		"One line a change: index and term of its entry, time, namespace, table, insert,\n"
		"update or delete, the row's key and its values (of an update the changed ones).\n"
		"Definitions travel as the statement itself. Only committed entries are shown.",
	.flags = wal_flags,
	.run = run_wal,
};
