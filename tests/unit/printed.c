#include "tests/unit/printed.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void printed_begin(struct printed *c)
{
	fflush(stdout);
	fflush(stderr);
	for (int i = 0; i < 2; i++) {
		c->saved[i] = dup(i + 1);
		c->files[i] = memfd_create("printed", MFD_CLOEXEC);
		assert(c->saved[i] >= 0 && c->files[i] >= 0);
		dup2(c->files[i], i + 1);
	}
}

void printed_end(struct printed *c)
{
	char *texts[2] = {c->out, c->err};

	fflush(stdout);
	fflush(stderr);
	for (int i = 0; i < 2; i++) {
		dup2(c->saved[i], i + 1);
		close(c->saved[i]);
		ssize_t n = pread(c->files[i], texts[i], sizeof c->out - 1, 0);
		texts[i][n > 0 ? n : 0] = 0;
		close(c->files[i]);
	}
}
