/* What `drover sql` does with a text: takes it apart, sends each statement, prints what comes back.
 *
 * Each statement is a request of its own. From BEGIN to COMMIT statements are collected and sent as
 * one request, which is executed as a whole or not at all; their results are printed at COMMIT.
 * ROLLBACK forgets them.
 *
 * A session can be fed a whole script (session_script, stops at the first error) or lines as they
 * are typed (session_line, goes on after an error; also knows the backslash commands). It sends
 * through `execute`, so that it can be tested without a cluster.
 *
 * Threads: one.
 */
#ifndef DROVER_CONSOLE_SQL_SESSION_H
#define DROVER_CONSOLE_SQL_SESSION_H

#include "common/client.h"
#include "console/sql/print.h"
#include "console/sql/script.h"

#define SESSION_STATEMENTS_MAX 100000 /* in one transaction */

struct session;

/* Sends one request. Returns as client_wait does: 0, or the answer's status with *e filled;
 * *ret_answer is filled whenever an answer came, else its `statement` and `offset` are 0 and -1. */
typedef int session_execute(void *ctx, const struct session *s,
			    const struct client_statement *statements, size_t n,
			    struct buf *ret_body, struct sql_answer *ret_answer, struct err *e);

struct session_item;

struct session {
	session_execute *execute;
	void *ctx;
	struct print_options print;
	FILE *errors;	    /* where complaints and notes go */
	const char *source; /* the script's name in them; NULL: typed */
	char namespace[SQL_NAMESPACE_MAX];
	enum sql_level level;
	uint32_t node; /* 0: any */
	bool timing;
	/* Its own: */
	bool in_transaction;
	struct slice script; /* under way; p NULL while typed */
	struct buf typed;    /* lines that make no complete statement yet */
	struct buf texts;    /* the collected statements, back to back */
	struct session_item *items;
	size_t items_n;
	size_t items_max;
	struct buf body;
};

void session_init(struct session *s, session_execute *execute, void *ctx);
void session_done(struct session *s);

/* Runs all of a script. 0, or the error that stopped it, already told on s->errors. */
int session_script(struct session *s, const char *source, struct slice script, struct err *e);

enum session_state {
	SESSION_READY, /* nothing is pending */
	SESSION_MORE,  /* a statement is not complete */
	SESSION_QUIT,
};
/* One typed line, without newline. */
enum session_state session_line(struct session *s, const char *line);
/* ^C: forgets the lines of the incomplete statement; the transaction stays. */
void session_cancel_line(struct session *s);

/* "main> ", "main*> " inside a transaction, "   -> " when a statement is not complete. */
void session_prompt(const struct session *s, char *ret_text, size_t size);

/* The collected statements of a transaction, 0 outside. */
size_t session_collected(const struct session *s);

const char *sql_level_name(enum sql_level level);
bool sql_level_parse(const char *text, enum sql_level *ret_level);

/* For commands.c: runs statements now as one request and prints their results. */
int session_run(struct session *s, const struct client_statement *statements, size_t n,
		struct err *e);
/* A line that starts with a backslash. false: quit. */
bool session_command(struct session *s, const char *line);

#endif
