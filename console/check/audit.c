#include "console/check/audit.h"
#include "common/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Where the audit stands with one client. */
struct position {
	uint64_t next; /* the number that must come next */
	size_t doubt;  /* the first doubtful transaction that is not behind us */
};

struct audit {
	const struct feeder_client *const *clients;
	uint32_t clients_n;
	struct position *positions;
	uint64_t index; /* of the last entry */
	uint64_t id;	/* of the last row */
	uint64_t rows;
	XXH3_state_t *hash;
	struct record_iter iter;
};

int audit_new(struct audit **ret_audit, const struct feeder_client *const *clients, uint32_t n,
	      struct err *e)
{
	struct audit *a = calloc(1, sizeof *a);

	if (a) {
		a->clients = clients;
		a->clients_n = n;
		a->positions = calloc(n + 1, sizeof *a->positions);
		a->hash = XXH3_createState();
	}
	if (!a || !a->positions || !a->hash) {
		audit_free(a);
		return err_set(e, ERR_NOMEM, "no memory to check the log");
	}
	for (uint32_t i = 0; i < n; i++)
		a->positions[i].next = 1;
	XXH3_64bits_reset(a->hash);
	*ret_audit = a;
	return 0;
}

void audit_free(struct audit *a)
{
	if (!a)
		return;
	XXH3_freeState(a->hash);
	free(a->positions);
	free(a);
}

/* Is everything from the next expected number up to `n` (not included) doubtful, as whole
 * transactions? Moves on to n if so. */
static bool pass_doubts(struct audit *a, uint32_t client, uint64_t n)
{
	const struct feeder_client *c = a->clients[client];
	struct position *at = &a->positions[client];

	while (at->doubt < c->doubts_n && c->doubts[at->doubt].last < at->next)
		at->doubt++;
	while (at->next < n) {
		if (at->doubt == c->doubts_n || c->doubts[at->doubt].first != at->next ||
		    c->doubts[at->doubt].last >= n)
			return false;
		at->next = c->doubts[at->doubt++].last + 1;
	}
	return true;
}

static int audit_row(struct audit *a, int64_t id, int64_t client, int64_t n, struct err *e)
{
	if (client < 0 || client >= (int64_t)a->clients_n || n < 1 ||
	    (uint64_t)n > a->clients[client]->sent)
		return err_set(e, ERR_CORRUPT,
			       "entry %" PRIu64 " holds row %" PRId64 " of client %" PRId64
			       ", which was never sent",
			       a->index, n, client);
	struct position *at = &a->positions[client];
	if ((uint64_t)n < at->next)
		return err_set(e, ERR_CORRUPT,
			       "entry %" PRIu64 " holds row %" PRId64 " of client %" PRId64
			       " behind its row %" PRIu64,
			       a->index, n, client, at->next - 1);
	if (!pass_doubts(a, (uint32_t)client, (uint64_t)n))
		return err_set(e, ERR_CORRUPT,
			       "row %" PRIu64 " of client %" PRId64 " is missing: entry %" PRIu64
			       " goes on with its row %" PRId64,
			       at->next, client, a->index, n);
	if (id != (int64_t)a->id + 1)
		return err_set(e, ERR_CORRUPT,
			       "entry %" PRIu64 " holds the row with id %" PRId64
			       " behind the one with id %" PRIu64,
			       a->index, id, a->id);
	at->next = (uint64_t)n + 1;
	a->id++;
	a->rows++;
	return 0;
}

static int audit_insert(struct audit *a, const struct record *r, struct err *e)
{
	struct record_value v;
	int64_t client = -1, n = -1;

	while (record_value_next(&a->iter, &v)) {
		struct slice column = record_table_column(r->table, v.column);
		if (v.value.type != VALUE_INT)
			continue;
		if (slice_eq(column, slice_str("client")))
			client = v.value.i;
		else if (slice_eq(column, slice_str("n")))
			n = v.value.i;
	}
	return audit_row(a, r->rowid, client, n, e);
}

static int audit_batch(struct audit *a, const struct log_entry *entry, struct err *e)
{
	struct record r;
	int more = -1, rc = 0;

	if (record_iter_init(&a->iter, entry->payload)) {
		while (!rc && (more = record_next(&a->iter, &r)) == 1) {
			if (r.kind != RECORD_INSERT && r.kind != RECORD_UPDATE &&
			    r.kind != RECORD_DELETE)
				continue;
			if (!slice_eq(r.table->name, slice_str(FEEDER_TABLE)))
				continue;
			if (r.kind == RECORD_INSERT)
				rc = audit_insert(a, &r, e);
			else
				rc = err_set(e, ERR_CORRUPT,
					     "entry %" PRIu64
					     " changes a row that was only ever inserted",
					     a->index);
		}
	}
	if (!rc && more < 0)
		rc = err_set(e, ERR_CORRUPT, "entry %" PRIu64 " does not decode", a->index);
	return rc;
}

int audit_entry(struct audit *a, const struct log_entry *entry, struct err *e)
{
	uint64_t head[3] = {entry->index, entry->term, entry->kind};
	struct record_head record;

	if (entry->index != a->index + 1)
		return err_set(e, ERR_CORRUPT,
			       "the log goes on with entry %" PRIu64 " behind entry %" PRIu64,
			       entry->index, a->index);
	a->index = entry->index;
	XXH3_64bits_update(a->hash, head, sizeof head);
	XXH3_64bits_update(a->hash, entry->payload.p, entry->payload.n);
	if (entry->kind != LOG_ENTRY_DATA || entry->payload.n == 0)
		return 0;
	if (!record_head_decode(entry->payload, &record))
		return err_set(e, ERR_CORRUPT, "entry %" PRIu64 " does not decode", a->index);
	return record.form == RECORD_FORM_BATCH ? audit_batch(a, entry, e) : 0;
}

int audit_end(struct audit *a, struct err *e)
{
	for (uint32_t i = 0; i < a->clients_n; i++) {
		if (!pass_doubts(a, i, a->clients[i]->sent + 1))
			return err_set(e, ERR_CORRUPT,
				       "the log ends at entry %" PRIu64 " without row %" PRIu64
				       " of client %u, which was acknowledged",
				       a->index, a->positions[i].next, i);
	}
	return 0;
}

uint64_t audit_rows(const struct audit *a)
{
	return a->rows;
}

uint64_t audit_entries(const struct audit *a)
{
	return a->index;
}

uint64_t audit_hash(const struct audit *a)
{
	return XXH3_64bits_digest(a->hash);
}

static int audit_log(struct audit *a, struct client *c, uint32_t node, uint64_t index,
		     struct buf *body, struct err *e)
{
	struct log_page_request r = {.node = node, .group = 1};
	struct log_page page;
	struct log_entry entry;
	int rc, more;

	while (a->index < index) {
		r.from = a->index + 1;
		r.n = index - a->index;
		rc = log_page_fetch(c, &r, body, &page, e);
		if (rc)
			return rc;
		if (page.first_index > r.from)
			return err_set(e, ERR_CORRUPT,
				       "the log begins at entry %" PRIu64 ", not at %" PRIu64,
				       page.first_index, r.from);
		if (page.count == 0)
			return err_set(e, ERR_CORRUPT,
				       "the log ends at entry %" PRIu64 ", not at %" PRIu64,
				       a->index, index);
		while ((more = log_page_next(&page, &entry, e)) == 1) {
			rc = audit_entry(a, &entry, e);
			if (rc)
				return rc;
		}
		if (more < 0)
			return more;
	}
	return audit_end(a, e);
}

int audit_node(struct client *c, uint32_t node, uint64_t index, const struct feeder *f,
	       struct audit_result *ret_result, struct err *e)
{
	const struct feeder_client *clients[FEEDER_CLIENTS_MAX];
	struct audit *a;
	struct buf body;
	int rc;

	for (uint32_t i = 0; i < feeder_clients(f); i++)
		clients[i] = feeder_client(f, i);
	rc = audit_new(&a, clients, feeder_clients(f), e);
	if (rc)
		return rc;
	buf_init(&body, 80u << 20);
	rc = audit_log(a, c, node, index, &body, e);
	buf_done(&body);
	if (rc == 0)
		*ret_result = (struct audit_result){a->index, a->rows, audit_hash(a)};
	audit_free(a);
	return rc;
}
