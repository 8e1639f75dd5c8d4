/* What comes before the first frame: options, keys, addresses, descriptors. */
#include "tests/unit/link_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static void addresses_that_are_none_are_refused_at_once(void **state)
{
	static const char *const bad[] = {"",	     "host",  ":1",    "h:",   "h:70000",
					  "h:12x",   "h h:1", "*:1",   "h:0",  "[::1:80",
					  "a/b:100", "h:-1",  "h:1:2", "[]:80"};
	struct hub *h = fixture_hub(LINK_NODE, 1);
	struct link_events ev = {0};
	struct link *l;
	struct err e;

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(link_dial(h, bad[i], LINK_RPC, NULL, &ev, &l, &e), ERR_INVALID);
		assert_true(strlen(e.text) > 10);
	}
	hub_free(h);
}

static void a_port_in_use_is_an_error_that_names_it(void **state)
{
	struct hub *h = fixture_hub(LINK_NODE, 1);
	struct link_events ev = {0};
	struct listener *a, *b;
	char address[64];
	struct err e;

	(void)state;
	assert_int_equal(link_listen(h, "127.0.0.1:0", 1u << LINK_RPC, &ev, &a, &e), 0);
	fixture_address(listener_port(a), address, sizeof address);
	assert_int_equal(link_listen(h, address, 1u << LINK_RPC, &ev, &b, &e), ERR_IO);
	assert_non_null(strstr(e.text, address));
	listener_free(a);
	assert_int_equal(link_listen(h, address, 1u << LINK_RPC, &ev, &a, &e), 0);
	hub_free(h);
}

static void keys_are_kept_private_and_never_overwritten(void **state)
{
	uint8_t secret[LINK_SECRET_BYTES], back[LINK_SECRET_BYTES];
	uint8_t public[LINK_KEY_BYTES], public_back[LINK_KEY_BYTES];
	char dir[] = "/tmp/drover-key-XXXXXX", path[64], command[160], hex[65];
	struct err e;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/key", dir);
	assert_int_equal(key_generate(secret, public, &e), 0);
	assert_int_equal(key_load(path, back, public_back, &e), ERR_NOT_FOUND);
	assert_int_equal(key_save(path, secret, &e), 0);
	assert_int_equal(key_save(path, secret, &e), ERR_EXISTS);
	assert_int_equal(key_load(path, back, public_back, &e), 0);
	assert_memory_equal(back, secret, sizeof secret);
	assert_memory_equal(public_back, public, sizeof public);
	snprintf(command, sizeof command, "chmod 640 %s", path);
	assert_int_equal(system(command), 0);
	assert_int_equal(key_load(path, back, public_back, &e), ERR_AUTH);
	assert_non_null(strstr(e.text, "chmod 600"));
	snprintf(command, sizeof command, "echo zz > %s; chmod 600 %s", path, path);
	assert_int_equal(system(command), 0);
	assert_int_equal(key_load(path, back, public_back, &e), ERR_INVALID);
	key_to_hex(public, hex);
	assert_int_equal(strlen(hex), 64);
	assert_int_equal(key_from_hex(hex, public_back, &e), 0);
	assert_memory_equal(public_back, public, sizeof public);
	hex[63] = 0;
	assert_int_equal(key_from_hex(hex, public_back, &e), ERR_INVALID);
	assert_int_equal(key_from_hex("", public_back, &e), ERR_INVALID);
	unlink(path);
	rmdir(dir);
}

static void options_that_cannot_work_are_refused(void **state)
{
	struct hub_options o;
	struct hub *h;
	struct err e;

	(void)state;
	fixture_options(&o, LINK_NODE, 1);
	o.self.key[0] ^= 1;
	assert_int_equal(hub_new(&h, &o, &e), ERR_INVALID);
	fixture_options(&o, LINK_NODE, 0);
	assert_int_equal(hub_new(&h, &o, &e), ERR_INVALID);
	fixture_options(&o, LINK_USER, 1);
	strcpy(o.self.name, "a b");
	assert_int_equal(hub_new(&h, &o, &e), ERR_INVALID);
	fixture_options(&o, LINK_USER, 1);
	o.cluster_id = "";
	assert_int_equal(hub_new(&h, &o, &e), ERR_INVALID);
}

static void accepting_goes_on_after_descriptors_ran_out(void **state)
{
	struct hub *server = fixture_hub(LINK_NODE, 1);
	struct hub *client = fixture_hub(LINK_NODE, 2);
	struct recorder rs, rc;
	struct listener *ln;
	struct link *l;
	struct rlimit before, low;
	char address[64];

	(void)state;
	recorder_init(&rs);
	recorder_init(&rc);
	struct link_events es = recorder_events(&rs), ec = recorder_events(&rc);
	assert_int_equal(link_listen(server, "127.0.0.1:0", 1u << LINK_RPC, &es, &ln, NULL), 0);
	fixture_address(listener_port(ln), address, sizeof address);
	/* Two ends of a connection need two descriptors; there is one. */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = fixture_fds() + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	int fd = fixture_connect(listener_port(ln));
	fixture_sleep_ms(100);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	if (fd >= 0)
		close(fd);
	assert_int_equal(link_dial(client, address, LINK_RPC, NULL, &ec, &l, NULL), 0);
	assert_true(recorder_wait(&rc, &rc.opened, 1));
	link_unref(l);
	hub_free(client);
	hub_free(server);
	recorder_done(&rs);
	recorder_done(&rc);
}

static void ipv6_addresses_work_in_brackets(void **state)
{
	struct hub *h = fixture_hub(LINK_NODE, 1);
	struct recorder rs, rc;
	struct listener *ln;
	struct link *l;
	char address[64];

	(void)state;
	recorder_init(&rs);
	recorder_init(&rc);
	struct link_events es = recorder_events(&rs), ec = recorder_events(&rc);
	/* A machine may have IPv6 switched off. */
	if (link_listen(h, "[::1]:0", 1u << LINK_RPC, &es, &ln, NULL) == 0) {
		snprintf(address, sizeof address, "[::1]:%u", listener_port(ln));
		assert_int_equal(link_dial(h, address, LINK_RPC, NULL, &ec, &l, NULL), 0);
		assert_true(recorder_wait(&rc, &rc.opened, 1));
		assert_true(recorder_wait(&rs, &rs.opened, 1));
		struct link *accepted = recorder_link(&rs);
		assert_non_null(strstr(link_address(accepted), "[::1]:"));
		link_unref(accepted);
		link_unref(l);
	}
	hub_free(h);
	recorder_done(&rs);
	recorder_done(&rc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_that_are_none_are_refused_at_once),
		cmocka_unit_test(a_port_in_use_is_an_error_that_names_it),
		cmocka_unit_test(keys_are_kept_private_and_never_overwritten),
		cmocka_unit_test(options_that_cannot_work_are_refused),
		cmocka_unit_test(accepting_goes_on_after_descriptors_ran_out),
		cmocka_unit_test(ipv6_addresses_work_in_brackets),
	};
	link_exit(cmocka_run_group_tests(tests, NULL, NULL));
}
