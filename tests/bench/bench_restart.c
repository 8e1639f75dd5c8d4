/* From the start of a node that was killed, with 1 GiB of log, to its first answer to a read that
 * must see everything. */
#include "tests/bench/bench.h"
#include "common/clock.h"

#define LOG_BYTES (UINT64_C(1) << 30)
#define VALUE_BYTES 8192
#define BATCH 64
#define WORKERS 8
#define KEYS 8192

static int64_t log_bytes(struct bench *b, uint32_t id)
{
	struct cluster_view *view = malloc(sizeof *view);
	int64_t bytes = -1;

	if (view && cluster_ask(&b->testbed->cli, 2000, view, &b->err) == 0) {
		const json_t *log = json_object_get(view->nodes[id - 1].status, "log");
		bytes = json_field_int(log, "bytes");
		cluster_view_done(view);
	}
	free(view);
	return bytes;
}

/* Writes until the log has its size. */
static int grow(struct bench *b)
{
	struct load_options o = {
		.client = b->client,
		.namespace = "main",
		.prefix = "bench",
		.workers = WORKERS,
		.keys = KEYS,
		.value_bytes = VALUE_BYTES,
		.timeout_ms = 10000,
		.seed = 1,
	};
	struct load_mix mix = {.batch = BATCH};
	struct load_counts c;
	struct load *l = NULL;
	int rc = load_new(&l, &o, &b->err);

	if (!rc)
		rc = load_setup(l, &b->err);
	if (!rc)
		rc = load_start(l, &mix, &b->err);
	while (!rc) {
		load_wait(l, 50);
		load_counts(l, &c);
		if (c.rows * VALUE_BYTES >= LOG_BYTES || cli_interrupted())
			break;
	}
	if (l)
		load_stop(l);
	while (!rc && !load_wait(l, 1000))
		;
	load_free(l);
	if (!rc && cli_interrupted())
		rc = err_set(&b->err, ERR_REFUSED, "interrupted");
	return rc;
}

static int read_there(struct bench *b, struct caller *caller, uint32_t id)
{
	struct client_statement st = {.text = slice_str("SELECT n FROM bench_keys WHERE key = 1")};
	struct client_request r = {.node = id,
				   .mode = SQL_READ,
				   .level = SQL_LINEARIZABLE,
				   .statements = &st,
				   .statements_n = 1,
				   .timeout_ms = 30000};
	struct sql_answer answer;
	struct buf body;

	buf_init(&body, SQL_ANSWER_BYTES_MAX);
	int rc = client_wait(caller, &r, &body, &answer, &b->err);
	buf_done(&body);
	return rc;
}

/* Starts the node without waiting for anything, then asks until it answers. */
static int once(struct bench *b, struct caller *caller, uint32_t id, double *ret_seconds)
{
	const struct conf_node *node = testbed_node(b->testbed, id);
	struct control_started started;
	int rc = testbed_kill(b->testbed, 1u << id, &b->err);
	uint64_t start_us = clock_mono_us();

	if (!rc)
		rc = control_of(node)->start(node, &started, &b->err);
	if (rc)
		return rc;
	do {
		struct rpc_conn *conn = client_conn(b->client, id);
		if (conn)
			rpc_conn_nudge(conn);
		cli_sleep_ms(5);
		rc = read_there(b, caller, id);
	} while (rc && !cli_interrupted() && clock_mono_us() < start_us + 60000000);
	*ret_seconds = (double)(clock_mono_us() - start_us) / 1e6;
	return rc;
}

static int run(struct bench *b)
{
	struct figure f = {
		.name = "restart",
		.what = "restart of a node with 1 GiB of log after kill -9 to serving",
		.unit = "s",
		.goal = 2,
		.at_most = true,
		.method = "1 GiB of 8 KiB values in batches of 64 over 8,192 keys; a follower is "
			  "killed and started; the time until it answers a linearizable read",
	};
	struct caller *caller = NULL;
	uint32_t leader = 0;
	double seconds;
	int rc;

	if (!bench_wants(b, f.name))
		return 0;
	rc = bench_open(b, 1);
	if (!rc)
		rc = grow(b);
	if (!rc)
		rc = caller_new(&caller, b->client, &b->err);
	for (unsigned i = 0; !rc && i < b->runs; i++) {
		rc = testbed_leader(b->testbed, 30000, &leader, &b->err);
		if (!rc)
			rc = testbed_settle(b->testbed, testbed_all(b->testbed), 60000, NULL,
					    &b->err);
		uint32_t follower = leader == 1 ? 2 : 1;
		if (!rc && i == 0)
			fprintf(stderr, "    %.2f GiB of log on disk\n",
				(double)log_bytes(b, follower) / (1 << 30));
		if (!rc)
			rc = once(b, caller, follower, &seconds);
		if (!rc)
			figure_add(&f, seconds);
	}
	caller_free(caller);
	if (!rc)
		bench_tell(&f);
	return rc;
}

int main(int argc, char **argv)
{
	static struct bench b = {.command = {.name = "bench_restart"}, .runs = 5};

	return bench_main(&b, argc, argv, run);
}
