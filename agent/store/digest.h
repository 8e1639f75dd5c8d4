/* A fingerprint of a namespace's content, equal on all nodes that have applied the same entries.
 *
 * XXH3-128 over the schema, user_version and application_id, every ordinary
 * table's rows in key order (shadow tables of virtual tables among them, and
 * SQLite's sequence and statistics tables), and the clients' sessions. Left
 * out: what each node decides for itself (page layout, the applied index) and
 * generated columns, which follow from the others.
 *
 * Works in slices of time on a connection that is inside a read transaction.
 * Threads: the connection's.
 */
#ifndef DROVER_AGENT_STORE_DIGEST_H
#define DROVER_AGENT_STORE_DIGEST_H

#include "agent/store/connection.h"

struct digest;

int digest_new(struct digest **ret_digest, struct connection *c, struct err *e);
void digest_free(struct digest *d);
/* 1: more to do; 0: done, ret_hex (33 bytes) is set; or an error. */
int digest_step(struct digest *d, uint32_t slice_ms, char *ret_hex, struct err *e);

#endif
