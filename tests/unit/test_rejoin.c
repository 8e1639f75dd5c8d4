/* A node whose data was emptied takes part again only when that is safe. */
#include "agent/node/rejoin.h"
#include "common/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static struct agent_conf conf;

static int make_conf(void **state)
{
	(void)state;
	memset(&conf, 0, sizeof conf);
	snprintf(conf.data, sizeof conf.data, "/tmp/drover-rejoin-XXXXXX");
	conf.id = 2;
	conf.peers_n = 3;
	for (uint32_t i = 0; i < 3; i++) {
		conf.peers[i].id = i + 1;
		snprintf(conf.peers[i].name, sizeof conf.peers[i].name, "n%u", i + 1);
	}
	return mkdtemp(conf.data) ? 0 : -1;
}

static int remove_conf(void **state)
{
	char command[CONF_PATH_MAX + 16];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", conf.data);
	return system(command);
}

static bool there(const char *name)
{
	char path[CONF_PATH_MAX + 32];

	snprintf(path, sizeof path, "%s/%s", conf.data, name);
	return access(path, F_OK) == 0;
}

static void touch(const char *name)
{
	char path[CONF_PATH_MAX + 32];

	snprintf(path, sizeof path, "%s/%s", conf.data, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
}

static bool tell(struct rejoin *r, uint32_t peer, uint64_t a, uint64_t b)
{
	struct buf terms;

	buf_init(&terms, 64);
	wire_varint(&terms, 2);
	wire_varint(&terms, a);
	wire_varint(&terms, b);
	bool all = rejoin_told(r, peer, buf_slice(&terms));
	buf_done(&terms);
	return all;
}

static void an_emptied_node_waits_until_every_other_voter_told_its_terms(void **state)
{
	struct rejoin r;
	struct err e;
	char missing[64];

	(void)state;
	assert_int_equal(rejoin_init(&r, &conf, 2, true, &e), 0);
	assert_true(r.asking);
	assert_true(r.abstaining);
	assert_true(there("rejoining"));
	assert_false(tell(&r, 1, 4, 9));
	rejoin_missing(&r, missing, sizeof missing);
	assert_string_equal(missing, "n3");
	assert_false(tell(&r, 1, 4, 9));
	assert_false(tell(&r, 77, 4, 9));
	assert_true(tell(&r, 3, 5, 8));
	assert_int_equal(r.terms[0], 5);
	assert_int_equal(r.terms[1], 9);
	assert_int_equal(rejoin_done(&r, &e), 0);
	assert_false(there("rejoining"));
}

static void garbage_for_terms_counts_as_no_answer(void **state)
{
	struct rejoin r;
	struct err e;

	(void)state;
	assert_int_equal(rejoin_init(&r, &conf, 2, true, &e), 0);
	assert_false(rejoin_told(&r, 1, slice_str("")));
	assert_false(rejoin_told(&r, 1, slice_str("\x02\x01")));
	assert_false(rejoin_told(&r, 1, slice_str("\x03\x01\x01\x01")));
	assert_false(r.told[0]);
}

static void a_founding_member_takes_part_at_once(void **state)
{
	struct rejoin r;
	struct err e;

	(void)state;
	touch("founding");
	assert_int_equal(rejoin_init(&r, &conf, 2, true, &e), 0);
	assert_false(r.asking);
	assert_false(r.abstaining);
	assert_int_equal(rejoin_founded(&conf, &e), 0);
	assert_false(there("founding"));
	assert_int_equal(rejoin_founded(&conf, &e), 0);
}

static void a_node_killed_while_catching_up_goes_on_abstaining(void **state)
{
	struct rejoin r;
	struct err e;

	(void)state;
	touch("rejoining");
	assert_int_equal(rejoin_init(&r, &conf, 2, false, &e), 0);
	assert_false(r.asking);
	assert_true(r.abstaining);
}

static void a_cluster_of_one_needs_nobody(void **state)
{
	struct rejoin r;
	struct err e;

	(void)state;
	conf.peers_n = 1;
	conf.peers[0].id = conf.id;
	assert_int_equal(rejoin_init(&r, &conf, 2, true, &e), 0);
	assert_false(r.asking);
	assert_false(r.abstaining);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_conf, remove_conf)
	const struct CMUnitTest tests[] = {
		T(an_emptied_node_waits_until_every_other_voter_told_its_terms),
		T(garbage_for_terms_counts_as_no_answer),
		T(a_founding_member_takes_part_at_once),
		T(a_node_killed_while_catching_up_goes_on_abstaining),
		T(a_cluster_of_one_needs_nobody),
	};
	return cmocka_run_group_tests_name("rejoin", tests, NULL, NULL);
}
