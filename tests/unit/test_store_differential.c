/* Leader and follower, fed by random SQL, hold the same at every comparison: whatever fails, is
 * taken back, lost by a restart or a change of leadership on the way.
 *
 * DROVER_SEED=n reproduces a run from the seed that a failure prints; DROVER_ROUNDS=n runs more. */
#include "tests/unit/store_random.h"
#include "tests/unit/store_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 45
#define STEPS 120
#define RECENT 12
#define BATCH_MAX 4

struct node {
	struct store *store;
	struct store_checkpointer *checkpointer;
	char *dir;
	uint64_t applied; /* entries given to it, as leader or follower */
};

struct world {
	struct rig g;
	struct random_sql random;
	struct node nodes[2]; /* leader, follower */
	uint64_t committed;   /* entries up to here stay; those after it are speculative */
	uint64_t clients[4];
	struct buf recent[RECENT];
	unsigned recent_n;
	bool damaged; /* SQLite has damaged the leader's indexes by itself: no more to see */
	uint64_t statements, failed, compared, rewinds, restarts, elections, damages;
};

static uint64_t seed_now;

static void show_recent(struct world *w)
{
	print_message("DROVER_SEED=%llu; the last requests:\n", (unsigned long long)seed_now);
	for (unsigned i = 0; i < RECENT; i++)
		print_message("  %.3000s\n", buf_str(&w->recent[(w->recent_n + i) % RECENT]));
}

#define MUST(w, call, e)                                     \
	do {                                                 \
		if (call) {                                  \
			show_recent(w);                      \
			fail_msg("%s: %s", #call, (e).text); \
		}                                            \
	} while (0)

static struct rig_entry *add_entry(struct world *w)
{
	struct rig *g = &w->g;

	g->log = realloc(g->log, (g->log_n + 1) * sizeof *g->log);
	struct rig_entry *entry = &g->log[g->log_n++];
	buf_init(&entry->payload, 64 << 20);
	entry->term = 1;
	return entry;
}

static void feed(struct world *w, struct node *n, uint64_t to)
{
	struct err e = {0};

	while (n->applied < to) {
		struct rig_entry *entry = &w->g.log[n->applied];
		MUST(w,
		     store_apply(n->store, n->applied + 1, entry->term, buf_slice(&entry->payload),
				 &e),
		     e);
		n->applied++;
	}
}

/* One request of a few statements, noted for the case of a failure. */
static bool make_request(struct world *w, struct buf *message, struct sql_request *sql)
{
	struct random_sql *r = &w->random;
	struct buf *recent = &w->recent[w->recent_n++ % RECENT];
	struct sql_request head = {.flags = random_chance(r, 30) ? SQL_BRIEF : 0};
	unsigned n = 1 + random_below(r, 4);
	struct sql_writer writer;
	struct buf texts[4];
	bool schema = false;

	buf_clear(recent);
	if (random_chance(r, 40)) {
		unsigned client = random_below(r, 4);
		head.client = client + 1;
		head.sequence = random_chance(r, 85) ? ++w->clients[client] : w->clients[client];
	}
	sql_request_begin(&writer, message, &head, n);
	for (unsigned i = 0; i < n; i++) {
		buf_init(&texts[i], 1 << 20);
		schema |= random_statement(r, &texts[i]);
		if (random_chance(r, 5)) {
			buf_printf(&texts[i], "; ");
			schema |= random_statement(r, &texts[i]);
		}
		buf_printf(recent, "%s%s", i ? " ;; " : "", buf_str(&texts[i]));
		sql_request_add(&writer, buf_slice(&texts[i]), NULL, 0);
		w->statements++;
	}
	for (unsigned i = 0; i < n; i++)
		buf_done(&texts[i]);
	assert_true(sql_request_decode(buf_slice(message), sql));
	return schema;
}

static void execute(struct world *w)
{
	struct random_sql *r = &w->random;
	struct node *leader = &w->nodes[0];
	unsigned n = 1 + random_below(r, BATCH_MAX);
	struct store_request requests[BATCH_MAX], *list[BATCH_MAX];
	struct sql_request sql[BATCH_MAX];
	struct buf messages[BATCH_MAX], payload;
	struct err e = {0};
	bool schema = false;

	memset(requests, 0, sizeof requests);
	buf_init(&payload, 64 << 20);
	for (unsigned i = 0; i < n; i++) {
		buf_init(&messages[i], 4 << 20);
		buf_init(&requests[i].results, 8 << 20);
		schema |= make_request(w, &messages[i], &sql[i]);
		requests[i].sql = &sql[i];
		list[i] = &requests[i];
	}
	w->g.now_us += 1000;
	int code = store_execute(leader->store, RIG_NS, list, n, w->g.now_us, &payload, &e);
	/* SQLite 3.40 gets some index entries on generated columns wrong, also without us, and
	 * notices later. */
	w->damaged |= code == ERR_CORRUPT && strstr(e.text, "malformed");
	if (!w->damaged)
		MUST(w, code, e);
	for (unsigned i = 0; i < n; i++) {
		w->failed += requests[i].status != 0;
		if (getenv("DROVER_SHOW"))
			print_message("%llu %s <- %s\n", (unsigned long long)w->g.log_n + 1,
				      requests[i].status ? requests[i].err.text : "ok",
				      buf_str(&w->recent[(w->recent_n - n + i) % RECENT]));
		buf_done(&requests[i].results);
		buf_done(&messages[i]);
	}
	if (payload.len) {
		struct rig_entry *entry = add_entry(w);
		buf_append(&entry->payload, payload.data, payload.len);
		store_proposed(leader->store, w->g.log_n, entry->term);
		leader->applied = w->g.log_n;
	}
	buf_done(&payload);
	if (schema)
		random_learn(r, leader->store, RIG_NS);
}

static void commit(struct world *w, uint64_t to)
{
	store_committed(w->nodes[0].store, to);
	w->committed = to;
}

/* Leadership is lost with batches in the air. Some of them come back through the log, the rest
 * never were. */
static void rewind_leader(struct world *w)
{
	struct node *leader = &w->nodes[0];
	struct err e = {0};
	uint64_t keep = w->committed;

	if (w->g.log_n > keep)
		keep += random_below(&w->random, (unsigned)(w->g.log_n - keep) + 1);
	MUST(w, store_rewind(leader->store, &e), e);
	while (w->g.log_n > keep)
		buf_done(&w->g.log[--w->g.log_n].payload);
	w->committed = keep;
	leader->applied = store_applied(leader->store);
	feed(w, leader, keep);
	random_learn(&w->random, leader->store, RIG_NS);
	w->rewinds++;
}

static void checkpointer_new(struct world *w, struct node *n)
{
	struct err e = {0};

	MUST(w, store_checkpointer_new(&n->checkpointer, n->store, &e), e);
}

/* A process that ends without an orderly flush. */
static void restart(struct world *w, struct node *n)
{
	store_checkpointer_free(n->checkpointer);
	rig_reopen(&w->g, &n->store, n->dir);
	checkpointer_new(w, n);
	n->applied = store_applied(n->store);
	assert_true(store_replay_from(n->store) == n->applied + 1);
	w->restarts++;
}

static void flush(struct world *w, struct node *n)
{
	struct err e = {0};
	int code = store_flush(n->store, 0, &e);

	if (code != ERR_BUSY)
		MUST(w, code, e);
}

static void checkpoint(struct world *w, struct node *n)
{
	struct err e = {0};

	MUST(w, store_checkpoint(n->checkpointer, random_below(&w->random, 2) ? 1 : 1 << 20, &e),
	     e);
}

/* All in step, both flushed; then both must hold the same. */
static void compare(struct world *w)
{
	struct rig *g = &w->g;

	if (g->log_n == 0)
		return; /* a rewind took the first entry: there may be no file yet */
	commit(w, g->log_n);
	feed(w, &w->nodes[1], w->committed);
	flush(w, &w->nodes[0]);
	flush(w, &w->nodes[1]);
	if (!rig_sound(w->nodes[0].dir, RIG_NS)) {
		w->damaged = true;
		return;
	}
	assert_true(rig_sound(w->nodes[1].dir, RIG_NS));
	char *one = rig_dump(w->nodes[0].dir, RIG_NS), *two = rig_dump(w->nodes[1].dir, RIG_NS);
	if (strcmp(one, two) != 0) {
		size_t at = 0, line = 0;
		for (; one[at] && one[at] == two[at]; at++)
			if (one[at] == '\n')
				line = at + 1;
		show_recent(w);
		const char *table = NULL;
		for (const char *p = one; (p = strstr(p, "\n-- ")) && p < one + at; p++)
			table = p + 1;
		fail_msg("leader and follower differ in %.40s:\n  leader   %.300s\n  follower "
			 "%.300s",
			 table ? table : "the schema", one + line, two + line);
	}
	free(one);
	free(two);
	char hex[2][33];
	rig_digest(w->nodes[0].dir, RIG_NS, hex[0]);
	rig_digest(w->nodes[1].dir, RIG_NS, hex[1]);
	if (strcmp(hex[0], hex[1]) != 0) {
		show_recent(w);
		fail_msg("equal dumps, but digests %s and %s", hex[0], hex[1]);
	}
	w->compared++;
}

static void elect_other(struct world *w)
{
	struct node swap = w->nodes[0];

	commit(w, w->g.log_n);
	feed(w, &w->nodes[1], w->committed);
	w->nodes[0] = w->nodes[1];
	w->nodes[1] = swap;
	random_learn(&w->random, w->nodes[0].store, RIG_NS);
	w->elections++;
}

static void step(struct world *w)
{
	struct random_sql *r = &w->random;
	unsigned what = random_below(r, 100);

	if (what < 60) {
		execute(w);
	} else if (what < 74) {
		commit(w,
		       w->committed + random_below(r, (unsigned)(w->g.log_n - w->committed) + 1));
	} else if (what < 84) {
		uint64_t ahead = w->committed - w->nodes[1].applied;
		feed(w, &w->nodes[1], w->nodes[1].applied + random_below(r, (unsigned)ahead + 1));
	} else if (what < 87) {
		flush(w, &w->nodes[random_below(r, 2)]);
	} else if (what < 90) {
		checkpoint(w, &w->nodes[random_below(r, 2)]);
	} else if (what < 93) {
		rewind_leader(w);
	} else if (what < 95) {
		restart(w, &w->nodes[1]);
	} else if (what < 96) {
		/* The leader, too: what was in the air is gone with it. */
		while (w->g.log_n > w->committed)
			buf_done(&w->g.log[--w->g.log_n].payload);
		restart(w, &w->nodes[0]);
		feed(w, &w->nodes[0], w->committed);
		random_learn(r, w->nodes[0].store, RIG_NS);
	} else if (what < 97) {
		elect_other(w);
	} else {
		compare(w);
	}
}

/* Triggers that feed each other double their work at every turn: such statements are stopped, in
 * the midst of writing. */
static void tune(struct store_options *o)
{
	o->statement_ms_max = 300;
	o->entry_bytes_max = 4 << 20;
}

static void a_round(struct world *w)
{
	struct rig *g = &w->g;

	rig_open(g, tune);
	w->committed = 0;
	memset(w->clients, 0, sizeof w->clients);
	w->nodes[0] = (struct node){.store = g->leader, .dir = g->leader_dir};
	w->nodes[1] = (struct node){.store = g->follower, .dir = g->follower_dir};
	checkpointer_new(w, &w->nodes[0]);
	checkpointer_new(w, &w->nodes[1]);
	while (g->log_n == 0)
		execute(w);
	w->damaged = false;
	for (unsigned i = 0; i < STEPS && !w->damaged; i++)
		step(w);
	if (!w->damaged)
		compare(w);
	w->damages += w->damaged;
	for (int i = 0; i < 2; i++)
		store_checkpointer_free(w->nodes[i].checkpointer);
	g->leader = w->nodes[0].store;
	g->follower = w->nodes[1].store;
	rig_close(g);
}

static void leader_and_follower_stay_the_same(void **state)
{
	static struct world w;
	const char *seed_text = getenv("DROVER_SEED"), *rounds_text = getenv("DROVER_ROUNDS");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : (uint64_t)time(NULL) * 1000;
	unsigned long rounds = rounds_text ? strtoul(rounds_text, NULL, 10)
			       : seed_text ? 1
					   : ROUNDS;

	(void)state;
	for (unsigned i = 0; i < RECENT; i++)
		buf_init(&w.recent[i], 8 << 20);
	print_message("DROVER_SEED=%llu\n", (unsigned long long)seed);
	for (unsigned long i = 0; i < rounds; i++) {
		seed_now = seed + i;
		w.random = (struct random_sql){.state = seed_now};
		/* SQLite's own random() too; only the time is left to chance. */
		sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)seed_now, NULL);
		a_round(&w);
	}
	print_message(
		"%llu statements, %llu requests failed, %llu rewinds, %llu restarts, %llu changes "
		"of leader, compared %llu times, damaged by SQLite %llu times\n",
		(unsigned long long)w.statements, (unsigned long long)w.failed,
		(unsigned long long)w.rewinds, (unsigned long long)w.restarts,
		(unsigned long long)w.elections, (unsigned long long)w.compared,
		(unsigned long long)w.damages);
	for (unsigned i = 0; i < RECENT; i++)
		buf_done(&w.recent[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leader_and_follower_stay_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
