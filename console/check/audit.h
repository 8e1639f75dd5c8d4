/* Holds a node's log against what a feeder sent.
 *
 * The log of a node is read entry by entry, as it lies there, and must hold: every acknowledged
 * row; each client's rows in the order in which it sent them, without a gap except for doubtful
 * transactions that are missing as a whole; row ids 1, 2, 3 … over all clients, which is the order
 * in which the leader executed them; nothing else in the table. A hash over all entries (index,
 * term, kind, payload) tells whether two nodes hold the same log.
 *
 * Threads: one.
 */
#ifndef DROVER_CONSOLE_CHECK_AUDIT_H
#define DROVER_CONSOLE_CHECK_AUDIT_H

#include "console/check/feeder.h"
#include "console/load/log_page.h"

struct audit;

int audit_new(struct audit **ret_audit, const struct feeder_client *const *clients, uint32_t n,
	      struct err *e);
void audit_free(struct audit *a);

/* Entries in order, from index 1 on. ERR_CORRUPT: a contradiction, told in e. */
int audit_entry(struct audit *a, const struct log_entry *entry, struct err *e);
/* After the last one: is anything missing? */
int audit_end(struct audit *a, struct err *e);

uint64_t audit_rows(const struct audit *a);
uint64_t audit_entries(const struct audit *a);
uint64_t audit_hash(const struct audit *a);

/* All of it for one node: reads its log of group 1 up to `index`. */
struct audit_result {
	uint64_t entries, rows, hash;
};
int audit_node(struct client *c, uint32_t node, uint64_t index, const struct feeder *f,
	       struct audit_result *ret_result, struct err *e);

#endif
