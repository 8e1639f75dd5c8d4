/* The memory of agents that have nothing to do. */
#include "tests/bench/bench.h"

#define QUIET_MS 3000

/* The largest of the agents' resident sizes, in MiB. */
static int largest(struct bench *b, double *ret_mib)
{
	struct cluster_view *view = malloc(sizeof *view);
	double most = 0;
	int rc = view ? cluster_ask(&b->testbed->cli, 2000, view, &b->err)
		      : err_set(&b->err, ERR_NOMEM, "no memory to ask the cluster");

	for (uint32_t i = 0; !rc && i < view->n; i++) {
		double mib = (double)json_field_int(view->nodes[i].status, "rss_bytes") / (1 << 20);
		most = mib > most ? mib : most;
	}
	if (!rc)
		cluster_view_done(view);
	free(view);
	*ret_mib = most;
	return rc;
}

static int run(struct bench *b)
{
	struct figure f = {
		.name = "idle_memory",
		.what = "idle agent's resident memory",
		.unit = "MiB",
		.goal = 20,
		.at_most = true,
		.method = "a fresh cluster for each run; 3 s after its start the largest of the "
			  "three agents' resident set sizes",
	};
	double mib;
	int rc = 0;

	if (!bench_wants(b, f.name))
		return 0;
	for (unsigned i = 0; !rc && i < b->runs; i++) {
		rc = bench_open(b, 1);
		if (!rc) {
			cli_sleep_ms(QUIET_MS);
			rc = largest(b, &mib);
		}
		if (!rc)
			figure_add(&f, mib);
		bench_close(b);
	}
	if (!rc)
		bench_tell(&f);
	return rc;
}

int main(int argc, char **argv)
{
	static struct bench b = {.command = {.name = "bench_idle"}, .runs = 5};

	return bench_main(&b, argc, argv, run);
}
