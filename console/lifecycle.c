#include "console/lifecycle.h"

#include "common/clock.h"
#include "console/control/control.h"
#include "console/output.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TAIL_LINES 12

static void conclude(struct outcome *o, int code, const char *did, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void conclude(struct outcome *o, int code, const char *did, const char *fmt, ...)
{
	va_list ap;

	o->code = code;
	o->did = did;
	va_start(ap, fmt);
	vsnprintf(o->text, sizeof o->text, fmt, ap);
	va_end(ap);
}

static void outcomes_begin(struct outcomes *o, const struct node_set *set)
{
	o->n = set->n;
	for (uint32_t i = 0; i < set->n; i++)
		o->items[i] = (struct outcome){.node = set->nodes[i]};
}

static int check_agent_file(const struct conf_node *node, struct agent_conf *scratch, struct err *e)
{
	char path[CONF_PATH_MAX + 32];

	if (node->control != CONF_CONTROL_LOCAL)
		return 0;
	control_path(node, CONTROL_INI_FILE, path, sizeof path);
	int rc = agent_conf_load(path, scratch, e);
	if (rc)
		return rc;
	if (scratch->id != node->id)
		return err_set(e, ERR_CONFIG,
			       "%s is of node %u, but cluster.ini gives it to node %u", path,
			       scratch->id, node->id);
	return 0;
}

/* The last lines that the log has got since `from`, each on a line of its own behind an indent. */
static void log_tail(const struct conf_node *node, off_t from, char *ret_text, size_t size)
{
	char text[OUTCOME_TEXT_MAX / 2];
	int fd;

	ret_text[0] = 0;
	if (control_of(node)->open_log(node, &fd, NULL))
		return;
	off_t end = lseek(fd, 0, SEEK_END);
	if (end - from > (off_t)sizeof text - 1)
		from = end - (off_t)sizeof text + 1;
	ssize_t n = pread(fd, text, sizeof text - 1, from);
	close(fd);
	if (n <= 0)
		return;
	text[n] = 0;
	char *start = text + n;
	for (int lines = 0; start > text; start--) {
		if (start[-1] == '\n' && start < text + n && ++lines == TAIL_LINES)
			break;
	}
	size_t at = 0;
	for (char *line = strtok(start, "\n"); line; line = strtok(NULL, "\n")) {
		int took = snprintf(ret_text + at, size - at, "\n    %s", line);
		if (took < 0 || (size_t)took >= size - at)
			return;
		at += (size_t)took;
	}
}

/* Starts one node or concludes its outcome; true: it is on its way. */
static bool launch(struct outcome *o, struct control_started *ret_started)
{
	const struct control_ops *ops = control_of(o->node);
	struct control_look look;
	struct err e = {0};

	ops->look(o->node, &look);
	o->pid = look.pid;
	if (look.state == CONTROL_RUNNING) {
		conclude(o, EXIT_DONE, "already_running", "already running, pid %d", (int)look.pid);
		return false;
	}
	if (look.state == CONTROL_PAUSED) {
		conclude(o, EXIT_FAILED, "failed",
			 "is there but paused, pid %d; 'drover resume %s'", (int)look.pid,
			 o->node->name);
		return false;
	}
	if (ops->start(o->node, ret_started, &e)) {
		conclude(o, EXIT_FAILED, "failed", "%s", e.text);
		return false;
	}
	o->pid = ret_started->pid;
	return true;
}

struct starting {
	struct outcome *outcome;
	struct control_started started;
};

/* Drops those that have ended; what is left stays in order. */
static size_t drop_dead(struct starting *pending, size_t n)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++) {
		struct outcome *o = pending[i].outcome;
		char how[64], tail[OUTCOME_TEXT_MAX - 200];
		if (!control_of(o->node)->ended(&pending[i].started, how, sizeof how)) {
			pending[left++] = pending[i];
			continue;
		}
		log_tail(o->node, pending[i].started.log_from, tail, sizeof tail);
		conclude(o, EXIT_FAILED, "failed", "ended as soon as it was started (%s)%s%s", how,
			 tail[0] ? "; it said:" : " without a word", tail);
		o->pid = 0;
	}
	return left;
}

/* Asks the pending ones; drops those that answer. The answer must come from the very process: the
 * port may still be held by another one, over which ours is about to give up. */
static int drop_answering(struct cli *cli, struct starting *pending, size_t *n, uint64_t begun_ms,
			  uint32_t timeout_ms, struct err *e)
{
	const struct conf_node *nodes[CONF_NODES_MAX] = {0};
	json_t *status[CONF_NODES_MAX];
	char why[CONF_NODES_MAX][160];
	size_t left = 0;

	for (size_t i = 0; i < *n; i++)
		nodes[i] = pending[i].outcome->node;
	int rc = cluster_ask_nodes(cli, nodes, *n, timeout_ms, status, why, e);
	if (rc)
		return rc;
	for (size_t i = 0; i < *n; i++) {
		struct outcome *o = pending[i].outcome;
		if (status[i] && json_field_int(status[i], "pid") == o->pid) {
			o->ms = clock_mono_ms() - begun_ms;
			conclude(o, EXIT_DONE, "started", "started, pid %d", (int)o->pid);
		} else {
			pending[left++] = pending[i];
		}
		json_decref(status[i]);
	}
	*n = left;
	return 0;
}

static void say_waiting(struct starting *pending, size_t n)
{
	fprintf(stderr, "waiting for");
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "%s %s", i ? "," : "", pending[i].outcome->node->name);
	fprintf(stderr, " to answer ...\n");
}

static int await_starting(struct cli *cli, struct starting *pending, size_t n, uint64_t timeout_ms,
			  struct err *e)
{
	uint64_t begun_ms = clock_mono_ms(), now_ms = begun_ms;
	bool told = false;

	while ((n = drop_dead(pending, n)) > 0 && !cli_interrupted()) {
		uint64_t left_ms = begun_ms + timeout_ms - now_ms;
		int rc = drop_answering(cli, pending, &n, begun_ms,
					left_ms < 300 ? (uint32_t)left_ms + 1 : 300, e);
		if (rc)
			return rc;
		now_ms = clock_mono_ms();
		if (n == 0 || now_ms - begun_ms >= timeout_ms)
			break;
		if (!told && now_ms - begun_ms > 2000) {
			say_waiting(pending, n);
			told = true;
		}
		cli_sleep_ms(20);
	}
	for (size_t i = 0; i < n; i++) {
		struct outcome *o = pending[i].outcome;
		if (cli_interrupted())
			conclude(o, EXIT_INTERRUPTED, "failed", "started, pid %d; not waited for",
				 (int)o->pid);
		else
			conclude(
				o, EXIT_TIMED_OUT, "failed",
				"started, pid %d, but does not answer at %s within %.0f s; 'drover "
				"logs %s' may say why",
				(int)o->pid, o->node->rpc, (double)timeout_ms / 1000,
				o->node->name);
	}
	return 0;
}

int life_start(struct cli *cli, const struct node_set *set, uint64_t timeout_ms,
	       struct outcomes *ret_outcomes, struct err *e)
{
	struct starting pending[CONF_NODES_MAX];
	struct agent_conf *scratch = malloc(sizeof *scratch);
	size_t n = 0;
	int rc = scratch ? 0 : err_set(e, ERR_NOMEM, "no memory to read agent.ini");

	for (uint32_t i = 0; rc == 0 && i < set->n; i++)
		rc = check_agent_file(set->nodes[i], scratch, e);
	free(scratch);
	/* Without a key nobody could tell whether the nodes answer: say so before they start. */
	if (rc == 0 && cli_connect(cli))
		rc = err_set(e, cli->err.code, "%s", cli->err.text);
	if (rc)
		return rc;
	outcomes_begin(ret_outcomes, set);
	for (uint32_t i = 0; i < set->n; i++) {
		pending[n].outcome = &ret_outcomes->items[i];
		if (launch(&ret_outcomes->items[i], &pending[n].started))
			n++;
	}
	return await_starting(cli, pending, n, timeout_ms, e);
}

/* Sends the signal; true: it has arrived. */
static bool send_signal(struct outcome *o, int number)
{
	struct err e = {0};
	int rc = control_of(o->node)->signal(o->node, number, &o->pid, &e);

	if (rc == 0)
		return true;
	/* Nothing left to stop or kill is what was wanted; pausing needs a process. */
	bool fine = rc == ERR_NOT_FOUND && (number == SIGTERM || number == SIGKILL);
	conclude(o, fine ? EXIT_DONE : EXIT_FAILED, fine ? "not_running" : "failed", "%s",
		 fine		       ? "not running"
		 : rc == ERR_NOT_FOUND ? "is not running; 'drover start' brings it back"
				       : e.text);
	return false;
}

void life_stop(const struct node_set *set, uint64_t timeout_ms, struct outcomes *ret_outcomes)
{
	uint64_t begun_ms = clock_mono_ms();
	bool sent[CONF_NODES_MAX];

	outcomes_begin(ret_outcomes, set);
	for (uint32_t i = 0; i < set->n; i++) {
		struct outcome *o = &ret_outcomes->items[i];
		pid_t pid;
		sent[i] = send_signal(o, SIGTERM);
		/* A paused process takes no notice before it goes on. */
		if (sent[i])
			control_of(o->node)->signal(o->node, SIGCONT, &pid, NULL);
	}
	for (uint32_t i = 0; i < set->n; i++) {
		struct outcome *o = &ret_outcomes->items[i];
		uint64_t gone_ms = clock_mono_ms() - begun_ms;
		if (!sent[i])
			continue;
		bool down = control_wait_gone(o->node, o->pid,
					      gone_ms < timeout_ms ? timeout_ms - gone_ms : 0);
		o->ms = clock_mono_ms() - begun_ms;
		if (down)
			conclude(o, EXIT_DONE, "stopped", "stopped");
		else if (cli_interrupted())
			conclude(o, EXIT_INTERRUPTED, "failed",
				 "told to stop, pid %d; not waited for", (int)o->pid);
		else
			conclude(o, EXIT_TIMED_OUT, "failed",
				 "does not stop, pid %d, even after %.0f s; 'drover kill %s' ends "
				 "it "
				 "hard, which loses nothing that was acknowledged",
				 (int)o->pid, (double)timeout_ms / 1000, o->node->name);
	}
}

void life_signal(const struct node_set *set, int number, struct outcomes *ret_outcomes)
{
	static const struct {
		int number;
		const char *did, *text;
		unsigned shows;
	} kinds[] = {
		{SIGKILL, "killed", "killed, was", 0},
		{SIGSTOP, "paused", "paused,", 1u << CONTROL_PAUSED | 1u << CONTROL_DOWN},
		{SIGCONT, "resumed", "goes on,", 1u << CONTROL_RUNNING | 1u << CONTROL_DOWN},
	};
	bool sent[CONF_NODES_MAX];
	size_t k = 0;

	while (kinds[k].number != number)
		k++;
	outcomes_begin(ret_outcomes, set);
	/* All signals first: "kill all" means at once. */
	for (uint32_t i = 0; i < set->n; i++)
		sent[i] = send_signal(&ret_outcomes->items[i], number);
	for (uint32_t i = 0; i < set->n; i++) {
		struct outcome *o = &ret_outcomes->items[i];
		if (!sent[i])
			continue;
		bool shown = number == SIGKILL ? control_wait_gone(o->node, o->pid, 5000)
					       : control_wait(o->node, kinds[k].shows, 5000);
		if (shown)
			conclude(o, EXIT_DONE, kinds[k].did, "%s pid %d", kinds[k].text,
				 (int)o->pid);
		else
			conclude(o, EXIT_TIMED_OUT, "failed",
				 "was signalled, pid %d, but shows no sign of it after 5 s; it may "
				 "hang "
				 "in the disk",
				 (int)o->pid);
	}
}

int outcomes_code(const struct outcomes *o)
{
	for (uint32_t i = 0; i < o->n; i++) {
		if (o->items[i].code)
			return o->items[i].code;
	}
	return EXIT_DONE;
}

static void print_lines(const struct cli *cli, const struct outcomes *o)
{
	for (uint32_t i = 0; i < o->n; i++) {
		const struct outcome *at = &o->items[i];
		enum tint tint = tint_of_node(at->node->id);
		FILE *f = at->code ? stderr : stdout;
		bool color = cli->color && !at->code;
		fprintf(f, "%s%s%s: %s", tint_on(color, tint), at->node->name,
			tint_off(color, tint), at->text);
		if (at->ms >= 1000)
			fprintf(f, " (%.1f s)", (double)at->ms / 1000);
		fputc('\n', f);
	}
}

static void print_tsv(const struct outcomes *o)
{
	static const struct column columns[] = {
		{"id", "", ALIGN_LEFT},	 {"name", "", ALIGN_LEFT}, {"result", "", ALIGN_LEFT},
		{"pid", "", ALIGN_LEFT}, {"ms", "", ALIGN_LEFT},   {"text", "", ALIGN_LEFT},
	};
	struct table *t = table_new(columns, 6);

	for (uint32_t i = 0; t && i < o->n; i++) {
		const struct outcome *at = &o->items[i];
		table_cell(t, TINT_PLAIN, "%u", at->node->id);
		table_cell(t, TINT_PLAIN, "%s", at->node->name);
		table_cell(t, TINT_PLAIN, "%s", at->did);
		table_cell(t, TINT_PLAIN, at->pid ? "%d" : "", (int)at->pid);
		table_cell(t, TINT_PLAIN, "%llu", (unsigned long long)at->ms);
		table_cell(t, TINT_PLAIN, "%s", at->text);
	}
	if (t)
		table_print(t, stdout, OUTPUT_TSV, false, "\n");
	table_free(t);
}

void outcomes_print(const struct cli *cli, const struct outcomes *o)
{
	json_t *nodes;

	if (cli->output == OUTPUT_TABLE) {
		print_lines(cli, o);
		return;
	}
	if (cli->output == OUTPUT_TSV) {
		print_tsv(o);
		return;
	}
	nodes = json_array();
	for (uint32_t i = 0; i < o->n; i++) {
		const struct outcome *at = &o->items[i];
		json_array_append_new(nodes,
				      json_pack("{s:i,s:s,s:b,s:s,s:o,s:I,s:s}", "id",
						(int)at->node->id, "name", at->node->name, "ok",
						at->code == 0, "result", at->did, "pid",
						at->pid ? json_integer(at->pid) : json_null(), "ms",
						(json_int_t)at->ms, "text", at->text));
	}
	output_json(stdout, json_pack("{s:b,s:o}", "ok", outcomes_code(o) == 0, "nodes", nodes));
}

static bool in_set(const struct node_set *set, const struct conf_node *node)
{
	for (uint32_t i = 0; i < set->n; i++) {
		if (set->nodes[i] == node)
			return true;
	}
	return false;
}

bool life_loses_quorum(const struct cluster_conf *conf, const struct node_set *set)
{
	unsigned now = 0, then = 0, majority = cluster_majority(conf);

	for (uint32_t i = 0; i < conf->nodes_n; i++) {
		const struct conf_node *node = &conf->nodes[i];
		struct control_look look;
		if (node->role != CONF_VOTER)
			continue;
		control_of(node)->look(node, &look);
		/* What cannot be seen from here is taken to run. */
		bool runs = look.state == CONTROL_RUNNING || look.state == CONTROL_UNKNOWN;
		now += runs;
		then += runs && !in_set(set, node);
	}
	return now >= majority && then < majority;
}

void life_names(const struct node_set *set, char *ret_text, size_t size)
{
	size_t at = 0;

	ret_text[0] = 0;
	for (uint32_t i = 0; i < set->n; i++) {
		int n = snprintf(ret_text + at, size - at, "%s%s", i ? ", " : "",
				 set->nodes[i]->name);
		if (n < 0 || (size_t)n >= size - at)
			return;
		at += (size_t)n;
	}
}

bool life_consent(struct cli *cli, const struct node_set *set, const char *verb, int *ret_code)
{
	bool loses = life_loses_quorum(cli->conf, set);
	char names[400];

	life_names(set, names, sizeof names);
	*ret_code = EXIT_DONE;
	if (cli->dry_run) {
		printf("would %s %s%s\n", verb, names,
		       loses ? "; the cluster would lose its quorum: nothing could be written"
			     : "");
		return false;
	}
	if (!loses ||
	    cli_confirm(cli,
			"To %s %s leaves less than a majority of the voters: nothing can be "
			"written until enough run again.",
			verb, names))
		return true;
	*ret_code = EXIT_REFUSED;
	return false;
}

/* Per group the commit index of its leader, 0 where there is none. */
static void note_commits(const struct cluster_view *view, int64_t *commits)
{
	for (unsigned group = 0; group <= view->conf->shards; group++) {
		const struct cluster_node *leader = cluster_leader(view, group);
		if (leader && !commits[group])
			commits[group] = json_field_int(cluster_group(leader, group), "committed");
	}
}

static bool has_caught_up(const struct cluster_view *view, const int64_t *commits)
{
	for (unsigned group = 0; group <= view->conf->shards; group++) {
		for (uint32_t i = 0; i < view->n; i++) {
			const json_t *at = cluster_group(&view->nodes[i], group);
			if (!at || json_field_int(at, "applied") < commits[group])
				return false;
		}
	}
	return true;
}

int life_wait_healthy(struct cli *cli, uint64_t timeout_ms, struct cluster_view *ret_view,
		      struct err *e)
{
	uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
	int64_t commits[64] = {0};

	for (;;) {
		int rc = cluster_ask(cli, 1000, ret_view, e);
		if (rc)
			return rc;
		note_commits(ret_view, commits);
		if (ret_view->health == HEALTH_HEALTHY && has_caught_up(ret_view, commits))
			return 0;
		if (cli_interrupted() || clock_mono_ms() >= deadline_ms)
			return err_set(e, ERR_TIMEOUT,
				       "the cluster is not healthy within %.0f s: %s",
				       (double)timeout_ms / 1000, ret_view->verdict);
		cluster_view_done(ret_view);
		cli_sleep_ms(50);
	}
}
