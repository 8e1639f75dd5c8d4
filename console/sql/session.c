#include "console/sql/session.h"
#include "common/clock.h"
#include "console/sql/display.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* One collected statement: its text in `texts`, and where the script has it. */
struct session_item {
	size_t from;
	size_t n;
	size_t at;
};

void session_init(struct session *s, session_execute *execute, void *ctx)
{
	*s = (struct session){.execute = execute, .ctx = ctx, .errors = stderr};
	snprintf(s->namespace, sizeof s->namespace, "main");
	s->print.out = stdout;
	buf_init(&s->typed, SQL_REQUEST_BYTES_MAX);
	buf_init(&s->texts, SQL_REQUEST_BYTES_MAX);
	buf_init(&s->body, SQL_ANSWER_BYTES_MAX + 4096);
}

void session_done(struct session *s)
{
	buf_done(&s->typed);
	buf_done(&s->texts);
	buf_done(&s->body);
	free(s->items);
	s->items = NULL;
}

static const char *const level_names[] = {
	[SQL_SESSION] = "session", [SQL_STALE] = "stale", [SQL_LINEARIZABLE] = "linearizable"};

const char *sql_level_name(enum sql_level level)
{
	return level_names[level];
}

bool sql_level_parse(const char *text, enum sql_level *ret_level)
{
	for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*ret_level = (enum sql_level)i;
			return true;
		}
	}
	return false;
}

static void collect_clear(struct session *s)
{
	s->items_n = 0;
	s->in_transaction = false;
	buf_clear(&s->texts);
}

static int collect(struct session *s, const struct script_statement *st, struct err *e)
{
	if (s->items_n == SESSION_STATEMENTS_MAX)
		return err_set(e, ERR_LIMIT,
			       "a transaction holds at most %d statements; split it into several",
			       SESSION_STATEMENTS_MAX);
	if (s->items_n == s->items_max) {
		size_t max = s->items_max ? 2 * s->items_max : 64;
		struct session_item *items = realloc(s->items, max * sizeof *items);
		if (!items)
			return err_set(e, ERR_NOMEM, "no memory for the transaction");
		s->items = items;
		s->items_max = max;
	}
	size_t from = s->texts.len;
	buf_append(&s->texts, st->text.p, st->text.n);
	if (!buf_ok(&s->texts)) {
		s->texts.failed = false;
		return err_set(e, ERR_LIMIT,
			       "a transaction's text may be %u MiB; split it into several",
			       SQL_REQUEST_BYTES_MAX >> 20);
	}
	s->items[s->items_n++] = (struct session_item){from, st->text.n, st->at};
	return 0;
}

size_t session_collected(const struct session *s)
{
	return s->items_n;
}

/* The line with the fault, and a caret under it. */
static void show_caret(struct session *s, struct slice text, size_t at)
{
	size_t in_line;
	struct slice line = script_line(text, at, &in_line);

	if (line.n > 2000 || in_line > line.n)
		return;
	fputs("    ", s->errors);
	display_put(s->errors, line, SIZE_MAX);
	fprintf(s->errors, "\n    %*s^\n", (int)display_width((struct slice){line.p, in_line}), "");
}

/* Says where `item` (and `offset` in it, if known) stands in the script or in what was typed. */
static void show_place(struct session *s, struct slice statement, size_t at, int32_t offset)
{
	struct slice text = s->script.p ? s->script : statement;
	size_t base = s->script.p ? at : 0;
	size_t place = base + (offset > 0 ? (size_t)offset : 0);
	unsigned line, column;

	if (place > text.n)
		return;
	script_place(text, place, &line, &column);
	if (s->source)
		fprintf(s->errors, "  at %s:%u:%u\n", s->source, line, column);
	else if (line > 1 || s->script.p)
		fprintf(s->errors, "  at line %u, column %u\n", line, column);
	if (offset >= 0)
		show_caret(s, text, place);
}

static void complain(struct session *s, const struct err *e)
{
	fprintf(s->errors, "drover sql: %s\n", e->text[0] ? e->text : err_meaning(e->code));
}

/* What the user must know about the outcome beyond the error's text. */
static void show_outcome(struct session *s, int status, size_t n)
{
	if (status == ERR_UNKNOWN_OUTCOME)
		fputs("  it may or may not have been done: look at the data before sending it "
		      "again\n",
		      s->errors);
	else if (n > 1)
		fputs("  the transaction was undone as a whole\n", s->errors);
}

static int print_answer(struct session *s, const struct sql_answer *answer, uint64_t us,
			struct err *e)
{
	struct sql_result_cursor cursor;
	struct sql_result result;
	int more, rc;

	s->print.us = us;
	sql_result_cursor_init(&cursor, answer);
	while ((more = sql_result_next(&cursor, &result)) == 1) {
		/* The time is the whole request's: shown once, with the last result. */
		s->print.timing = s->timing && cursor.left == 0;
		rc = print_result(&s->print, &result, e);
		if (rc)
			return rc;
		if (result.kind == SQL_ROWS && result.truncated) {
			fflush(s->print.out);
			fprintf(s->errors,
				"drover sql: only the first %llu rows are shown, there are more "
				"(limits.rows in agent.ini)\n",
				(unsigned long long)result.rows_n);
		}
	}
	if (more < 0)
		return err_set(e, ERR_PROTOCOL, "the agent's answer does not decode");
	return 0;
}

int session_run(struct session *s, const struct client_statement *statements, size_t n,
		struct err *e)
{
	struct sql_answer answer = {.offset = -1};
	uint64_t start = clock_mono_us();
	int rc;

	buf_clear(&s->body);
	rc = s->execute(s->ctx, s, statements, n, &s->body, &answer, e);
	if (rc == 0)
		rc = print_answer(s, &answer, clock_mono_us() - start, e);
	fflush(s->print.out);
	if (rc)
		complain(s, e);
	return rc;
}

/* Sends the collected statements, all of them in one request. */
static int send_collected(struct session *s, struct err *e)
{
	struct sql_answer answer = {.offset = -1};
	uint64_t start = clock_mono_us();
	size_t n = s->items_n;
	struct client_statement *statements = calloc(n, sizeof *statements);
	int rc;

	if (!statements) {
		rc = err_set(e, ERR_NOMEM, "no memory for the request");
		complain(s, e);
		return rc;
	}
	for (size_t i = 0; i < n; i++)
		statements[i].text =
			(struct slice){s->texts.data + s->items[i].from, s->items[i].n};
	buf_clear(&s->body);
	rc = s->execute(s->ctx, s, statements, n, &s->body, &answer, e);
	if (rc == 0) {
		rc = print_answer(s, &answer, clock_mono_us() - start, e);
		fflush(s->print.out);
		if (rc)
			complain(s, e);
	} else {
		fflush(s->print.out);
		complain(s, e);
		size_t bad = answer.statement < n ? answer.statement : 0;
		show_place(s, statements[bad].text, s->items[bad].at, answer.offset);
		show_outcome(s, rc, n);
	}
	free(statements);
	return rc;
}

static int local_error(struct session *s, const struct script_statement *st, struct err *e)
{
	complain(s, e);
	if (s->script.p)
		show_place(s, st->text, st->at, -1);
	return e->code;
}

static void say_ok(struct session *s)
{
	if (s->print.form == PRINT_TABLE)
		fputs("ok\n", s->print.out);
}

static int take_commit(struct session *s, struct err *e)
{
	int rc = 0;

	if (s->items_n > 0)
		rc = send_collected(s, e);
	else
		say_ok(s);
	collect_clear(s);
	return rc;
}

static int take_statement(struct session *s, const struct script_statement *st, struct err *e)
{
	enum script_kind kind = script_kind(st->text);
	int rc;

	if (kind == SCRIPT_BEGIN) {
		if (s->in_transaction) {
			err_set(e, ERR_INVALID, "BEGIN inside of a transaction; COMMIT it first");
			return local_error(s, st, e);
		}
		s->in_transaction = true;
		return 0;
	}
	if (!s->in_transaction && kind != SCRIPT_OTHER) {
		err_set(e, ERR_INVALID, "%s without BEGIN",
			kind == SCRIPT_COMMIT ? "COMMIT" : "ROLLBACK");
		return local_error(s, st, e);
	}
	if (kind == SCRIPT_COMMIT)
		return take_commit(s, e);
	if (kind == SCRIPT_ROLLBACK) {
		collect_clear(s);
		say_ok(s);
		return 0;
	}
	rc = collect(s, st, e);
	if (rc)
		return local_error(s, st, e);
	if (s->in_transaction)
		return 0;
	rc = send_collected(s, e);
	collect_clear(s);
	return rc;
}

int session_script(struct session *s, const char *source, struct slice script, struct err *e)
{
	struct script_statement st;
	size_t at = 0;
	int more, rc = 0;

	s->source = source;
	s->script = script.p ? script : slice_str("");
	while (rc == 0 && (more = script_next(script, &at, &st)) != 0) {
		if (more < 0) {
			rc = err_set(e, more, "no memory to read the script");
			complain(s, e);
			break;
		}
		rc = take_statement(s, &st, e);
	}
	if (rc == 0 && s->in_transaction) {
		rc = err_set(e, ERR_INVALID,
			     "the script ends inside of a transaction: COMMIT is missing, none of "
			     "its %zu statements was executed",
			     s->items_n);
		complain(s, e);
	}
	collect_clear(s);
	s->script = (struct slice){0};
	s->source = NULL;
	return rc;
}

/* Takes the complete statements off the front of what was typed. */
static void run_typed(struct session *s)
{
	struct slice all = buf_slice(&s->typed);
	struct script_statement st;
	struct err e = {0};
	size_t at = 0, rest = 0;

	while (script_next(all, &at, &st) == 1 && st.complete) {
		rest = at;
		/* The rest of the line was meant for after this statement's success. */
		if (take_statement(s, &st, &e)) {
			rest = all.n;
			break;
		}
	}
	at = rest;
	if (script_next(all, &at, &st) == 0)
		rest = all.n;
	memmove(s->typed.data, s->typed.data + rest, s->typed.len - rest);
	buf_cut(&s->typed, s->typed.len - rest);
}

enum session_state session_line(struct session *s, const char *line)
{
	const char *start = line + strspn(line, " \t");

	if (s->typed.len == 0 && *start == '\\')
		return session_command(s, start) ? SESSION_READY : SESSION_QUIT;
	if (s->typed.len == 0 && !*start)
		return SESSION_READY;
	buf_append(&s->typed, line, strlen(line));
	buf_append(&s->typed, "\n", 1);
	if (!buf_ok(&s->typed)) {
		fprintf(s->errors, "drover sql: a statement may be %u MiB long; forgotten\n",
			SQL_REQUEST_BYTES_MAX >> 20);
		buf_clear(&s->typed);
		return SESSION_READY;
	}
	run_typed(s);
	return s->typed.len ? SESSION_MORE : SESSION_READY;
}

void session_cancel_line(struct session *s)
{
	buf_clear(&s->typed);
}

void session_prompt(const struct session *s, char *ret_text, size_t size)
{
	int width = (int)strlen(s->namespace) + (s->in_transaction ? 1 : 0);

	if (s->typed.len > 0)
		snprintf(ret_text, size, "%*s> ", width, "-");
	else
		snprintf(ret_text, size, "%s%s> ", s->namespace, s->in_transaction ? "*" : "");
}
