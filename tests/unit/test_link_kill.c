/* Peers killed under traffic; tests/e2e/link_kill does it two thousand times. */
#include "tests/unit/kill_loop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define KILLS 200
#define GROWTH_KIB_MAX (16 << 10)

static void killed_peers_leave_no_wedge_and_no_leak(void **state)
{
	static struct kill_loop loop;
	const char *text = getenv("DROVER_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : clock_wall_us();

	(void)state;
	printf("# DROVER_SEED=%llu\n", (unsigned long long)seed);
	kill_start(&loop, 4, seed);
	bool ok = kill_loop_run(&loop, KILLS);
	for (unsigned i = 0; i < loop.lanes_n; i++) {
		if (loop.lanes[i].failed)
			print_message("lane %u: %s\n", i, loop.lanes[i].what);
	}
	assert_true(ok);
	assert_int_equal(loop.stats.links, 0);
	assert_int_equal(loop.stats.accepted, KILLS);
	assert_int_equal(loop.stats.bad_frames, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	/* The sanitizers keep freed memory and shadow it. */
	assert_true(loop.rss_end_kib - loop.rss_early_kib < GROWTH_KIB_MAX);
#endif
	hub_free(loop.hub);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_peers_leave_no_wedge_and_no_leak),
	};

	if (argc == 4 && strcmp(argv[1], "--victim") == 0)
		return kill_victim(argv[2], argv[3]);
	link_exit(cmocka_run_group_tests(tests, NULL, NULL));
}
