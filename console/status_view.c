#include "console/status_view.h"

#include "console/output.h"

#include <string.h>

static const struct column node_columns[] = {
	{"state", "", ALIGN_LEFT},
	{"name", "NODE", ALIGN_LEFT},
	{"pid", "PID", ALIGN_RIGHT},
	{"role", "ROLE", ALIGN_LEFT},
	{"term", "TERM", ALIGN_RIGHT},
	{"committed", "COMMITTED", ALIGN_RIGHT},
	{"applied", "APPLIED", ALIGN_RIGHT},
	{"lag_entries", "LAG", ALIGN_RIGHT},
	{"lag_ms", "LAG MS", ALIGN_RIGHT},
	{"writes_per_s", "WRITES/S", ALIGN_RIGHT},
	{"reads_per_s", "READS/S", ALIGN_RIGHT},
	{"uptime_s", "UPTIME", ALIGN_RIGHT},
	{"rpc", "RPC", ALIGN_LEFT},
	{"peer", "PEER", ALIGN_LEFT}, /* TSV only: the line is long enough */
};

static const struct column group_columns[] = {
	{"state", "", ALIGN_LEFT},
	{"name", "NODE", ALIGN_LEFT},
	{"group", "GROUP", ALIGN_RIGHT},
	{"group_name", "NAME", ALIGN_LEFT},
	{"role", "ROLE", ALIGN_LEFT},
	{"leader_id", "LEADER", ALIGN_LEFT},
	{"term", "TERM", ALIGN_RIGHT},
	{"first_index", "FIRST", ALIGN_RIGHT},
	{"last_index", "LAST", ALIGN_RIGHT},
	{"durable", "DURABLE", ALIGN_RIGHT},
	{"committed", "COMMITTED", ALIGN_RIGHT},
	{"applied", "APPLIED", ALIGN_RIGHT},
	{"snapshot_index", "SNAPSHOT", ALIGN_RIGHT},
	{"lag_entries", "LAG", ALIGN_RIGHT},
	{"lag_ms", "LAG MS", ALIGN_RIGHT},
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static enum tint state_tint(enum node_state state)
{
	return state == NODE_UP ? TINT_GOOD : state == NODE_DOWN ? TINT_BAD : TINT_WARN;
}

/* Full: up; half: there, but not answering; empty: not there. */
static void state_cell(struct table *t, enum output form, enum node_state state)
{
	static const char *const glyphs[2][4] = {
		{"*", "o", "-", "-"},
		{"\xe2\x97\x8f", "\xe2\x97\x8b", "\xe2\x97\x90", "\xe2\x97\x90"},
	};

	if (form == OUTPUT_TSV)
		table_cell(t, TINT_PLAIN, "%s", node_state_name(state));
	else
		table_cell(t, state_tint(state), "%s", glyphs[output_utf8()][state]);
}

/* What is not known is "-" for people and empty for programs. */
static void unknown_cells(struct table *t, enum output form, size_t n)
{
	while (n--)
		table_cell(t, TINT_DIM, "%s", form == OUTPUT_TSV ? "" : "-");
}

/* The data groups of one node taken together. */
struct summary {
	unsigned groups, leads;
	const char *role; /* of group 1 */
	int64_t term;	  /* of group 1 */
	int64_t committed, applied, lag_entries;
	double lag_ms;
};

static void summarize(const struct cluster_node *node, unsigned shards, struct summary *ret_sum)
{
	struct summary s = {.role = json_field_text(cluster_group(node, 1), "role")};

	s.term = json_field_int(cluster_group(node, 1), "term");
	for (unsigned group = 1; group <= shards; group++) {
		const json_t *at = cluster_group(node, group);
		if (!at)
			continue;
		s.groups++;
		s.leads += strcmp(json_field_text(at, "role"), "leader") == 0;
		s.committed += json_field_int(at, "committed");
		s.applied += json_field_int(at, "applied");
		if (json_field_int(at, "lag_entries") > s.lag_entries)
			s.lag_entries = json_field_int(at, "lag_entries");
		if (json_field_real(at, "lag_ms") > s.lag_ms)
			s.lag_ms = json_field_real(at, "lag_ms");
	}
	*ret_sum = s;
}

static enum tint role_tint(const char *role)
{
	if (strcmp(role, "leader") == 0)
		return TINT_HEAD;
	return strcmp(role, "candidate") == 0 ? TINT_WARN : TINT_PLAIN;
}

static void role_cell(struct table *t, enum output form, const struct summary *s)
{
	if (s->groups > 1 && s->leads && form != OUTPUT_TSV)
		table_cell(t, TINT_HEAD, "leader %u/%u", s->leads, s->groups);
	else if (s->groups > 1)
		table_cell(t, TINT_PLAIN, "%s", s->leads ? "leader" : "follower");
	else
		table_cell(t, role_tint(s->role), "%s", s->role);
}

static void up_cells(struct table *t, enum output form, const struct cluster_node *node,
		     unsigned shards)
{
	double uptime = json_field_real(node->status, "uptime_s");
	char text[32];
	struct summary s;

	summarize(node, shards, &s);
	role_cell(t, form, &s);
	/* Terms of several groups have nothing to do with each other; indexes add up to progress.
	 */
	if (s.groups > 1)
		unknown_cells(t, form, 1);
	else
		table_cell(t, TINT_PLAIN, "%lld", (long long)s.term);
	table_cell(t, TINT_PLAIN, "%lld", (long long)s.committed);
	table_cell(t, TINT_PLAIN, "%lld", (long long)s.applied);
	enum tint lag = s.lag_entries > CLUSTER_LAG_ENTRIES ? TINT_WARN : TINT_PLAIN;
	table_cell(t, lag, "%lld", (long long)s.lag_entries);
	table_cell(t, lag, "%.1f", s.lag_ms);
	table_cell(t, TINT_PLAIN, "%.1f", json_field_real(node->status, "writes_per_s"));
	table_cell(t, TINT_PLAIN, "%.1f", json_field_real(node->status, "reads_per_s"));
	if (form == OUTPUT_TSV)
		snprintf(text, sizeof text, "%.1f", uptime);
	else
		output_uptime(uptime, text, sizeof text);
	table_cell(t, TINT_PLAIN, "%s", text);
}

static void node_row(struct table *t, enum output form, const struct cluster_node *node,
		     unsigned shards)
{
	state_cell(t, form, node->state);
	table_cell(t, tint_of_node(node->conf->id), "%s", node->conf->name);
	if (node->pid)
		table_cell(t, TINT_PLAIN, "%d", (int)node->pid);
	else
		unknown_cells(t, form, 1);
	if (node->state == NODE_UP) {
		up_cells(t, form, node, shards);
	} else {
		table_cell(t, state_tint(node->state), "%s",
			   form == OUTPUT_TSV ? "" : node_state_name(node->state));
		unknown_cells(t, form, 8);
	}
	table_cell(t, TINT_PLAIN, "%s", node->conf->rpc);
	if (form == OUTPUT_TSV)
		table_cell(t, TINT_PLAIN, "%s", node->conf->peer);
}

static const char *name_of(const struct cluster_view *view, int64_t id)
{
	for (uint32_t i = 0; i < view->n; i++) {
		if (view->nodes[i].conf->id == id)
			return view->nodes[i].conf->name;
	}
	return "-";
}

static void group_row(struct table *t, enum output form, const struct cluster_view *view,
		      const struct cluster_node *node, const json_t *at)
{
	static const char *const numbers[] = {"term",	       "first_index", "last_index",
					      "durable",       "committed",   "applied",
					      "snapshot_index"};
	const char *role = json_field_text(at, "role");
	int64_t leader = json_field_int(at, "leader_id");
	bool lags = json_field_int(at, "lag_entries") > CLUSTER_LAG_ENTRIES;

	state_cell(t, form, node->state);
	table_cell(t, tint_of_node(node->conf->id), "%s", node->conf->name);
	table_cell(t, TINT_PLAIN, "%lld", (long long)json_field_int(at, "group"));
	table_cell(t, TINT_PLAIN, "%s", json_field_text(at, "name"));
	table_cell(t, role_tint(role), "%s", role);
	if (form == OUTPUT_TSV)
		table_cell(t, TINT_PLAIN, "%lld", (long long)leader);
	else
		table_cell(t, leader ? TINT_PLAIN : TINT_WARN, "%s", name_of(view, leader));
	for (size_t i = 0; i < COUNT(numbers); i++)
		table_cell(t, TINT_PLAIN, "%lld", (long long)json_field_int(at, numbers[i]));
	table_cell(t, lags ? TINT_WARN : TINT_PLAIN, "%lld",
		   (long long)json_field_int(at, "lag_entries"));
	table_cell(t, lags ? TINT_WARN : TINT_PLAIN, "%.1f", json_field_real(at, "lag_ms"));
}

static void group_rows(struct table *t, enum output form, const struct cluster_view *view,
		       const struct cluster_node *node)
{
	const json_t *groups = json_object_get(node->status, "groups");

	for (size_t i = 0; i < json_array_size(groups); i++)
		group_row(t, form, view, node, json_array_get(groups, i));
	if (json_array_size(groups))
		return;
	/* A node keeps its line when nothing is known of its groups. */
	state_cell(t, form, node->state);
	table_cell(t, tint_of_node(node->conf->id), "%s", node->conf->name);
	unknown_cells(t, form, 2);
	table_cell(t, state_tint(node->state), "%s",
		   form == OUTPUT_TSV ? "" : node_state_name(node->state));
	unknown_cells(t, form, COUNT(group_columns) - 5);
}

static void print_verdict(const struct cluster_view *view, FILE *f, bool color, const char *eol)
{
	static const enum tint tints[] = {TINT_GOOD, TINT_WARN, TINT_BAD};
	enum tint tint = tints[view->health];

	fprintf(f, "%s%s%s%s", tint_on(color, tint), view->verdict, tint_off(color, tint), eol);
	for (uint32_t i = 0; i < view->n; i++) {
		const struct cluster_node *node = &view->nodes[i];
		if (node->state == NODE_UNREACHABLE && node->why[0])
			fprintf(f, "%s at %s does not answer: %s%s", node->conf->name,
				node->conf->rpc, node->why, eol);
	}
}

void status_print(const struct cli *cli, const struct cluster_view *view, bool groups, FILE *f,
		  const char *eol)
{
	struct table *t;

	if (cli->output == OUTPUT_JSON) {
		output_json(f, cluster_json(view));
		return;
	}
	t = groups ? table_new(group_columns, COUNT(group_columns))
		   : table_new(node_columns, COUNT(node_columns) - (cli->output != OUTPUT_TSV));
	for (uint32_t i = 0; t && i < view->n; i++) {
		if (groups)
			group_rows(t, cli->output, view, &view->nodes[i]);
		else
			node_row(t, cli->output, &view->nodes[i], view->conf->shards);
	}
	if (t)
		table_print(t, f, cli->output, cli->color, eol);
	table_free(t);
	if (cli->output == OUTPUT_TSV)
		print_verdict(view, stderr, false, "\n");
	else
		print_verdict(view, f, cli->color, eol);
}
