/* What a log entry of kind DATA says (drover-protocol(7), "Entries").
 *
 * A payload starts with a byte for its form:
 *   1 BATCH  transactions of one namespace, as row records
 *   2 MARK   nothing to apply; asks every node for a digest at this index
 * Unknown forms are an error, never skipped.
 *
 * BATCH: namespace id, a dictionary of the tables used, then the transactions:
 * HLC time, client, sequence, the answer to keep for a retry, and the records
 * in the order of execution. A record is an insert, an update (only changed
 * columns), a delete, or a statement carried as text (DDL and the few pragmas
 * and internal settings that are replicated as text). Rows are named by rowid,
 * or by primary key in tables without one.
 *
 * Writers are the store's; readers are the store (apply) and every program
 * that shows the log. Decoding allocates nothing.
 */
#ifndef DROVER_COMMON_RECORD_H
#define DROVER_COMMON_RECORD_H

#include "common/value.h"

#define RECORD_FORM_BATCH 1
#define RECORD_FORM_MARK 2

#endif
