/* The core over the real log: three nodes in one process, messages handed over by the test. */
#include "agent/node/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define NODES 3
#define GROUPS 2
#define QUEUE 4096

struct letter {
	uint32_t group;
	struct raft_message m;
	struct wal_entry *entries;
};

struct member {
	raft_id id;
	char dir[64];
	struct wal *wal;
	struct core *core;
	bool down;
	bool abstain;
	uint64_t commit[GROUPS];
	enum raft_role role[GROUPS];
	uint64_t proposed; /* index of the last answered proposal, 0: refused */
	uint64_t read_index;
	unsigned reads_done;
};

static struct member members[NODES];
static struct letter queue[QUEUE];
static size_t queue_n;
static uint64_t now_ms, seed;

static uint64_t draw(void *ctx)
{
	(void)ctx;
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return seed ^ (seed >> 31);
}

static struct core_now t(void)
{
	return (struct core_now){now_ms, draw(NULL)};
}

static bool port_send(void *ctx, uint32_t group, const struct raft_message *m,
		      const struct wal_entry *entries, size_t n)
{
	struct letter *l = &queue[queue_n];

	(void)ctx;
	assert_true(queue_n < QUEUE);
	*l = (struct letter){.group = group, .m = *m};
	if (n > 0) {
		l->entries = calloc(n, sizeof *entries);
		memcpy(l->entries, entries, n * sizeof *entries);
		for (size_t i = 0; i < n; i++)
			blob_ref(entries[i].data);
	}
	queue_n++;
	return true;
}

static bool port_fetch(void *ctx, uint32_t group, const struct raft_message *m)
{
	(void)ctx;
	(void)group;
	(void)m;
	fail_msg("a short log is in memory");
	return false;
}

static void port_kick(void *ctx)
{
	(void)ctx;
}

static void port_commit(void *ctx, uint32_t group, uint64_t index)
{
	struct member *n = ctx;

	assert_true(index > n->commit[group]);
	n->commit[group] = index;
}

static void port_role(void *ctx, uint32_t group, enum raft_role role, uint64_t term, raft_id leader)
{
	struct member *n = ctx;

	(void)term;
	(void)leader;
	n->role[group] = role;
}

static void port_proposed(void *ctx, uint32_t group, void *token, uint64_t index, uint64_t term)
{
	struct member *n = ctx;

	(void)group;
	(void)token;
	(void)term;
	n->proposed = index;
}

static void port_reads(void *ctx, uint32_t group, struct core_read *list, uint64_t index)
{
	struct member *n = ctx;

	(void)group;
	for (; list; list = list->next)
		n->reads_done++;
	n->read_index = index;
}

static void start(struct member *n)
{
	uint64_t applied[GROUPS] = {0};
	struct wal_options w = {.dir = n->dir,
				.disk = disk_real(),
				.random = draw,
				.segment_bytes = 1 << 20,
				.tail_bytes = 1 << 20};
	struct err e;

	assert_int_equal(wal_open(&n->wal, &w, &e), 0);
	struct core_options o = {
		.raft = {.id = n->id,
			 .heartbeat_ms = 50,
			 .election_min_ms = 300,
			 .inflight_messages = 32,
			 .inflight_bytes = 1 << 20,
			 .append_entries_max = 64,
			 .abstain = n->abstain},
		.members = {.n = NODES},
		.groups_n = GROUPS,
		.append_bytes = 1 << 16,
		.read_retry_ms = 300,
		.wal = n->wal,
		.ports = {.ctx = n,
			  .send = port_send,
			  .fetch = port_fetch,
			  .kick_log = port_kick,
			  .commit = port_commit,
			  .role = port_role,
			  .proposed = port_proposed,
			  .reads = port_reads},
	};
	for (unsigned i = 0; i < NODES; i++)
		o.members.members[i] = (struct raft_member){.id = i + 1, .role = RAFT_VOTER};
	memset(n->commit, 0, sizeof n->commit);
	memset(n->role, 0, sizeof n->role);
	n->down = false;
	assert_int_equal(core_new(&n->core, &o, applied, t(), &e), 0);
}

static void stop(struct member *n)
{
	core_free(n->core);
	wal_free(n->wal);
	n->core = NULL;
	n->down = true;
}

/* Hands over what is queued now; what that brings forth stays queued. */
static void deliver(void)
{
	size_t n = queue_n;
	struct letter *letters = malloc(sizeof queue);
	struct err e;

	memcpy(letters, queue, sizeof queue);
	queue_n = 0;
	for (size_t i = 0; i < n; i++) {
		struct letter l = letters[i];
		struct member *to = &members[l.m.to - 1];
		if (!to->down && !members[l.m.from - 1].down)
			assert_int_equal(core_receive(to->core, t(), l.group, &l.m, l.entries, &e),
					 0);
		if (l.entries)
			wal_entries_unref(l.entries, l.m.count);
		free(l.entries);
	}
	free(letters);
}

static void round_trip(void)
{
	struct wal_synced rows[WAL_GROUPS_MAX];
	uint64_t deadline;
	struct err e;
	size_t n;

	now_ms += 10;
	for (unsigned i = 0; i < NODES; i++) {
		struct member *m = &members[i];
		if (m->down)
			continue;
		assert_int_equal(core_tick(m->core, t(), &deadline, &e), 0);
		assert_int_equal(wal_sync(m->wal, rows, &n, &e), 0);
		assert_int_equal(core_persisted(m->core, t(), rows, n, &e), 0);
	}
	deliver();
}

static struct member *leader_of(uint32_t group)
{
	struct member *found = NULL;

	for (unsigned i = 0; i < NODES; i++) {
		struct core_view v;
		if (members[i].down)
			continue;
		core_view(members[i].core, group, &v);
		if (v.role == RAFT_LEADER && v.ready)
			found = &members[i];
	}
	return found;
}

static struct member *wait_leader(uint32_t group)
{
	for (unsigned i = 0; i < 1000; i++) {
		round_trip();
		struct member *l = leader_of(group);
		if (l)
			return l;
	}
	fail_msg("no leader of group %u", group);
	return NULL;
}

static int setup(void **state)
{
	(void)state;
	const char *given = getenv("DROVER_SEED");
	seed = given ? strtoull(given, NULL, 0) : 20260131;
	now_ms = 1000;
	queue_n = 0;
	memset(members, 0, sizeof members);
	for (unsigned i = 0; i < NODES; i++) {
		members[i].id = i + 1;
		snprintf(members[i].dir, sizeof members[i].dir, "/tmp/drover-core-XXXXXX");
		if (!mkdtemp(members[i].dir))
			return -1;
		start(&members[i]);
	}
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	for (unsigned i = 0; i < NODES; i++) {
		if (!members[i].down)
			stop(&members[i]);
		snprintf(command, sizeof command, "rm -rf %s", members[i].dir);
		if (system(command) != 0)
			return -1;
	}
	deliver();
	return 0;
}

static uint64_t propose(struct member *n, uint32_t group, const char *text)
{
	struct blob *b = blob_new(text, (uint32_t)strlen(text));
	struct err e;

	n->proposed = 99;
	assert_int_equal(core_propose(n->core, t(), group, b, n, &e), 0);
	blob_unref(b);
	return n->proposed;
}

static void expect_entry(struct member *n, uint32_t group, uint64_t index, const char *text)
{
	struct wal_entry entry;
	struct err e;
	size_t got;

	assert_int_equal(wal_read(n->wal, group, index, 1, 1 << 20, &entry, &got, &e), 0);
	assert_int_equal(got, 1);
	assert_true(slice_eq(blob_slice(entry.data), slice_str(text)));
	wal_entries_unref(&entry, 1);
}

static void what_the_leader_proposes_is_in_every_log_and_committed_everywhere(void **state)
{
	struct member *leader = wait_leader(1);
	uint64_t last = 0;
	char text[32];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		snprintf(text, sizeof text, "entry %u", i);
		last = propose(leader, 1, text);
		assert_true(last > 0);
		if (i % 7 == 0)
			round_trip();
	}
	for (unsigned i = 0; i < 50; i++)
		round_trip();
	for (unsigned i = 0; i < NODES; i++) {
		assert_int_equal(members[i].commit[1], last);
		expect_entry(&members[i], 1, last, "entry 99");
		expect_entry(&members[i], 1, last - 99, "entry 0");
	}
}

static void a_follower_refuses_proposals_and_says_so(void **state)
{
	struct member *leader = wait_leader(1);
	struct member *follower = leader == &members[0] ? &members[1] : &members[0];

	(void)state;
	assert_int_equal(propose(follower, 1, "no"), 0);
}

static void all_stopped_and_started_again_nothing_committed_is_gone(void **state)
{
	struct member *leader = wait_leader(1);
	uint64_t index = propose(leader, 1, "kept");

	(void)state;
	while (leader->commit[1] < index)
		round_trip();
	for (unsigned i = 0; i < NODES; i++)
		stop(&members[i]);
	for (unsigned i = 0; i < NODES; i++)
		start(&members[i]);
	leader = wait_leader(1);
	assert_true(leader->commit[1] > index);
	expect_entry(leader, 1, index, "kept");
}

static void a_leader_that_dies_is_followed_by_another_and_catches_up_later(void **state)
{
	struct member *first = wait_leader(1), *second;

	(void)state;
	uint64_t before = propose(first, 1, "before");
	while (first->commit[1] < before)
		round_trip();
	stop(first);
	second = wait_leader(1);
	assert_ptr_not_equal(first, second);
	uint64_t after = propose(second, 1, "after");
	assert_true(after > before);
	while (second->commit[1] < after)
		round_trip();
	start(first);
	for (unsigned i = 0; i < 500 && first->commit[1] < after; i++)
		round_trip();
	expect_entry(first, 1, after, "after");
	expect_entry(first, 1, before, "before");
}

static void a_read_is_confirmed_on_leader_and_follower_at_the_commit_index(void **state)
{
	struct member *leader = wait_leader(1);
	struct member *follower = leader == &members[0] ? &members[1] : &members[0];
	uint64_t index = propose(leader, 1, "seen");
	struct err e;

	(void)state;
	while (leader->commit[1] < index)
		round_trip();
	struct member *ask[] = {leader, follower};
	for (unsigned i = 0; i < 2; i++) {
		struct core_read reads[2] = {{.deadline_ms = now_ms + 100000},
					     {.deadline_ms = now_ms + 100000}};
		core_read(ask[i]->core, 1, &reads[0]);
		core_read(ask[i]->core, 1, &reads[1]);
		assert_int_equal(core_reads_begin(ask[i]->core, t(), &e), 0);
		for (unsigned n = 0; n < 500 && ask[i]->reads_done < 2; n++)
			round_trip();
		assert_int_equal(ask[i]->reads_done, 2);
		assert_true(ask[i]->read_index >= index);
	}
}

static void a_read_without_a_majority_is_let_go_at_its_deadline(void **state)
{
	struct member *leader = wait_leader(1);
	struct core_read read = {.deadline_ms = now_ms + 2000};
	struct err e;

	(void)state;
	for (unsigned i = 0; i < NODES; i++) {
		if (&members[i] != leader)
			stop(&members[i]);
	}
	core_read(leader->core, 1, &read);
	assert_int_equal(core_reads_begin(leader->core, t(), &e), 0);
	for (unsigned n = 0; n < 500 && leader->reads_done == 0; n++)
		round_trip();
	assert_int_equal(leader->reads_done, 1);
	assert_int_equal(leader->read_index, 0);
}

static void an_emptied_node_gives_no_vote_before_it_has_caught_up(void **state)
{
	struct member *leader = wait_leader(1), *emptied, *other;
	uint64_t index = propose(leader, 1, "kept by two");
	char command[128];

	(void)state;
	emptied = &members[leader->id % NODES];
	other = &members[(leader->id + 1) % NODES];
	while (emptied->commit[1] < index || leader->commit[1] < index)
		round_trip();
	stop(emptied);
	stop(leader);
	snprintf(command, sizeof command, "rm -rf %s/*", emptied->dir);
	assert_int_equal(system(command), 0);
	emptied->abstain = true;
	start(emptied);
	/* With the only other node of a quorum down, one that has forgotten does not make up for
	 * it. */
	for (unsigned i = 0; i < 500; i++) {
		round_trip();
		assert_null(leader_of(1));
		assert_true(core_abstaining(emptied->core));
	}
	assert_int_not_equal(emptied->role[1], RAFT_LEADER);
	start(leader);
	wait_leader(1);
	for (unsigned i = 0; i < 500 && core_abstaining(emptied->core); i++)
		round_trip();
	assert_false(core_abstaining(emptied->core));
	expect_entry(emptied, 1, index, "kept by two");
	/* And now it counts. */
	stop(other);
	wait_leader(1);
}

static void a_store_ahead_of_its_log_is_refused_with_the_remedy(void **state)
{
	uint64_t applied[GROUPS] = {0, 1000};
	struct core_options o = {.raft = {.id = 1,
					  .heartbeat_ms = 50,
					  .election_min_ms = 300,
					  .inflight_messages = 1,
					  .append_entries_max = 1},
				 .members = {.n = 1, .members = {{1, RAFT_VOTER}}},
				 .groups_n = GROUPS};
	struct core *core;
	struct err e;

	(void)state;
	o.wal = members[0].wal;
	o.ports = (struct core_ports){.ctx = &members[0],
				      .send = port_send,
				      .fetch = port_fetch,
				      .kick_log = port_kick,
				      .commit = port_commit,
				      .role = port_role,
				      .proposed = port_proposed,
				      .reads = port_reads};
	assert_int_equal(core_new(&core, &o, applied, t(), &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "remove its whole data folder"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_the_leader_proposes_is_in_every_log_and_committed_everywhere),
		T(a_follower_refuses_proposals_and_says_so),
		T(all_stopped_and_started_again_nothing_committed_is_gone),
		T(a_leader_that_dies_is_followed_by_another_and_catches_up_later),
		T(a_read_is_confirmed_on_leader_and_follower_at_the_commit_index),
		T(a_read_without_a_majority_is_let_go_at_its_deadline),
		T(an_emptied_node_gives_no_vote_before_it_has_caught_up),
		T(a_store_ahead_of_its_log_is_refused_with_the_remedy),
	};
	return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
