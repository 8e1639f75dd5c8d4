/* A text of SQL statements, taken apart: where each one begins and ends, and which of them open and
 * close a transaction.
 *
 * A statement ends at a semicolon that is outside of strings, quoted names and comments; in CREATE
 * TRIGGER, at the one behind END (sqlite3_complete decides that). White space and comments around a
 * statement do not belong to it, nor does its semicolon.
 */
#ifndef DROVER_CONSOLE_SQL_SCRIPT_H
#define DROVER_CONSOLE_SQL_SCRIPT_H

#include "common/buf.h"
#include "common/err.h"

#include <stdio.h>

#define SCRIPT_BYTES_MAX (256u << 20)

/* All of a file (named `name` in errors) into *ret_text, which the caller frees with buf_done; it
 * is left untouched on failure. A UTF-8 byte order mark is skipped. ERR_LIMIT, ERR_IO. */
int script_read(FILE *f, const char *name, struct buf *ret_text, struct err *e);

struct script_statement {
	struct slice text;
	size_t at;     /* where it begins, in bytes of the script */
	bool complete; /* it ended with its semicolon, not with the script */
};

/* The first statement at or after *at, which is moved behind it. 1: found; 0: nothing but white
 * space, comments and semicolons is left; ERR_NOMEM. */
int script_next(struct slice script, size_t *at, struct script_statement *ret_statement);

enum script_kind {
	SCRIPT_OTHER,
	SCRIPT_BEGIN,
	SCRIPT_COMMIT,	 /* also END */
	SCRIPT_ROLLBACK, /* not ROLLBACK TO a savepoint */
};
enum script_kind script_kind(struct slice statement);

/* Line and column (in characters), both from 1, of byte `at`. */
void script_place(struct slice script, size_t at, unsigned *ret_line, unsigned *ret_column);

/* The whole line that holds byte `at`, without its newline, and where in it `at` is. */
struct slice script_line(struct slice script, size_t at, size_t *ret_at_in_line);

#endif
