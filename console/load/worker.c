#include "console/load/worker.h"
#include "common/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FAILED_PAUSE_US 10000 /* a worker whose request failed at once waits this long */

/* splitmix64: small, good enough to choose keys, and the same everywhere for one seed. */
static uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static double random_share(uint64_t *state)
{
	return (double)(random_next(state) >> 11) / (double)(UINT64_C(1) << 53);
}

void load_value(uint64_t key, uint32_t n, uint8_t *ret_bytes, uint32_t size)
{
	uint64_t state = key * UINT64_C(0x2545f4914f6cdd1d) + n;
	uint64_t word = 0;

	for (uint32_t i = 0; i < size; i++) {
		if (i % 16 == 0)
			word = random_next(&state);
		ret_bytes[i] = (uint8_t)('a' + (word & 15));
		word >>= 4;
	}
}

bool load_value_holds(uint64_t key, uint32_t n, struct slice found, uint32_t size)
{
	uint8_t part[4096], *expected = part;
	bool equal;

	if (found.n != size)
		return false;
	if (size > sizeof part) {
		expected = malloc(size);
		if (!expected)
			return true; /* not able to tell is no violation */
	}
	load_value(key, n, expected, size);
	equal = memcmp(expected, found.p, size) == 0;
	if (expected != part)
		free(expected);
	return equal;
}

int worker_init(struct worker *w, struct load *l, uint32_t id, struct err *e)
{
	w->load = l;
	w->id = id;
	w->random = l->o.seed * UINT64_C(0x9e3779b97f4a7c15) + id;
	return caller_new(&w->caller, l->o.client, e);
}

void worker_done(struct worker *w)
{
	caller_free(w->caller);
	free(w->keys);
	free(w->statements);
	free(w->values);
	free(w->bytes);
}

int worker_reserve(struct worker *w, uint32_t batch, struct err *e)
{
	if (w->room >= batch)
		return 0;
	free(w->keys);
	free(w->statements);
	free(w->values);
	free(w->bytes);
	w->room = 0;
	w->keys = calloc(batch, sizeof *w->keys);
	w->statements = calloc(batch, sizeof *w->statements);
	w->values = calloc(batch, 4 * sizeof *w->values);
	w->bytes = calloc(batch, w->load->o.value_bytes + 1);
	if (!w->keys || !w->statements || !w->values || !w->bytes)
		return err_set(e, ERR_NOMEM, "no memory for batches of %u rows", batch);
	w->room = batch;
	return 0;
}

static uint64_t choose_key(struct worker *w)
{
	struct load *l = w->load;
	uint64_t position;

	if (l->filling || l->mix.in_order)
		position = w->position++ % l->keys_each;
	else
		position = random_next(&w->random) % l->keys_each;
	return position * l->o.workers + w->id;
}

uint32_t worker_compose(struct worker *w, uint32_t rows, int64_t hot)
{
	struct load *l = w->load;
	uint32_t n = atomic_load(&w->n) + 1, size = l->o.value_bytes, at = 0;

	assert(rows + (hot >= 0) <= w->room);
	if (hot >= 0) {
		w->values[0] = value_int(hot);
		w->statements[at++] = (struct client_statement){
			.text = slice_str(l->sql_hot), .params = w->values, .params_n = 1};
	}
	for (uint32_t i = 0; i < rows; i++, at++) {
		struct value *v = &w->values[4 * at];
		uint8_t *bytes = w->bytes + (size_t)i * size;

		w->keys[i] = choose_key(w);
		load_value(w->keys[i], n, bytes, size);
		v[0] = value_int((int64_t)w->keys[i]);
		v[1] = value_int(w->id);
		v[2] = value_int(n);
		v[3] = value_text(slice_of(bytes, size));
		w->statements[at] = (struct client_statement){
			.text = slice_str(l->sql_write), .params = v, .params_n = 4};
	}
	w->write = (struct ledger_write){
		.worker = w->id, .n = n, .hot = hot, .keys = w->keys, .keys_n = rows};
	atomic_store(&w->n, n);
	ledger_sent(l->ledger, &w->write);
	return at;
}

void worker_request(const struct worker *w, uint32_t statements_n, enum sql_mode mode,
		    struct client_request *ret_request)
{
	*ret_request = (struct client_request){
		.namespace = w->load->namespace,
		.mode = mode,
		.level = w->load->mix.level,
		.flags = mode == SQL_WRITE ? SQL_BRIEF : 0,
		.timeout_ms = w->load->o.timeout_ms,
		.statements = w->statements,
		.statements_n = statements_n,
	};
}

static uint32_t compose_read(struct worker *w)
{
	struct load *l = w->load;
	bool linearizable = l->mix.level == SQL_LINEARIZABLE;

	w->read_hot = l->o.hot_keys > 0 && random_share(&w->random) < l->mix.hot_ratio;
	if (w->read_hot) {
		w->read_key = random_next(&w->random) % l->o.hot_keys;
		w->read_least = linearizable ? ledger_hot(l->ledger, (uint32_t)w->read_key) : 0;
	} else if (linearizable) {
		w->read_key = random_next(&w->random) % (l->keys_each * l->o.workers);
		w->read_least = ledger_key(l->ledger, w->read_key);
	} else {
		/* A session sees its own writes: look at an own key. */
		w->read_key = choose_key(w);
		w->read_least =
			l->mix.level == SQL_SESSION ? ledger_key(l->ledger, w->read_key) : 0;
	}
	w->values[0] = value_int((int64_t)w->read_key);
	w->statements[0] = (struct client_statement){
		.text = slice_str(w->read_hot ? l->sql_read_hot : l->sql_read),
		.params = w->values,
		.params_n = 1,
	};
	return 1;
}

static uint32_t compose(struct worker *w, enum sql_mode *ret_mode)
{
	struct load *l = w->load;
	uint32_t rows = l->mix.batch;
	int64_t hot = -1;

	*ret_mode = SQL_WRITE;
	if (l->filling) {
		uint64_t left = l->keys_each - w->position;
		w->reading = false;
		return worker_compose(w, left < LOAD_FILL_BATCH ? (uint32_t)left : LOAD_FILL_BATCH,
				      -1);
	}
	w->reading = random_share(&w->random) < l->mix.read_ratio;
	if (w->reading) {
		*ret_mode = SQL_READ;
		return compose_read(w);
	}
	if (l->o.hot_keys > 0 && random_share(&w->random) < l->mix.hot_ratio) {
		hot = (int64_t)(random_next(&w->random) % l->o.hot_keys);
		rows--;
	}
	return worker_compose(w, rows, hot);
}

static void check_read_hot(struct worker *w, int64_t count)
{
	uint64_t most = ledger_hot_sent(w->load->ledger, (uint32_t)w->read_key);

	if (count < 0 || (uint64_t)count < w->read_least)
		load_violation(w->load,
			       "a read of hot key %" PRIu64 " got %" PRId64 "; %" PRIu64
			       " additions were acknowledged before it began",
			       w->read_key, count, w->read_least);
	else if ((uint64_t)count > most)
		load_violation(w->load,
			       "a read of hot key %" PRIu64 " got %" PRId64 "; only %" PRIu64
			       " additions were ever sent",
			       w->read_key, count, most);
}

static void check_read_key(struct worker *w, int64_t n, const struct value *value)
{
	struct load *l = w->load;
	const struct worker *owner = &l->workers[w->read_key % l->o.workers];

	if (n < 0 || (uint64_t)n < w->read_least)
		load_violation(l,
			       "a read of key %" PRIu64 " got write %" PRId64 "; write %" PRIu64
			       " was acknowledged before it began",
			       w->read_key, n, w->read_least);
	else if ((uint64_t)n > atomic_load(&owner->n))
		load_violation(
			l, "a read of key %" PRIu64 " got write %" PRId64 ", which was never sent",
			w->read_key, n);
	else if (n > 0 && (value->type != VALUE_TEXT ||
			   !load_value_holds(w->read_key, (uint32_t)n, value->s, l->o.value_bytes)))
		load_violation(l,
			       "a read of key %" PRIu64 " got write %" PRId64
			       " with another value than was written",
			       w->read_key, n);
}

/* A row is (n, value) or (count); no row means 0. */
static void check_read(struct worker *w, const struct sql_answer *answer)
{
	struct sql_result_cursor cursor;
	struct sql_result r;
	struct value first = value_int(0), second = value_null();

	sql_result_cursor_init(&cursor, answer);
	if (sql_result_next(&cursor, &r) != 1 || r.kind != SQL_ROWS || r.rows_n > 1) {
		load_violation(w->load, "the answer to a read of key %" PRIu64 " is not one row",
			       w->read_key);
		return;
	}
	if (r.rows_n == 1) {
		first = value_get(&r.values);
		if (r.columns_n > 1)
			second = value_get(&r.values);
	}
	if (!rd_ok(&r.values) || first.type != VALUE_INT)
		load_violation(w->load, "the answer to a read of key %" PRIu64 " is no number",
			       w->read_key);
	else if (w->read_hot)
		check_read_hot(w, first.i);
	else
		check_read_key(w, first.i, &second);
}

void worker_settle_write(struct worker *w, int status)
{
	struct ledger *ledger = w->load->ledger;
	struct err e = {0};

	/* Only a later write that was done shows that an unknown one cannot come any more. */
	if (status == 0) {
		w->last_unknown = false;
		ledger_acknowledged(ledger, &w->write);
		return;
	}
	if (status != ERR_UNKNOWN_OUTCOME)
		return;
	w->last_unknown = true;
	if (ledger_unknown(ledger, &w->write, &e)) {
		load_note_error(w->load, e.code, slice_str(e.text));
		atomic_store(&w->load->stopping, true);
	}
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static void count(struct worker *w, int status, uint64_t now_us)
{
	struct load *l = w->load;
	struct hist_stripe *stripe = &l->stripes[w->id % HIST_STRIPES];
	uint64_t us = now_us > w->started_us ? now_us - w->started_us : 0;

	pthread_mutex_lock(&stripe->lock);
	hist_add(&stripe->hist, us);
	pthread_mutex_unlock(&stripe->lock);
	add(&w->latency_us_sum, us);
	add(w->reading ? &w->reads : &w->writes, 1);
	add(status ? &w->failed : &w->ok, 1);
	if (status == ERR_UNKNOWN_OUTCOME)
		add(&w->unknown, 1);
	if (status == ERR_CONFLICT)
		add(&w->conflicts, 1);
	if (status == 0 && !w->reading) {
		add(&w->rows, w->write.keys_n + (w->write.hot >= 0));
		atomic_store_explicit(&l->last_ok_us, now_us, memory_order_relaxed);
	}
}

/* The keys of a fill that was not acknowledged are still to be written. */
static void fill_again(struct worker *w, int status)
{
	if (w->load->filling && status)
		w->position -= w->write.keys_n;
}

static void finish(struct worker *w, int status, struct slice message, uint64_t now_us)
{
	count(w, status, now_us);
	if (!w->reading)
		worker_settle_write(w, status);
	fill_again(w, status);
	if (status)
		load_note_error(w->load, status, message);
	else
		w->settled = true;
}

static void on_done(void *ctx, const struct sql_answer *answer)
{
	struct worker *w = ctx;
	uint64_t now_us = clock_mono_us();

	if (w->reading && answer->status == 0)
		check_read(w, answer);
	finish(w, answer->status, answer->message, now_us);
	/* A cluster that refuses at once must not be asked a million times a second. */
	if (answer->status && now_us < w->started_us + FAILED_PAUSE_US)
		load_park(w->load, w, now_us + FAILED_PAUSE_US);
	else
		worker_step(w);
}

/* The time at which the next request may leave. */
static uint64_t take_slot(struct load *l, uint64_t now_us)
{
	uint64_t gap_us = (uint64_t)(1e6 / l->mix.rate), slot, taken;

	slot = atomic_load(&l->slot_us);
	do {
		/* After a stall the load does not pile up what it missed for more than a second. */
		taken = slot + 1000000 < now_us ? now_us - 1000000 : slot;
	} while (!atomic_compare_exchange_weak(&l->slot_us, &slot, taken + (gap_us ? gap_us : 1)));
	return taken;
}

/* false: it is not this worker's turn yet, it is parked. The request counts as begun when its turn
 * came, so that a wait behind slow ones is part of its latency. */
static bool take_turn(struct worker *w)
{
	struct load *l = w->load;
	uint64_t now_us = clock_mono_us();

	w->started_us = now_us;
	if (l->mix.rate <= 0 || l->filling)
		return true;
	if (w->slot_us == 0) {
		w->slot_us = take_slot(l, now_us);
		if (w->slot_us > now_us) {
			load_park(l, w, w->slot_us);
			return false;
		}
	}
	w->started_us = w->slot_us;
	w->slot_us = 0;
	return true;
}

static bool is_over(const struct worker *w)
{
	struct load *l = w->load;

	return atomic_load(&l->stopping) || (l->filling && w->position >= l->keys_each);
}

void worker_step(struct worker *w)
{
	struct load *l = w->load;
	struct client_request request;
	struct err e = {0};
	enum sql_mode mode;

	if (is_over(w)) {
		load_worker_ended(l);
		return;
	}
	if (!take_turn(w))
		return;
	uint32_t statements_n = compose(w, &mode);
	worker_request(w, statements_n, mode, &request);
	/* The tables were made under another name: a session that has seen nothing yet may be
	 * answered by a node that has not heard of them. */
	if (!w->settled)
		request.level = SQL_LINEARIZABLE;
	int rc = client_start(w->caller, &request, on_done, w, &e);
	if (rc == 0)
		return; /* the worker is its callback's from here on */
	uint64_t now_us = clock_mono_us();
	finish(w, rc, slice_str(e.text), now_us);
	load_park(l, w, now_us + FAILED_PAUSE_US);
}
