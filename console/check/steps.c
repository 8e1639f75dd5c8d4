#include "console/check/steps.h"
#include "common/clock.h"
#include "console/check/audit.h"
#include "console/load/digest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LEADER_MS 30000
#define SETTLE_MS 60000
#define PATIENCE_MS 30000
#define NO_LEADER_MS 3000 /* so long nothing may be elected where nothing can be */

int check_begin(struct check *c, const struct act *act, struct err *e)
{
	int rc = testbed_new(&c->testbed, c->command, c->nodes, NULL, e);

	if (rc)
		return rc;
	c->mask = act->majority_only ? (2u << (c->nodes / 2 + 1)) - 2 : testbed_all(c->testbed);
	rc = testbed_client(c->testbed, 1, &c->client, e);
	if (!rc)
		rc = feeder_new(&c->feeder, c->client, c->clients, c->batch, PATIENCE_MS, e);
	return rc;
}

void check_end(struct check *c, bool keep)
{
	feeder_free(c->feeder);
	client_free(c->client);
	testbed_free(c->testbed, keep);
	c->feeder = NULL;
	c->client = NULL;
	c->testbed = NULL;
}

static void tell(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void tell(struct check *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->detail, sizeof c->detail, fmt, ap);
	va_end(ap);
}

static const char *name_of(const struct check *c, uint32_t id)
{
	return testbed_node(c->testbed, id)->name;
}

static int elect(struct check *c, struct err *e)
{
	int rc = testbed_leader(c->testbed, LEADER_MS, &c->leader, e);

	if (!rc)
		tell(c, "%s leads", name_of(c, c->leader));
	return rc;
}

static int start(struct check *c, struct err *e)
{
	return testbed_start(c->testbed, c->mask, e);
}

static int start_and_elect(struct check *c, struct err *e)
{
	int rc = start(c, e);

	return rc ? rc : elect(c, e);
}

static int stop(struct check *c, struct err *e)
{
	return testbed_stop(c->testbed, c->mask, e);
}

/* Waits for the feeder's clients, or for ^C. */
static int wait_for_rows(struct check *c, uint64_t rows, struct err *e)
{
	while (feeder_rows(c->feeder) < rows && !cli_interrupted()) {
		uint64_t silent_us = clock_mono_us() - feeder_last_ok_us(c->feeder);
		if (silent_us > PATIENCE_MS * 1000ull)
			break;
		cli_sleep_ms(5);
	}
	if (cli_interrupted())
		return err_set(e, ERR_REFUSED, "interrupted");
	return 0;
}

static int write_rows(struct check *c, uint64_t rows, struct err *e)
{
	uint64_t goal = feeder_rows(c->feeder) + rows;
	int rc = feeder_start(c->feeder, rows, e);

	if (!rc)
		rc = wait_for_rows(c, goal, e);
	if (rc)
		feeder_stop(c->feeder);
	int joined = feeder_join(c->feeder, rc ? NULL : e);
	return rc ? rc : joined;
}

static int insert(struct check *c, struct err *e)
{
	int rc = testbed_sql(c->testbed, FEEDER_SCHEMA, PATIENCE_MS, e);

	if (rc)
		return rc;
	uint64_t start_us = clock_mono_us();
	rc = write_rows(c, c->entries, e);
	double seconds = (double)(clock_mono_us() - start_us) / 1e6;
	double rate = seconds > 0 ? (double)c->entries / seconds : 0;
	if (c->entries_per_s == 0)
		c->entries_per_s = rate;
	tell(c, "%" PRIu64 " entries by %u clients in batches of %u: %.0f/s", c->entries,
	     c->clients, c->batch, rate);
	return rc;
}

static int settle(struct check *c, struct err *e)
{
	int rc = testbed_settle(c->testbed, c->mask, SETTLE_MS, &c->index, e);

	if (!rc)
		tell(c, "all at log entry %" PRIu64, c->index);
	return rc;
}

static int audit(struct check *c, struct err *e)
{
	struct audit_result first = {0}, result;
	uint32_t first_id = 0;

	for (uint32_t id = 1; id <= c->nodes; id++) {
		if (!(c->mask >> id & 1))
			continue;
		int rc = audit_node(c->client, id, c->index, c->feeder, &result, e);
		if (rc) {
			err_wrap(e, "%s", name_of(c, id));
			return rc;
		}
		if (first_id && result.hash != first.hash)
			return err_set(e, ERR_CORRUPT, "the logs of %s and %s differ",
				       name_of(c, first_id), name_of(c, id));
		if (!first_id)
			first = result;
		first_id = first_id ? first_id : id;
	}
	tell(c, "%" PRIu64 " rows in their order in each log, logs equal", first.rows);
	return 0;
}

/* The data themselves, by digest and by count. */
static int compare_data(struct check *c, struct err *e)
{
	const struct conf_node *nodes[CONF_NODES_MAX] = {0};
	struct digest_group *g = calloc(1, sizeof *g);
	uint32_t n = 0;
	int rc;

	if (!g)
		return err_set(e, ERR_NOMEM, "no memory for the digests");
	for (uint32_t id = 1; id <= c->nodes; id++) {
		if (c->mask >> id & 1)
			nodes[n++] = testbed_node(c->testbed, id);
	}
	rc = digest_ask(c->client, nodes, n, 1, SETTLE_MS, cli_interrupted, g, e);
	for (uint32_t i = 0; !rc && i < n; i++) {
		if (!g->nodes[i].namespaces)
			rc = err_set(e, g->nodes[i].code, "%s tells no digest: %s", nodes[i]->name,
				     g->nodes[i].why);
	}
	if (!rc && g->differs)
		rc = err_set(e, ERR_CORRUPT, "the nodes' data differ at entry %" PRIu64, g->index);
	digest_group_done(g);
	free(g);
	return rc;
}

static int restart_and_elect(struct check *c, struct err *e)
{
	int rc = stop(c, e);

	return rc ? rc : start_and_elect(c, e);
}

static int settle_and_audit(struct check *c, struct err *e)
{
	int rc = settle(c, e);

	return rc ? rc : audit(c, e);
}

/* Everything is on every node by now, so any may lose its own copy. */
static int empty_one(struct check *c, struct err *e)
{
	int rc = stop(c, e);

	for (uint32_t id = 1; id <= c->nodes; id++) {
		if (c->mask >> id & 1)
			c->emptied = id;
	}
	if (!rc)
		rc = testbed_empty(c->testbed, c->emptied, e);
	if (!rc)
		tell(c, "%s has nothing left", name_of(c, c->emptied));
	return rc;
}

static int recover(struct check *c, struct err *e)
{
	int rc = settle_and_audit(c, e);

	return rc ? rc : compare_data(c, e);
}

/* Of a bare majority one has lost its copy: what was acknowledged may now be on a single node, so
 * nobody may be elected until another node tells that it knows of nothing else. */
static int hold_back(struct check *c, struct err *e)
{
	int rc = start(c, e);

	if (rc)
		return rc;
	rc = testbed_leader(c->testbed, NO_LEADER_MS, &c->leader, e);
	if (rc == 0)
		return err_set(e, ERR_CORRUPT,
			       "%s was elected although a majority may have forgotten what it knew",
			       name_of(c, c->leader));
	if (rc != ERR_NO_QUORUM)
		return rc;
	tell(c, "no leader for %d s, as it must be: %s waits for the other voters",
	     NO_LEADER_MS / 1000, name_of(c, c->emptied));
	return 0;
}

static int start_rest(struct check *c, struct err *e)
{
	c->mask = testbed_all(c->testbed);
	return start_and_elect(c, e);
}

/* One statement by a client that turns to node `id` first. */
static int write_through(struct check *c, uint32_t id, struct err *e)
{
	const struct conf_node *node = testbed_node(c->testbed, id);
	struct client_node addresses[CONF_NODES_MAX];
	struct client_options o = {
		.hub = c->testbed->cli.hub, .nodes = addresses, .nodes_n = c->nodes};
	struct value param = value_int((int64_t)id);
	struct client_statement st = {
		.text = slice_str("INSERT INTO seen(writer) VALUES(?1)"),
		.params = &param,
		.params_n = 1,
	};
	struct client_request r = {
		.mode = SQL_WRITE, .statements = &st, .statements_n = 1, .timeout_ms = 10000};
	struct sql_answer answer;
	struct caller *caller = NULL;
	struct client *client;
	struct buf body;
	int rc;

	for (uint32_t i = 0; i < c->nodes; i++) {
		const struct conf_node *at = testbed_node(c->testbed, (id - 1 + i) % c->nodes + 1);
		addresses[i] = (struct client_node){at->id, at->rpc};
	}
	rc = client_new(&client, &o, e);
	if (rc)
		return rc;
	buf_init(&body, SQL_ANSWER_BYTES_MAX);
	rc = caller_new(&caller, client, e);
	if (!rc)
		rc = client_wait(caller, &r, &body, &answer, e);
	if (rc)
		err_wrap(e, "a write on %s", node->name);
	caller_free(caller);
	client_free(client);
	buf_done(&body);
	return rc;
}

static int read_at(struct check *c, uint32_t writer, uint32_t reader, struct err *e)
{
	struct value param = value_int((int64_t)writer);
	struct client_statement st = {
		.text = slice_str("SELECT count(*) FROM seen WHERE writer = ?1"),
		.params = &param,
		.params_n = 1,
	};
	struct client_request r = {.node = reader,
				   .mode = SQL_READ,
				   .level = SQL_LINEARIZABLE,
				   .statements = &st,
				   .statements_n = 1,
				   .timeout_ms = 10000};
	struct sql_result_cursor cursor;
	struct sql_answer answer;
	struct sql_result result;
	struct caller *caller;
	struct buf body;
	int rc = caller_new(&caller, c->client, e);

	if (rc)
		return rc;
	buf_init(&body, SQL_ANSWER_BYTES_MAX);
	rc = client_wait(caller, &r, &body, &answer, e);
	if (!rc) {
		struct value v = {0};
		sql_result_cursor_init(&cursor, &answer);
		if (sql_result_next(&cursor, &result) == 1 && result.kind == SQL_ROWS)
			v = value_get(&result.values);
		if (v.type != VALUE_INT || v.i != 1)
			rc = err_set(e, ERR_CORRUPT, "%s does not see the write done on %s",
				     name_of(c, reader), name_of(c, writer));
	} else {
		err_wrap(e, "a read on %s", name_of(c, reader));
	}
	caller_free(caller);
	buf_done(&body);
	return rc;
}

static int write_here_read_there(struct check *c, struct err *e)
{
	int rc = testbed_sql(c->testbed, "CREATE TABLE IF NOT EXISTS seen(writer INTEGER)",
			     PATIENCE_MS, e);

	for (uint32_t writer = 1; !rc && writer <= c->nodes; writer++) {
		rc = write_through(c, writer, e);
		for (uint32_t reader = 1; !rc && reader <= c->nodes; reader++) {
			if (reader != writer)
				rc = read_at(c, writer, reader, e);
		}
	}
	if (!rc)
		tell(c, "written on each of %u nodes, read at once on the others", c->nodes);
	return rc;
}

/* The part of the entries that the last act writes in each of its steps. */
static uint64_t some(const struct check *c)
{
	uint64_t rows = c->entries / 5;

	return rows < 1000 ? 1000 : rows;
}

/* Kills the leader while the feeder is at it; *ret_ms: until something was acknowledged again. */
static int kill_under_load(struct check *c, uint32_t leader, uint64_t goal, uint64_t *ret_ms,
			   struct err *e)
{
	int rc = wait_for_rows(c, feeder_rows(c->feeder) + 1, e);
	uint64_t start_us = clock_mono_us();

	if (!rc)
		rc = testbed_kill(c->testbed, 1u << leader, e);
	if (rc)
		return rc;
	/* What it acknowledged with its last breath has arrived by then. */
	cli_sleep_ms(5);
	uint64_t rows = feeder_rows(c->feeder);
	if (rows >= goal)
		return err_set(e, ERR_LIMIT,
			       "all was written before %s was dead; more --entries "
			       "are needed on this machine",
			       name_of(c, leader));
	rc = wait_for_rows(c, rows + 1, e);
	*ret_ms = (clock_mono_us() - start_us) / 1000;
	return rc;
}

static int kill_leader(struct check *c, struct err *e)
{
	uint64_t rows = some(c), goal, ms = 0;
	uint32_t killed;
	int rc = testbed_sql(c->testbed, FEEDER_SCHEMA, PATIENCE_MS, e);

	/* Enough transactions that it is killed in the middle of them. */
	if (rows < 100ull * c->clients * c->batch)
		rows = 100ull * c->clients * c->batch;
	goal = feeder_rows(c->feeder) + rows;
	if (!rc)
		rc = testbed_leader(c->testbed, LEADER_MS, &killed, e);
	if (!rc)
		rc = feeder_start(c->feeder, rows, e);
	if (rc)
		return rc;
	rc = kill_under_load(c, killed, goal, &ms, e);
	feeder_stop(c->feeder);
	int joined = feeder_join(c->feeder, rc ? NULL : e);
	rc = rc ? rc : joined;
	if (!rc)
		rc = testbed_start(c->testbed, 1u << killed, e);
	if (!rc)
		rc = settle_and_audit(c, e);
	if (!rc)
		rc = compare_data(c, e);
	if (!rc)
		tell(c, "%s killed; %" PRIu64 " ms later writes went on; nothing lost",
		     name_of(c, killed), ms);
	return rc;
}

static int kill_follower(struct check *c, struct err *e)
{
	uint32_t all = c->mask;
	int rc = testbed_leader(c->testbed, LEADER_MS, &c->leader, e);

	if (rc)
		return rc;
	uint32_t follower = c->leader == 1 ? 2 : 1;
	rc = testbed_kill(c->testbed, 1u << follower, e);
	if (!rc)
		rc = write_rows(c, some(c), e);
	c->mask = all & ~(1u << follower);
	if (!rc)
		rc = settle(c, e);
	uint64_t missed = c->index;
	c->mask = all;
	if (!rc)
		rc = testbed_start(c->testbed, 1u << follower, e);
	uint64_t start_us = clock_mono_us();
	if (!rc)
		rc = settle(c, e);
	uint64_t ms = (clock_mono_us() - start_us) / 1000;
	if (!rc)
		rc = audit(c, e);
	if (!rc)
		rc = compare_data(c, e);
	if (!rc)
		tell(c,
		     "%s missed the log up to entry %" PRIu64 ", had it %" PRIu64
		     " ms after its start",
		     name_of(c, follower), missed, ms);
	return rc;
}

static const struct step with_all[] = {
	{"all nodes start and elect a leader", start_and_elect},
	{"entries are written in batches by several clients", insert},
	{"every node has committed all it knows of", settle},
	{"every node's log holds all entries in order", audit},
	{"all stop and start again, a leader is elected", restart_and_elect},
	{"all earlier entries are committed, in order", settle_and_audit},
	{"all stop, one node's log and data are deleted", empty_one},
	{"all start", start},
	{"a leader is elected", elect},
	{"the emptied node recovers every entry", recover},
	{0},
};

static const struct step with_majority[] = {
	{"only a majority of the nodes starts, and elects a leader", start_and_elect},
	{"entries are written in batches by several clients", insert},
	{"every started node has committed all it knows of", settle},
	{"every started node's log holds all entries in order", audit},
	{"these stop and start again, a leader is elected", restart_and_elect},
	{"all earlier entries are committed, in order", settle_and_audit},
	{"these stop, one node's log and data are deleted", empty_one},
	{"these start; nobody is elected with a majority in doubt", hold_back},
	{"the other nodes start for the first time, a leader is elected", start_rest},
	{"the emptied node and the new ones recover every entry", recover},
	{0},
};

static const struct step bad_luck[] = {
	{"all nodes start and elect a leader", start_and_elect},
	{"a write on one node is read on the others", write_here_read_there},
	{"the leader is killed during writes", kill_leader},
	{"a follower is killed, misses writes, returns, catches up", kill_follower},
	{0},
};

const struct act acts[] = {
	{"all nodes", false, with_all},
	{"only a majority ever started", true, with_majority},
	{"bad luck", false, bad_luck},
	{0},
};
