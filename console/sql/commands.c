/* The backslash commands of the SQL prompt. */
#include "console/sql/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct prompt_command {
	const char *name;
	const char *argument; /* NULL: none; "[X]": may be left out */
	const char *help;
	bool (*run)(struct session *s, const char *argument); /* false: quit */
};

static bool run_quit(struct session *s, const char *argument)
{
	(void)s;
	(void)argument;
	return false;
}

static void run_sql(struct session *s, const char *sql, const char *param)
{
	struct value v = value_text(slice_str(param ? param : ""));
	struct client_statement st = {.text = slice_str(sql)};
	struct err e = {0};

	if (param) {
		st.params = &v;
		st.params_n = 1;
	}
	session_run(s, &st, 1, &e);
}

static bool run_describe(struct session *s, const char *argument)
{
	if (!argument) {
		run_sql(s,
			"SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') AND "
			"name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'drover\\_%' "
			"ESCAPE '\\' ORDER BY name",
			NULL);
		return true;
	}
	run_sql(s,
		"SELECT sql FROM sqlite_schema WHERE tbl_name = ?1 COLLATE NOCASE AND sql IS "
		"NOT NULL ORDER BY type = 'table' DESC, name",
		argument);
	return true;
}

static bool run_namespaces(struct session *s, const char *argument)
{
	(void)argument;
	run_sql(s, "SHOW NAMESPACES", NULL);
	return true;
}

static bool run_use(struct session *s, const char *argument)
{
	if (s->in_transaction)
		fprintf(s->errors, "drover sql: a transaction stays in its namespace; COMMIT or "
				   "ROLLBACK first\n");
	else if (strlen(argument) >= sizeof s->namespace)
		fprintf(s->errors, "drover sql: no namespace has so long a name\n");
	else
		snprintf(s->namespace, sizeof s->namespace, "%s", argument);
	return true;
}

static bool run_timing(struct session *s, const char *argument)
{
	(void)argument;
	s->timing = !s->timing;
	fprintf(s->errors, "timing is %s\n", s->timing ? "on" : "off");
	return true;
}

static bool run_expanded(struct session *s, const char *argument)
{
	(void)argument;
	s->print.expanded = !s->print.expanded;
	fprintf(s->errors, "expanded display is %s\n", s->print.expanded ? "on" : "off");
	return true;
}

static bool run_read(struct session *s, const char *argument)
{
	if (argument && !sql_level_parse(argument, &s->level))
		fprintf(s->errors, "drover sql: \\read takes stale, session or linearizable\n");
	else
		fprintf(s->errors, "reads are %s\n", sql_level_name(s->level));
	return true;
}

static bool run_output(struct session *s, const char *argument)
{
	static const char *const names[] = {"table", "json", "tsv"};

	for (unsigned i = 0; i < 3; i++) {
		if (strcmp(argument, names[i]) == 0) {
			s->print.form = (enum print_form)i;
			return true;
		}
	}
	fprintf(s->errors, "drover sql: \\o takes table, json or tsv\n");
	return true;
}

static bool run_file(struct session *s, const char *argument)
{
	struct buf text;
	struct err e = {0};
	FILE *f = fopen(argument, "rb");

	if (!f) {
		fprintf(s->errors, "drover sql: %s: %s\n", argument, strerror(errno));
		return true;
	}
	if (s->in_transaction) {
		fprintf(s->errors, "drover sql: a file cannot be run inside of a transaction; "
				   "COMMIT or ROLLBACK first\n");
	} else if (script_read(f, argument, &text, &e)) {
		fprintf(s->errors, "drover sql: %s\n", e.text);
	} else {
		session_script(s, argument, buf_slice(&text), &e);
		buf_done(&text);
	}
	fclose(f);
	return true;
}

static bool run_help(struct session *s, const char *argument);

static const struct prompt_command prompt_commands[] = {
	{"q", NULL, "leave (so does ^D)", run_quit},
	{"?", NULL, "this help", run_help},
	{"l", NULL, "list the namespaces", run_namespaces},
	{"use", "NAMESPACE", "go to another namespace", run_use},
	{"d", "[TABLE]", "list the tables and views, or show how one was made", run_describe},
	{"i", "FILE", "run the statements of a file", run_file},
	{"x", NULL, "switch between rows across and one line a value", run_expanded},
	{"o", "FORM", "results as table, json or tsv", run_output},
	{"read", "[LEVEL]", "reads are stale, session or linearizable", run_read},
	{"timing", NULL, "switch the time of each request on or off", run_timing},
};
#define COMMANDS_N (sizeof prompt_commands / sizeof prompt_commands[0])

static bool run_help(struct session *s, const char *argument)
{
	(void)argument;
	fputs("A statement ends with a semicolon and may take several lines; ^C forgets it.\n"
	      "Statements from BEGIN to COMMIT are collected (the prompt shows a *), sent at "
	      "COMMIT\n"
	      "and executed as a whole or not at all; their results come then. ROLLBACK forgets "
	      "them.\n"
	      "CREATE NAMESPACE n, DROP NAMESPACE n and SHOW NAMESPACES are statements too.\n\n",
	      s->print.out);
	for (size_t i = 0; i < COMMANDS_N; i++) {
		const struct prompt_command *c = &prompt_commands[i];
		int used = fprintf(s->print.out, "  \\%s%s%s", c->name, c->argument ? " " : "",
				   c->argument ? c->argument : "");
		fprintf(s->print.out, "%*s%s\n", 20 - used, "", c->help);
	}
	return true;
}

bool session_command(struct session *s, const char *line)
{
	char *copy = strdup(line + 1), *save = NULL;
	bool stay = true;

	if (!copy)
		return true;
	char *name = strtok_r(copy, " \t;", &save);
	char *argument = name ? strtok_r(NULL, " \t;", &save) : NULL;
	const struct prompt_command *c = NULL;
	for (size_t i = 0; name && i < COMMANDS_N; i++) {
		if (strcmp(name, prompt_commands[i].name) == 0)
			c = &prompt_commands[i];
	}
	if (!c)
		fprintf(s->errors, "drover sql: there is no command \\%s; \\? lists them\n",
			name ? name : "");
	else if (c->argument && c->argument[0] != '[' && !argument)
		fprintf(s->errors, "drover sql: \\%s needs %s\n", c->name, c->argument);
	else if (argument && !c->argument)
		fprintf(s->errors, "drover sql: \\%s takes nothing behind it\n", c->name);
	else
		stay = c->run(s, argument);
	free(copy);
	return stay;
}
