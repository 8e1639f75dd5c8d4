/* Peers' messages on the wire. */
#include "agent/net/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const struct raft_message append = {
	.kind = RAFT_APPEND,
	.from = 1,
	.to = 3,
	.term = 9,
	.prev_index = 41,
	.prev_term = 7,
	.count = 3,
	.runs_n = 2,
	.runs = {{42, 8}, {44, 9}},
	.commit = 40,
	.round = 77,
};

static void fill(struct wal_entry *entries)
{
	entries[0] = (struct wal_entry){42, 8, RAFT_ENTRY_DATA, blob_new("one", 3)};
	entries[1] = (struct wal_entry){43, 8, RAFT_ENTRY_NOOP, blob_new("", 0)};
	entries[2] = (struct wal_entry){44, 9, RAFT_ENTRY_DATA, blob_new("three", 5)};
}

static void encode(struct buf *b, const struct raft_message *m, struct wal_entry *entries, size_t n)
{
	buf_init(b, 1 << 20);
	message_put(b, 2, m, entries, n);
	for (size_t i = 0; i < n; i++)
		buf_append(b, entries[i].data->data, entries[i].data->size_bytes);
	assert_true(buf_ok(b));
}

static void an_append_arrives_with_its_entries_and_their_terms(void **state)
{
	struct wal_entry entries[3];
	struct message got;
	struct buf b;
	struct err e;

	(void)state;
	fill(entries);
	encode(&b, &append, entries, 3);
	assert_int_equal(message_get(&got, buf_slice(&b), &e), 0);
	assert_int_equal(got.group, 2);
	assert_int_equal(got.raft.kind, RAFT_APPEND);
	assert_int_equal(got.raft.prev_index, 41);
	assert_int_equal(got.raft.commit, 40);
	assert_int_equal(got.raft.round, 77);
	assert_int_equal(got.raft.count, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(got.entries[i].index, entries[i].index);
		assert_int_equal(got.entries[i].term, entries[i].term);
		assert_int_equal(got.entries[i].kind, entries[i].kind);
		assert_true(slice_eq(blob_slice(got.entries[i].data), blob_slice(entries[i].data)));
	}
	message_done(&got);
	wal_entries_unref(entries, 3);
	buf_done(&b);
}

static void an_append_sent_in_part_says_only_the_terms_of_that_part(void **state)
{
	struct wal_entry entries[3];
	struct message got;
	struct buf b;
	struct err e;

	(void)state;
	fill(entries);
	encode(&b, &append, entries, 2);
	assert_int_equal(message_get(&got, buf_slice(&b), &e), 0);
	assert_int_equal(got.raft.count, 2);
	assert_int_equal(got.raft.runs_n, 1);
	message_done(&got);
	wal_entries_unref(entries, 3);
	buf_done(&b);
}

static void every_kind_comes_back_as_it_went(void **state)
{
	(void)state;
	for (int kind = RAFT_PRE_VOTE; kind < RAFT_MESSAGE_KINDS; kind++) {
		struct raft_message m = {.kind = (enum raft_message_kind)kind,
					 .from = 2,
					 .to = 1,
					 .term = 1ull << 40,
					 .granted = kind % 2,
					 .transfer = kind % 3 == 0};
		struct message got;
		struct buf b;
		struct err e;
		encode(&b, &m, NULL, 0);
		assert_int_equal(message_get(&got, buf_slice(&b), &e), 0);
		assert_int_equal(got.raft.kind, m.kind);
		assert_int_equal(got.raft.term, m.term);
		assert_int_equal(got.raft.granted, m.granted);
		assert_int_equal(got.raft.transfer, m.transfer);
		buf_done(&b);
	}
}

static void a_message_cut_anywhere_is_refused(void **state)
{
	struct wal_entry entries[3];
	struct message got;
	struct buf b;
	struct err e;

	(void)state;
	fill(entries);
	encode(&b, &append, entries, 3);
	for (size_t n = 0; n < b.len; n++)
		assert_true(message_get(&got, slice_of(b.data, n), &e) < 0);
	wire_u8(&b, 0);
	assert_int_equal(message_get(&got, buf_slice(&b), &e), ERR_PROTOCOL);
	wal_entries_unref(entries, 3);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_append_arrives_with_its_entries_and_their_terms),
		cmocka_unit_test(an_append_sent_in_part_says_only_the_terms_of_that_part),
		cmocka_unit_test(every_kind_comes_back_as_it_went),
		cmocka_unit_test(a_message_cut_anywhere_is_refused),
	};
	return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
