#include "console/check/feeder.h"
#include "common/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REQUEST_MS 5000
#define PAUSE_MS 10
#define INSERT "INSERT INTO " FEEDER_TABLE "(client, n, payload) VALUES(?1, ?2, ?3)"

struct feeding {
	struct feeder *feeder;
	uint32_t id;
	struct caller *caller;
	struct feeder_client account;
	uint64_t goal; /* sent up to here */
	pthread_t thread;
	bool running;
	struct err err;
};

struct feeder {
	uint32_t clients;
	uint32_t batch;
	uint32_t patience_ms;
	atomic_bool stopping;
	_Atomic uint64_t rows;
	_Atomic uint64_t last_ok_us;
	struct feeding *feedings;
};

int feeder_new(struct feeder **ret_feeder, struct client *c, uint32_t clients, uint32_t batch,
	       uint32_t patience_ms, struct err *e)
{
	struct feeder *f = calloc(1, sizeof *f);
	int rc = 0;

	if (f) {
		f->clients = clients;
		f->batch = batch;
		f->patience_ms = patience_ms;
		f->feedings = calloc(clients, sizeof *f->feedings);
	}
	if (!f || !f->feedings) {
		free(f);
		return err_set(e, ERR_NOMEM, "no memory for %u clients", clients);
	}
	for (uint32_t i = 0; i < clients && !rc; i++) {
		f->feedings[i].feeder = f;
		f->feedings[i].id = i;
		rc = caller_new(&f->feedings[i].caller, c, e);
	}
	if (rc) {
		feeder_free(f);
		return rc;
	}
	*ret_feeder = f;
	return 0;
}

void feeder_free(struct feeder *f)
{
	if (!f)
		return;
	feeder_stop(f);
	feeder_join(f, NULL);
	for (uint32_t i = 0; i < f->clients; i++) {
		caller_free(f->feedings[i].caller);
		free(f->feedings[i].account.doubts);
	}
	free(f->feedings);
	free(f);
}

int feeder_note(struct feeder_client *c, uint64_t rows, bool doubtful, struct err *e)
{
	if (doubtful && !c->doubts)
		c->doubts = calloc(FEEDER_DOUBTS_MAX, sizeof *c->doubts);
	if (doubtful && (!c->doubts || c->doubts_n == FEEDER_DOUBTS_MAX))
		return err_set(e, ERR_LIMIT, "more than %d transactions of unknown outcome",
			       FEEDER_DOUBTS_MAX);
	if (doubtful)
		c->doubts[c->doubts_n++] = (struct feeder_doubt){c->sent + 1, c->sent + rows};
	c->sent += rows;
	return 0;
}

struct batch {
	struct client_statement *statements;
	struct value *values;
	struct buf body;
};

static int batch_init(struct batch *b, uint32_t rows, struct err *e)
{
	b->statements = calloc(rows, sizeof *b->statements);
	b->values = calloc(rows, 3 * sizeof *b->values);
	buf_init(&b->body, SQL_ANSWER_BYTES_MAX);
	return b->statements && b->values ? 0 : err_set(e, ERR_NOMEM, "no memory for a batch");
}

static void batch_done(struct batch *b)
{
	free(b->statements);
	free(b->values);
	buf_done(&b->body);
}

static int send_batch(struct feeding *me, struct batch *b, uint32_t rows, struct err *e)
{
	static const char payload[] =
		"the quick brown fox jumps over the lazy dog, again and again";
	struct client_request r = {.mode = SQL_WRITE,
				   .flags = SQL_BRIEF,
				   .timeout_ms = REQUEST_MS,
				   .statements = b->statements,
				   .statements_n = rows};
	struct sql_answer answer;

	for (uint32_t i = 0; i < rows; i++) {
		struct value *v = &b->values[3 * i];
		v[0] = value_int(me->id);
		v[1] = value_int((int64_t)(me->account.sent + 1 + i));
		v[2] = value_text(slice_of(payload, sizeof payload - 1));
		b->statements[i] = (struct client_statement){slice_str(INSERT), v, 3};
	}
	buf_clear(&b->body);
	return client_wait(me->caller, &r, &b->body, &answer, e);
}

/* Certainly not done, and not for a reason that will not go away. */
static bool worth_another_try(int rc)
{
	return rc != ERR_SQL && rc != ERR_AUTH && rc != ERR_UNSUPPORTED && rc != ERR_PROTOCOL &&
	       rc != ERR_INVALID && rc != ERR_LIMIT;
}

static int feed(struct feeding *me, struct batch *b)
{
	struct feeder *f = me->feeder;
	uint64_t ok_ms = clock_mono_ms();

	while (me->account.sent < me->goal && !atomic_load(&f->stopping)) {
		uint64_t left = me->goal - me->account.sent;
		uint32_t rows = left < f->batch ? (uint32_t)left : f->batch;
		int rc = send_batch(me, b, rows, &me->err);

		if (rc == 0) {
			feeder_note(&me->account, rows, false, NULL);
			atomic_fetch_add(&f->rows, rows);
			atomic_store(&f->last_ok_us, clock_mono_us());
			ok_ms = clock_mono_ms();
			continue;
		}
		if (rc == ERR_UNKNOWN_OUTCOME) {
			rc = feeder_note(&me->account, rows, true, &me->err);
			if (rc)
				return rc;
		} else if (!worth_another_try(rc)) {
			return rc;
		}
		if (clock_mono_ms() > ok_ms + f->patience_ms) {
			err_wrap(&me->err, "nothing was acknowledged for %.0f s",
				 (double)f->patience_ms / 1000);
			return rc ? rc : ERR_TIMEOUT;
		}
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000}, NULL);
	}
	return 0;
}

static void *feed_thread(void *arg)
{
	struct feeding *me = arg;
	struct batch b = {0};
	int rc = batch_init(&b, me->feeder->batch, &me->err);

	if (!rc)
		rc = feed(me, &b);
	batch_done(&b);
	me->err.code = rc;
	return NULL;
}

int feeder_start(struct feeder *f, uint64_t rows, struct err *e)
{
	atomic_store(&f->stopping, false);
	atomic_store(&f->last_ok_us, clock_mono_us());
	for (uint32_t i = 0; i < f->clients; i++) {
		struct feeding *me = &f->feedings[i];
		me->goal = me->account.sent + rows / f->clients + (i < rows % f->clients);
		me->err = (struct err){0};
		if (pthread_create(&me->thread, NULL, feed_thread, me)) {
			feeder_stop(f);
			feeder_join(f, NULL);
			return err_set(e, ERR_NOMEM, "no thread to be had");
		}
		me->running = true;
	}
	return 0;
}

void feeder_stop(struct feeder *f)
{
	atomic_store(&f->stopping, true);
}

int feeder_join(struct feeder *f, struct err *e)
{
	int rc = 0;

	for (uint32_t i = 0; i < f->clients; i++) {
		struct feeding *me = &f->feedings[i];
		if (me->running)
			pthread_join(me->thread, NULL);
		if (me->running && me->err.code && !rc) {
			rc = me->err.code;
			if (e)
				*e = me->err;
		}
		me->running = false;
	}
	return rc;
}

uint64_t feeder_rows(struct feeder *f)
{
	return atomic_load(&f->rows);
}

uint64_t feeder_last_ok_us(struct feeder *f)
{
	return atomic_load(&f->last_ok_us);
}

uint32_t feeder_clients(const struct feeder *f)
{
	return f->clients;
}

const struct feeder_client *feeder_client(const struct feeder *f, uint32_t i)
{
	return &f->feedings[i].account;
}
