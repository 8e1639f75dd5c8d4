/* TAP: kills peers under two-way traffic, 2,000 of them or as many as the first argument says, and
 * looks for wedges, leaks and crashes. */
#include "tests/unit/kill_loop.h"

#define KILLS 2000
#define LANES 4
#define GROWTH_KIB_MAX (16 << 10)

int main(int argc, char **argv)
{
	static struct kill_loop loop;

	if (argc == 4 && strcmp(argv[1], "--victim") == 0)
		return kill_victim(argv[2], argv[3]);
	const char *text = getenv("DROVER_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : clock_wall_us();
	unsigned kills = argc > 1 ? (unsigned)atoi(argv[1]) : KILLS;
	uint64_t started_ms = clock_mono_ms();
	printf("1..3\n# DROVER_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	kill_start(&loop, LANES, seed);
	bool ok = kill_loop_run(&loop, kills);
	for (unsigned i = 0; i < loop.lanes_n; i++) {
		if (loop.lanes[i].failed)
			printf("# lane %u, after %u kills: %s\n", i, loop.lanes[i].done,
			       loop.lanes[i].what);
	}
	printf("# %u kills in %.1f s, %llu links accepted\n", kills,
	       (double)(clock_mono_ms() - started_ms) / 1000,
	       (unsigned long long)loop.stats.accepted);
	printf("%sok 1 - every killed peer's links ended, and no link or descriptor is left\n",
	       ok ? "" : "not ");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	bool small = ok; /* the sanitizers keep freed memory and shadow it */
#else
	bool small = ok && loop.rss_end_kib - loop.rss_early_kib < GROWTH_KIB_MAX;
#endif
	printf("# resident %ld KiB early, %ld KiB at the end\n", loop.rss_early_kib,
	       loop.rss_end_kib);
	printf("%sok 2 - memory does not grow with the kills\n", small ? "" : "not ");
	fflush(stdout);
	if (ok)
		hub_free(loop.hub);
	printf("%sok 3 - the hub ends in order\n", ok ? "" : "not ");
	link_exit(ok && small ? 0 : 1);
}
