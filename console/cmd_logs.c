#include "common/clock.h"
#include "console/control/control.h"
#include "console/log_merge.h"
#include "console/output.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES_MAX 1000000
#define FOLLOW_MS 200

static const struct flag flags[] = {
	{"follow", 'f', FLAG_BOOL, NULL, NULL, "go on with what is written from now on"},
	{"lines", 'n', FLAG_NUMBER, "LINES", NULL,
	 "the last so many (default 100; all with --since)"},
	{"level", 'l', FLAG_TEXT, "LEVEL", "debug", "at least debug, info, warn or error"},
	{"grep", 'g', FLAG_TEXT, "RE", NULL,
	 "only lines that match this extended regular expression"},
	{"since", 's', FLAG_TEXT, "TIME", NULL,
	 "from then on: 10m (ago), 2026-01-31T23:59, 23:59 (UTC)"},
	{0},
};

/* Log files may hold what others sent; it must not reach the terminal's controls. */
static void put_plain(const char *text, size_t n)
{
	for (size_t i = 0; i < n && text[i]; i++) {
		unsigned char c = (unsigned char)text[i];
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			printf("\\x%02x", c);
		else
			putchar(c);
	}
}

static void print_text(const struct cli *cli, const struct log_record *r, int name_width)
{
	static const enum tint tints[] = {TINT_DIM, TINT_PLAIN, TINT_WARN, TINT_BAD};
	enum tint name = tint_of_node(r->node->id), tint = tints[r->level];

	printf("%s%-*s%s  %s", tint_on(cli->color, name), name_width, r->node->name,
	       tint_off(cli->color, name), tint_on(cli->color, tint));
	put_plain(r->line, SIZE_MAX);
	printf("%s\n", tint_off(cli->color, tint));
}

static void print_record(const struct cli *cli, const struct log_record *r, int name_width)
{
	if (cli->output == OUTPUT_JSON) {
		/* Bytes that are no UTF-8 cannot stand in JSON; they are rare enough to be lost. */
		json_t *text = json_string(r->text);
		output_json(stdout, json_pack("{s:s,s:s,s:s,s:o,s:o}", "node", r->node->name,
					      "time", r->when, "level", log_level_name(r->level),
					      "part", json_stringn(r->part, r->part_n), "text",
					      text ? text : json_string("(not UTF-8)")));
	} else if (cli->output == OUTPUT_TSV) {
		printf("%s\t%s\t%s\t%.*s\t", r->node->name, r->when, log_level_name(r->level),
		       (int)r->part_n, r->part);
		for (const char *c = r->text; *c; c++)
			putchar(*c == '\t' ? ' ' : *c);
		putchar('\n');
	} else {
		print_text(cli, r, name_width);
	}
}

/* The newest lines, when only those are wanted. */
struct ring {
	struct log_record *records;
	char **lines;
	size_t room, n, next;
};

static bool ring_put(struct ring *ring, const struct log_record *r)
{
	char *line = strdup(r->line);

	if (!line)
		return false;
	free(ring->lines[ring->next]);
	ring->lines[ring->next] = line;
	struct log_record *copy = &ring->records[ring->next];
	*copy = *r;
	copy->line = line;
	copy->text = line + (r->text - r->line);
	copy->part = r->part_n ? line + (r->part - r->line) : "";
	ring->next = (ring->next + 1) % ring->room;
	ring->n += ring->n < ring->room;
	return true;
}

/* Prints the last `lines` records of what is there now. */
static int print_last(const struct cli *cli, struct log_merge *m, size_t lines, bool following,
		      int name_width)
{
	struct ring ring = {.room = lines};
	struct log_record r;
	int rc = 0;

	ring.records = calloc(lines, sizeof *ring.records);
	ring.lines = calloc(lines, sizeof *ring.lines);
	if (!ring.records || !ring.lines)
		rc = ERR_NOMEM;
	while (rc == 0 && log_merge_next(m, following, &r) && !cli_interrupted())
		rc = ring_put(&ring, &r) ? 0 : ERR_NOMEM;
	for (size_t i = 0; rc == 0 && i < ring.n; i++)
		print_record(cli, &ring.records[(ring.next + ring.room - ring.n + i) % ring.room],
			     name_width);
	for (size_t i = 0; ring.lines && i < lines; i++)
		free(ring.lines[i]);
	free(ring.lines);
	free(ring.records);
	return rc;
}

static int open_all(struct cli *cli, struct log_merge *m, const struct node_set *set,
		    uint64_t last_lines, uint32_t *ret_opened, struct err *e)
{
	uint32_t opened = 0;

	for (uint32_t i = 0; i < set->n; i++) {
		struct err why = {0};
		int fd, rc = control_of(set->nodes[i])->open_log(set->nodes[i], &fd, &why);
		if (rc) {
			fprintf(stderr, "drover %s: %s\n", cli->command->name, why.text);
			continue;
		}
		rc = log_merge_add(m, set->nodes[i], fd, last_lines, e);
		if (rc)
			return rc;
		opened++;
	}
	*ret_opened = opened;
	return 0;
}

/* Logs that have come into being, were cut or replaced are read from their beginning. */
static void open_new(struct log_merge *m, const struct node_set *set)
{
	char path[CONF_PATH_MAX + 32];
	int fd;

	for (uint32_t i = 0; i < set->n; i++) {
		const struct conf_node *node = set->nodes[i];
		control_path(node, CONTROL_LOG_FILE, path, sizeof path);
		if (node->control == CONF_CONTROL_LOCAL && log_merge_stale(m, node, path) &&
		    control_of(node)->open_log(node, &fd, NULL) == 0)
			log_merge_add(m, node, fd, UINT64_MAX, NULL);
	}
}

static void follow(const struct cli *cli, struct log_merge *m, const struct node_set *set,
		   int name_width)
{
	struct log_record r;

	while (!cli_interrupted() && !ferror(stdout)) {
		while (log_merge_next(m, true, &r) && !cli_interrupted())
			print_record(cli, &r, name_width);
		fflush(stdout);
		cli_sleep_ms(FOLLOW_MS);
		open_new(m, set);
	}
}

static int show(struct cli *cli, const struct log_filter *filter, const struct node_set *set)
{
	bool following = cli_flag(cli, "follow");
	bool all = !cli_given(cli, "lines") && cli_given(cli, "since");
	int64_t lines = cli_given(cli, "lines") ? cli_number(cli, "lines") : 100;
	/* Without a filter the last lines of all are among the last lines of each. */
	bool filtered = filter->least > LOG_DEBUG || filter->since[0] || filter->match;
	struct log_merge *m = log_merge_new(filter);
	struct log_record r;
	struct err e = {0};
	uint32_t opened = 0;
	int name_width = 0, rc;

	for (uint32_t i = 0; i < set->n; i++) {
		int n = (int)strlen(set->nodes[i]->name);
		name_width = n > name_width ? n : name_width;
	}
	rc = m ? 0 : err_set(&e, ERR_NOMEM, "no memory to read the logs");
	if (rc == 0)
		rc = open_all(cli, m, set, filtered && lines ? UINT64_MAX : (uint64_t)lines,
			      &opened, &e);
	if (rc == 0 && opened == 0 && !following)
		rc = err_set(&e, ERR_NOT_FOUND, "there is no log to show");
	while (rc == 0 && all && log_merge_next(m, following, &r) && !cli_interrupted())
		print_record(cli, &r, name_width);
	if (rc == 0 && !all && lines && print_last(cli, m, (size_t)lines, following, name_width))
		rc = err_set(&e, ERR_NOMEM, "no memory for %lld lines", (long long)lines);
	if (rc == 0 && following)
		follow(cli, m, set, name_width);
	log_merge_free(m);
	if (rc)
		return cli_fail(cli, &e);
	return cli_interrupted() ? EXIT_INTERRUPTED : EXIT_DONE;
}

static int run_logs(struct cli *cli)
{
	static char all_word[] = "all";
	char *all[] = {all_word};
	struct log_filter filter = {.least = LOG_DEBUG};
	struct node_set set;
	struct err e = {0};
	regex_t re;
	char reason[100];
	int code;

	if (cli_given(cli, "lines") &&
	    (cli_number(cli, "lines") < 0 || cli_number(cli, "lines") > LINES_MAX))
		return cli_usage(cli, "-n takes 0 to %d lines", LINES_MAX);
	if (!log_level_parse(cli_text(cli, "level"), &filter.least))
		return cli_usage(cli, "--level is debug, info, warn or error, not '%s'",
				 cli_text(cli, "level"));
	if (cli_given(cli, "since") && log_since_parse(cli_text(cli, "since"), clock_wall_us(),
						       filter.since, sizeof filter.since, &e))
		return cli_fail(cli, &e);
	if (cli_nodes(cli, cli->argc ? cli->argc : 1, cli->argc ? cli->argv : all, &set, &e))
		return cli_fail(cli, &e);
	if (!cli_given(cli, "grep"))
		return show(cli, &filter, &set);
	int rc = regcomp(&re, cli_text(cli, "grep"), REG_EXTENDED | REG_NOSUB);
	if (rc) {
		regerror(rc, &re, reason, sizeof reason);
		return cli_usage(cli, "--grep '%s': %s", cli_text(cli, "grep"), reason);
	}
	filter.match = &re;
	code = show(cli, &filter, &set);
	regfree(&re);
	return code;
}

const struct command command_logs = {
	.name = "logs",
	.arguments = "[NODE...]",
	.arguments_max = -1,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT,
	.help = "the agents' logs, merged in time order",
	.details = "Reads the nodes' log files, so it works for dead nodes too. Lines without a "
		   "time of "
		   "their own, such as those of a crash, stay behind the line before them. Times "
		   "are UTC.",
	.flags = flags,
	.run = run_logs,
};
