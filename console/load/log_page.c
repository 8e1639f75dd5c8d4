#include "console/load/log_page.h"

#include <inttypes.h>
#include <time.h>

#define PAGE_BYTES (2u << 20)
#define ANSWER_MS 10000
#define TRIES 5
#define PAUSE_MS 50

int log_page_decode(struct slice answer, struct log_page *ret_page, struct err *e)
{
	struct log_page p = {.rd = rd_of(answer)};

	p.first_index = rd_varint(&p.rd);
	p.committed = rd_varint(&p.rd);
	/* index, term, kind and length take a byte each at least. */
	p.count = p.left = rd_count(&p.rd, 4);
	if (!rd_ok(&p.rd))
		return err_set(e, ERR_PROTOCOL, "the page of the log does not decode");
	*ret_page = p;
	return 0;
}

int log_page_fetch(struct client *c, const struct log_page_request *r, struct buf *body,
		   struct log_page *ret_page, struct err *e)
{
	uint8_t bytes[64];
	struct buf request = {.data = bytes, .cap = sizeof bytes, .max = sizeof bytes};
	int rc = 0;

	wire_varint(&request, r->group);
	wire_varint(&request, r->from);
	wire_varint(&request, r->n);
	wire_varint(&request, PAGE_BYTES);
	wire_varint(&request, r->wait_ms);
	for (int tries = 0; tries < TRIES; tries++) {
		buf_clear(body);
		rc = client_rpc(c, r->node, RPC_WAL, buf_slice(&request), r->wait_ms + ANSWER_MS,
				body, e);
		if (rc != ERR_CLOSED && rc != ERR_UNREACHABLE)
			break;
		if (client_conn(c, r->node))
			rpc_conn_nudge(client_conn(c, r->node));
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000}, NULL);
	}
	return rc ? rc : log_page_decode(buf_slice(body), ret_page, e);
}

int log_page_next(struct log_page *p, struct log_entry *ret_entry, struct err *e)
{
	struct log_entry entry;

	if (p->left == 0)
		return 0;
	entry.index = rd_varint(&p->rd);
	entry.term = rd_varint(&p->rd);
	entry.kind = rd_u8(&p->rd);
	entry.payload = rd_bytes(&p->rd);
	if (!rd_ok(&p->rd))
		return err_set(e, ERR_PROTOCOL, "an entry of the log does not decode");
	if (p->previous && entry.index != p->previous + 1)
		return err_set(e, ERR_PROTOCOL, "entry %" PRIu64 " comes behind entry %" PRIu64,
			       entry.index, p->previous);
	p->previous = entry.index;
	p->left--;
	*ret_entry = entry;
	return 1;
}
