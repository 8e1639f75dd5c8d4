/* The ini files' parser: anything at all must come out as a configuration that can be written and
 * read back the same, or as one line of error. */
#include "common/conf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_cluster(const uint8_t *data, size_t size, struct cluster_conf *c,
			 struct cluster_conf *again)
{
	struct err e = {0};
	char *text = NULL;
	size_t n = 0;
	FILE *f = fmemopen((void *)(uintptr_t)data, size, "r");

	int rc = cluster_conf_read(f, "/d/cluster.ini", c, &e);
	fclose(f);
	if (rc) {
		assert(rc == ERR_CONFIG && e.code == ERR_CONFIG && strlen(e.text) > 0);
		return;
	}
	f = open_memstream(&text, &n);
	/* A path may have come out longer than a line can hold: that is refused, not miswritten. */
	rc = cluster_conf_write(f, c, &e);
	fclose(f);
	if (rc == 0) {
		f = fmemopen(text, n, "r");
		rc = cluster_conf_read(f, "/d/cluster.ini", again, &e);
		fclose(f);
		assert(rc == 0 && memcmp(c, again, sizeof *c) == 0);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cluster_conf c, again;
	static struct agent_conf a;
	struct err e = {0};

	if (size == 0)
		return 0;
	read_cluster(data, size, &c, &again);
	FILE *f = fmemopen((void *)(uintptr_t)data, size, "r");
	int rc = agent_conf_read(f, "/d/n/agent.ini", &a, &e);
	fclose(f);
	assert(rc == 0 || (rc == ERR_CONFIG && strlen(e.text) > 0));
	return 0;
}
