/* The inside of load.h: one worker, its requests and what comes of them. Only load.c, worker.c and
 * verify.c include this. */
#ifndef DROVER_CONSOLE_LOAD_WORKER_H
#define DROVER_CONSOLE_LOAD_WORKER_H

#include "console/load/load.h"

#include <pthread.h>
#include <stdatomic.h>

#define HIST_STRIPES 8
#define LOAD_FILL_BATCH 500

struct worker {
	struct load *load;
	uint32_t id;
	struct caller *caller;
	uint64_t random;
	_Atomic uint32_t n; /* number of the last write sent */
	uint64_t position;  /* of the next key when they are taken in order */
	bool last_unknown;
	bool settled; /* has had an answer since the tables were made: its session has seen them */
	/* The request under way: */
	bool reading;
	uint64_t started_us;
	uint64_t slot_us; /* paced: its turn, taken but not used yet */
	struct ledger_write write;
	uint64_t read_key;
	bool read_hot;
	uint64_t read_least;
	/* Where it is put together; made for the largest batch so far. */
	uint64_t *keys;
	struct client_statement *statements;
	struct value *values;
	uint8_t *bytes;
	uint32_t room;
	/* Waiting to go on (under load->lock): */
	bool parked;
	uint64_t due_us;
	/* Only this worker's callback adds, others read. */
	_Atomic uint64_t ok, failed, unknown, conflicts, reads, writes, rows, latency_us_sum;
};

struct hist_stripe {
	pthread_mutex_t lock;
	struct hist hist;
};

struct load {
	struct load_options o;
	char namespace[SQL_NAMESPACE_MAX];
	char prefix[64];
	char sql_write[256], sql_hot[128], sql_read[128], sql_read_hot[128], sql_scan[192],
		sql_scan_hot[128];
	uint64_t keys_each; /* a worker's */
	struct ledger *ledger;
	struct worker *workers;
	uint32_t workers_made;
	/* The run: */
	struct load_mix mix;
	bool filling;
	atomic_bool stopping;
	_Atomic uint64_t slot_us; /* paced: when the next request may leave */
	_Atomic uint64_t last_ok_us;
	uint64_t started_us, ends_us;
	bool thread_made;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows, and of parked workers */
	pthread_cond_t change;
	uint32_t active;
	uint32_t parked_n;
	uint64_t ended_us;
	struct load_error errors[LOAD_ERRORS_MAX];
	size_t errors_n;
	struct violations violations;
	struct hist_stripe stripes[HIST_STRIPES];
};

int worker_init(struct worker *w, struct load *l, uint32_t id, struct err *e);
void worker_done(struct worker *w);
/* Room for writes of `batch` rows. */
int worker_reserve(struct worker *w, uint32_t batch, struct err *e);

/* Starts the worker's next request, or parks it, or ends it. On any thread. */
void worker_step(struct worker *w);

/* Lays out a write of `rows` keys (and of a hot one, if hot >= 0) into w->write and w->statements;
 * returns the number of statements. */
uint32_t worker_compose(struct worker *w, uint32_t rows, int64_t hot);
void worker_request(const struct worker *w, uint32_t statements_n, enum sql_mode mode,
		    struct client_request *ret_request);
/* Notes the outcome of w->write in the ledger. */
void worker_settle_write(struct worker *w, int status);

/* The value of a key's nth write, `size` bytes. */
void load_value(uint64_t key, uint32_t n, uint8_t *ret_bytes, uint32_t size);
bool load_value_holds(uint64_t key, uint32_t n, struct slice found, uint32_t size);

/* load.c */
void load_park(struct load *l, struct worker *w, uint64_t due_us);
void load_worker_ended(struct load *l);
void load_note_error(struct load *l, int code, struct slice text);
void load_violation(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
