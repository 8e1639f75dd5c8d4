/* drover verify */
#include "console/command.h"
#include "console/load/digest.h"
#include "console/output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct verdict {
	bool differs;
	bool missing; /* some node did not tell */
	json_t *groups;
};

static json_t *group_json(const struct digest_group *g)
{
	json_t *digests = json_object(), *namespaces = json_object();

	for (uint32_t i = 0; i < g->n; i++) {
		const struct digest_node *row = &g->nodes[i];
		char id[16];
		snprintf(id, sizeof id, "%u", row->node->id);
		json_object_set_new(digests, id,
				    row->namespaces ? json_string(row->hex) : json_null());
		json_object_set(namespaces, id, row->namespaces ? row->namespaces : json_null());
	}
	return json_pack("{s:i,s:I,s:o,s:O,s:o}", "group", (int)g->group, "index",
			 (json_int_t)g->index, "digests", digests, "different", g->different,
			 "namespaces", namespaces);
}

static void add_rows(struct table *t, const struct digest_group *g)
{
	for (uint32_t i = 0; i < g->n; i++) {
		const struct digest_node *row = &g->nodes[i];
		enum tint tint = !row->namespaces ? TINT_WARN : g->differs ? TINT_BAD : TINT_GOOD;
		table_cell(t, TINT_PLAIN, "%u", g->group);
		table_cell(t, TINT_PLAIN, "%" PRIu64, g->index);
		table_cell(t, tint_of_node(row->node->id), "%s", row->node->name);
		table_cell(t, tint, "%s", row->namespaces ? row->hex : "-");
		table_cell(t, tint, "%s",
			   !row->namespaces ? row->why
			   : g->differs	    ? "DIFFERS"
					    : "same");
	}
}

/* The namespaces that differ, each node's digest beside it. */
static void tell_differences(const struct digest_group *g)
{
	for (size_t i = 0; i < json_array_size(g->different); i++) {
		const char *name = json_string_value(json_array_get(g->different, i));
		fprintf(stderr,
			"drover verify: group %u, namespace %s differs at index %" PRIu64 ":",
			g->group, name, g->index);
		for (uint32_t k = 0; k < g->n; k++) {
			const struct digest_node *row = &g->nodes[k];
			const char *hex = json_string_value(json_object_get(row->namespaces, name));
			if (row->namespaces)
				fprintf(stderr, " %s %.8s", row->node->name, hex ? hex : "(none)");
		}
		fputs("\n", stderr);
	}
}

static int verify_group(struct cli *cli, uint32_t group, struct table *t, struct verdict *v,
			struct err *e)
{
	const struct conf_node *nodes[CONF_NODES_MAX];
	struct digest_group *g = calloc(1, sizeof *g);
	int rc;

	if (!g)
		return err_set(e, ERR_NOMEM, "no memory for the digests");
	for (uint32_t i = 0; i < cli->conf->nodes_n; i++)
		nodes[i] = &cli->conf->nodes[i];
	rc = digest_ask(cli->client, nodes, cli->conf->nodes_n, group,
			(uint32_t)cli_duration_ms(cli, "timeout"), cli_interrupted, g, e);
	if (rc == 0) {
		v->differs |= g->differs;
		for (uint32_t i = 0; i < g->n; i++)
			v->missing |= g->nodes[i].namespaces == NULL;
		json_array_append_new(v->groups, group_json(g));
		add_rows(t, g);
		tell_differences(g);
		digest_group_done(g);
	}
	free(g);
	return rc;
}

static void print_verdict(struct cli *cli, const struct verdict *v, const struct table *t)
{
	if (cli->output == OUTPUT_JSON) {
		output_json(stdout, json_pack("{s:b,s:O}", "ok", !v->differs, "groups", v->groups));
		return;
	}
	table_print(t, stdout, cli->output, cli->color, "\n");
	if (cli->output != OUTPUT_TABLE)
		return;
	if (v->differs)
		printf("The nodes' data DIFFER.\n");
	else if (v->missing)
		printf("The nodes that answered hold the same data; not all answered.\n");
	else
		printf("All nodes hold the same data.\n");
}

static int run_verify(struct cli *cli)
{
	static const struct column columns[] = {
		{"group", "GROUP", ALIGN_RIGHT}, {"index", "INDEX", ALIGN_RIGHT},
		{"node", "NODE", ALIGN_LEFT},	 {"digest", "DIGEST", ALIGN_LEFT},
		{"result", "", ALIGN_LEFT},
	};
	struct verdict v = {.groups = json_array()};
	struct table *t = table_new(columns, 5);
	struct err e = {0};
	int rc = 0;

	if (!t || !v.groups)
		rc = err_set(&e, ERR_NOMEM, "no memory for the result");
	if (!rc && cli_connect(cli)) {
		e = cli->err;
		rc = e.code;
	}
	for (uint32_t group = 0; !rc && group <= cli->conf->shards; group++)
		rc = verify_group(cli, group, t, &v, &e);
	if (!rc)
		print_verdict(cli, &v, t);
	table_free(t);
	json_decref(v.groups);
	if (rc)
		return cli_fail(cli, &e);
	return v.differs ? EXIT_VIOLATION : v.missing ? EXIT_DEGRADED : EXIT_DONE;
}

static const struct flag verify_flags[] = {
	{"timeout", 't', FLAG_DURATION, "DURATION", "30s", "wait at most this long for a group"},
	{0},
};

const struct command command_verify = {
	.name = "verify",
	.arguments = "",
	.arguments_max = 0,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT,
	.help = "compare every node's data at one and the same entry of the log",
	.details = "A mark goes through each group's log; each node tells the digest of its data "
		   "at that\n"
		   "entry, while writing goes on. Exit 7 when they differ, with the namespaces "
		   "named, 3\n"
		   "when they are the same but not all nodes answered.",
	.flags = verify_flags,
	.run = run_verify,
};
