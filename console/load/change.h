/* A log entry's changes, printed: one line a change, as table, TSV or JSON.
 *
 * What an entry can show: the rows that transactions inserted, updated and deleted, the statements
 * that travel as text, and by one line each the entries that change no data (a new leader's first
 * entry, a mark for digests, a change of members).
 */
#ifndef DROVER_CONSOLE_LOAD_CHANGE_H
#define DROVER_CONSOLE_LOAD_CHANGE_H

#include "common/err.h"
#include "console/load/log_page.h"
#include "console/sql/print.h"

/* The name of a namespace id; NULL when it is not known. Valid until the next call. */
typedef const char *change_namespace(void *ctx, uint64_t id);

struct change_printer;

int change_printer_new(struct change_printer **ret_printer, FILE *out, enum print_form form,
		       change_namespace *name, void *ctx, struct err *e);
void change_printer_free(struct change_printer *p);

/* The heads of table and TSV. */
void change_print_heads(struct change_printer *p);

/* ERR_PROTOCOL: the payload does not decode; the changes before the fault were printed. */
int change_print(struct change_printer *p, const struct log_entry *entry, struct err *e);

#endif
