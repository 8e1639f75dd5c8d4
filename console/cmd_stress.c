/* drover stress */
#include "console/command.h"
#include "console/load/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct stress {
	struct cli *cli;
	FILE *progress; /* interval lines: with -o json stdout has only the result */
	uint64_t interval_ms;
	uint32_t timeout_ms;
	struct load *load;
	struct load_mix mix;
	struct report report;
};

/* "host:port", or a node's id or name from the cluster file. */
static int add_host(struct cli *cli, char *host, struct client_node *nodes, size_t *n,
		    struct err *e)
{
	struct node_set set;
	int rc;

	if (strchr(host, ':')) {
		if (*n == CLIENT_NODES_MAX)
			return err_set(e, ERR_INVALID, "--hosts takes at most %d",
				       CLIENT_NODES_MAX);
		nodes[*n] = (struct client_node){.address = host};
		for (uint32_t i = 0; i < cli->conf->nodes_n; i++) {
			if (strcmp(cli->conf->nodes[i].rpc, host) == 0)
				nodes[*n].id = cli->conf->nodes[i].id;
		}
		(*n)++;
		return 0;
	}
	rc = cli_nodes(cli, 1, &host, &set, e);
	for (uint32_t i = 0; !rc && i < set.n; i++) {
		if (*n == CLIENT_NODES_MAX)
			return err_set(e, ERR_INVALID, "--hosts takes at most %d",
				       CLIENT_NODES_MAX);
		nodes[(*n)++] = (struct client_node){set.nodes[i]->id, set.nodes[i]->rpc};
	}
	return rc;
}

static void add_missing(const struct conf_node *node, struct client_node *nodes, size_t *n)
{
	for (size_t i = 0; i < *n; i++) {
		if (strcmp(nodes[i].address, node->rpc) == 0)
			return;
	}
	nodes[(*n)++] = (struct client_node){node->id, node->rpc};
}

static int connect_hosts(struct cli *cli, const char *hosts, uint32_t connections)
{
	struct client_node nodes[CLIENT_NODES_MAX];
	char *copy = hosts ? strdup(hosts) : NULL, *save = NULL;
	size_t n = 0;
	int rc = 0;

	if (hosts && !copy)
		return err_set(&cli->err, ERR_NOMEM, "no memory for --hosts");
	for (char *host = copy ? strtok_r(copy, ", ", &save) : NULL; host && !rc;
	     host = strtok_r(NULL, ", ", &save))
		rc = add_host(cli, host, nodes, &n, &cli->err);
	if (!rc && copy && n == 0)
		rc = err_set(&cli->err, ERR_INVALID, "--hosts names no node");
	/* The cluster's other nodes must be known too: writes go to whoever leads. */
	for (uint32_t i = 0; !rc && i < cli->conf->nodes_n && n < CLIENT_NODES_MAX; i++)
		add_missing(&cli->conf->nodes[i], nodes, &n);
	if (!rc)
		rc = cli_connect_to(cli, nodes, n, connections);
	free(copy);
	return rc;
}

static int number(struct cli *cli, const char *name, int64_t least, int64_t most,
		  int64_t *ret_number, struct err *e)
{
	int64_t n = cli_number(cli, name);

	if (n < least || n > most)
		return err_set(e, ERR_INVALID, "--%s is %lld to %lld", name, (long long)least,
			       (long long)most);
	*ret_number = n;
	return 0;
}

static int share(struct cli *cli, const char *name, double *ret_share, struct err *e)
{
	double r = cli_real(cli, name);

	if (r < 0 || r > 1)
		return err_set(e, ERR_INVALID, "--%s is a share from 0 to 1", name);
	*ret_share = r;
	return 0;
}

static int read_level(struct cli *cli, enum sql_level *ret_level, struct err *e)
{
	static const char *const names[] = {"session", "stale", "linearizable"};

	for (int i = 0; i < 3; i++) {
		if (strcmp(cli_text(cli, "read"), names[i]) == 0) {
			*ret_level = (enum sql_level)i;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID, "--read takes stale, session or linearizable, not '%s'",
		       cli_text(cli, "read"));
}

static int read_protocol(struct cli *cli, struct err *e)
{
	const char *protocol = cli_text(cli, "protocol");

	if (strcmp(protocol, "native") == 0)
		return 0;
	if (strcmp(protocol, "mysql") == 0 || strcmp(protocol, "http") == 0)
		return err_set(e, ERR_INVALID,
			       "--protocol %s is not there yet; this version speaks native",
			       protocol);
	return err_set(e, ERR_INVALID, "--protocol takes native, not '%s'", protocol);
}

static int read_mix(struct stress *s, struct err *e)
{
	struct cli *cli = s->cli;
	struct load_mix *m = &s->mix;
	int64_t batch = 0;
	int rc = read_protocol(cli, e);

	if (!rc)
		rc = read_level(cli, &m->level, e);
	if (!rc)
		rc = share(cli, "read-ratio", &m->read_ratio, e);
	if (!rc)
		rc = share(cli, "hot-ratio", &m->hot_ratio, e);
	if (!rc)
		rc = number(cli, "batch", 1, LOAD_BATCH_MAX, &batch, e);
	m->batch = (uint32_t)batch;
	m->rate = cli_real(cli, "rate");
	m->duration_ms = cli_duration_ms(cli, "duration");
	s->interval_ms = cli_duration_ms(cli, "report-interval");
	s->timeout_ms = (uint32_t)cli_duration_ms(cli, "timeout");
	if (!rc && (m->duration_ms == 0 || s->interval_ms < 10 || s->timeout_ms == 0))
		rc = err_set(e, ERR_INVALID,
			     "--duration, --timeout and --report-interval are "
			     "longer than nothing");
	if (!rc && m->rate < 0)
		rc = err_set(e, ERR_INVALID, "--rate is requests a second, 0 for no limit");
	return rc;
}

static int make_load(struct stress *s, struct err *e)
{
	struct cli *cli = s->cli;
	int64_t workers = 0, keys = 0, hot = 0, bytes = 0, connections = 0;
	uint64_t seed = (uint64_t)cli_number(cli, "seed");
	uint32_t run;
	char prefix[32];
	int rc = number(cli, "concurrency", 1, LOAD_WORKERS_MAX, &workers, e);

	if (!rc)
		rc = number(cli, "keys", 1, 100000000, &keys, e);
	if (!rc)
		rc = number(cli, "hot-keys", 0, 100000, &hot, e);
	if (!rc)
		rc = number(cli, "value-bytes", 0, LOAD_VALUE_BYTES_MAX, &bytes, e);
	if (!rc)
		rc = number(cli, "connections", 1, 64, &connections, e);
	if (rc)
		return rc;
	rc = connect_hosts(cli, cli_text(cli, "hosts"), (uint32_t)connections);
	if (rc) {
		*e = cli->err;
		return rc;
	}
	if (getrandom(&run, sizeof run, 0) != sizeof run)
		return err_sys(e, ERR_IO, errno, "no random number for this run's tables");
	snprintf(prefix, sizeof prefix, "stress_%06x", run & 0xffffff);
	struct load_options o = {
		.client = cli->client,
		.namespace = cli_text(cli, "namespace"),
		.prefix = prefix,
		.workers = (uint32_t)workers,
		.keys = (uint64_t)keys,
		.hot_keys = (uint32_t)hot,
		.value_bytes = (uint32_t)bytes,
		.timeout_ms = s->timeout_ms,
		.seed = cli_given(cli, "seed") ? seed : run,
	};
	rc = load_new(&s->load, &o, e);
	if (rc)
		return rc;
	s->report.workers = o.workers;
	s->report.keys = load_keys(s->load);
	s->report.hot_keys = o.hot_keys;
	fprintf(s->progress,
		"Tables %s_keys and %s_hot in namespace %s; seed %llu; %u workers for %.1f s\n",
		prefix, prefix, o.namespace, (unsigned long long)o.seed, o.workers,
		(double)s->mix.duration_ms / 1000);
	return 0;
}

/* Tells each interval until the end; ^C ends the load early. */
static int watch(struct stress *s, struct err *e)
{
	struct load_counts before = {0}, now;
	uint64_t report_us = s->interval_ms * 1000;
	uint64_t give_up_us = (s->mix.duration_ms + s->timeout_ms + 10000) * 1000;
	bool ended = false, stopped = false;
	int rc = load_start(s->load, &s->mix, e);

	while (!rc && !ended) {
		ended = load_wait(s->load, s->interval_ms < 100 ? s->interval_ms : 100);
		load_counts(s->load, &now);
		if (cli_interrupted() && !stopped) {
			load_stop(s->load);
			stopped = true;
			give_up_us = now.elapsed_us + (s->timeout_ms + 10000) * 1000ull;
		}
		if (!ended && now.elapsed_us > give_up_us) {
			/* Its callbacks may still come: the memory stays until the process ends. */
			s->load = NULL;
			return err_set(e, ERR_TIMEOUT,
				       "some requests were neither answered nor timed out");
		}
		/* A rest too short to tell anything is left to the report. */
		uint64_t since_us = now.elapsed_us - before.elapsed_us;
		if (now.elapsed_us >= report_us ||
		    (ended && since_us > s->interval_ms * 1000 / 10)) {
			report_interval(s->progress, &before, &now);
			before = now;
			report_us += s->interval_ms * 1000;
		}
	}
	return rc;
}

static void verify(struct stress *s, struct err *e)
{
	uint32_t patience_ms = s->timeout_ms * 3 > 60000 ? s->timeout_ms * 3 : 60000;

	if (cli_flag(s->cli, "no-verify")) {
		snprintf(s->report.unchecked_why, sizeof s->report.unchecked_why,
			 "left out (--no-verify)");
		return;
	}
	fprintf(s->progress, "Comparing the data with what was acknowledged\n");
	if (load_verify(s->load, patience_ms, &s->report.violations, e))
		snprintf(s->report.unchecked_why, sizeof s->report.unchecked_why, "%s", e->text);
	else
		s->report.checked = true;
}

/* The tables stay when they are evidence, or when the cluster does not answer. */
static void clean_up(struct stress *s)
{
	struct err e = {0};

	if (cli_flag(s->cli, "keep"))
		return;
	if (s->report.violations.count > 0) {
		fprintf(stderr, "drover stress: the tables are kept as evidence\n");
		return;
	}
	if (load_drop_tables(s->load, &e))
		fprintf(stderr, "drover stress: the tables could not be dropped: %s\n", e.text);
}

static int conclude(struct stress *s)
{
	struct report *r = &s->report;
	struct err e = {0};

	load_counts(s->load, &r->counts);
	load_latency(s->load, &r->latency);
	r->errors_n = load_errors(s->load, r->errors);
	verify(s, &e);
	if (s->cli->output == OUTPUT_JSON)
		report_json(stdout, r);
	else
		report_text(stdout, r);
	fflush(stdout);
	clean_up(s);
	if (r->violations.count > 0)
		return EXIT_VIOLATION;
	if (cli_interrupted())
		return EXIT_INTERRUPTED;
	if (r->counts.ok == 0 && r->errors_n > 0) {
		err_set(&e, r->errors[0].code, "not one request was done: %s", r->errors[0].text);
		return cli_fail(s->cli, &e);
	}
	if (!r->checked && !cli_flag(s->cli, "no-verify")) {
		err_wrap(&e, "the data could not be compared");
		return cli_fail(s->cli, &e);
	}
	return EXIT_DONE;
}

static int run_stress(struct cli *cli)
{
	struct stress *s = calloc(1, sizeof *s);
	struct err e = {0};
	int rc, code;

	if (!s) {
		err_set(&e, ERR_NOMEM, "no memory for the load");
		return cli_fail(cli, &e);
	}
	s->cli = cli;
	s->progress = cli->output == OUTPUT_TABLE ? stdout : stderr;
	rc = read_mix(s, &e);
	if (!rc)
		rc = make_load(s, &e);
	if (!rc)
		rc = load_setup(s->load, &e);
	if (!rc && cli_flag(cli, "fill")) {
		fprintf(s->progress, "Writing all %llu keys once\n",
			(unsigned long long)s->report.keys);
		rc = load_fill(s->load, cli_interrupted, &e);
	}
	if (!rc)
		rc = watch(s, &e);
	code = rc ? cli_fail(cli, &e) : conclude(s);
	load_free(s->load);
	free(s);
	return code;
}

static const struct flag stress_flags[] = {
	{"hosts", 0, FLAG_TEXT, "LIST", NULL,
	 "nodes to talk to besides those of the cluster file, or first: host:port, ids, names"},
	{"duration", 0, FLAG_DURATION, "DURATION", "30s", "how long"},
	{"concurrency", 0, FLAG_NUMBER, "N", "10", "workers, each with one request under way"},
	{"connections", 0, FLAG_NUMBER, "N", "2", "connections to each node"},
	{"read-ratio", 0, FLAG_REAL, "SHARE", "0.2", "share of the requests that read"},
	{"hot-keys", 0, FLAG_NUMBER, "N", "10", "counters that all workers add to; 0: none"},
	{"hot-ratio", 0, FLAG_REAL, "SHARE", "0.5", "share of the requests that go to a hot key"},
	{"batch", 0, FLAG_NUMBER, "N", "1", "rows a write, in one transaction"},
	{"keys", 0, FLAG_NUMBER, "N", "100000", "keys to choose from"},
	{"value-bytes", 0, FLAG_NUMBER, "N", "100", "size of a value"},
	{"fill", 0, FLAG_BOOL, NULL, NULL, "write every key once before the clock starts"},
	{"read", 0, FLAG_TEXT, "LEVEL", "session", "reads are stale, session or linearizable"},
	{"rate", 0, FLAG_REAL, "N", "0", "requests a second in all; 0: as fast as answers come"},
	{"report-interval", 0, FLAG_DURATION, "DURATION", "5s", "a line so often"},
	{"timeout", 0, FLAG_DURATION, "DURATION", "10s", "give a request up after this long"},
	{"protocol", 0, FLAG_TEXT, "NAME", "native", "native"},
	{"namespace", 'd', FLAG_TEXT, "NAMESPACE", "stress", "where; created when missing"},
	{"seed", 0, FLAG_NUMBER, "N", "0", "the same keys in the same order again"},
	{"keep", 0, FLAG_BOOL, NULL, NULL, "leave the tables there"},
	{"no-verify", 0, FLAG_BOOL, NULL, NULL, "leave the comparison at the end out"},
	{0},
};

const struct command command_stress = {
	.name = "stress",
	.arguments = "",
	.arguments_max = 0,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_OUTPUT,
	.help = "put load on the cluster, and prove its answers true",
	.details =
		"Workers write and read two tables made for this run. Each interval gives a line "
		"with\n"
		"that interval's numbers. Failed counts every request that was not acknowledged;\n"
		"conflicts and unknown outcomes are among them.\n"
		"\n"
		"At the end all data is compared with what was acknowledged: each key must hold "
		"its\n"
		"last acknowledged write or a later one of unknown outcome, each hot counter what "
		"was\n"
		"acknowledged or as much more as is unknown, each transaction be done as a whole, "
		"and\n"
		"nothing else may be there. Reads are checked as they come. Exit 7 and kept "
		"tables\n"
		"when something contradicts. The tables are dropped otherwise. ^C ends the load "
		"early.",
	.flags = stress_flags,
	.run = run_stress,
};
