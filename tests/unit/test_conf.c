#include "common/conf.h"
#include "common/conf_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define NODE_A "[node 1]\npeer = 127.0.0.1:9091\nrpc = 127.0.0.1:7001\nkey = " KEY_A "\n"
#define NODE_B "[node 2]\npeer = 127.0.0.1:9092\nrpc = 127.0.0.1:7002\nkey = " KEY_B "\n"
#define CLUSTER "[cluster]\nid = demo\n"

#define AGENT_NODE "[node]\nid = 1\ncluster = demo\n"
#define AGENT_LISTEN "[listen]\npeer = 127.0.0.1:9091\nrpc = 127.0.0.1:7001\n"
#define AGENT_PEERS                                                                \
	"[peer 1]\npeer = 127.0.0.1:9091\nrpc = 127.0.0.1:7001\nkey = " KEY_A "\n" \
	"[peer 2]\npeer = 127.0.0.1:9092\nrpc = 127.0.0.1:7002\nkey = " KEY_B "\n"
#define AGENT_USER "[user admin]\nrole = admin\nkey = " KEY_B "\n"
#define AGENT AGENT_NODE AGENT_LISTEN AGENT_PEERS AGENT_USER

static FILE *text_file(const char *text)
{
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");

	assert_non_null(f);
	return f;
}

static int read_cluster(const char *text, struct cluster_conf *ret_conf, struct err *e)
{
	FILE *f = text_file(text);
	int rc = cluster_conf_read(f, "/srv/demo/cluster.ini", ret_conf, e);

	fclose(f);
	return rc;
}

static int read_agent(const char *text, struct agent_conf *ret_conf, struct err *e)
{
	FILE *f = text_file(text);
	int rc = agent_conf_read(f, "/srv/demo/node1/agent.ini", ret_conf, e);

	fclose(f);
	return rc;
}

static void a_cluster_file_is_read_with_its_defaults(void **state)
{
	struct cluster_conf c;
	struct err e = {0};

	(void)state;
	int rc = read_cluster("# a comment\n" CLUSTER "shards=3 ; behind a value\n" NODE_B
			      "  dir = /far/away/\n\trole : learner\n" NODE_A,
			      &c, &e);
	if (rc)
		fail_msg("%s", e.text);
	assert_string_equal(c.id, "demo");
	assert_int_equal(c.shards, 3);
	assert_string_equal(c.path, "/srv/demo/cluster.ini");
	assert_string_equal(c.dir, "/srv/demo");
	assert_string_equal(c.user, "admin");
	assert_string_equal(c.user_key, "/srv/demo/keys/admin.key");
	assert_int_equal(c.nodes_n, 2);
	assert_int_equal(c.nodes[0].id, 1);
	assert_string_equal(c.nodes[0].name, "n1");
	assert_string_equal(c.nodes[0].dir, "/srv/demo/node1");
	assert_int_equal(c.nodes[0].role, CONF_VOTER);
	assert_int_equal(c.nodes[0].key[1], 0x11);
	assert_string_equal(c.nodes[1].dir, "/far/away");
	assert_int_equal(c.nodes[1].role, CONF_LEARNER);
	assert_int_equal(c.nodes[1].control, CONF_CONTROL_LOCAL);
}

static void an_agent_file_is_read_with_its_defaults(void **state)
{
	struct agent_conf c, d;
	struct err e = {0};

	(void)state;
	if (read_agent(AGENT "[raft]\ninflight_mb = 3\n[log]\nlevel = debug\n", &c, &e))
		fail_msg("%s", e.text);
	agent_conf_defaults(&d);
	assert_int_equal(c.id, 1);
	assert_string_equal(c.name, "n1");
	assert_string_equal(c.cluster_id, "demo");
	assert_string_equal(c.data, "/srv/demo/node1/data");
	assert_string_equal(c.secret, "/srv/demo/node1/node.key");
	assert_false(c.insecure);
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_int_equal(c.inflight_bytes, 3 << 20);
	assert_int_equal(c.heartbeat_ms, 50);
	assert_int_equal(c.election_ms, 300);
	assert_int_equal(c.segment_bytes, 64 << 20);
	assert_int_equal(c.cache_kib, 256 << 10);
	assert_int_equal(c.append_bytes, 1 << 20);
	assert_int_equal(c.silence_ms, d.silence_ms);
	assert_int_equal(c.sessions, 100000);
	assert_int_equal(d.log_level, LOG_INFO);
	assert_int_equal(d.shards, 1);
	assert_string_equal(d.data, "");
	assert_int_equal(c.peers_n, 2);
	assert_string_equal(c.peers[1].name, "n2");
	assert_int_equal(c.users_n, 1);
	assert_string_equal(c.users[0].name, "admin");
	assert_int_equal(c.users[0].role, LINK_ROLE_ADMIN);
}

struct bad {
	const char *text;
	const char *message; /* what the error must hold, path and line included */
};

static void wrong_cluster_files_are_refused_with_line_and_remedy(void **state)
{
	static const struct bad cases[] = {
		{"id = x\n", "cluster.ini:1: 'id' stands before any [section]"},
		{CLUSTER "colour = red\n" NODE_A, "cluster.ini:3: there is no key 'colour' in "
						  "[cluster]; allowed are id, shards, user, "
						  "user_key"},
		{CLUSTER NODE_A "[nodes]\n",
		 "cluster.ini:7: there is no section [nodes]; allowed are [cluster], [node N]"},
		{CLUSTER "shards = 33\n" NODE_A,
		 "cluster.ini:3: shards = 33 is not allowed; use 1..32"},
		{CLUSTER "shards = 0\n" NODE_A, ":3: shards = 0 is not allowed"},
		{CLUSTER "shards = -1\n" NODE_A, ":3: shards = -1 is not allowed"},
		{CLUSTER "shards = 1x\n" NODE_A, ":3: shards = 1x is not allowed"},
		{CLUSTER "shards =\n" NODE_A, ":3: shards =  is not allowed"},
		{CLUSTER "shards = 99999999999999999999\n" NODE_A, ":3: shards = 9999"},
		{CLUSTER "id = again\n" NODE_A, ":3: id is given twice in [cluster]"},
		{"[cluster]\nid = de mo\n" NODE_A, ":2: id = de mo is not allowed; use letters"},
		{"[cluster]\nid = 1st\n" NODE_A, ":2: id = 1st is not allowed"},
		{"[cluster]\nid = demo # no comment\n" NODE_A, ":2: id = demo # no comment is not"},
		{"\n\n[cluster]\n" NODE_A, ":3: [cluster] lacks the key 'id'"},
		{NODE_A, "cluster.ini: there is no [cluster] section"},
		{CLUSTER, "cluster.ini: there is no [node N] section"},
		{CLUSTER "[node 1]\nrpc = h:1\nkey = " KEY_A "\n",
		 ":3: [node 1] lacks the key 'peer' (host:port)"},
		{CLUSTER NODE_A NODE_A, ":7: [node 1] is there already, in line 3"},
		{CLUSTER NODE_A "[node 01]\n", ":7: [node 01] is there already"},
		{CLUSTER "[node]\n", ":3: there is no section [node]"},
		{CLUSTER "[node x]\n", ":3: [node x]: a node's id is a number 1..65535"},
		{CLUSTER "[node 0]\n", ":3: [node 0]: a node's id"},
		{CLUSTER "[node 65536]\n", ":3: [node 65536]: a node's id"},
		{CLUSTER NODE_A "name = all\n", ":3: [node 1]: 'all' names a set of nodes"},
		{CLUSTER NODE_A "name = 2\n", ":7: name = 2 is not allowed"},
		{CLUSTER NODE_A NODE_B "name = n1\n",
		 ":7: [node 1] and [node 2] are both called n1"},
		{CLUSTER NODE_A NODE_B "dir = node1\n",
		 ":7: [node 1] and [node 2] share the folder"},
		{CLUSTER NODE_A "role = boss\n",
		 ":7: role = boss is not allowed; use voter|learner|replica"},
		{CLUSTER NODE_A "role = vote\n", ":7: role = vote is not allowed"},
		{CLUSTER NODE_A "control = ssh\n",
		 ":7: control = ssh is not offered yet; use local|none"},
		{CLUSTER NODE_A "control = magic\n",
		 ":7: control = magic is not allowed; use local|none"},
		{CLUSTER NODE_A "role = learner\n", "cluster.ini: 0 voters; a cluster has 1..9"},
		{CLUSTER "[node 1]\npeer = 127.0.0.1\n",
		 ":4: peer = 127.0.0.1 is not allowed; use host:port"},
		{CLUSTER "[node 1]\npeer = 127.0.0.1:0\n", ":4: peer = 127.0.0.1:0"},
		{CLUSTER "[node 1]\npeer = 127.0.0.1:70000\n", ":4: peer = "},
		{CLUSTER "[node 1]\npeer = :70\n", ":4: peer = :70 is not"},
		{CLUSTER "[node 1]\npeer = a b:70\n", ":4: peer = a b:70 is not"},
		{CLUSTER "[node 1]\npeer = ::1:70\n", ":4: peer = ::1:70 is not"},
		{CLUSTER "[node 1]\nkey = 1234\n",
		 ":4: key = 1234 is not allowed; use 64 hex digits"},
		{CLUSTER "[node 1]\nkey = x" KEY_A "\n", ":4: key = x"},
		{CLUSTER "[node 1]\ndir =\n", ":4: dir =  is not allowed; use a path"},
		{CLUSTER "[node 1]\npeer = h:1\nrpc = h:1\nkey = " KEY_A "\n",
		 ":3: [node 1]: peer and rpc are both h:1"},
		{CLUSTER NODE_A "[node 2]\npeer = 127.0.0.1:9091\nrpc = h:1\nkey = " KEY_B "\n",
		 ":7: [node 1] and [node 2] both use 127.0.0.1:9091"},
		{CLUSTER NODE_A "[node 2]\npeer = h:1\nrpc = 127.0.0.1:9091\nkey = " KEY_B "\n",
		 ":7: [node 1] and [node 2] both use 127.0.0.1:9091"},
		{CLUSTER NODE_A "[node 2]\npeer = h:1\nrpc = h:2\nkey = " KEY_A "\n",
		 ":7: [node 1] and [node 2] have the same key"},
		{CLUSTER "rubbish\n" NODE_A, ":3: neither 'key = value' nor '[section]'"},
		{CLUSTER NODE_A "[node 2\n", ":7: neither 'key = value'"},
		{CLUSTER NODE_A "[node 2] key = 1\n", ":7: text behind [node 2]"},
		{CLUSTER "= 3\n" NODE_A, ":3: there is no key ''"},
		{"", "cluster.ini: there is no [cluster] section"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct cluster_conf c = {.shards = 77};
		struct err e = {0};
		FILE *f = cases[i].text[0] ? text_file(cases[i].text) : fopen("/dev/null", "r");
		int rc = cluster_conf_read(f, "/srv/demo/cluster.ini", &c, &e);
		fclose(f);
		if (rc != ERR_CONFIG || !strstr(e.text, cases[i].message))
			fail_msg("case %zu: got %d '%s', wanted '%s'", i, rc, e.text,
				 cases[i].message);
		assert_int_equal(c.shards, 77);
		assert_null(strchr(e.text, '\n'));
	}
}

static void wrong_agent_files_are_refused_with_line_and_remedy(void **state)
{
	static const struct bad cases[] = {
		{AGENT "[raft]\nheartbeat_ms = 4\n",
		 "agent.ini:19: heartbeat_ms = 4 is not allowed; use 5..10000"},
		{AGENT "[raft]\nheartbeat_ms = 200\n",
		 ":18: [raft]: election_ms = 300 must be at least twice heartbeat_ms = 200"},
		{AGENT "[raft]\ninflight_mb = 1\nappend_kb = 2048\n",
		 ":18: [raft]: append_kb is more"},
		{AGENT "[raft]\ninflight_messages = 65\n", ":19: inflight_messages = 65 is not"},
		{AGENT "[log]\nlevel = loud\n",
		 ":19: level = loud is not allowed; use debug|info|warn|error"},
		{AGENT "[stor]\n", ":18: there is no section [stor]; allowed are [node], [listen]"},
		{AGENT "[store]\ncache = 1\n",
		 ":19: there is no key 'cache' in [store]; allowed are cache_mb"},
		{AGENT "[user admin]\n", ":18: [user admin] is there already, in line 15"},
		{AGENT "[user a b]\nrole=admin\n", ":18: [user a b]: a user's name"},
		{AGENT "[user bob]\nkey = " KEY_A "\n",
		 ":18: [user bob] lacks the key 'role' (admin|writer"},
		{AGENT "[user bob]\nrole = root\n",
		 ":19: role = root is not allowed; use admin|writer|reader"},
		{AGENT_NODE AGENT_LISTEN AGENT_PEERS, "agent.ini: there is no [user NAME] section"},
		{AGENT_NODE AGENT_LISTEN AGENT_USER, "agent.ini: there is no [peer N] section"},
		{AGENT_NODE AGENT_PEERS AGENT_USER, "agent.ini: there is no [listen] section"},
		{AGENT_LISTEN AGENT_PEERS AGENT_USER, "agent.ini: there is no [node] section"},
		{"[node]\nid = 3\ncluster = demo\n" AGENT_LISTEN AGENT_PEERS AGENT_USER,
		 ":1: [node]: there is no [peer 3] for this node itself"},
		{"[node]\nid = 1\nname = x\ncluster = demo\n" AGENT_LISTEN AGENT_PEERS AGENT_USER,
		 ":1: [node]: this node is called x here and n1 in [peer 1]"},
		{AGENT_NODE
		 "[listen]\npeer = 0.0.0.0:9091\nrpc = 127.0.0.1:7001\n" AGENT_PEERS AGENT_USER,
		 ":4: [listen]: 0.0.0.0:9091 can be reached from other machines and nothing is "
		 "encrypted"},
		{AGENT_NODE
		 "[listen]\npeer = 127.0.0.1:9091\nrpc = 10.0.0.1:7001\n" AGENT_PEERS AGENT_USER,
		 ":4: [listen]: 10.0.0.1:7001 can be reached"},
		{AGENT_NODE "[listen]\npeer = h:1\nrpc = h:1\n" AGENT_PEERS AGENT_USER,
		 ":4: [listen]: peer and rpc are both h:1"},
		{AGENT_NODE AGENT_LISTEN "insecure = maybe\n",
		 ":7: insecure = maybe is not allowed; use no|yes"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct agent_conf c = {.shards = 77};
		struct err e = {0};
		int rc = read_agent(cases[i].text, &c, &e);
		if (rc != ERR_CONFIG || !strstr(e.text, cases[i].message))
			fail_msg("case %zu: got %d '%s', wanted '%s'", i, rc, e.text,
				 cases[i].message);
		assert_int_equal(c.shards, 77);
	}
}

static void lines_too_long_or_not_text_are_refused(void **state)
{
	char text[600];
	struct cluster_conf c;
	struct err e = {0};

	(void)state;
	/* The longest line that is allowed, and one byte more. */
	for (int over = 0; over < 2; over++) {
		int n = snprintf(text, sizeof text, CLUSTER NODE_A "dir = /");
		int room = CONF_LINE_MAX - (int)strlen("dir = /") + over;
		memset(text + n, 'x', (size_t)room);
		snprintf(text + n + room, sizeof text - (size_t)(n + room), "\n" NODE_B);
		int rc = read_cluster(text, &c, &e);
		assert_int_equal(rc, over ? ERR_CONFIG : 0);
		if (!over)
			assert_int_equal(strlen(c.nodes[0].dir), (size_t)room + 1);
	}
	assert_non_null(strstr(e.text, ":7: a line is at most 198 bytes"));

	FILE *f = fmemopen(text, sizeof text, "w+");
	fwrite("[cluster]\nid = a\0b\n", 1, 19, f);
	rewind(f);
	assert_int_equal(cluster_conf_read(f, "x.ini", &c, &e), ERR_CONFIG);
	assert_string_equal(e.text, "x.ini:2: this is no text: there is a NUL byte");
	fclose(f);
}

static void too_many_sections_are_refused(void **state)
{
	char *text = malloc(1 << 20);
	struct cluster_conf *c = malloc(sizeof *c);
	struct err e = {0};
	size_t n = (size_t)sprintf(text, "%s", CLUSTER);

	(void)state;
	for (int i = 1; i <= CONF_NODES_MAX + 1; i++)
		n += (size_t)sprintf(text + n,
				     "[node %d]\npeer=h:%d\nrpc=h:%d\nkey=%.60s%04d\nrole=%s\n", i,
				     1000 + i, 2000 + i, KEY_A, i, i > 9 ? "learner" : "voter");
	assert_int_equal(read_cluster(text, c, &e), ERR_CONFIG);
	assert_non_null(strstr(e.text, "more than 64 nodes"));
	/* Exactly as many as there may be, and then with one voter too many. */
	*strstr(text, "[node 65]") = 0;
	assert_int_equal(read_cluster(text, c, &e), 0);
	assert_int_equal(c->nodes_n, CONF_NODES_MAX);
	memcpy(strstr(text, "role=learner"), "role=voter  ", 12);
	assert_int_equal(read_cluster(text, c, &e), ERR_CONFIG);
	assert_non_null(strstr(e.text, "10 voters; a cluster has 1..9"));
	free(c);
	free(text);
}

static void a_written_cluster_file_reads_back_the_same(void **state)
{
	char *text = NULL;
	size_t size;
	struct cluster_conf a, b;
	struct err e = {0};

	(void)state;
	if (read_cluster(CLUSTER "shards = 4\nuser = bob\nuser_key = ../k/bob.key\n" NODE_A
				 "role = learner\n" NODE_B "control = none\ndir=elsewhere/x\n"
				 "name = other\n",
			 &a, &e))
		fail_msg("%s", e.text);
	FILE *f = open_memstream(&text, &size);
	assert_int_equal(cluster_conf_write(f, &a, &e), 0);
	fclose(f);
	/* Defaults are shown, but not set; what lies below the file's folder stays movable. */
	assert_non_null(strstr(text, "#role = voter"));
	assert_non_null(strstr(text, "\ndir = elsewhere/x\n"));
	assert_non_null(strstr(text, "#dir = node1\n"));
	if (read_cluster(text, &b, &e))
		fail_msg("%s in\n%s", e.text, text);
	assert_memory_equal(&a, &b, sizeof a);
	free(text);
}

/* Every key of agent.ini away from its default. */
static void a_written_agent_file_reads_back_the_same(void **state)
{
	char *text = NULL;
	size_t size, n;
	const struct conf_key *rows = parse_rows("agent.ini", &n);
	struct agent_conf *a = malloc(sizeof *a), *b = malloc(sizeof *b);
	struct err e = {0};

	(void)state;
	for (int changed = 0; changed < 2; changed++) {
		assert_int_equal(read_agent(AGENT, a, &e), 0);
		for (size_t i = 0; changed && i < n; i++) {
			uint64_t least = rows[i].least;
			void *field = (char *)a + rows[i].offset;
			if (strchr(rows[i].section, '*') || strcmp(rows[i].key, "id") == 0)
				continue;
			if (rows[i].type == CONF_CHOICE)
				conf_store_number(field, rows[i].size, least + 1);
			if (rows[i].type == CONF_NUMBER && strcmp(rows[i].section, "raft") != 0)
				conf_store_number(field, rows[i].size, rows[i].most * rows[i].unit);
			if (rows[i].type == CONF_PATH)
				strncpy(field, "/srv/other place", rows[i].size);
		}
		FILE *f = open_memstream(&text, &size);
		if (agent_conf_write(f, a, &e))
			fail_msg("%s", e.text);
		fclose(f);
		if (read_agent(text, b, &e))
			fail_msg("%s in\n%s", e.text, text);
		assert_memory_equal(a, b, sizeof *a);
		free(text);
	}
	free(a);
	free(b);
}

static void what_could_not_be_read_back_is_not_written(void **state)
{
	static const char *const paths[] = {"/a\nb", " /a", "/a ", "/a ;b", "/\x01"};
	struct agent_conf *a = malloc(sizeof *a);
	struct err e = {0};
	FILE *f = fopen("/dev/null", "w");

	(void)state;
	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
		assert_int_equal(read_agent(AGENT, a, &e), 0);
		strcpy(a->data, paths[i]);
		assert_int_equal(agent_conf_write(f, a, &e), ERR_INVALID);
	}
	assert_int_equal(read_agent(AGENT, a, &e), 0);
	memset(a->data, 'x', 500);
	assert_int_equal(agent_conf_write(f, a, &e), ERR_INVALID);
	assert_int_equal(read_agent(AGENT, a, &e), 0);
	a->segment_bytes += 1;
	assert_int_equal(agent_conf_write(f, a, &e), ERR_INVALID);
	fclose(f);
	free(a);
}

static void a_full_disk_is_told_when_writing(void **state)
{
	struct agent_conf *a = malloc(sizeof *a);
	struct err e = {0};
	FILE *f = fopen("/dev/full", "w");

	(void)state;
	assert_int_equal(read_agent(AGENT, a, &e), 0);
	assert_int_equal(agent_conf_write(f, a, &e), ERR_DISK_FULL);
	fclose(f);
	free(a);
}

/* The table itself: every fallback is one that the parser takes, ranges say what they are. */
static void every_row_of_the_table_is_sound(void **state)
{
	size_t n;
	const struct conf_key *rows = conf_keys(&n);
	char allowed[64];

	(void)state;
	assert_true(n > 40);
	for (size_t i = 0; i < n; i++) {
		const struct conf_key *row = &rows[i];
		uint64_t number;
		assert_true(row->help[0] && row->help[strlen(row->help) - 1] == '.');
		if (row->type == CONF_NUMBER) {
			snprintf(allowed, sizeof allowed, "%llu..%llu",
				 (unsigned long long)row->least, (unsigned long long)row->most);
			assert_string_equal(allowed, row->allowed);
			assert_true(row->unit >= 1);
			assert_true(row->size == 8 || row->most * row->unit <= UINT32_MAX);
			if (row->fallback) {
				assert_true(parse_unsigned(row->fallback, &number));
				assert_in_range(number, row->least, row->most);
			}
		}
		if (row->type == CONF_CHOICE && row->fallback)
			assert_true(conf_choice_index(row->allowed, row->fallback) >= 0);
		for (size_t j = 0; j < i; j++)
			assert_false(strcmp(rows[j].file, row->file) == 0 &&
				     strcmp(rows[j].section, row->section) == 0 &&
				     strcmp(rows[j].key, row->key) == 0);
	}
}

static void the_sample_files_hold_every_key_and_load(void **state)
{
	static const char *const files[] = {"cluster.ini", "agent.ini"};
	struct cluster_conf *c = malloc(sizeof *c);
	struct agent_conf *a = malloc(sizeof *a);
	struct err e = {0};
	char text[32768], line[128], path[64];
	size_t n;
	const struct conf_key *rows = conf_keys(&n);

	(void)state;
	if (cluster_conf_load("ini/cluster.ini", c, &e) || agent_conf_load("ini/agent.ini", a, &e))
		fail_msg("%s", e.text);
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "ini/%s", files[i]);
		FILE *f = fopen(path, "r");
		text[fread(text, 1, sizeof text - 1, f)] = 0;
		fclose(f);
		for (size_t j = 0; j < n; j++) {
			snprintf(line, sizeof line, "%s = ", rows[j].key);
			if (strcmp(rows[j].file, files[i]) == 0 && !strstr(text, line))
				fail_msg("%s lacks %s", path, rows[j].key);
		}
	}
	free(a);
	free(c);
}

static void the_nearest_cluster_file_above_is_found(void **state)
{
	char root[] = "/tmp/conf.XXXXXX", path[256], found[CONF_PATH_MAX];
	struct err e = {0};

	(void)state;
	assert_non_null(mkdtemp(root));
	snprintf(path, sizeof path, "%s/a", root);
	mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/a/b", root);
	mkdir(path, 0755);
	assert_int_equal(cluster_conf_find(path, found, sizeof found, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "drover up"));
	snprintf(path, sizeof path, "%s/cluster.ini", root);
	fclose(fopen(path, "w"));
	snprintf(path, sizeof path, "%s/a/b", root);
	assert_int_equal(cluster_conf_find(path, found, sizeof found, &e), 0);
	snprintf(path, sizeof path, "%s/cluster.ini", root);
	assert_string_equal(found, path);
	assert_int_equal(cluster_conf_find(root, found, 4, &e), ERR_LIMIT);
	unlink(path);
	snprintf(path, sizeof path, "%s/a/b", root);
	rmdir(path);
	snprintf(path, sizeof path, "%s/a", root);
	rmdir(path);
	rmdir(root);
}

static void a_missing_file_is_not_a_wrong_one(void **state)
{
	struct cluster_conf c;
	struct console_conf d = {.output = CONF_OUTPUT_TSV};
	struct err e = {0};

	(void)state;
	assert_int_equal(cluster_conf_load("/nowhere/cluster.ini", &c, &e), ERR_NOT_FOUND);
	assert_string_equal(e.text, "/nowhere/cluster.ini: there is no such file");
	assert_int_equal(cluster_conf_load("/tmp", &c, &e), ERR_IO);
	assert_int_equal(console_conf_load("/nowhere/drover.ini", &d, &e), 0);
	assert_int_equal(d.output, CONF_OUTPUT_TABLE);
}

static void a_persons_own_defaults_are_read(void **state)
{
	char path[] = "/tmp/conf.XXXXXX";
	struct console_conf d;
	struct err e = {0};
	int fd = mkstemp(path);

	(void)state;
	dprintf(fd, "[console]\noutput = json\ncolor = never\n");
	assert_int_equal(console_conf_load(path, &d, &e), 0);
	assert_int_equal(d.output, CONF_OUTPUT_JSON);
	assert_int_equal(d.color, CONF_COLOR_NEVER);
	dprintf(fd, "verbose = yes\n");
	assert_int_equal(console_conf_load(path, &d, &e), ERR_CONFIG);
	assert_non_null(strstr(e.text, ":4: there is no key 'verbose' in [console]"));
	close(fd);
	unlink(path);
}

static void addresses_are_understood(void **state)
{
	(void)state;
	assert_int_equal(conf_address_port("127.0.0.1:7001"), 7001);
	assert_int_equal(conf_address_port("[::1]:65535"), 65535);
	assert_int_equal(conf_address_port("db-1.example.org:1"), 1);
	assert_int_equal(conf_address_port("[::1]65535"), 0);
	assert_int_equal(conf_address_port("[]:1"), 0);
	assert_int_equal(conf_address_port("host:"), 0);
	assert_int_equal(conf_address_port("host:1x"), 0);
	assert_true(conf_address_is_loopback("127.9.9.9:1"));
	assert_true(conf_address_is_loopback("[::1]:1"));
	assert_true(conf_address_is_loopback("localhost:1"));
	assert_false(conf_address_is_loopback("0.0.0.0:1"));
	assert_false(conf_address_is_loopback("localhost.example.org:1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cluster_file_is_read_with_its_defaults),
		cmocka_unit_test(an_agent_file_is_read_with_its_defaults),
		cmocka_unit_test(wrong_cluster_files_are_refused_with_line_and_remedy),
		cmocka_unit_test(wrong_agent_files_are_refused_with_line_and_remedy),
		cmocka_unit_test(lines_too_long_or_not_text_are_refused),
		cmocka_unit_test(too_many_sections_are_refused),
		cmocka_unit_test(a_written_cluster_file_reads_back_the_same),
		cmocka_unit_test(a_written_agent_file_reads_back_the_same),
		cmocka_unit_test(what_could_not_be_read_back_is_not_written),
		cmocka_unit_test(a_full_disk_is_told_when_writing),
		cmocka_unit_test(every_row_of_the_table_is_sound),
		cmocka_unit_test(the_sample_files_hold_every_key_and_load),
		cmocka_unit_test(the_nearest_cluster_file_above_is_found),
		cmocka_unit_test(a_missing_file_is_not_a_wrong_one),
		cmocka_unit_test(a_persons_own_defaults_are_read),
		cmocka_unit_test(addresses_are_understood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
