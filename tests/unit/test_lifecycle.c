/* The commands that start, stop and watch nodes, against stand-ins for the agent: this program,
 * started as one, keeps a pid file and answers RPC_STATUS as node 1 of a healthy cluster's leader
 * would, unless a file in the node's folder says otherwise: `die`, `mute`, `lag`. */
#include "console/lifecycle.h"

#include "tests/unit/printed.h"
#include "common/rpc.h"
#include "console/control/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the stand-in --- */

static struct agent_conf agent;

static bool behaves(const char *how)
{
	char path[CONF_PATH_MAX + 32];

	snprintf(path, sizeof path, "%s/%s", agent.dir, how);
	return access(path, F_OK) == 0;
}

static void answer(void *ctx, struct rpc_call *call)
{
	char text[1024];

	(void)ctx;
	if (rpc_call_method(call) != RPC_STATUS || behaves("mute")) {
		if (!behaves("mute"))
			rpc_reply(call, ERR_UNSUPPORTED, slice_str("no"));
		return;
	}
	int n = snprintf(text, sizeof text, "{\"id\":%u,\"pid\":%d,\"uptime_s\":1.0,\"groups\":[",
			 agent.id, (int)getpid());
	for (int group = 0; group <= 1; group++)
		n += snprintf(text + n, sizeof text - (size_t)n,
			      "%s{\"group\":%d,\"role\":\"%s\",\"leader_id\":1,\"term\":2,"
			      "\"committed\":50,\"applied\":%d}",
			      group ? "," : "", group, agent.id == 1 ? "leader" : "follower",
			      behaves("lag") ? 49 : 50);
	n += snprintf(text + n, sizeof text - (size_t)n, "]}");
	rpc_reply(call, 0, slice_of(text, (size_t)n));
}

static bool trust_all(void *ctx, struct link_identity *claimed, enum link_purpose purpose)
{
	(void)ctx;
	(void)purpose;
	claimed->role = LINK_ROLE_ADMIN;
	return true;
}

static int stand_in(const char *ini)
{
	struct hub_options o = {.cluster_id = agent.cluster_id, .trust = trust_all};
	struct rpc_server *server;
	struct hub *hub;
	struct err e = {0};
	char path[CONF_PATH_MAX + 32];
	sigset_t term;
	int number;

	if (agent_conf_load(ini, &agent, &e) || key_load(agent.secret, o.secret, o.self.key, &e)) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	if (behaves("die")) {
		fprintf(stderr, "first line\nthe reason why\n");
		return 1;
	}
	snprintf(path, sizeof path, "%s/droverd.pid", agent.dir);
	FILE *f = fopen(path, "w");
	fprintf(f, "%d\n", (int)getpid());
	fclose(f);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	o.self.kind = LINK_NODE;
	o.self.node_id = agent.id;
	strcpy(o.self.name, agent.name);
	if (hub_new(&hub, &o, &e) ||
	    rpc_server_new(&server, hub, agent.rpc, answer, NULL, NULL, &e)) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	sigwait(&term, &number);
	unlink(path);
	_exit(0);
}

/* --- the tests --- */

struct scene {
	char dir[64];
	struct printed c;
};

/* A port from which on twelve are free now. */
static unsigned free_base(void)
{
	for (unsigned tries = 0; tries < 200; tries++) {
		unsigned base = 10000 + ((unsigned)getpid() * 16 + tries * 16) % 20000;
		unsigned used = 0;
		for (unsigned port = base; port < base + 12 && !used; port++) {
			struct sockaddr_in at = {.sin_family = AF_INET,
						 .sin_port = htons((uint16_t)port)};
			int fd = socket(AF_INET, SOCK_STREAM, 0);
			at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
			used = bind(fd, (struct sockaddr *)&at, sizeof at) != 0;
			close(fd);
		}
		if (!used)
			return base;
	}
	fail_msg("no free ports");
	return 0;
}

static int drover(struct scene *s, const char *line)
{
	char whole[512];

	snprintf(whole, sizeof whole, "-c %s/c/cluster.ini %s", s->dir, line);
	return run_line(&s->c, whole);
}

static void wants(struct scene *s, int got, int code, const char *where, const char *words)
{
	if (got != code || !strstr(where, words))
		fail_msg("exit code %d instead of %d, or no '%s' in\n%s%s", got, code, words,
			 s->c.out, s->c.err);
}

static void behave(struct scene *s, int node, const char *how, bool on)
{
	char path[256];

	snprintf(path, sizeof path, "%s/c/node%d/%s", s->dir, node, how);
	if (on)
		close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	else
		unlink(path);
}

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof *s);
	char line[256];

	strcpy(s->dir, "/tmp/lifecycle.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(line, sizeof line, "init %s/c --base-port %u", s->dir, free_base());
	assert_int_equal(run_line(&s->c, line), 0);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *s = *state;
	char line[128];

	int code = drover(s, "kill all --yes");
	snprintf(line, sizeof line, "rm -r %s", s->dir);
	int rc = system(line);
	free(s);
	return code || rc;
}

static void a_cluster_is_started_looked_at_and_stopped(void **state)
{
	struct scene *s = *state;

	wants(s, drover(s, "status"), EXIT_NO_QUORUM, s->c.out, "NO QUORUM");
	wants(s, drover(s, "start all --timeout 60s"), 0, s->c.out, "n2: started, pid ");
	wants(s, drover(s, "status"), 0, s->c.out, "healthy: all 3 nodes are up and n1 leads");
	wants(s, drover(s, "start n2 -o json"), 0, s->c.out, "\"result\":\"already_running\"");
	wants(s, drover(s, "stop followers"), EXIT_REFUSED, s->c.err, "--yes");
	wants(s, drover(s, "stop followers -n"), 0, s->c.out,
	      "would stop n2, n3; the cluster would lose");
	wants(s, drover(s, "stop n3"), 0, s->c.out, "n3: stopped");
	wants(s, drover(s, "status"), EXIT_DEGRADED, s->c.out, "n3 is down");
	wants(s, drover(s, "stop leader"), EXIT_REFUSED, s->c.err, "less than a majority");
	wants(s, drover(s, "kill leader --yes"), 0, s->c.out, "n1: killed, was pid");
	wants(s, drover(s, "status"), EXIT_NO_QUORUM, s->c.out, "try 'drover start n1 n3'");
	wants(s, drover(s, "kill leader"), EXIT_NO_QUORUM, s->c.err, "nobody leads");
}

static void a_paused_node_shows(void **state)
{
	struct scene *s = *state;

	assert_int_equal(drover(s, "start all --timeout 60s"), 0);
	wants(s, drover(s, "pause n2"), 0, s->c.out, "n2: paused, pid");
	wants(s, drover(s, "status -o json"), EXIT_DEGRADED, s->c.out, "\"state\":\"paused\"");
	wants(s, drover(s, "start n2"), EXIT_FAILED, s->c.err, "drover resume n2");
	wants(s, drover(s, "resume n2"), 0, s->c.out, "n2: goes on");
	wants(s, drover(s, "status"), 0, s->c.out, "healthy");
}

static void a_node_that_does_not_answer_keeps_its_row(void **state)
{
	struct scene *s = *state;

	assert_int_equal(drover(s, "start all --timeout 60s"), 0);
	behave(s, 3, "mute", true);
	wants(s, drover(s, "status -o json"), EXIT_DEGRADED, s->c.out, "\"state\":\"unreachable\"");
	wants(s, drover(s, "status"), EXIT_DEGRADED, s->c.out, "n3 is unreachable");
	wants(s, drover(s, "status"), EXIT_DEGRADED, s->c.out, "does not answer:");
	/* It runs, so it can be stopped all the same. */
	wants(s, drover(s, "stop n3"), 0, s->c.out, "n3: stopped");
}

static void an_agent_that_ends_at_once_is_shown_with_its_last_words(void **state)
{
	struct scene *s = *state;

	behave(s, 2, "die", true);
	wants(s, drover(s, "start all --timeout 60s"), EXIT_FAILED, s->c.err,
	      "n2: ended as soon as it was started (exit code 1); it said:\n    first line\n    "
	      "the "
	      "reason why\n");
	wants(s, 0, 0, s->c.out, "n3: started");
	wants(s, drover(s, "start n2 -o json"), EXIT_FAILED, s->c.out, "\"result\":\"failed\"");
	wants(s, drover(s, "up"), EXIT_FAILED, s->c.err, "the reason why");
	wants(s, 0, 0, s->c.out, "degraded: n2 is down");
}

static void an_agent_that_never_answers_is_told_after_the_timeout(void **state)
{
	struct scene *s = *state;

	behave(s, 1, "mute", true);
	wants(s, drover(s, "start n1 --timeout 300ms"), EXIT_TIMED_OUT, s->c.err,
	      "but does not answer at 127.0.0.1:");
}

static void a_wrong_agent_file_starts_nothing(void **state)
{
	struct scene *s = *state;
	char path[256];

	snprintf(path, sizeof path, "%s/c/node2/agent.ini", s->dir);
	FILE *f = fopen(path, "a");
	fprintf(f, "colour = red\n");
	fclose(f);
	wants(s, drover(s, "start all"), EXIT_USAGE, s->c.err,
	      "there is no key 'colour' in [user admin]");
	wants(s, drover(s, "status"), EXIT_NO_QUORUM, s->c.out,
	      "n1 is down, n2 is down, n3 is down");
}

static void a_rolling_restart_leaves_no_node_as_it_was(void **state)
{
	struct scene *s = *state;
	char before[65536];

	assert_int_equal(drover(s, "start all --timeout 60s"), 0);
	assert_int_equal(drover(s, "start all -o tsv"), 0);
	memcpy(before, s->c.out, sizeof before);
	wants(s, drover(s, "restart --rolling all --timeout 60s"), 0, s->c.out,
	      "n2: restarted, pid");
	/* The leader came last. */
	assert_true(strstr(s->c.out, "n1: ") > strstr(s->c.out, "n3: "));
	assert_int_equal(drover(s, "start all -o tsv"), 0);
	assert_string_not_equal(before, s->c.out);
	/* A node that does not catch up ends it before the next one is touched. */
	behave(s, 2, "lag", true);
	wants(s, drover(s, "restart -r n2 n3 --timeout 500ms"), EXIT_TIMED_OUT, s->c.err,
	      "n2 is left as it is");
	behave(s, 2, "lag", false);
	/* And one that is down already makes it refuse to take another. */
	assert_int_equal(drover(s, "kill n3"), 0);
	wants(s, drover(s, "restart -r n2"), EXIT_REFUSED, s->c.err, "too few voters");
	wants(s, drover(s, "restart n2"), EXIT_REFUSED, s->c.err, "--rolling");
	wants(s, drover(s, "restart -r n3 --timeout 60s"), 0, s->c.out, "n3: restarted");
}

static void up_makes_starts_and_may_be_repeated(void **state)
{
	struct scene *s = *state;
	char line[256];

	snprintf(line, sizeof line, "up %s/new --nodes 1 --base-port %u --timeout 60s", s->dir,
		 free_base());
	wants(s, run_line(&s->c, line), 0, s->c.out, "healthy: all 1 nodes are up");
	wants(s, 0, 0, s->c.out, "\nConnect:  drover");
	snprintf(line, sizeof line, "up %s/new -o json", s->dir);
	wants(s, run_line(&s->c, line), 0, s->c.out, "\"health\":\"healthy\"");
	snprintf(line, sizeof line, "up %s/new --nodes 3", s->dir);
	wants(s, run_line(&s->c, line), EXIT_USAGE, s->c.err, "is there already with 1 nodes");
	snprintf(line, sizeof line, "-c %s/new/cluster.ini kill all --yes", s->dir);
	assert_int_equal(run_line(&s->c, line), 0);
}

static bool exists(struct scene *s, const char *name)
{
	char path[256];

	snprintf(path, sizeof path, "%s/c/%s", s->dir, name);
	return access(path, F_OK) == 0;
}

static void put(struct scene *s, const char *name)
{
	char path[256];

	snprintf(path, sizeof path, "%s/c/%s", s->dir, name);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
}

static void clean_removes_the_data_and_nothing_else(void **state)
{
	struct scene *s = *state;

	assert_int_equal(drover(s, "start all --timeout 60s"), 0);
	put(s, "node1/data/lock");
	put(s, "node1/data/something");
	put(s, "node1/mine");
	wants(s, drover(s, "clean"), EXIT_REFUSED, s->c.err, "--yes");
	wants(s, drover(s, "clean -n"), 0, s->c.out, "would stop n1 and remove ");
	assert_true(exists(s, "node1/data/something"));
	wants(s, drover(s, "clean --yes"), 0, s->c.err, "The data of c is gone");
	wants(s, drover(s, "status"), EXIT_NO_QUORUM, s->c.out,
	      "n1 is down, n2 is down, n3 is down");
	assert_false(exists(s, "node1/data/something"));
	assert_false(exists(s, "node1/data/lock"));
	assert_false(exists(s, "node1/droverd.log"));
	assert_true(exists(s, "node1/mine"));
	assert_true(exists(s, "node1/node.key"));
	assert_true(exists(s, "cluster.ini"));
	/* The next start founds the cluster anew. */
	assert_true(exists(s, "node1/data/founding") && exists(s, "node3/data/founding"));
}

static void clean_leaves_alone_what_is_not_an_agents(void **state)
{
	struct scene *s = *state;
	char path[256], line[512];

	snprintf(path, sizeof path, "%s/c/node2/agent.ini", s->dir);
	snprintf(line, sizeof line, "sed -i 's|^#data = data|data = %s/precious|' %s", s->dir,
		 path);
	assert_int_equal(system(line), 0);
	snprintf(line, sizeof line, "mkdir %s/precious; touch %s/precious/file", s->dir, s->dir);
	assert_int_equal(system(line), 0);
	put(s, "node1/data/lock");
	wants(s, drover(s, "clean --yes"), EXIT_REFUSED, s->c.err,
	      "does not look like an agent's data");
	assert_true(exists(s, "node1/data/lock"));
	snprintf(line, sizeof line, "sed -i 's|^data = .*|data = %s/c|' %s", s->dir, path);
	assert_int_equal(system(line), 0);
	put(s, "lock");
	wants(s, drover(s, "clean --yes"), EXIT_REFUSED, s->c.err,
	      "holds more than the data of n2");
	/* A process that holds the lock without being found is not one to pull the rug from under.
	 */
	snprintf(line, sizeof line, "sed -i 's|^data = .*|#data = data|' %s", path);
	assert_int_equal(system(line), 0);
	snprintf(path, sizeof path, "%s/c/node1/data/lock", s->dir);
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
	wants(s, drover(s, "clean --yes"), EXIT_REFUSED, s->c.err,
	      "a process that drover does not know");
	assert_true(exists(s, "node1/data/lock"));
	close(fd);
	assert_int_equal(drover(s, "clean --yes"), 0);
}

static void init_overwrites_nothing_and_checks_its_numbers(void **state)
{
	static const struct {
		const char *flags, *words;
		int code;
	} cases[] = {
		{"--nodes 0", "--nodes is 1 to 9, not 0", EXIT_USAGE},
		{"--nodes 10", "--nodes is 1 to 9", EXIT_USAGE},
		{"--shards 33", "--shards is 1 to 32", EXIT_USAGE},
		{"--replicas 1", "not offered yet", EXIT_FAILED},
		{"--base-port 65530", "--base-port is 1 to", EXIT_USAGE},
		{"--base-port -4", "--base-port is 1 to", EXIT_USAGE},
	};
	struct scene *s = *state;
	char line[256], path[256];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		snprintf(line, sizeof line, "init %s/other %s", s->dir, cases[i].flags);
		wants(s, run_line(&s->c, line), cases[i].code, s->c.err, cases[i].words);
		snprintf(path, sizeof path, "%s/other", s->dir);
		assert_int_not_equal(access(path, F_OK), 0);
	}
	snprintf(line, sizeof line, "init %s/c", s->dir);
	wants(s, run_line(&s->c, line), EXIT_REFUSED, s->c.err,
	      "is there already; nothing was changed");
	/* Even a single key of an earlier attempt. */
	snprintf(path, sizeof path, "%s/c/cluster.ini", s->dir);
	char elsewhere[256];
	snprintf(elsewhere, sizeof elsewhere, "%s/cluster.ini", s->dir);
	assert_int_equal(rename(path, elsewhere), 0);
	wants(s, run_line(&s->c, line), EXIT_REFUSED, s->c.err, "keys/admin.key is there already");
	assert_int_equal(rename(elsewhere, path), 0);
	snprintf(line, sizeof line, "init %s/no/such", s->dir);
	wants(s, run_line(&s->c, line), EXIT_FAILED, s->c.err, "No such file or directory");
	snprintf(line, sizeof line, "init %s/9-odd+name --nodes 9 --shards 32", s->dir);
	wants(s, run_line(&s->c, line), 0, s->c.out, "Made the cluster c9-odd-name: 9 nodes");
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_cluster_is_started_looked_at_and_stopped),
		TEST(a_paused_node_shows),
		TEST(a_node_that_does_not_answer_keeps_its_row),
		TEST(an_agent_that_ends_at_once_is_shown_with_its_last_words),
		TEST(an_agent_that_never_answers_is_told_after_the_timeout),
		TEST(a_wrong_agent_file_starts_nothing),
		TEST(a_rolling_restart_leaves_no_node_as_it_was),
		TEST(up_makes_starts_and_may_be_repeated),
		TEST(clean_removes_the_data_and_nothing_else),
		TEST(clean_leaves_alone_what_is_not_an_agents),
		TEST(init_overwrites_nothing_and_checks_its_numbers),
	};
	int null = open("/dev/null", O_RDONLY);

	if (argc == 3 && strcmp(argv[1], "-c") == 0)
		return stand_in(argv[2]);
	dup2(null, STDIN_FILENO);
	setenv("DROVER_AGENT", argv[0], 1);
	setenv("XDG_CONFIG_HOME", "/nowhere", 1);
	unsetenv("DROVER_OUTPUT");
	unsetenv("DROVER_CONFIG");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
