/* Results on stdout: tables for people, TSV and JSON for programs.
 *
 * A table is filled cell by cell, row by row, and printed at the end, when its columns' widths are
 * known: as aligned text with a head line (colour by meaning), or as TSV with the columns' keys as
 * its first line, tabs, newlines and backslashes in cells as \t, \n, \\. Widths are those of a
 * terminal (wcwidth); control characters in cells are shown as \xNN, so that data cannot play with
 * the terminal. Without memory a cell stays empty, and table_print says so at the end.
 */
#ifndef DROVER_CONSOLE_OUTPUT_H
#define DROVER_CONSOLE_OUTPUT_H

#include "console/command.h"

#include <jansson.h>

enum tint { TINT_PLAIN, TINT_GOOD, TINT_WARN, TINT_BAD, TINT_DIM, TINT_HEAD, TINT_NODE };
/* TINT_NODE + k: one of a few colours that tell nodes apart. */
#define TINT_NODES 6
enum tint tint_of_node(uint32_t id);
/* Escape sequences around a text; "" when not coloured. */
const char *tint_on(bool color, enum tint tint);
const char *tint_off(bool color, enum tint tint);

enum align { ALIGN_LEFT, ALIGN_RIGHT };

struct column {
	const char *key;   /* in TSV's first line */
	const char *title; /* in the table's head; "" for none */
	enum align align;
};

struct table;
struct table *table_new(const struct column *columns, size_t n);
void table_free(struct table *t);
void table_cell(struct table *t, enum tint tint, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Rows complete so far. */
size_t table_rows(const struct table *t);
/* form: TABLE or TSV. Lines end with `eol` ("\n", or with an erase-line sequence in front). */
void table_print(const struct table *t, FILE *f, enum output form, bool color, const char *eol);

/* One line; takes the reference. */
void output_json(FILE *f, json_t *take_json);

/* The terminal shows UTF-8. */
bool output_utf8(void);
/* Columns that a text takes on a terminal. */
size_t output_width(const char *text);
/* "12s", "3m05s", "2h07m", "4d03h" */
void output_uptime(double seconds, char *ret_text, size_t size);

#endif
