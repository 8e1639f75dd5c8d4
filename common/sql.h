/* SQL over the wire: a request and its answer (drover-protocol(7), "SQL").
 *
 * A request is one unit: its statements run in order inside one transaction of
 * one namespace, all or nothing. (client, sequence) names a write for ever: a
 * request sent again with the same pair is executed once, and the second
 * sending gets the first one's answer. A client has one write under way at a
 * time and raises its sequence by one for each; a program with many concurrent
 * callers uses many client ids.
 *
 * Decoding allocates nothing: slices point into the message. Statements and
 * results are walked with a cursor. Encoders follow buf's sticky failure.
 */
#ifndef DROVER_COMMON_SQL_H
#define DROVER_COMMON_SQL_H

#include "common/value.h"

#define SQL_NAMESPACE_MAX 64 /* bytes of a namespace's name, NUL included */
#define SQL_PARAMS_MAX 32766 /* of one statement; SQLite's own limit */
#define SQL_REQUEST_BYTES_MAX (16u << 20)
#define SQL_ANSWER_BYTES_MAX (64u << 20)

enum sql_mode {
	SQL_AUTO = 0,  /* the agent finds out whether it writes */
	SQL_READ = 1,  /* refuse if it would write */
	SQL_WRITE = 2, /* straight to the leader's writer, e.g. INSERT … RETURNING, or to spare a
			  look */
};

enum sql_level {
	SQL_SESSION = 0,      /* at least what this client has seen: min_index */
	SQL_STALE = 1,	      /* this node's data as it is */
	SQL_LINEARIZABLE = 2, /* ReadIndex */
};

enum sql_flag {
	SQL_BRIEF = 1, /* one DONE result with the sums instead of one a statement */
};

struct sql_request {
	struct slice namespace;
	enum sql_mode mode;
	enum sql_level level;
	uint32_t flags;
	uint32_t timeout_ms; /* 0: the agent's default */
	uint32_t max_rows;   /* 0: the agent's limit */
	uint64_t client;     /* 0: none, then no exactly-once */
	uint64_t sequence;   /* from 1 */
	uint64_t min_index;  /* SESSION: the namespace's group must have applied this */
	uint32_t statements_n;
	struct slice statements; /* encoded; walk with sql_statement_next */
};

/* Writing: begin, then each statement with its parameters. Equal texts in a row cost one byte. */
struct sql_writer {
	struct buf *b;
	struct slice last; /* the previous statement's text: the caller keeps it alive */
	uint32_t n;
};
void sql_request_begin(struct sql_writer *w, struct buf *b, const struct sql_request *head,
		       uint32_t statements_n);
void sql_request_add(struct sql_writer *w, struct slice text, const struct value *params,
		     uint32_t params_n);

/* false: not a sound request. Checks the head only; statements are checked as they are walked. */
bool sql_request_decode(struct slice in, struct sql_request *ret_request);

struct sql_statement {
	struct slice text;
	uint32_t params_n;
	struct rd params; /* value_get() params_n times */
};
struct sql_cursor {
	struct rd rd;
	struct slice last;
	uint32_t left;
};
void sql_cursor_init(struct sql_cursor *c, const struct sql_request *r);
/* 1: *ret_statement is the next; 0: no more; -1: malformed. */
int sql_cursor_next(struct sql_cursor *c, struct sql_statement *ret_statement);

/* An answer: a head, then results. On failure there are no results. */
struct sql_answer {
	int status;	      /* 0 or ERR_* */
	struct slice message; /* of a failure */
	uint32_t statement;   /* of a failure: which one, from 0 */
	int32_t offset;	      /* of a failure: byte in that statement's text, -1 not known */
	uint64_t group;
	uint64_t index;	    /* what this answer has seen or written: the client's next min_index */
	uint32_t leader_id; /* NOT_LEADER: who leads, 0 not known */
	struct slice leader_rpc; /* NOT_LEADER: its "host:port", or empty */
	uint32_t results_n;
	struct slice results;
};
void sql_answer_encode(struct buf *b, const struct sql_answer *a);
bool sql_answer_decode(struct slice in, struct sql_answer *ret_answer);

enum sql_result_kind { SQL_DONE = 0, SQL_ROWS = 1 };

struct sql_result {
	enum sql_result_kind kind;
	int64_t changes;    /* DONE */
	int64_t last_rowid; /* DONE */
	uint32_t columns_n; /* ROWS */
	struct rd names;    /* ROWS: for each column rd_bytes() its name, rd_bytes() its type */
	uint64_t rows_n;    /* ROWS */
	bool truncated;	    /* ROWS: the limit on rows cut it */
	struct rd values;   /* ROWS: value_get() columns_n * rows_n times */
};
void sql_result_done(struct buf *b, int64_t changes, int64_t last_rowid);
/* ROWS: begin writes names and declared types and leaves room for the count; then put the values
 * row by row; end fills in the count. */
struct sql_rows_writer {
	struct buf *b;
	size_t at;
};
void sql_rows_begin(struct sql_rows_writer *w, struct buf *b, uint32_t columns_n);
void sql_rows_column(struct sql_rows_writer *w, const char *name, const char *declared_type);
void sql_rows_end(struct sql_rows_writer *w, uint64_t rows_n, bool truncated);

struct sql_result_cursor {
	struct rd rd;
	uint32_t left;
};
void sql_result_cursor_init(struct sql_result_cursor *c, const struct sql_answer *a);
/* 1, 0, -1 as sql_cursor_next. */
int sql_result_next(struct sql_result_cursor *c, struct sql_result *ret_result);

#endif
