/* Pages of a node's log, as RPC_WAL gives them: committed entries from an index on.
 *
 * Threads: as client_rpc.
 */
#ifndef DROVER_CONSOLE_LOAD_LOG_PAGE_H
#define DROVER_CONSOLE_LOAD_LOG_PAGE_H

#include "common/client.h"

enum log_entry_kind { LOG_ENTRY_NOOP = 1, LOG_ENTRY_DATA = 2, LOG_ENTRY_CONFIG = 3 };

struct log_entry {
	uint64_t index;
	uint64_t term;
	uint8_t kind;
	struct slice payload;
};

struct log_page {
	uint64_t first_index; /* the first one that this node still has */
	uint64_t committed;
	uint64_t count; /* entries in this page; 0: there are none from `from` on yet */
	/* Its own: */
	struct rd rd;
	uint64_t left;
	uint64_t previous;
};

struct log_page_request {
	uint32_t node;
	uint32_t group;
	uint64_t from;
	uint64_t n;	  /* at most so many; the agent has a bound of its own */
	uint32_t wait_ms; /* wait so long for an entry at `from` */
};

/* The page points into *body, which is cleared first and must live as long. Asks again for
 * some tenths of a second when the connection was lost, since it may be one from before the node
 * was started again. */
int log_page_fetch(struct client *c, const struct log_page_request *r, struct buf *body,
		   struct log_page *ret_page, struct err *e);

/* For tests: the same without the asking. */
int log_page_decode(struct slice answer, struct log_page *ret_page, struct err *e);

/* 1: *ret_entry is the next; 0: no more; ERR_PROTOCOL. Indexes rise by one. */
int log_page_next(struct log_page *p, struct log_entry *ret_entry, struct err *e);

#endif
