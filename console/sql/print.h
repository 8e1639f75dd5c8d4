/* Results of SQL statements, printed.
 *
 * table: columns aligned by display width, declared types under the names where a column has one,
 *   numbers to the right, NULL as NULL (the text "NULL" in quotes), blobs as x'…'; or, expanded, a
 *   line a value. Then "(2 rows)"; for a statement without rows "ok" or "ok, 3 rows changed".
 * json: one JSON value a line for each statement: rows as an array of objects, in the order of the
 *   columns (a name that comes twice gets _2, _3 …), a statement without rows as
 *   {"changes":3,"last_rowid":7}. Blobs are {"hex":"00ff"}; text that is not UTF-8 has the bad
 *   bytes replaced by U+FFFD; infinities are 9e999 and -9e999.
 * tsv: a line of names, then a line a row; NULL is \N, a backslash, tab, newline, carriage return
 *   or NUL inside a value \\, \t, \n, \r, \0; blobs are x'…'. Nothing for statements without rows.
 */
#ifndef DROVER_CONSOLE_SQL_PRINT_H
#define DROVER_CONSOLE_SQL_PRINT_H

#include "common/err.h"
#include "common/sql.h"

#include <stdio.h>

enum print_form { PRINT_TABLE, PRINT_JSON, PRINT_TSV };

struct print_options {
	FILE *out;
	enum print_form form;
	bool expanded; /* table: a line a value */
	bool color;
	bool timing; /* table: shows `us` in the line below */
	uint64_t us;
};

/* ERR_PROTOCOL when the result does not decode; what stood before it may have been printed. */
int print_result(const struct print_options *o, const struct sql_result *r, struct err *e);

/* One value as JSON, and as the table shows it (wal uses both). */
void print_json_value(FILE *f, const struct value *v);
void print_json_text(FILE *f, struct slice s);
void print_cell(struct buf *b, const struct value *v);

/* The shortest text that reads back as the same number, always with a point or exponent. */
void print_real(double r, char *ret_text, size_t size);

#endif
