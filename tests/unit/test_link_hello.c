/* Who gets in: the hello against strangers, liars, noise and the slow, with plain sockets. */
#include "tests/unit/link_fixture.h"

#include "common/link/hello.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define RPC_ONLY (1u << LINK_RPC)

static struct hub_options options;
static struct hub *server;
static struct recorder at_server;
static struct listener *listener;
static uint16_t port;
static char address[64];
static unsigned trust_calls;
static char distrusted[LINK_NAME_MAX];

static bool trust(void *ctx, struct link_identity *claimed, enum link_purpose purpose)
{
	__atomic_fetch_add(&trust_calls, 1, __ATOMIC_SEQ_CST);
	if (strcmp(claimed->name, distrusted) == 0)
		return false;
	return fixture_trust_all(ctx, claimed, purpose);
}

static void start(uint32_t hello_ms, uint32_t silence_ms)
{
	struct err e = {0};

	fixture_options(&options, LINK_NODE, 1);
	options.hello_ms = hello_ms;
	options.silence_ms = silence_ms;
	options.trust = trust;
	trust_calls = 0;
	distrusted[0] = 0;
	recorder_init(&at_server);
	struct link_events ev = recorder_events(&at_server);
	assert_int_equal(hub_new(&server, &options, &e), 0);
	assert_int_equal(link_listen(server, "127.0.0.1:0", RPC_ONLY, &ev, &listener, &e), 0);
	port = listener_port(listener);
	fixture_address(port, address, sizeof address);
}

static void stop(void)
{
	hub_free(server);
	recorder_done(&at_server);
}

static struct hub_stats stats(void)
{
	struct hub_stats st;

	hub_stats(server, &st);
	return st;
}

/* A link from a hub with these options; returns how it ended, or 0 if it opened. */
static int dial(const struct hub_options *o, enum link_purpose purpose,
		const struct link_identity *expect, struct err *ret_why)
{
	struct hub *h;
	struct recorder r;
	struct link *l;

	recorder_init(&r);
	struct link_events ev = recorder_events(&r);
	assert_int_equal(hub_new(&h, o, ret_why), 0);
	assert_int_equal(link_dial(h, address, purpose, expect, &ev, &l, ret_why), 0);
	for (unsigned ms = 0; ms < FIXTURE_WAIT_MS; ms++) {
		if (recorder_count(&r, &r.opened) || recorder_count(&r, &r.closed))
			break;
		fixture_sleep_ms(1);
	}
	int rc = recorder_count(&r, &r.opened) ? 0 : r.why.code;
	if (rc)
		*ret_why = r.why;
	link_unref(l);
	hub_free(h);
	recorder_done(&r);
	return rc;
}

static void assert_a_friend_gets_in(void)
{
	struct hub_options o;
	struct err why = {0};
	unsigned before = recorder_count(&at_server, &at_server.opened);

	fixture_options(&o, LINK_USER, 7);
	assert_int_equal(dial(&o, LINK_RPC, NULL, &why), 0);
	assert_true(recorder_wait(&at_server, &at_server.opened, before + 1));
}

/* A plain socket that speaks the hello by hand. */
struct raw {
	int fd;
	struct hub_options o;
	struct hello h;
	uint8_t proof[HELLO_PROOF_BYTES];
};

static void raw_open(struct raw *r, const char *cluster_id)
{
	fixture_options(&r->o, LINK_NODE, 9);
	hello_init(&r->h, &r->o.self, r->o.secret, cluster_id, true, LINK_RPC);
	r->fd = fixture_connect(port);
	assert_true(r->fd >= 0);
}

static void put(int fd, const void *p, size_t n)
{
	/* The other end may have closed already: that is what some tests are about. */
	ssize_t done = send(fd, p, n, MSG_NOSIGNAL);
	(void)done;
}

static bool get(int fd, void *p, size_t n)
{
	return recv(fd, p, n, MSG_WAITALL) == (ssize_t)n;
}

/* Reads on until the end; true: it came (or a reset), rather than the receive timeout. */
static bool ended(int fd)
{
	char junk[4096];
	ssize_t n;

	while ((n = recv(fd, junk, sizeof junk, 0)) > 0)
		;
	return n == 0 || errno == ECONNRESET;
}

/* Sends the greeting, reads the server's, makes the proof. */
static void raw_greet(struct raw *r)
{
	uint8_t theirs[HELLO_GREETING_BYTES];

	put(r->fd, r->h.mine, sizeof r->h.mine);
	assert_true(get(r->fd, theirs, sizeof theirs));
	assert_int_equal(hello_take_greeting(&r->h, theirs, r->proof, NULL), 0);
}

static bool raw_finish(struct raw *r)
{
	uint8_t proof[HELLO_PROOF_BYTES], verdict = 0;

	put(r->fd, r->proof, sizeof r->proof);
	if (!get(r->fd, proof, sizeof proof) || hello_take_proof(&r->h, proof, NULL) != 0 ||
	    !get(r->fd, &verdict, 1) || hello_take_verdict(&r->h, &verdict, NULL) != 0)
		return false;
	verdict = HELLO_WELCOME;
	put(r->fd, &verdict, 1);
	return true;
}

static void assert_refused(int fd, uint64_t hellos)
{
	assert_true(ended(fd));
	close(fd);
	for (unsigned ms = 0; ms < FIXTURE_WAIT_MS && stats().refused_hello < hellos; ms++)
		fixture_sleep_ms(1);
	assert_int_equal(stats().refused_hello, hellos);
	assert_int_equal(recorder_count(&at_server, &at_server.opened), 0);
}

static void a_hello_by_hand_opens_a_link(void **state)
{
	struct raw r;
	const uint8_t frame[] = {4, 0, 0, 0, 5, 'a', 'b', 'c'};

	(void)state;
	start(20000, 60000);
	raw_open(&r, FIXTURE_CLUSTER);
	raw_greet(&r);
	assert_true(raw_finish(&r));
	put(r.fd, frame, sizeof frame);
	assert_true(recorder_wait(&at_server, &at_server.frames, 1));
	assert_int_equal(at_server.last_type, 5);
	assert_int_equal(at_server.last.len, 3);
	assert_string_equal(at_server.peer.name, "n9");
	close(r.fd);
	assert_true(recorder_wait(&at_server, &at_server.closed, 1));
	stop();
}

static void a_frame_right_behind_the_hello_is_not_lost(void **state)
{
	struct raw r;
	uint8_t theirs[HELLO_GREETING_BYTES];
	uint8_t all[HELLO_PROOF_BYTES + 1 + 5] = {0};

	(void)state;
	start(20000, 60000);
	raw_open(&r, FIXTURE_CLUSTER);
	put(r.fd, r.h.mine, sizeof r.h.mine);
	assert_true(get(r.fd, theirs, sizeof theirs));
	assert_int_equal(hello_take_greeting(&r.h, theirs, all, NULL), 0);
	all[HELLO_PROOF_BYTES + 1] = 1;
	all[HELLO_PROOF_BYTES + 5] = 3;
	put(r.fd, all, sizeof all);
	assert_true(recorder_wait(&at_server, &at_server.frames, 1));
	assert_int_equal(at_server.last_type, 3);
	close(r.fd);
	stop();
}

static void an_unknown_key_is_told_so_and_refused(void **state)
{
	struct hub_options o;
	struct err why;

	(void)state;
	start(20000, 60000);
	fixture_options(&o, LINK_NODE, 2);
	strcpy(distrusted, "n2");
	assert_int_equal(dial(&o, LINK_RPC, NULL, &why), ERR_AUTH);
	assert_non_null(strstr(why.text, "does not know our key"));
	assert_int_equal(stats().refused_trust, 1);
	assert_int_equal(at_server.opened, 0);
	assert_a_friend_gets_in();
	stop();
}

static bool trust_nobody(void *ctx, struct link_identity *claimed, enum link_purpose purpose)
{
	(void)ctx;
	(void)claimed;
	(void)purpose;
	return false;
}

static void a_dialer_judges_the_listener_too(void **state)
{
	struct hub_options o;
	struct err why;

	(void)state;
	start(20000, 60000);
	fixture_options(&o, LINK_NODE, 2);
	o.trust = trust_nobody;
	assert_int_equal(dial(&o, LINK_RPC, NULL, &why), ERR_AUTH);
	assert_non_null(strstr(why.text, "n1"));
	assert_int_equal(at_server.opened, 0);
	stop();
}

static void another_cluster_is_refused_before_any_proof(void **state)
{
	struct hub_options o;
	struct err why;

	(void)state;
	start(20000, 60000);
	fixture_options(&o, LINK_NODE, 2);
	o.cluster_id = "elsewhere";
	assert_int_equal(dial(&o, LINK_RPC, NULL, &why), ERR_AUTH);
	assert_int_equal(at_server.opened, 0);
	assert_int_equal(trust_calls, 0);
	assert_a_friend_gets_in();
	stop();
}

static void another_node_than_expected_is_refused(void **state)
{
	struct hub_options o;
	struct link_identity expect = {.kind = LINK_NODE, .node_id = 3};
	struct err why;

	(void)state;
	start(20000, 60000);
	fixture_options(&o, LINK_NODE, 2);
	assert_int_equal(dial(&o, LINK_RPC, &expect, &why), ERR_AUTH);
	assert_non_null(strstr(why.text, "not the one"));
	expect.node_id = 0;
	strcpy(expect.name, "n3");
	assert_int_equal(dial(&o, LINK_RPC, &expect, &why), ERR_AUTH);
	expect.kind = LINK_USER;
	strcpy(expect.name, "n1");
	assert_int_equal(dial(&o, LINK_RPC, &expect, &why), ERR_AUTH);
	expect.kind = LINK_NODE;
	assert_int_equal(dial(&o, LINK_RPC, &expect, &why), 0);
	expect = (struct link_identity){.kind = LINK_NODE, .node_id = 1};
	assert_int_equal(dial(&o, LINK_RPC, &expect, &why), 0);
	stop();
}

static void a_purpose_that_is_not_served_is_refused(void **state)
{
	struct hub_options o;
	struct err why;

	(void)state;
	start(20000, 60000);
	fixture_options(&o, LINK_NODE, 2);
	assert_int_equal(dial(&o, LINK_BULK, NULL, &why), ERR_AUTH);
	assert_non_null(strstr(why.text, "purpose"));
	assert_int_equal(trust_calls, 0);
	assert_int_equal(stats().refused_trust, 1);
	stop();
}

static void recorded_bytes_prove_nothing_again(void **state)
{
	struct raw first, again;
	uint8_t verdict = HELLO_WELCOME;

	(void)state;
	start(20000, 60000);
	raw_open(&first, FIXTURE_CLUSTER);
	raw_greet(&first);
	/* The first connection is cut before it opens; its bytes are all valid. */
	close(first.fd);
	raw_open(&again, FIXTURE_CLUSTER);
	put(again.fd, first.h.mine, sizeof first.h.mine);
	put(again.fd, first.proof, sizeof first.proof);
	put(again.fd, &verdict, 1);
	assert_refused(again.fd, 1);
	assert_int_equal(trust_calls, 0);
	stop();
}

static void the_listeners_own_bytes_prove_nothing_to_it(void **state)
{
	int fd;
	uint8_t g[HELLO_GREETING_BYTES], proof[HELLO_PROOF_BYTES];

	(void)state;
	start(20000, 60000);
	fd = fixture_connect(port);
	assert_true(get(fd, g, sizeof g));
	put(fd, g, sizeof g);
	assert_refused(fd, 1);
	fd = fixture_connect(port);
	assert_true(get(fd, g, sizeof g));
	g[9] = LINK_RPC; /* as a dialer would say it */
	put(fd, g, sizeof g);
	assert_true(get(fd, proof, sizeof proof));
	put(fd, proof, sizeof proof);
	assert_refused(fd, 2);
	assert_int_equal(trust_calls, 0);
	stop();
}

static void a_changed_bit_anywhere_is_refused(void **state)
{
	struct raw r;
	uint64_t seed = fixture_seed();

	(void)state;
	start(20000, 60000);
	for (unsigned i = 0; i < 60; i++) {
		raw_open(&r, FIXTURE_CLUSTER);
		if (i % 2 == 0) {
			raw_greet(&r);
			r.proof[fixture_random(&seed) % sizeof r.proof] ^=
				(uint8_t)(1u << fixture_random(&seed) % 8);
			put(r.fd, r.proof, sizeof r.proof);
		} else {
			/* The greeting is changed on its way, the proof is made for the real one.
			 */
			uint8_t sent[HELLO_GREETING_BYTES], theirs[HELLO_GREETING_BYTES];
			memcpy(sent, r.h.mine, sizeof sent);
			sent[fixture_random(&seed) % sizeof sent] ^=
				(uint8_t)(1u << fixture_random(&seed) % 8);
			put(r.fd, sent, sizeof sent);
			if (get(r.fd, theirs, sizeof theirs) &&
			    hello_take_greeting(&r.h, theirs, r.proof, NULL) == 0)
				put(r.fd, r.proof, sizeof r.proof);
		}
		assert_refused(r.fd, i + 1);
	}
	assert_int_equal(trust_calls, 0);
	assert_a_friend_gets_in();
	stop();
}

static void noise_before_the_hello_is_cut_off(void **state)
{
	static const char *const noise[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
					    "\x16\x03\x01\x02",
					    "X",
					    "drovel",
					    "drover\x02",
					    "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"};
	uint64_t seed = fixture_seed();
	unsigned n = 0;

	(void)state;
	start(20000, 60000);
	for (unsigned i = 0; i < sizeof noise / sizeof *noise; i++) {
		int fd = fixture_connect(port);
		put(fd, noise[i], strlen(noise[i]));
		assert_refused(fd, ++n);
	}
	for (unsigned i = 0; i < 50; i++) {
		uint8_t junk[700];
		int fd = fixture_connect(port);
		for (unsigned k = 0; k < sizeof junk; k++)
			junk[k] = (uint8_t)fixture_random(&seed);
		junk[0] |= 0x80;
		put(fd, junk, 1 + fixture_random(&seed) % sizeof junk);
		assert_refused(fd, ++n);
	}
	assert_a_friend_gets_in();
	stop();
}

static void an_endless_hello_takes_no_memory(void **state)
{
	struct raw r;
	struct rusage before, after;
	uint8_t *junk = calloc(1, 1u << 20);

	(void)state;
	start(20000, 60000);
	getrusage(RUSAGE_SELF, &before);
	raw_open(&r, FIXTURE_CLUSTER);
	raw_greet(&r);
	for (unsigned i = 0; i < 64; i++)
		put(r.fd, junk, 1u << 20);
	assert_refused(r.fd, 1);
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_maxrss - before.ru_maxrss < 32 * 1024);
	assert_a_friend_gets_in();
	free(junk);
	stop();
}

static void frames_in_place_of_a_proof_are_not_decoded(void **state)
{
	struct raw r;
	uint8_t frames[HELLO_PROOF_BYTES + 40] = {0};

	(void)state;
	start(20000, 60000);
	raw_open(&r, FIXTURE_CLUSTER);
	raw_greet(&r);
	for (unsigned i = 0; i + 5 < sizeof frames; i += 5)
		frames[i] = 1;
	put(r.fd, frames, sizeof frames);
	assert_refused(r.fd, 1);
	assert_int_equal(at_server.frames, 0);
	stop();
}

static void a_slow_hello_ends_by_its_deadline(void **state)
{
	struct raw r, idle, late;

	(void)state;
	start(300, 60000);
	raw_open(&idle, FIXTURE_CLUSTER); /* says nothing at all */
	raw_open(&late, FIXTURE_CLUSTER); /* gives no proof */
	raw_greet(&late);
	raw_open(&r, FIXTURE_CLUSTER); /* a byte at a time */
	for (unsigned i = 0; i < 40; i++) {
		put(r.fd, r.h.mine + i, 1);
		fixture_sleep_ms(10);
	}
	assert_true(ended(r.fd));
	assert_true(ended(idle.fd));
	assert_true(ended(late.fd));
	close(r.fd);
	close(idle.fd);
	close(late.fd);
	assert_int_equal(stats().refused_hello, 3);
	assert_a_friend_gets_in();
	stop();
}

static void clients_that_reset_do_no_harm(void **state)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	unsigned fds;
	struct raw r;

	(void)state;
	start(20000, 60000);
	assert_a_friend_gets_in();
	assert_true(recorder_wait(&at_server, &at_server.closed, 1));
	fds = fixture_fds();
	for (unsigned i = 0; i < 600; i++) {
		raw_open(&r, FIXTURE_CLUSTER);
		setsockopt(r.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		if (i % 4 >= 1)
			put(r.fd, r.h.mine, i % 4 == 1 ? 50 : sizeof r.h.mine);
		if (i % 4 == 3) {
			uint8_t theirs[HELLO_GREETING_BYTES];
			assert_true(get(r.fd, theirs, sizeof theirs));
		}
		close(r.fd);
	}
	assert_a_friend_gets_in();
	assert_true(fixture_fds_settle(fds));
	stop();
}

static void one_that_stalls_inside_a_frame_is_dropped_and_holds_up_nobody(void **state)
{
	struct raw r;
	const uint8_t part[] = {100, 0, 0, 0, 5, 'a', 'b'};
	struct hub_options o;
	struct err why;

	(void)state;
	start(20000, 1000);
	raw_open(&r, FIXTURE_CLUSTER);
	raw_greet(&r);
	assert_true(raw_finish(&r));
	put(r.fd, part, sizeof part);
	assert_true(recorder_wait(&at_server, &at_server.opened, 1));
	fixture_options(&o, LINK_USER, 7);
	assert_int_equal(dial(&o, LINK_RPC, NULL, &why), 0);
	assert_true(ended(r.fd));
	close(r.fd);
	for (unsigned ms = 0; ms < FIXTURE_WAIT_MS && stats().silent == 0; ms++)
		fixture_sleep_ms(1);
	assert_int_equal(stats().silent, 1);
	assert_int_equal(recorder_count(&at_server, &at_server.frames), 0);
	assert_a_friend_gets_in();
	stop();
}

extern char **environ;

/* The same program as a peer that opens a link and then does nothing by itself. */
static int be_a_peer(const char *where)
{
	struct hub *h = fixture_hub(LINK_NODE, 5);
	struct recorder r;
	struct link *l;

	recorder_init(&r);
	struct link_events ev = recorder_events(&r);
	if (link_dial(h, where, LINK_RPC, NULL, &ev, &l, NULL) != 0)
		link_exit(2);
	recorder_wait(&r, &r.closed, 1);
	link_exit(0);
}

static void a_stopped_process_is_noticed_by_its_silence(void **state)
{
	char self[] = "/proc/self/exe", flag[] = "--peer";
	char *argv[] = {self, flag, address, NULL};
	pid_t pid;
	int status;

	(void)state;
	start(20000, 1000);
	assert_int_equal(posix_spawn(&pid, self, NULL, NULL, argv, environ), 0);
	assert_true(recorder_wait(&at_server, &at_server.opened, 1));
	kill(pid, SIGSTOP);
	assert_true(recorder_wait(&at_server, &at_server.closed, 1));
	assert_int_equal(at_server.why.code, ERR_TIMEOUT);
	assert_non_null(strstr(at_server.why.text, "heard nothing"));
	assert_int_equal(stats().silent, 1);
	/* When it goes on it finds its link closed. */
	kill(pid, SIGCONT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	stop();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hello_by_hand_opens_a_link),
		cmocka_unit_test(a_frame_right_behind_the_hello_is_not_lost),
		cmocka_unit_test(an_unknown_key_is_told_so_and_refused),
		cmocka_unit_test(a_dialer_judges_the_listener_too),
		cmocka_unit_test(another_cluster_is_refused_before_any_proof),
		cmocka_unit_test(another_node_than_expected_is_refused),
		cmocka_unit_test(a_purpose_that_is_not_served_is_refused),
		cmocka_unit_test(recorded_bytes_prove_nothing_again),
		cmocka_unit_test(the_listeners_own_bytes_prove_nothing_to_it),
		cmocka_unit_test(a_changed_bit_anywhere_is_refused),
		cmocka_unit_test(noise_before_the_hello_is_cut_off),
		cmocka_unit_test(an_endless_hello_takes_no_memory),
		cmocka_unit_test(frames_in_place_of_a_proof_are_not_decoded),
		cmocka_unit_test(a_slow_hello_ends_by_its_deadline),
		cmocka_unit_test(clients_that_reset_do_no_harm),
		cmocka_unit_test(one_that_stalls_inside_a_frame_is_dropped_and_holds_up_nobody),
		cmocka_unit_test(a_stopped_process_is_noticed_by_its_silence),
	};

	if (argc == 3 && strcmp(argv[1], "--peer") == 0)
		return be_a_peer(argv[2]);
	link_exit(cmocka_run_group_tests(tests, NULL, NULL));
}
