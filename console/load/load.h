/* Load on a cluster, and the proof that its answers were true.
 *
 * A load has workers: each is one caller of common/client.h with at most one request under way; an
 * answer's callback starts the worker's next request, so that thousands need no thread of their
 * own. They write and read two tables in a namespace:
 *
 *   PREFIX_keys(key INTEGER PRIMARY KEY, worker, n, value)   each key is one worker's own
 *   PREFIX_hot(key INTEGER PRIMARY KEY, count)               counters that all workers add to
 *
 * A write is one transaction: it sets `batch` keys to the worker's write number n, with a value
 * that follows from key and n; or it adds one to a hot counter (and sets batch - 1 keys). A read
 * gets one key or counter and is held against what it must see at least (its worker's own writes;
 * all acknowledged ones with linearizable reads) and at most. After the end load_verify compares
 * all of the data with the ledger.
 *
 * Life: new, setup, fill if every key should be there, start/wait as often as wanted with different
 * mixes, verify, drop_tables, free.
 *
 * Threads: all functions belong to one thread; the work happens on the client's threads and one
 * more, which paces and ends it.
 */
#ifndef DROVER_CONSOLE_LOAD_LOAD_H
#define DROVER_CONSOLE_LOAD_LOAD_H

#include "common/client.h"
#include "common/hist.h"
#include "console/load/ledger.h"

#define LOAD_WORKERS_MAX 10000
#define LOAD_BATCH_MAX 20000
#define LOAD_VALUE_BYTES_MAX (1u << 20)

struct load_options {
	struct client *client; /* outlives the load */
	const char *namespace; /* created when missing */
	const char *prefix;    /* of the tables' names; letters, digits and _ */
	uint32_t workers;
	uint64_t keys; /* rounded up so that all workers have equally many */
	uint32_t hot_keys;
	uint32_t value_bytes;
	uint32_t timeout_ms; /* of a request */
	uint64_t seed;
};

/* What the workers do; may differ from one start to the next. */
struct load_mix {
	double read_ratio;    /* 0..1 of the requests are reads */
	double hot_ratio;     /* 0..1 of the requests go to a hot key */
	uint32_t batch;	      /* rows a write */
	bool in_order;	      /* a worker's keys in their order instead of at random */
	enum sql_level level; /* of reads */
	uint32_t active;      /* this many of the workers take part; 0: all */
	double rate;	      /* requests a second in all, 0: as fast as answers come */
	uint64_t duration_ms; /* 0: until load_stop */
};

struct load;

int load_new(struct load **ret_load, const struct load_options *o, struct err *e);
void load_free(struct load *l); /* stops it first */

/* Makes the namespace and the tables. */
int load_setup(struct load *l, struct err *e);
/* Writes every key once. Blocks; ends early with ERR_REFUSED when `interrupted` (may be NULL) says
 * so, with the error when the cluster does not take it for `timeout_ms`. */
int load_fill(struct load *l, bool (*interrupted)(void), struct err *e);

int load_start(struct load *l, const struct load_mix *mix, struct err *e);
/* No new requests; those under way are still waited for by load_wait. */
void load_stop(struct load *l);
/* true: the duration is over (or load_stop was called) and every worker has had its last answer. */
bool load_wait(struct load *l, uint64_t ms);

/* Since load_start. failed counts everything that was not acknowledged, unknown and conflicts
 * among it: ops = ok + failed. */
struct load_counts {
	uint64_t ops, ok, failed, unknown, conflicts, reads, writes, rows;
	uint64_t latency_us_sum; /* of all ops */
	uint64_t elapsed_us;	 /* to now, or to the last answer */
	uint64_t last_ok_us;	 /* clock_mono_us of the last acknowledgement of a write */
};
void load_counts(struct load *l, struct load_counts *ret_counts);
void load_latency(struct load *l, struct hist *ret_hist); /* microseconds */

/* Which errors there were since load_new, most frequent first. */
#define LOAD_ERRORS_MAX 16
struct load_error {
	int code;
	uint64_t count;
	char text[ERR_TEXT_MAX]; /* of the newest */
};
size_t load_errors(struct load *l, struct load_error *ret_errors);

/* Compares the data with the ledger; not while running. First every worker whose last write is of
 * unknown outcome writes once more, so that nothing late can come behind the comparison. 0: the
 * comparison was made, look at ret_violations (which also holds what reads found); else it could
 * not be made. */
int load_verify(struct load *l, uint32_t timeout_ms, struct violations *ret_violations,
		struct err *e);
/* What reads have found so far. */
uint64_t load_violations(struct load *l);

int load_drop_tables(struct load *l, struct err *e);

uint64_t load_keys(const struct load *l); /* after rounding up */

#endif
