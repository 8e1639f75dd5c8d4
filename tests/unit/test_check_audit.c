/* A log held against what was sent: what passes, and each kind of fault. */
#include "common/record.h"
#include "console/check/audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct feeder_client clients[2];
static const struct feeder_client *const pointers[] = {&clients[0], &clients[1]};
static struct audit *a;
static struct buf payload;
static struct err e;
static uint64_t index_, id;

static int open_audit(void **state)
{
	(void)state;
	memset(clients, 0, sizeof clients);
	memset(&e, 0, sizeof e);
	index_ = id = 0;
	buf_init(&payload, 1 << 20);
	return audit_new(&a, pointers, 2, NULL);
}

static int close_audit(void **state)
{
	(void)state;
	audit_free(a);
	buf_done(&payload);
	free(clients[0].doubts);
	free(clients[1].doubts);
	return 0;
}

static void begin(const char *table)
{
	static const char *const columns[] = {"client", "n", "payload"};
	struct buf definition;

	buf_clear(&payload);
	buf_init(&definition, 4096);
	record_put_batch(&payload, 1, 1000);
	record_definition_put(&definition, table, columns, 3, "id", NULL, 0);
	record_put_table(&payload, 0, buf_slice(&definition));
	record_put_begin(&payload, 0, 1, 1);
	buf_done(&definition);
}

static void put_row(int64_t rowid, int64_t client, int64_t n)
{
	struct value v[] = {value_int(client), value_int(n), value_text(slice_str("p"))};

	record_put_row(&payload, RECORD_INSERT, 0);
	wire_svarint(&payload, rowid);
	for (int i = 0; i < 3; i++)
		value_put(&payload, &v[i]);
}

static int end(void)
{
	struct log_entry entry = {.index = ++index_, .term = 1, .kind = LOG_ENTRY_DATA};

	record_put_end(&payload, slice_of("\0", 1));
	entry.payload = buf_slice(&payload);
	return audit_entry(a, &entry, &e);
}

/* One entry with rows first to last of a client. */
static int rows(int64_t client, int64_t first, int64_t last)
{
	begin(FEEDER_TABLE);
	for (int64_t n = first; n <= last; n++)
		put_row((int64_t)++id, client, n);
	return end();
}

static void note(unsigned client, uint64_t n, bool doubtful)
{
	assert_int_equal(feeder_note(&clients[client], n, doubtful, NULL), 0);
}

static void all_in_order_passes(void **state)
{
	struct log_entry noop = {.index = 1, .term = 1, .kind = LOG_ENTRY_NOOP};

	(void)state;
	note(0, 5, false);
	note(1, 2, false);
	assert_int_equal(audit_entry(a, &noop, &e), 0);
	index_ = 1;
	assert_int_equal(rows(0, 1, 3), 0);
	assert_int_equal(rows(1, 1, 2), 0);
	assert_int_equal(rows(0, 4, 5), 0);
	assert_int_equal(audit_end(a, &e), 0);
	assert_int_equal(audit_rows(a), 7);
	assert_int_equal(audit_entries(a), 4);
}

static void an_acknowledged_row_missing_at_the_end_is_found(void **state)
{
	(void)state;
	note(0, 5, false);
	assert_int_equal(rows(0, 1, 4), 0);
	assert_int_equal(audit_end(a, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "without row 5 of client 0"));
}

static void an_acknowledged_row_missing_in_between_is_found(void **state)
{
	(void)state;
	note(0, 5, false);
	assert_int_equal(rows(0, 1, 2), 0);
	assert_int_equal(rows(0, 4, 5), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "row 3 of client 0 is missing"));
}

static void rows_out_of_order_are_found(void **state)
{
	(void)state;
	note(0, 4, false);
	assert_int_equal(rows(0, 1, 3), 0);
	assert_int_equal(rows(0, 2, 2), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "row 2 of client 0 behind its row 3"));
}

static void rows_never_sent_are_found(void **state)
{
	(void)state;
	note(0, 1, false);
	assert_int_equal(rows(0, 1, 2), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "never sent"));
	assert_int_equal(rows(2, 1, 1), ERR_CORRUPT);
	assert_int_equal(rows(-1, 1, 1), ERR_CORRUPT);
}

static void a_doubtful_transaction_may_be_there_or_not(void **state)
{
	(void)state;
	note(0, 2, false);
	note(0, 3, true); /* 3 to 5: done */
	note(0, 3, true); /* 6 to 8: not done */
	note(0, 3, true); /* 9 to 11: not done */
	note(0, 1, false);
	note(1, 4, true); /* all that it sent, and it is not there */
	assert_int_equal(rows(0, 1, 2), 0);
	assert_int_equal(rows(0, 3, 5), 0);
	assert_int_equal(rows(0, 12, 12), 0);
	assert_int_equal(audit_end(a, &e), 0);
}

static void half_a_doubtful_transaction_is_found(void **state)
{
	(void)state;
	note(0, 3, true);
	note(0, 1, false);
	assert_int_equal(rows(0, 1, 2), 0);
	assert_int_equal(rows(0, 4, 4), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "row 3 of client 0 is missing"));
}

static void the_end_of_a_doubtful_transaction_alone_is_found(void **state)
{
	(void)state;
	note(0, 3, true);
	assert_int_equal(rows(0, 3, 3), ERR_CORRUPT);
}

static void ids_must_follow_each_other(void **state)
{
	(void)state;
	note(0, 9, false);
	begin(FEEDER_TABLE);
	put_row(1, 0, 1);
	put_row(3, 0, 2);
	assert_int_equal(end(), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "id 3"));
}

static void a_hole_in_the_log_is_found(void **state)
{
	(void)state;
	note(0, 2, false);
	assert_int_equal(rows(0, 1, 1), 0);
	index_++;
	assert_int_equal(rows(0, 2, 2), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "entry 3 behind entry 1"));
}

static void other_tables_do_not_matter(void **state)
{
	(void)state;
	begin("others");
	put_row(77, 5, 5);
	assert_int_equal(end(), 0);
	assert_int_equal(audit_end(a, &e), 0);
	assert_int_equal(audit_rows(a), 0);
}

static void an_entry_that_does_not_decode_is_found(void **state)
{
	struct log_entry entry = {.index = 1, .term = 1, .kind = LOG_ENTRY_DATA};

	(void)state;
	begin(FEEDER_TABLE);
	entry.payload = slice_of(payload.data, payload.len - 1);
	assert_int_equal(audit_entry(a, &entry, &e), ERR_CORRUPT);
}

static void a_changed_byte_changes_the_hash(void **state)
{
	struct log_entry entry = {.index = 1, .term = 1, .kind = LOG_ENTRY_CONFIG};
	struct audit *b;

	(void)state;
	assert_int_equal(audit_new(&b, pointers, 2, NULL), 0);
	entry.payload = slice_str("one");
	assert_int_equal(audit_entry(a, &entry, &e), 0);
	assert_int_equal(audit_entry(b, &entry, &e), 0);
	assert_true(audit_hash(a) == audit_hash(b));
	entry.index = 2;
	assert_int_equal(audit_entry(a, &entry, &e), 0);
	entry.term = 2;
	assert_int_equal(audit_entry(b, &entry, &e), 0);
	assert_false(audit_hash(a) == audit_hash(b));
	audit_free(b);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_audit, close_audit)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(all_in_order_passes),
		T(an_acknowledged_row_missing_at_the_end_is_found),
		T(an_acknowledged_row_missing_in_between_is_found),
		T(rows_out_of_order_are_found),
		T(rows_never_sent_are_found),
		T(a_doubtful_transaction_may_be_there_or_not),
		T(half_a_doubtful_transaction_is_found),
		T(the_end_of_a_doubtful_transaction_alone_is_found),
		T(ids_must_follow_each_other),
		T(a_hole_in_the_log_is_found),
		T(other_tables_do_not_matter),
		T(an_entry_that_does_not_decode_is_found),
		T(a_changed_byte_changes_the_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What audit.c and feeder.c reach nodes with; nothing here comes that far. */
int client_rpc(struct client *c, uint32_t node_id, unsigned method, struct slice body,
	       uint32_t timeout_ms, struct buf *ret_body, struct err *err)
{
	(void)c, (void)node_id, (void)method, (void)body, (void)timeout_ms, (void)ret_body;
	return err_set(err, ERR_UNREACHABLE, "no cluster here");
}

int caller_new(struct caller **ret_caller, struct client *c, struct err *err)
{
	(void)ret_caller, (void)c;
	return err_set(err, ERR_UNREACHABLE, "no cluster here");
}

void caller_free(struct caller *k)
{
	(void)k;
}

int client_wait(struct caller *k, const struct client_request *r, struct buf *ret_body,
		struct sql_answer *ret_answer, struct err *err)
{
	(void)k, (void)r, (void)ret_body, (void)ret_answer;
	return err_set(err, ERR_UNREACHABLE, "no cluster here");
}

struct rpc_conn *client_conn(struct client *c, uint32_t node_id)
{
	(void)c, (void)node_id;
	return NULL;
}

void rpc_conn_nudge(struct rpc_conn *c)
{
	(void)c;
}
