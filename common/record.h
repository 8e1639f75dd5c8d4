/* What a log entry of kind DATA says (drover-protocol(7), "Entries").
 *
 * A payload starts with a byte for its form:
 *   1 BATCH  transactions of one namespace, as row records
 *   2 MARK   nothing to apply; asks every node for a digest at this index
 * Unknown forms are an error, never skipped.
 *
 * BATCH: varint namespace id, varint HLC time (µs) of the first transaction,
 * then items up to the end of the payload. An item is a byte, whose low four
 * bits are its kind and whose high bits are flags, and then:
 *   TABLE     u8 number; its definition as byte string (below). From here on
 *             the number means this table; a number may be given anew.
 *   BEGIN     varint HLC time less the batch's; u64 client (0: none); varint sequence
 *   INSERT    varint table; key; [with flag SOME: the mask]; values
 *   UPDATE    varint table; old key; [flag MOVED: new rowid]; mask; values
 *   DELETE    varint table; key
 *   TEXT      byte string: one SQL statement (DDL, and the few settings that
 *             are replicated as text)
 *   SEQUENCE  byte string: table; u8 1 and a value: its row in sqlite_sequence, or 0: none
 *   END       the answer for a retry (below)
 * INSERT to SEQUENCE stand between BEGIN and END, in the order of execution.
 *
 * A definition: table name; varint number of columns, each a name; varint
 * number of key columns. 0: rows are named by rowid, and the name under which
 * SQL reaches the rowid follows; else the key columns' numbers, each a varint.
 * Columns that SQLite computes (generated ones) and the column that is another
 * name of the rowid are not among the columns.
 *
 * A key is a zigzag varint (rowid), or the key columns' values; an INSERT into
 * a table without rowid has none, since its values hold it. A mask has a bit
 * for each column, low bit first, and tells which values follow; an INSERT
 * leaves out columns that take their default.
 *
 * An answer is a byte, 0: none; 1: varint number of results and their bytes as
 * in an SQL answer (common/sql.h); 2: they were too large to keep: zigzag
 * varints changes and last rowid, and a retry gets one DONE result with these.
 *
 * Writers are the store's; readers are the store (apply) and every program
 * that shows the log. Decoding allocates nothing; slices point into the payload.
 */
#ifndef DROVER_COMMON_RECORD_H
#define DROVER_COMMON_RECORD_H

#include "common/value.h"

#define RECORD_FORM_BATCH 1
#define RECORD_FORM_MARK 2

#define RECORD_TABLES_MAX 256	 /* table numbers */
#define RECORD_COLUMNS_MAX 32767 /* SQLite's own ceiling */

enum record_kind {
	RECORD_TABLE = 1,
	RECORD_BEGIN = 2,
	RECORD_INSERT = 3,
	RECORD_UPDATE = 4,
	RECORD_DELETE = 5,
	RECORD_TEXT = 6,
	RECORD_SEQUENCE = 7,
	RECORD_END = 8,
};
#define RECORD_SOME 0x10  /* INSERT: a mask follows */
#define RECORD_MOVED 0x10 /* UPDATE: the row gets another rowid */

enum record_answer { RECORD_ANSWER_NONE = 0, RECORD_ANSWER_RESULTS = 1, RECORD_ANSWER_SUMS = 2 };

/* Reading. */

struct record_head {
	uint8_t form;
	uint64_t namespace; /* BATCH */
	uint64_t hlc_us;    /* BATCH */
	uint64_t mark;	    /* MARK: the asker's own number */
};
/* Form and head only, cheap; false: unknown form or malformed. */
bool record_head_decode(struct slice payload, struct record_head *ret_head);

struct record_table {
	struct slice definition; /* all of it: equal bytes mean the same table */
	struct slice name;
	struct slice rowid_name; /* n 0: a table without rowid */
	uint32_t columns_n;
	uint32_t keys_n;
	struct rd columns; /* rd_bytes() columns_n times: the names */
	struct rd keys;	   /* rd_varint() keys_n times: column numbers */
};
bool record_table_decode(struct slice definition, struct record_table *ret_table);
/* Name of a column; empty when there is no such column. Walks: for showing, not for speed. */
struct slice record_table_column(const struct record_table *t, uint32_t column);

struct record {
	enum record_kind kind;
	uint32_t table_number;		  /* TABLE, INSERT, UPDATE, DELETE */
	const struct record_table *table; /* the same; lives in the iterator */
	int64_t rowid;			  /* rows of tables with rowid: the (old) key */
	int64_t new_rowid;		  /* UPDATE: equal to rowid unless it moved */
	struct slice mask; /* INSERT with some columns, UPDATE; p NULL: all columns */
	uint32_t values_n; /* INSERT, UPDATE: how many columns' values follow */
	uint64_t hlc_us, client, sequence; /* BEGIN */
	struct slice text;		   /* TEXT; SEQUENCE: the table's name */
	bool present;			   /* SEQUENCE */
	struct value value;		   /* SEQUENCE */
	struct slice answer; /* END: the encoded answer, its first byte an enum record_answer */
};

/* One value of the record at hand: first the old key's (UPDATE and DELETE in tables without
 * rowid), then the columns'. */
struct record_value {
	bool key;
	uint32_t column;
	struct value value;
};

struct record_iter {
	struct rd rd;
	struct record_head head;
	bool inside; /* between BEGIN and END */
	const struct record_table *table;
	struct rd keys;
	uint32_t keys_left, values_left, column;
	struct slice mask;
	uint64_t defined[RECORD_TABLES_MAX / 64]; /* a bit for each number that means a table */
	struct record_table tables[RECORD_TABLES_MAX];
};
/* false: not a sound BATCH. The iterator is some 28 KiB; it borrows the payload. */
bool record_iter_init(struct record_iter *it, struct slice payload);
/* 1: *ret_record is the next (values of the one before that were not asked for are skipped);
 * 0: the sound end; -1: malformed. */
int record_next(struct record_iter *it, struct record *ret_record);
/* false: no more values of this record (or malformed, which the next record_next() tells). */
bool record_value_next(struct record_iter *it, struct record_value *ret_value);

/* A decoded END answer. false: malformed. */
struct record_results {
	enum record_answer kind;
	uint32_t results_n; /* RESULTS */
	struct slice results;
	int64_t changes, last_rowid; /* SUMS */
};
bool record_answer_decode(struct slice answer, struct record_results *ret_results);

/* Writing. Follows buf's sticky failure. */

void record_put_batch(struct buf *b, uint64_t namespace, uint64_t hlc_us);
void record_put_mark(struct buf *b, uint64_t mark);
void record_put_table(struct buf *b, uint8_t number, struct slice definition);
void record_put_begin(struct buf *b, uint64_t hlc_delta_us, uint64_t client, uint64_t sequence);
/* The head of a row record; key values, mask and values are the caller's to put behind it. */
void record_put_row(struct buf *b, uint8_t kind_and_flags, uint8_t table_number);
void record_put_text(struct buf *b, struct slice sql);
void record_put_sequence(struct buf *b, struct slice table,
			 const struct value *value); /* NULL: none */
void record_put_end(struct buf *b, struct slice answer);

/* A definition, whole; rowid_name NULL: no rowid, and keys are the key columns' numbers. */
void record_definition_put(struct buf *b, const char *name, const char *const *columns,
			   uint32_t columns_n, const char *rowid_name, const uint32_t *keys,
			   uint32_t keys_n);
void record_answer_results(struct buf *b, uint32_t results_n, struct slice results);
void record_answer_sums(struct buf *b, int64_t changes, int64_t last_rowid);

#endif
