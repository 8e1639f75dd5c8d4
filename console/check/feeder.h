/* Writes numbered entries into a cluster, from several clients at once, and remembers which were
 * acknowledged.
 *
 * Client c writes rows (c, 1), (c, 2), (c, 3) … into the table `entries`, `batch` rows a
 * transaction, the next one only when the one before is answered. What was certainly not done is
 * sent again; what may or may not have been done is noted as doubtful and passed over. So, for each
 * client, the log must hold the numbers 1 to sent in their order, without a gap, except that a
 * doubtful transaction may be missing as a whole.
 *
 * Threads: each client has one of its own between feeder_start and feeder_join; feeder_rows may be
 * asked meanwhile, the rest not.
 */
#ifndef DROVER_CONSOLE_CHECK_FEEDER_H
#define DROVER_CONSOLE_CHECK_FEEDER_H

#include "common/client.h"

#include <pthread.h>
#include <stdatomic.h>

#define FEEDER_CLIENTS_MAX 64
#define FEEDER_DOUBTS_MAX 1000 /* of one client */
#define FEEDER_TABLE "entries"
#define FEEDER_SCHEMA                                                                          \
	"CREATE TABLE IF NOT EXISTS entries(id INTEGER PRIMARY KEY, client INTEGER NOT NULL, " \
	"n INTEGER NOT NULL, payload TEXT NOT NULL)"

/* A transaction of unknown outcome: the numbers first to last. */
struct feeder_doubt {
	uint64_t first, last;
};

struct feeder_client {
	uint64_t sent; /* 1 to this, acknowledged or doubtful */
	struct feeder_doubt *doubts;
	size_t doubts_n;
};

struct feeder;

/* `patience_ms`: a client gives up when nothing of its own is acknowledged for so long. */
int feeder_new(struct feeder **ret_feeder, struct client *c, uint32_t clients, uint32_t batch,
	       uint32_t patience_ms, struct err *e);
void feeder_free(struct feeder *f);

/* Writes `rows` more, as evenly from all clients as it goes. */
int feeder_start(struct feeder *f, uint64_t rows, struct err *e);
/* The clients end after the transaction that they have under way. */
void feeder_stop(struct feeder *f);
/* Waits for all clients; the first one's error that gave up. */
int feeder_join(struct feeder *f, struct err *e);

uint64_t feeder_rows(struct feeder *f);	      /* acknowledged so far */
uint64_t feeder_last_ok_us(struct feeder *f); /* when something last was, monotonic */

uint32_t feeder_clients(const struct feeder *f);
const struct feeder_client *feeder_client(const struct feeder *f, uint32_t i);

/* For tests of what is compared with it. */
int feeder_note(struct feeder_client *c, uint64_t rows, bool doubtful, struct err *e);

#endif
