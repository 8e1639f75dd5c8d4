#include "console/cluster.h"

#include "tests/unit/printed.h"
#include "console/status_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A made-up cluster: n voters, shards data groups, all up and led by n1, and whatever a test does
 * to it. */
struct fake {
	struct cluster_conf conf;
	struct cluster_view view;
};

static json_t *fake_group(unsigned group, uint32_t self, uint32_t leader)
{
	return json_pack("{s:i,s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:f}", "group",
			 (int)group, "name", group ? "shard-1" : "meta", "role",
			 self == leader ? "leader" : "follower", "leader_id", (int)leader, "term",
			 3, "first_index", 1, "last_index", 5090, "committed", 5090, "applied",
			 5090, "durable", 5090, "snapshot_index", 0, "lag_entries", 0, "lag_ms",
			 0.25);
}

static json_t *fake_status(const struct conf_node *node, unsigned shards, uint32_t leader)
{
	json_t *groups = json_array();

	for (unsigned group = 0; group <= shards; group++)
		json_array_append_new(groups, fake_group(group, node->id, leader));
	return json_pack("{s:i,s:s,s:s,s:i,s:s,s:f,s:i,s:{s:s,s:s,s:n,s:n},s:s,s:f,s:f,s:o}", "id",
			 (int)node->id, "name", node->name, "state", "up", "pid",
			 4710 + (int)node->id, "version", "0.1.0", "uptime_s", 12.5, "rss_bytes",
			 9437184, "addresses", "peer", node->peer, "rpc", node->rpc, "http",
			 "mysql", "sync_state", node->id == leader ? "leader" : "synced",
			 "writes_per_s", 12.0, "reads_per_s", 0.5, "groups", groups);
}

static struct fake *fake_new(uint32_t n, unsigned shards)
{
	struct fake *f = calloc(1, sizeof *f);

	strcpy(f->conf.id, "demo");
	f->conf.shards = shards;
	f->conf.nodes_n = f->view.n = n;
	f->view.conf = &f->conf;
	for (uint32_t i = 0; i < n; i++) {
		struct conf_node *node = &f->conf.nodes[i];
		node->id = i + 1;
		snprintf(node->name, sizeof node->name, "n%u", i + 1);
		snprintf(node->peer, sizeof node->peer, "127.0.0.1:%u", 9091 + i);
		snprintf(node->rpc, sizeof node->rpc, "127.0.0.1:%u", 7001 + i);
		f->view.nodes[i] = (struct cluster_node){
			.conf = node,
			.state = NODE_UP,
			.pid = 4711 + (pid_t)i,
			.status = fake_status(node, shards, 1),
		};
	}
	return f;
}

static void fake_free(struct fake *f)
{
	cluster_view_done(&f->view);
	free(f);
}

static void take_down(struct fake *f, uint32_t id, enum node_state state)
{
	struct cluster_node *node = &f->view.nodes[id - 1];

	json_decref(node->status);
	node->status = NULL;
	node->state = state;
	if (state == NODE_DOWN)
		node->pid = 0;
}

static void set_group(struct fake *f, uint32_t id, unsigned group, const char *key,
		      json_t *take_value)
{
	const json_t *at = cluster_group(&f->view.nodes[id - 1], group);

	json_object_set_new((json_t *)(uintptr_t)at, key, take_value);
}

static void judge(struct fake *f, enum health health, const char *words)
{
	cluster_judge(&f->view);
	if (f->view.health != health || !strstr(f->view.verdict, words))
		fail_msg("%s: '%s', wanted '%s'", health_name(f->view.health), f->view.verdict,
			 words);
}

static void all_up_with_leaders_is_healthy(void **state)
{
	struct fake *f = fake_new(3, 1);

	(void)state;
	judge(f, HEALTH_HEALTHY, "healthy: all 3 nodes are up and n1 leads; 1 more may fail");
	fake_free(f);
	f = fake_new(5, 4);
	judge(f, HEALTH_HEALTHY,
	      "all 5 nodes are up and every group has a leader; 2 more may fail");
	fake_free(f);
	f = fake_new(1, 1);
	judge(f, HEALTH_HEALTHY, "none may fail");
	fake_free(f);
	assert_int_equal(health_exit_code(HEALTH_HEALTHY), 0);
	assert_int_equal(health_exit_code(HEALTH_DEGRADED), 3);
	assert_int_equal(health_exit_code(HEALTH_NO_QUORUM), 4);
}

static void a_missing_minority_is_degraded(void **state)
{
	struct fake *f = fake_new(5, 1);

	(void)state;
	take_down(f, 2, NODE_DOWN);
	judge(f, HEALTH_DEGRADED, "degraded: n2 is down; the others go on, 1 more may fail");
	take_down(f, 3, NODE_PAUSED);
	judge(f, HEALTH_DEGRADED,
	      "n2 is down, n3 is paused; the others go on, but none more may fail");
	fake_free(f);
}

static void a_missing_majority_is_no_quorum(void **state)
{
	struct fake *f = fake_new(3, 1);

	(void)state;
	take_down(f, 1, NODE_DOWN);
	take_down(f, 3, NODE_UNREACHABLE);
	judge(f, HEALTH_NO_QUORUM,
	      "1 of 3 voters answer for group 0 (meta), 2 are needed; n1 is down, "
	      "n3 is unreachable; try 'drover start n1'");
	fake_free(f);
}

static void learners_do_not_count(void **state)
{
	struct fake *f = fake_new(4, 1);

	(void)state;
	f->conf.nodes[3].role = CONF_LEARNER;
	take_down(f, 4, NODE_DOWN);
	judge(f, HEALTH_DEGRADED, "n4 is down; the others go on, 1 more may fail");
	take_down(f, 1, NODE_DOWN);
	take_down(f, 2, NODE_DOWN);
	judge(f, HEALTH_NO_QUORUM, "1 of 3 voters");
	fake_free(f);
}

static void a_group_without_a_leader_is_degraded(void **state)
{
	struct fake *f = fake_new(3, 2);

	(void)state;
	for (uint32_t id = 1; id <= 3; id++) {
		set_group(f, id, 2, "role", json_string("candidate"));
		set_group(f, id, 2, "leader_id", json_integer(0));
	}
	judge(f, HEALTH_DEGRADED,
	      "all nodes are up; group 2 (shard-1) has no leader at this moment");
	assert_null(cluster_leader(&f->view, 2));
	assert_non_null(cluster_leader(&f->view, 1));
	fake_free(f);
}

static void a_leader_that_only_itself_knows_of_is_none(void **state)
{
	struct fake *f = fake_new(3, 1);

	(void)state;
	/* n1 was cut off; n2 leads a later term, and n3 knows. */
	set_group(f, 2, 1, "role", json_string("leader"));
	set_group(f, 2, 1, "leader_id", json_integer(2));
	set_group(f, 2, 1, "term", json_integer(4));
	set_group(f, 3, 1, "leader_id", json_integer(2));
	set_group(f, 3, 1, "term", json_integer(4));
	assert_int_equal(cluster_leader(&f->view, 1)->conf->id, 2);
	set_group(f, 3, 1, "leader_id", json_integer(0));
	assert_null(cluster_leader(&f->view, 1));
	fake_free(f);
}

static void a_node_far_behind_is_degraded(void **state)
{
	struct fake *f = fake_new(3, 1);

	(void)state;
	set_group(f, 3, 1, "applied", json_integer(5090 - CLUSTER_LAG_ENTRIES));
	judge(f, HEALTH_HEALTHY, "healthy");
	set_group(f, 3, 1, "applied", json_integer(5090 - CLUSTER_LAG_ENTRIES - 1));
	judge(f, HEALTH_DEGRADED,
	      "all nodes are up; n3 is 1001 entries behind in group 1 (shard-1)");
	fake_free(f);
}

static void a_node_that_does_not_know_the_leader_is_degraded(void **state)
{
	struct fake *f = fake_new(3, 1);

	(void)state;
	set_group(f, 3, 1, "leader_id", json_integer(0));
	judge(f, HEALTH_DEGRADED,
	      "all nodes are up; n3 does not know the leader of group 1 (shard-1)");
	fake_free(f);
}

static void an_answer_of_another_shape_harms_nothing(void **state)
{
	static const char *const answers[] = {
		"{}", "{\"groups\":null}", "{\"groups\":[1,null,{}]}",
		"{\"groups\":[{\"group\":1,\"role\":7,\"term\":\"x\"}]}",
		"{\"groups\":{\"group\":1}}"};
	struct printed c;
	struct cli cli = {0};

	(void)state;
	for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
		struct fake *f = fake_new(3, 1);
		take_down(f, 2, NODE_UP);
		f->view.nodes[1].status = json_loads(answers[i], 0, NULL);
		cluster_judge(&f->view);
		for (int form = 0; form < 6; form++) {
			cli.output = (enum output)(form % 3);
			printed_begin(&c);
			status_print(&cli, &f->view, form >= 3, stdout, "\n");
			printed_end(&c);
			assert_non_null(strstr(c.out, "n2"));
		}
		fake_free(f);
	}
}

static const char *names(const struct node_set *set)
{
	static char text[128];

	text[0] = 0;
	for (uint32_t i = 0; i < set->n; i++) {
		strcat(text, i ? " " : "");
		strcat(text, set->nodes[i]->name);
	}
	return text;
}

static int resolve(struct fake *f, const char *line, struct node_set *ret_set, struct err *e)
{
	char words[128];
	char *argv[16];
	int argc = 0;

	snprintf(words, sizeof words, "%s", line);
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	bool needs = cluster_words_need_view(argc, argv);
	return cluster_resolve(&f->conf, needs ? &f->view : NULL, argc, argv, 7, ret_set, e);
}

static void nodes_are_found_by_every_kind_of_word(void **state)
{
	static const struct {
		const char *line, *nodes;
	} cases[] = {
		{"2", "n2"},
		{"n3 1", "n3 n1"},
		{"n1 1 n1", "n1"},
		{"all", "n1 n2 n3 n4 n5"},
		{"leader", "n1"},
		{"followers", "n2 n4 n5"},
		{"n4 leader", "n4 n1"},
	};
	struct fake *f = fake_new(5, 1);
	struct node_set set;
	struct err e = {0};

	(void)state;
	take_down(f, 3, NODE_DOWN);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (resolve(f, cases[i].line, &set, &e))
			fail_msg("%s: %s", cases[i].line, e.text);
		assert_string_equal(names(&set), cases[i].nodes);
	}
	assert_int_equal(resolve(f, "n9", &set, &e), ERR_INVALID);
	assert_string_equal(e.text,
			    "there is no node 'n9'; nodes are n1, n2, n3, n4, n5, or leader, "
			    "followers, minority, random, all");
	assert_int_equal(resolve(f, "n", &set, &e), ERR_INVALID);
	assert_int_equal(resolve(f, "1x", &set, &e), ERR_INVALID);
	fake_free(f);
}

static void a_minority_is_as_many_as_may_fail(void **state)
{
	struct err e = {0};

	(void)state;
	for (uint32_t n = 1; n <= 9; n++) {
		struct fake *f = fake_new(n, 1);
		char word[] = "minority";
		char *argv[] = {word};
		unsigned hit[10] = {0};
		for (uint64_t seed = 0; seed < 200; seed++) {
			struct node_set set = {0};
			int rc = cluster_resolve(&f->conf, NULL, 1, argv, seed, &set, &e);
			if (n < 3) {
				assert_int_equal(rc, ERR_INVALID);
				continue;
			}
			assert_int_equal(set.n, (n - 1) / 2);
			for (uint32_t i = 0; i < set.n; i++)
				hit[set.nodes[i]->id]++;
		}
		/* Nobody is spared for ever. */
		for (uint32_t id = 1; n >= 3 && id <= n; id++)
			assert_true(hit[id] > 0);
		fake_free(f);
	}
}

static void random_prefers_nodes_that_are_up(void **state)
{
	struct fake *f = fake_new(3, 1);
	char word[] = "random";
	char *argv[] = {word};
	struct node_set set;
	struct err e = {0};
	unsigned hit[4] = {0};

	(void)state;
	take_down(f, 2, NODE_DOWN);
	for (uint64_t seed = 0; seed < 100; seed++) {
		assert_int_equal(cluster_resolve(&f->conf, &f->view, 1, argv, seed, &set, &e), 0);
		assert_int_equal(set.n, 1);
		hit[set.nodes[0]->id]++;
	}
	assert_true(hit[1] && !hit[2] && hit[3]);
	take_down(f, 1, NODE_DOWN);
	take_down(f, 3, NODE_DOWN);
	assert_int_equal(cluster_resolve(&f->conf, &f->view, 1, argv, 1, &set, &e), 0);
	assert_int_equal(resolve(f, "leader", &set, &e), ERR_NO_QUORUM);
	assert_non_null(strstr(e.text, "nobody leads"));
	fake_free(f);
}

static void the_status_document_has_the_promised_shape(void **state)
{
	static const char *const node_keys[] = {
		"id",	     "name",	  "state",	"pid",		"version",     "uptime_s",
		"rss_bytes", "addresses", "sync_state", "writes_per_s", "reads_per_s", "groups"};
	static const char *const unknown[] = {"version",    "uptime_s",	    "rss_bytes",
					      "sync_state", "writes_per_s", "reads_per_s",
					      "groups"};
	struct fake *f = fake_new(3, 1);

	(void)state;
	take_down(f, 2, NODE_DOWN);
	take_down(f, 3, NODE_PAUSED);
	cluster_judge(&f->view);
	json_t *o = cluster_json(&f->view);
	assert_string_equal(json_field_text(o, "cluster_id"), "demo");
	assert_string_equal(json_field_text(o, "health"), "no_quorum");
	assert_int_equal(json_object_size(o), 3);
	json_t *nodes = json_object_get(o, "nodes");
	assert_int_equal(json_array_size(nodes), 3);
	for (size_t i = 0; i < 3; i++) {
		json_t *node = json_array_get(nodes, i);
		for (size_t k = 0; k < sizeof node_keys / sizeof node_keys[0]; k++)
			assert_non_null(json_object_get(node, node_keys[k]));
		for (size_t k = 0; k < sizeof unknown / sizeof unknown[0]; k++)
			assert_int_equal(json_is_null(json_object_get(node, unknown[k])), i > 0);
	}
	assert_string_equal(json_field_text(json_array_get(nodes, 0), "state"), "up");
	assert_string_equal(json_field_text(json_array_get(nodes, 1), "state"), "down");
	assert_true(json_is_null(json_object_get(json_array_get(nodes, 1), "pid")));
	assert_string_equal(json_field_text(json_array_get(nodes, 2), "state"), "paused");
	assert_int_equal(json_field_int(json_array_get(nodes, 2), "pid"), 4713);
	const json_t *addresses = json_object_get(json_array_get(nodes, 1), "addresses");
	assert_string_equal(json_field_text(addresses, "rpc"), "127.0.0.1:7002");
	assert_true(json_is_null(json_object_get(addresses, "mysql")));
	json_decref(o);
	fake_free(f);
}

static const char *print(struct fake *f, enum output form, bool groups)
{
	static struct printed c;
	struct cli cli = {.output = form};

	cluster_judge(&f->view);
	printed_begin(&c);
	status_print(&cli, &f->view, groups, stdout, "\n");
	printed_end(&c);
	return c.out;
}

static void the_status_table_reads_as_promised(void **state)
{
	struct fake *f = fake_new(3, 1);

	(void)state;
	take_down(f, 3, NODE_DOWN);
	setlocale(LC_CTYPE, "C.UTF-8");
	assert_string_equal(print(f, OUTPUT_TABLE, false),
			    "   NODE   PID  ROLE      TERM  COMMITTED  APPLIED  LAG  LAG MS  "
			    "WRITES/S  READS/S  "
			    "UPTIME  RPC\n"
			    "\xe2\x97\x8f  n1    4711  leader       3       5090     5090    0     "
			    "0.2      12.0  "
			    "    0.5     12s  127.0.0.1:7001\n"
			    "\xe2\x97\x8f  n2    4712  follower     3       5090     5090    0     "
			    "0.2      12.0  "
			    "    0.5     12s  127.0.0.1:7002\n"
			    "\xe2\x97\x8b  n3       -  down         -          -        -    -     "
			    "  -         -  "
			    "      -       -  127.0.0.1:7003\n"
			    "degraded: n3 is down; the others go on, but none more may fail\n");
	setlocale(LC_CTYPE, "C");
	assert_non_null(strstr(print(f, OUTPUT_TABLE, false), "\n*  n1    4711  leader"));
	assert_non_null(strstr(print(f, OUTPUT_TABLE, false), "\no  n3       -  down"));
	assert_non_null(
		strstr(print(f, OUTPUT_TSV, false), "\nup\tn1\t4711\tleader\t3\t5090\t5090\t0\t"));
	assert_non_null(strstr(print(f, OUTPUT_TSV, false), "\ndown\tn3\t\t\t\t"));
	/* One line a node and group, the missing node keeps one. */
	const char *text = print(f, OUTPUT_TABLE, true);
	unsigned lines = 0;
	for (const char *at = text; *at; at++)
		lines += *at == '\n';
	assert_int_equal(lines, 1 + 2 * 2 + 1 + 1);
	assert_non_null(strstr(text, "shard-1"));
	fake_free(f);
}

static void with_several_groups_the_row_sums_up(void **state)
{
	struct fake *f = fake_new(3, 3);

	(void)state;
	for (uint32_t id = 1; id <= 3; id++)
		set_group(f, id, 2, "leader_id", json_integer(2));
	set_group(f, 1, 2, "role", json_string("follower"));
	set_group(f, 2, 2, "role", json_string("leader"));
	set_group(f, 3, 3, "lag_entries", json_integer(17));
	const char *text = print(f, OUTPUT_TABLE, false);
	assert_non_null(strstr(text, "leader 2/3"));
	assert_non_null(strstr(text, "leader 1/3"));
	assert_non_null(strstr(text, "follower"));
	assert_non_null(strstr(text, " 15270 "));
	assert_non_null(strstr(text, " 17 "));
	fake_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_up_with_leaders_is_healthy),
		cmocka_unit_test(a_missing_minority_is_degraded),
		cmocka_unit_test(a_missing_majority_is_no_quorum),
		cmocka_unit_test(learners_do_not_count),
		cmocka_unit_test(a_group_without_a_leader_is_degraded),
		cmocka_unit_test(a_leader_that_only_itself_knows_of_is_none),
		cmocka_unit_test(a_node_far_behind_is_degraded),
		cmocka_unit_test(a_node_that_does_not_know_the_leader_is_degraded),
		cmocka_unit_test(an_answer_of_another_shape_harms_nothing),
		cmocka_unit_test(nodes_are_found_by_every_kind_of_word),
		cmocka_unit_test(a_minority_is_as_many_as_may_fail),
		cmocka_unit_test(random_prefers_nodes_that_are_up),
		cmocka_unit_test(the_status_document_has_the_promised_shape),
		cmocka_unit_test(the_status_table_reads_as_promised),
		cmocka_unit_test(with_several_groups_the_row_sums_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
