/* What a function prints, for tests of the command line: stdout and stderr into memory. */
#ifndef DROVER_TESTS_PRINTED_H
#define DROVER_TESTS_PRINTED_H

#include "console/command.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

struct printed {
	int saved[2]; /* the real stdout and stderr */
	int files[2];
	char out[65536];
	char err[65536];
};

void printed_begin(struct printed *c);
/* Fills out and err. */
void printed_end(struct printed *c);

/* Runs `drover ARGS` (words separated by single spaces) and returns its exit code. Here, and not in
 * printed.c, so that only tests that use it need all commands. */
__attribute__((unused)) static int run_line(struct printed *c, const char *line)
{
	char words[4096], program[] = "drover";
	char *argv[64] = {program};
	int argc = 1;

	assert(strlen(line) < sizeof words);
	memcpy(words, line, strlen(line) + 1);
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	printed_begin(c);
	int code = command_main(argc, argv);
	printed_end(c);
	return code;
}

#endif
