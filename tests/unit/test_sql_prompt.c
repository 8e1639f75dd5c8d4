/* The SQL prompt and scripts, against an executor that writes down what it is sent. */
#include "console/check/janitor.h"
#include "console/sql/prompt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

struct fake {
	char sent[4096];       /* requests in [], statements divided by | */
	const char *fail_text; /* the statement to fail at, and how */
	int status;
	int32_t offset;
	struct buf results;
};

static int fake_execute(void *ctx, const struct session *s,
			const struct client_statement *statements, size_t n, struct buf *ret_body,
			struct sql_answer *ret_answer, struct err *e)
{
	struct fake *f = ctx;
	size_t len = strlen(f->sent);

	(void)s;
	(void)ret_body;
	len += (size_t)snprintf(f->sent + len, sizeof f->sent - len, "[");
	buf_clear(&f->results);
	for (size_t i = 0; i < n; i++) {
		len += (size_t)snprintf(f->sent + len, sizeof f->sent - len, "%s%.*s", i ? "|" : "",
					(int)statements[i].text.n,
					(const char *)statements[i].text.p);
		if (f->fail_text && slice_eq(statements[i].text, slice_str(f->fail_text))) {
			ret_answer->status = f->status;
			ret_answer->statement = (uint32_t)i;
			ret_answer->offset = f->offset;
			return err_set(e, f->status, "near \"x\": syntax error");
		}
		sql_result_done(&f->results, 1, (int64_t)i);
	}
	snprintf(f->sent + len, sizeof f->sent - len, "]");
	*ret_answer =
		(struct sql_answer){.results_n = (uint32_t)n, .results = buf_slice(&f->results)};
	return 0;
}

static struct fake fake;
static struct session session;
static char *out, *complaints;
static size_t out_n, complaints_n;

static int open_session(void **state)
{
	(void)state;
	fake = (struct fake){.offset = -1};
	buf_init(&fake.results, 65536);
	session_init(&session, fake_execute, &fake);
	session.print.out = open_memstream(&out, &out_n);
	session.errors = open_memstream(&complaints, &complaints_n);
	return 0;
}

static int close_session(void **state)
{
	(void)state;
	fclose(session.print.out);
	fclose(session.errors);
	session_done(&session);
	buf_done(&fake.results);
	free(out);
	free(complaints);
	return 0;
}

static const char *complained(void)
{
	fflush(session.errors);
	return complaints;
}

static const char *printed(void)
{
	fflush(session.print.out);
	return out;
}

static int run(const char *text)
{
	struct err e = {0};

	return session_script(&session, "s.sql", slice_str(text), &e);
}

static void statements_end_at_semicolons_outside_of_quotes_and_comments(void **state)
{
	(void)state;
	assert_int_equal(
		run("-- first; no\nINSERT INTO t VALUES('a;b', \"c;d\"); /* ; */ ;;"
		    "SELECT [x;y], `z;` FROM t -- ;\n WHERE a = 'it''s;'  ; DELETE FROM t"),
		0);
	assert_string_equal(fake.sent, "[INSERT INTO t VALUES('a;b', \"c;d\")]"
				       "[SELECT [x;y], `z;` FROM t -- ;\n WHERE a = 'it''s;']"
				       "[DELETE FROM t]");
}

static void a_trigger_is_one_statement(void **state)
{
	(void)state;
	assert_int_equal(run("CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE u SET x = 1; "
			     "DELETE FROM v; END; SELECT 1;"),
			 0);
	assert_string_equal(fake.sent, "[CREATE TRIGGER a AFTER INSERT ON t BEGIN UPDATE u SET x = "
				       "1; DELETE FROM v; END][SELECT 1]");
}

static void a_transaction_is_one_request(void **state)
{
	(void)state;
	assert_int_equal(run("a; BEGIN IMMEDIATE; b; c; END TRANSACTION; d; begin; e; ROLLBACK; "
			     "begin; f; rollback to x; commit"),
			 0);
	assert_string_equal(fake.sent, "[a][b|c][d][f|rollback to x]");
}

static void a_script_that_ends_inside_of_a_transaction_sends_none_of_it(void **state)
{
	(void)state;
	assert_int_equal(run("BEGIN; a; b;"), ERR_INVALID);
	assert_string_equal(fake.sent, "");
	assert_non_null(strstr(complained(), "COMMIT is missing, none of its 2"));
}

static void transaction_words_out_of_place_are_refused_with_their_line(void **state)
{
	(void)state;
	assert_int_equal(run("a;\n\n COMMIT; b"), ERR_INVALID);
	assert_string_equal(fake.sent, "[a]");
	assert_non_null(strstr(complained(), "COMMIT without BEGIN\n  at s.sql:3:2"));
	assert_int_equal(run("BEGIN; BEGIN"), ERR_INVALID);
	assert_non_null(strstr(complained(), "BEGIN inside of a transaction"));
}

static void an_error_stops_the_script_and_names_line_and_column(void **state)
{
	(void)state;
	fake.fail_text = "SELECT 'é' x\n  FORM t";
	fake.status = ERR_SQL;
	fake.offset = 16; /* the F of FORM; é has two bytes */
	assert_int_equal(run("a;\n  SELECT 'é' x\n  FORM t; b"), ERR_SQL);
	assert_string_equal(fake.sent, "[a][SELECT 'é' x\n  FORM t");
	assert_string_equal(complained(), "drover sql: near \"x\": syntax error\n"
					  "  at s.sql:3:3\n"
					  "      FORM t; b\n"
					  "      ^\n");
}

static void the_caret_stands_under_wide_characters_place(void **state)
{
	(void)state;
	fake.fail_text = "SELECT '日本' x";
	fake.status = ERR_SQL;
	fake.offset = 16;
	assert_int_equal(run("SELECT '日本' x"), ERR_SQL);
	assert_non_null(strstr(complained(), "at s.sql:1:13\n    SELECT '日本' x\n"
					     "                  ^\n"));
}

static void a_transactions_error_names_the_failed_statement_and_says_all_is_undone(void **state)
{
	(void)state;
	fake.fail_text = "bad";
	fake.status = ERR_SQL;
	fake.offset = 0;
	assert_int_equal(run("BEGIN;\na;\n bad;\nb;\nCOMMIT;"), ERR_SQL);
	assert_non_null(strstr(complained(), "at s.sql:3:2\n     bad;\n     ^\n"));
	assert_non_null(strstr(complained(), "undone as a whole"));
}

static void an_unknown_outcome_is_said_to_be_one(void **state)
{
	(void)state;
	fake.fail_text = "w";
	fake.status = ERR_UNKNOWN_OUTCOME;
	assert_int_equal(run("w;"), ERR_UNKNOWN_OUTCOME);
	assert_non_null(strstr(complained(), "may or may not have been done"));
}

static void assert_prompt(const char *expected)
{
	char text[100];

	session_prompt(&session, text, sizeof text);
	assert_string_equal(text, expected);
}

static void typed_lines_are_joined_until_the_semicolon(void **state)
{
	(void)state;
	assert_int_equal(session_line(&session, "SELECT 1,"), SESSION_MORE);
	assert_prompt("   -> ");
	assert_int_equal(session_line(&session, "  ';"), SESSION_MORE);
	assert_int_equal(session_line(&session, "'; SELECT 2; SELECT"), SESSION_MORE);
	assert_string_equal(fake.sent, "[SELECT 1,\n  ';\n'][SELECT 2]");
	assert_int_equal(session_line(&session, "3;"), SESSION_READY);
	assert_prompt("main> ");
	assert_int_equal(session_line(&session, "-- nothing"), SESSION_READY);
	assert_string_equal(fake.sent, "[SELECT 1,\n  ';\n'][SELECT 2][SELECT\n3]");
}

static void a_typed_transaction_is_collected_and_shown_in_the_prompt(void **state)
{
	(void)state;
	session_line(&session, "begin; a;");
	assert_prompt("main*> ");
	assert_int_equal(session_line(&session, "b"), SESSION_MORE);
	assert_prompt("    -> ");
	session_cancel_line(&session);
	assert_prompt("main*> ");
	assert_int_equal(session_collected(&session), 1);
	session_line(&session, "c;");
	assert_string_equal(fake.sent, "");
	session_line(&session, "commit;");
	assert_string_equal(fake.sent, "[a|c]");
	assert_prompt("main> ");
}

static void an_error_drops_the_rest_of_the_typed_line(void **state)
{
	(void)state;
	fake.fail_text = "bad";
	fake.status = ERR_SQL;
	assert_int_equal(session_line(&session, "bad; DELETE FROM t;"), SESSION_READY);
	assert_string_equal(fake.sent, "[bad");
	assert_int_equal(session_line(&session, "good;"), SESSION_READY);
	assert_string_equal(fake.sent, "[bad[good]");
}

static void backslash_commands_are_known(void **state)
{
	(void)state;
	assert_int_equal(session_line(&session, "\\use shop"), SESSION_READY);
	assert_prompt("shop> ");
	session_line(&session, "\\read linearizable");
	assert_int_equal(session.level, SQL_LINEARIZABLE);
	session_line(&session, "\\read quickly");
	assert_non_null(strstr(complained(), "takes stale, session or linearizable"));
	session_line(&session, "\\l");
	assert_string_equal(fake.sent, "[SHOW NAMESPACES]");
	session_line(&session, "\\use");
	assert_non_null(strstr(complained(), "\\use needs NAMESPACE"));
	session_line(&session, "\\nonsense");
	assert_non_null(strstr(complained(), "no command \\nonsense; \\? lists them"));
	session_line(&session, "\\?");
	assert_non_null(strstr(printed(), "\\timing"));
	assert_int_equal(session_line(&session, "begin;"), SESSION_READY);
	session_line(&session, "\\use main");
	assert_prompt("shop*> ");
	assert_int_equal(session_line(&session, "  \\q "), SESSION_QUIT);
}

static void a_file_is_run_from_the_prompt(void **state)
{
	char name[] = "/tmp/test_sql_prompt.XXXXXX", line[64];
	int fd = mkstemp(name);
	const char text[] = "\xef\xbb\xbfx;\ny;";

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
	close(fd);
	snprintf(line, sizeof line, "\\i %s", name);
	session_line(&session, line);
	unlink(name);
	assert_string_equal(fake.sent, "[x][y]");
	session_line(&session, line);
	assert_non_null(strstr(complained(), "No such file"));
}

static void results_of_statements_without_rows_are_told(void **state)
{
	(void)state;
	run("a; BEGIN; b; c; COMMIT");
	assert_string_equal(printed(), "ok, 1 row changed\nok, 1 row changed\nok, 1 row changed\n");
}

static void the_history_has_a_folder_of_its_owner_only(void **state)
{
	char folder[] = "/tmp/test_sql_prompt.XXXXXX", nested[64], path[256], expected[128];
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(nested, sizeof nested, "%s/not/there", folder);
	setenv("XDG_STATE_HOME", nested, 1);
	assert_true(prompt_history_path(path, sizeof path));
	snprintf(expected, sizeof expected, "%s/drover/history", nested);
	assert_string_equal(path, expected);
	snprintf(expected, sizeof expected, "%s/drover", nested);
	assert_int_equal(stat(expected, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	unsetenv("XDG_STATE_HOME");
	setenv("HOME", nested, 1);
	assert_true(prompt_history_path(path, sizeof path));
	assert_non_null(strstr(path, "/not/there/.local/state/drover/history"));
	unsetenv("HOME");
	assert_false(prompt_history_path(path, sizeof path));
	janitor_remove(folder);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_session, close_session)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(statements_end_at_semicolons_outside_of_quotes_and_comments),
		T(a_trigger_is_one_statement),
		T(a_transaction_is_one_request),
		T(a_script_that_ends_inside_of_a_transaction_sends_none_of_it),
		T(transaction_words_out_of_place_are_refused_with_their_line),
		T(an_error_stops_the_script_and_names_line_and_column),
		T(the_caret_stands_under_wide_characters_place),
		T(a_transactions_error_names_the_failed_statement_and_says_all_is_undone),
		T(an_unknown_outcome_is_said_to_be_one),
		T(typed_lines_are_joined_until_the_semicolon),
		T(a_typed_transaction_is_collected_and_shown_in_the_prompt),
		T(an_error_drops_the_rest_of_the_typed_line),
		T(backslash_commands_are_known),
		T(a_file_is_run_from_the_prompt),
		T(results_of_statements_without_rows_are_told),
		cmocka_unit_test(the_history_has_a_folder_of_its_owner_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
