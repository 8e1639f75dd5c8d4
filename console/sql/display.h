/* Text as a terminal shows it: how many columns it takes, and how to write it so that nothing in it
 * can move the cursor, change colours or break a table's lines.
 *
 * Control characters, bytes that are not UTF-8, and the characters that turn the direction of
 * writing are shown as \n, \t, \r, \xNN or \uNNNN. Everything else is written as it is. Widths are
 * those of wcwidth in a UTF-8 locale, whatever the user's own locale says.
 *
 * Threads: any.
 */
#ifndef DROVER_CONSOLE_SQL_DISPLAY_H
#define DROVER_CONSOLE_SQL_DISPLAY_H

#include "common/buf.h"

#include <stdio.h>

/* Columns that display_put would take without a limit. */
size_t display_width(struct slice s);

/* Writes at most columns_max columns and returns how many; what does not fit is left out and its
 * place marked with "…". */
size_t display_put(FILE *f, struct slice s, size_t columns_max);

/* The length of the UTF-8 character at the start of s (its number in *ret_char), 0 when there is
 * no sound one. Surrogates and overlong forms are not sound. */
size_t utf8_next(struct slice s, uint32_t *ret_char);

/* Appends s with every byte that is not UTF-8 replaced by U+FFFD. */
void utf8_repair(struct buf *b, struct slice s);

#endif
