/* drover: the command line. Everything but this is in the library, where tests reach it. */
#include "console/command.h"

#include <locale.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, "");
	cli_catch_interrupt();
	int code = command_main(argc, argv);
	/* A result that did not reach its file is no result. */
	if ((fflush(stdout) || ferror(stdout)) && code == EXIT_DONE) {
		fprintf(stderr, "drover: writing the output failed: %s\n", strerror(errno));
		code = EXIT_FAILED;
	}
	/* Past the network library's own end-of-process work, which can hang. */
	_exit(code);
}
