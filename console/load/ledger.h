/* What a load run knows about its own writes, and whether the data agrees with it.
 *
 * Every key belongs to one worker, and a worker numbers its writes 1, 2, 3 … and has one under way
 * at a time. So for each key it is enough to remember the number of the last acknowledged write:
 * what is found at the end must carry exactly that number, or that of a later write whose outcome
 * was never known. Hot keys belong to all workers; they are counters, which must end between what
 * was acknowledged and that plus what is unknown.
 *
 * Found so: acknowledged writes that are gone or were undone by an older one, writes that were
 * answered as failed or never sent and yet are there, counters that counted twice or not at all,
 * and transactions of which only a part was done.
 *
 * Memory: 4 bytes a key, 24 a row of unknown outcome, of which it holds at most LEDGER_UNKNOWN_MAX.
 *
 * Threads: writes of different workers may be noted at once. Checking: one thread, after the end.
 */
#ifndef DROVER_CONSOLE_LOAD_LEDGER_H
#define DROVER_CONSOLE_LOAD_LEDGER_H

#include "common/buf.h"
#include "common/err.h"

#define LEDGER_KEYS_MAX 1000000000
#define LEDGER_UNKNOWN_MAX 1000000 /* rows */

/* Contradictions found; the first ones in words. */
#define VIOLATIONS_SHOWN 20
struct violations {
	uint64_t count;
	char texts[VIOLATIONS_SHOWN][256];
};
void violations_add(struct violations *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

struct ledger;

int ledger_new(struct ledger **ret_ledger, uint64_t keys, uint32_t hot_keys, struct err *e);
void ledger_free(struct ledger *l);

/* One write: a transaction of worker `worker`, its `n`th, that sets these keys to n and, with
 * hot >= 0, adds one to that hot key. */
struct ledger_write {
	uint32_t worker;
	uint32_t n;
	int64_t hot;
	const uint64_t *keys;
	uint32_t keys_n;
};
void ledger_sent(struct ledger *l, const struct ledger_write *w); /* before it leaves */
void ledger_acknowledged(struct ledger *l, const struct ledger_write *w);
/* ERR_LIMIT: too much is unknown to go on; it is then no longer possible to check. */
int ledger_unknown(struct ledger *l, const struct ledger_write *w, struct err *e);

/* What a read that starts now must at least see. */
uint32_t ledger_key(const struct ledger *l, uint64_t key);
uint64_t ledger_hot(const struct ledger *l, uint32_t hot);
/* What one that ends now may at most see. */
uint64_t ledger_hot_sent(const struct ledger *l, uint32_t hot);

/* The check: begin, every row found by rising key, every counter found, end. */
int ledger_check_begin(struct ledger *l, struct violations *v, struct err *e);
void ledger_check_row(struct ledger *l, uint64_t key, uint32_t n);
void ledger_check_hot(struct ledger *l, uint64_t hot, uint64_t count);
void ledger_check_end(struct ledger *l);

#endif
