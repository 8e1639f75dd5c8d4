/* The load engine against a client of this test's own: tables in memory, answers from two threads,
 * and lies on demand. It takes the place of common/client.c when this program is linked. */
#include "console/load/load.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define KEYS 400
#define HOT 4
#define QUEUE 64

enum lie {
	HONEST,
	LOSE_ONE,	 /* acknowledges one write without doing it */
	DOUBLE_ONE,	 /* adds one counter's write twice */
	DO_A_FAILED_ONE, /* does a write that it answers as failed */
	HALVE_AN_UNKNOWN,
	READ_THE_PAST,
	LATE_UNKNOWN, /* does an unknown write only after the worker's next one */
};

struct caller {
	struct buf late; /* a held back request */
};

struct job {
	struct caller *caller;
	struct buf request;
	client_done *done;
	void *ctx;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job queue[QUEUE];
	size_t head, tail;
	bool quit;
	pthread_t threads[2];
	/* The tables: */
	struct {
		int64_t worker, n;
		char value[64];
	} keys[KEYS], past[KEYS];
	int64_t hot[HOT];
	/* Behaviour: */
	enum lie lie;
	bool lied;
	unsigned unknown_every, fail_every, writes, most_queued;
	int fail_code;
} cluster;

int caller_new(struct caller **ret_caller, struct client *c, struct err *e)
{
	struct caller *k = calloc(1, sizeof *k);

	(void)c;
	(void)e;
	assert_non_null(k);
	buf_init(&k->late, 1 << 20);
	*ret_caller = k;
	return 0;
}

void caller_free(struct caller *k)
{
	if (k)
		buf_done(&k->late);
	free(k);
}

static void apply(const struct sql_statement *st, bool twice)
{
	struct rd params = st->params;
	struct value v[4];

	for (uint32_t i = 0; i < st->params_n && i < 4; i++)
		v[i] = value_get(&params);
	if (memmem(st->text.p, st->text.n, "_hot SET", 8)) {
		cluster.hot[v[0].i] += twice ? 2 : 1;
	} else if (memmem(st->text.p, st->text.n, "INSERT INTO", 11)) {
		cluster.past[v[0].i] = cluster.keys[v[0].i];
		cluster.keys[v[0].i].worker = v[1].i;
		cluster.keys[v[0].i].n = v[2].i;
		snprintf(cluster.keys[v[0].i].value, 64, "%.*s", (int)v[3].s.n,
			 (const char *)v[3].s.p);
	}
}

/* Does a write's statements, all or only the first one. */
static void apply_all(struct slice request, bool only_first, bool twice)
{
	struct sql_request r;
	struct sql_cursor c;
	struct sql_statement st;

	assert_true(sql_request_decode(request, &r));
	sql_cursor_init(&c, &r);
	while (sql_cursor_next(&c, &st) == 1) {
		apply(&st, twice);
		if (only_first)
			break;
	}
}

static bool touches_hot(struct slice request)
{
	return memmem(request.p, request.n, "_hot SET", 8) != NULL;
}

static bool is_scan(const struct sql_statement *st)
{
	return memmem(st->text.p, st->text.n, "ORDER BY", 8) != NULL;
}

static void put(struct buf *b, struct value v)
{
	value_put(b, &v);
}

static void put_key(struct buf *b, int64_t key, bool whole, bool past)
{
	int64_t n = past ? cluster.past[key].n : cluster.keys[key].n;

	if (whole) {
		put(b, value_int(key));
		put(b, value_int(cluster.keys[key].worker));
	}
	put(b, value_int(n));
	put(b, value_text(slice_str(past ? cluster.past[key].value : cluster.keys[key].value)));
}

static uint64_t select_keys(struct buf *b, const struct sql_statement *st, const struct value *v,
			    bool *past)
{
	uint64_t rows = 0;

	if (!is_scan(st)) {
		*past = *past && cluster.past[v[0].i].n > 0;
		if (cluster.keys[v[0].i].n == 0)
			return 0;
		put_key(b, v[0].i, false, *past);
		cluster.lied |= *past;
		return 1;
	}
	for (int64_t key = v[0].i < 0 ? 0 : v[0].i + 1; key < KEYS && rows < (uint64_t)v[1].i;
	     key++) {
		if (cluster.keys[key].n) {
			put_key(b, key, true, false);
			rows++;
		}
	}
	return rows;
}

static void read_rows(const struct sql_statement *st, struct buf *b)
{
	bool hot = memmem(st->text.p, st->text.n, "_hot ", 5) != NULL;
	bool past = cluster.lie == READ_THE_PAST;
	struct rd params = st->params;
	struct value v[2] = {value_int(0), value_int(0)};
	struct sql_rows_writer w;
	uint64_t rows = 1;

	for (uint32_t i = 0; i < st->params_n && i < 2; i++)
		v[i] = value_get(&params);
	sql_rows_begin(&w, b, is_scan(st) ? (hot ? 2 : 4) : (hot ? 1 : 2));
	for (int i = 0; i < (is_scan(st) ? (hot ? 2 : 4) : (hot ? 1 : 2)); i++)
		sql_rows_column(&w, "c", "");
	if (!hot) {
		rows = select_keys(b, st, v, &past);
	} else if (is_scan(st)) {
		for (rows = 0; rows < HOT; rows++) {
			put(b, value_int((int64_t)rows));
			put(b, value_int(cluster.hot[rows]));
		}
	} else {
		put(b, value_int(cluster.hot[v[0].i]));
	}
	sql_rows_end(&w, rows, false);
}

/* The outcome of a write, done or not according to the orders. */
static int do_write(struct caller *k, struct slice request)
{
	unsigned n = ++cluster.writes;
	bool lie = !cluster.lied && n > 20;
	bool unknown = cluster.unknown_every && n % cluster.unknown_every == 0;

	if (unknown && cluster.lie == LATE_UNKNOWN && k->late.len == 0) {
		buf_append(&k->late, request.p, request.n);
		return ERR_UNKNOWN_OUTCOME;
	}
	if (unknown) {
		if (lie && cluster.lie == HALVE_AN_UNKNOWN && !touches_hot(request)) {
			apply_all(request, true, false);
			cluster.lied = true;
		} else if (n % 2) {
			apply_all(request, false, false);
		}
		return ERR_UNKNOWN_OUTCOME;
	}
	if (cluster.fail_every && n % cluster.fail_every == 0) {
		if (lie && cluster.lie == DO_A_FAILED_ONE) {
			apply_all(request, false, false);
			cluster.lied = true;
		}
		return cluster.fail_code;
	}
	if (lie && cluster.lie == LOSE_ONE && touches_hot(request)) {
		cluster.lied = true;
		return 0;
	}
	bool twice = lie && cluster.lie == DOUBLE_ONE && touches_hot(request);
	cluster.lied |= twice;
	apply_all(request, false, twice);
	if (k->late.len) {
		apply_all(buf_slice(&k->late), false, false);
		buf_clear(&k->late);
		cluster.lied = true;
	}
	return 0;
}

static void answer_job(struct caller *k, struct slice request, struct buf *results,
		       struct sql_answer *ret_answer)
{
	struct sql_request r;
	struct sql_cursor c;
	struct sql_statement st;

	assert_true(sql_request_decode(request, &r));
	*ret_answer = (struct sql_answer){.results_n = 1, .offset = -1};
	sql_cursor_init(&c, &r);
	assert_int_equal(sql_cursor_next(&c, &st), 1);
	if (r.mode == SQL_READ) {
		read_rows(&st, results);
	} else {
		ret_answer->status = r.mode == SQL_WRITE ? do_write(k, request) : 0;
		if (ret_answer->status) {
			ret_answer->message = slice_str("because");
			ret_answer->results_n = 0;
		}
		sql_result_done(results, 1, 0);
	}
	ret_answer->results = buf_slice(results);
}

static void *serve(void *arg)
{
	struct buf results;

	(void)arg;
	buf_init(&results, 4 << 20);
	pthread_mutex_lock(&cluster.lock);
	for (;;) {
		struct sql_answer answer;

		while (cluster.head == cluster.tail && !cluster.quit)
			pthread_cond_wait(&cluster.more, &cluster.lock);
		if (cluster.quit)
			break;
		struct job job = cluster.queue[cluster.head++ % QUEUE];
		buf_clear(&results);
		answer_job(job.caller, buf_slice(&job.request), &results, &answer);
		pthread_mutex_unlock(&cluster.lock);
		buf_done(&job.request);
		job.done(job.ctx, &answer);
		pthread_mutex_lock(&cluster.lock);
	}
	pthread_mutex_unlock(&cluster.lock);
	buf_done(&results);
	return NULL;
}

static void encode(struct buf *b, const struct client_request *r)
{
	struct sql_request head = {.namespace = slice_str(r->namespace),
				   .mode = r->mode,
				   .level = r->level,
				   .flags = r->flags};
	struct sql_writer w;

	buf_init(b, 16 << 20);
	sql_request_begin(&w, b, &head, (uint32_t)r->statements_n);
	for (size_t i = 0; i < r->statements_n; i++)
		sql_request_add(&w, r->statements[i].text, r->statements[i].params,
				r->statements[i].params_n);
	assert_true(buf_ok(b));
}

int client_start(struct caller *k, const struct client_request *r, client_done *done, void *ctx,
		 struct err *e)
{
	struct job job = {.caller = k, .done = done, .ctx = ctx};

	encode(&job.request, r);
	pthread_mutex_lock(&cluster.lock);
	if (cluster.tail - cluster.head == QUEUE) {
		pthread_mutex_unlock(&cluster.lock);
		buf_done(&job.request);
		return err_set(e, ERR_BUSY, "the queue is full");
	}
	cluster.queue[cluster.tail++ % QUEUE] = job;
	if (cluster.tail - cluster.head > cluster.most_queued)
		cluster.most_queued = (unsigned)(cluster.tail - cluster.head);
	pthread_cond_signal(&cluster.more);
	pthread_mutex_unlock(&cluster.lock);
	return 0;
}

int client_wait(struct caller *k, const struct client_request *r, struct buf *ret_body,
		struct sql_answer *ret_answer, struct err *e)
{
	struct buf request;

	encode(&request, r);
	buf_clear(ret_body);
	pthread_mutex_lock(&cluster.lock);
	answer_job(k, buf_slice(&request), ret_body, ret_answer);
	pthread_mutex_unlock(&cluster.lock);
	buf_done(&request);
	if (ret_answer->status)
		return err_set(e, ret_answer->status, "because");
	return 0;
}

static int open_cluster(void **state)
{
	(void)state;
	memset(&cluster, 0, sizeof cluster);
	pthread_mutex_init(&cluster.lock, NULL);
	pthread_cond_init(&cluster.more, NULL);
	cluster.fail_code = ERR_CONFLICT;
	for (int i = 0; i < 2; i++)
		pthread_create(&cluster.threads[i], NULL, serve, NULL);
	return 0;
}

static int close_cluster(void **state)
{
	(void)state;
	pthread_mutex_lock(&cluster.lock);
	cluster.quit = true;
	pthread_cond_broadcast(&cluster.more);
	pthread_mutex_unlock(&cluster.lock);
	for (int i = 0; i < 2; i++)
		pthread_join(cluster.threads[i], NULL);
	return 0;
}

static struct load *load;
static struct load_counts counts;
static struct violations violations;

static void make_load(uint32_t workers)
{
	const char *text = getenv("DROVER_SEED");
	struct load_options o = {
		.namespace = "stress",
		.prefix = "t",
		.workers = workers,
		.keys = KEYS,
		.hot_keys = HOT,
		.value_bytes = 40,
		.timeout_ms = 1000,
		.seed = text ? strtoul(text, NULL, 10) : (uint64_t)time(NULL),
	};

	print_message("DROVER_SEED=%llu\n", (unsigned long long)o.seed);
	assert_int_equal(load_new(&load, &o, NULL), 0);
	assert_int_equal(load_setup(load, NULL), 0);
}

/* Runs until `ops` are done. */
static void run(const struct load_mix *mix, uint64_t ops)
{
	assert_int_equal(load_start(load, mix, NULL), 0);
	do {
		assert_false(load_wait(load, 1));
		load_counts(load, &counts);
	} while (counts.ops < ops);
	load_stop(load);
	while (!load_wait(load, 100))
		;
	load_counts(load, &counts);
}

static void verify(void)
{
	memset(&violations, 0, sizeof violations);
	assert_int_equal(load_verify(load, 5000, &violations, NULL), 0);
	for (uint64_t i = 0; i < violations.count && i < VIOLATIONS_SHOWN; i++)
		print_message("  %s\n", violations.texts[i]);
}

static const struct load_mix usual = {
	.read_ratio = 0.3, .hot_ratio = 0.3, .batch = 3, .level = SQL_LINEARIZABLE};

static void an_honest_cluster_passes(void **state)
{
	struct hist h;

	(void)state;
	make_load(8);
	run(&usual, 3000);
	load_latency(load, &h);
	assert_int_equal(h.count, counts.ops);
	assert_int_equal(counts.ok, counts.ops);
	assert_int_equal(counts.reads + counts.writes, counts.ops);
	assert_true(counts.reads > counts.ops / 6 && counts.reads < counts.ops / 2);
	assert_int_equal(counts.rows, counts.writes * 3);
	assert_true(cluster.most_queued <= 8);
	verify();
	assert_int_equal(violations.count, 0);
	load_free(load);
}

static void failures_and_unknown_outcomes_of_an_honest_cluster_pass(void **state)
{
	struct load_error errors[LOAD_ERRORS_MAX];

	(void)state;
	cluster.unknown_every = 7;
	cluster.fail_every = 10;
	make_load(8);
	run(&usual, 1000);
	assert_true(counts.failed > 0 && counts.unknown > 0 && counts.conflicts > 0);
	assert_int_equal(counts.unknown + counts.conflicts, counts.failed);
	assert_int_equal(load_errors(load, errors), 2);
	assert_true(errors[0].count >= errors[1].count);
	assert_string_equal(errors[0].text, "because");
	verify();
	assert_int_equal(violations.count, 0);
	load_free(load);
}

static void lie_and_be_found(enum lie lie, const char *words)
{
	cluster.lie = lie;
	make_load(4);
	run(&usual, 2000);
	verify();
	assert_true(cluster.lied);
	assert_true(violations.count > 0);
	assert_non_null(strstr(violations.texts[0], words));
	load_free(load);
}

static void a_lost_write_is_found(void **state)
{
	(void)state;
	lie_and_be_found(LOSE_ONE, "acknowledged");
}

static void a_write_done_twice_is_found(void **state)
{
	(void)state;
	/* Reads may see it first. */
	lie_and_be_found(DOUBLE_ONE, "only");
}

static void a_write_done_though_it_failed_is_found(void **state)
{
	(void)state;
	cluster.fail_every = 25;
	cluster.lie = DO_A_FAILED_ONE;
	make_load(4);
	/* Enough keys and few writes, so that no later write covers it up. */
	run(&(struct load_mix){.batch = 1, .in_order = true}, 60);
	verify();
	assert_true(cluster.lied);
	assert_int_equal(violations.count, 1);
	assert_non_null(strstr(violations.texts[0], "answered as failed"));
	load_free(load);
}

static void half_a_transaction_is_found(void **state)
{
	(void)state;
	cluster.unknown_every = 25;
	cluster.lie = HALVE_AN_UNKNOWN;
	make_load(4);
	run(&(struct load_mix){.batch = 3, .in_order = true}, 60);
	verify();
	assert_true(cluster.lied);
	assert_int_equal(violations.count, 1);
	assert_non_null(strstr(violations.texts[0], "in part"));
	load_free(load);
}

static void a_read_of_the_past_is_found(void **state)
{
	(void)state;
	lie_and_be_found(READ_THE_PAST, "was acknowledged before it began");
}

static void an_unknown_write_done_behind_a_later_one_is_found(void **state)
{
	(void)state;
	cluster.lie = LATE_UNKNOWN;
	cluster.unknown_every = 50;
	make_load(4);
	/* One key a worker, so that the later write is to the same key. */
	load_free(load);
	struct load_options o = {.namespace = "main",
				 .prefix = "t",
				 .workers = 4,
				 .keys = 4,
				 .value_bytes = 4,
				 .timeout_ms = 1000,
				 .hot_keys = HOT};
	assert_int_equal(load_new(&load, &o, NULL), 0);
	run(&(struct load_mix){.read_ratio = 0.5, .batch = 1, .level = SQL_SESSION}, 400);
	verify();
	assert_true(cluster.lied);
	assert_true(violations.count > 0);
	load_free(load);
}

static bool not_interrupted(void)
{
	return false;
}

static void a_fill_writes_every_key_in_spite_of_failures(void **state)
{
	(void)state;
	cluster.fail_every = 3;
	make_load(7);
	assert_int_equal(load_keys(load), 406);
	load_free(load);
	make_load(8);
	assert_int_equal(load_fill(load, not_interrupted, NULL), 0);
	for (int i = 0; i < KEYS; i++)
		assert_true(cluster.keys[i].n > 0);
	cluster.fail_every = 0;
	verify();
	assert_int_equal(violations.count, 0);
	load_free(load);
}

static void a_rate_holds_the_load_back_and_a_duration_ends_it(void **state)
{
	struct load_mix mix = usual;

	(void)state;
	mix.rate = 500;
	mix.duration_ms = 400;
	make_load(8);
	assert_int_equal(load_start(load, &mix, NULL), 0);
	while (!load_wait(load, 1000))
		;
	load_counts(load, &counts);
	/* At most the rate; how much less a busy machine decides. */
	assert_true(counts.ops > 0);
	assert_true(counts.ops <= 500 * counts.elapsed_us / 1000000 + 500 * 4 / 10);
	verify();
	assert_int_equal(violations.count, 0);
	load_free(load);
}

static void a_full_queue_is_counted_as_failure_and_tried_again(void **state)
{
	struct load_mix mix = usual;

	(void)state;
	mix.duration_ms = 100;
	make_load(200);
	assert_int_equal(load_start(load, &mix, NULL), 0);
	while (!load_wait(load, 1000))
		;
	load_counts(load, &counts);
	assert_true(counts.failed > 0 && counts.ok > 0);
	verify();
	assert_int_equal(violations.count, 0);
	load_free(load);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_cluster, close_cluster)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_honest_cluster_passes),
		T(failures_and_unknown_outcomes_of_an_honest_cluster_pass),
		T(a_lost_write_is_found),
		T(a_write_done_twice_is_found),
		T(a_write_done_though_it_failed_is_found),
		T(half_a_transaction_is_found),
		T(a_read_of_the_past_is_found),
		T(an_unknown_write_done_behind_a_later_one_is_found),
		T(a_fill_writes_every_key_in_spite_of_failures),
		T(a_rate_holds_the_load_back_and_a_duration_ends_it),
		T(a_full_queue_is_counted_as_failure_and_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
