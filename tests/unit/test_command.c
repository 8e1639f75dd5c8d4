#include "console/command.h"

#include "tests/unit/printed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct flag test_flags[] = {
	{"bool", 'b', FLAG_BOOL, NULL, NULL, "a switch"},
	{"text", 't', FLAG_TEXT, "WORD", "fallback", "a word"},
	{"number", 'x', FLAG_NUMBER, "N", "3", "a number"},
	{"real", 0, FLAG_REAL, "R", "0.5", "a real"},
	{"time", 0, FLAG_DURATION, "TIME", "30s", "a time"},
	{"maybe", 'm', FLAG_OPTIONAL_REAL, "R", NULL, "perhaps a real"},
	{"textual", 0, FLAG_TEXT, "WORD", NULL, "another word"},
	{0},
};

static int run_nothing(struct cli *cli)
{
	(void)cli;
	return EXIT_DONE;
}

static const struct command test_command = {
	.name = "test",
	.arguments = "A [B]",
	.arguments_min = 1,
	.arguments_max = 2,
	.traits = COMMAND_OUTPUT | COMMAND_DESTRUCTIVE,
	.help = "a command for tests",
	.flags = test_flags,
	.run = run_nothing,
};

static struct cli parsed;
static char parsed_words[1024];
static char *parsed_argv[32];

static int parse(const char *line, struct err *e)
{
	int argc = 0;

	snprintf(parsed_words, sizeof parsed_words, "test %s", line);
	for (char *word = strtok(parsed_words, " "); word; word = strtok(NULL, " "))
		parsed_argv[argc++] = word;
	parsed_argv[argc] = NULL;
	parsed = (struct cli){0};
	*e = (struct err){0};
	return cli_parse(&parsed, &test_command, argc, parsed_argv, e);
}

static void flags_and_arguments_are_parsed_in_any_order(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(
		parse("a -b --text=x --number -7 b --time 2m --real 1e3 -o json --yes -n", &e), 0);
	assert_true(cli_flag(&parsed, "bool"));
	assert_string_equal(cli_text(&parsed, "text"), "x");
	assert_int_equal(cli_number(&parsed, "number"), -7);
	assert_true(cli_real(&parsed, "real") == 1000);
	assert_int_equal(cli_duration_ms(&parsed, "time"), 120000);
	assert_int_equal(parsed.output, OUTPUT_JSON);
	assert_true(parsed.yes && parsed.dry_run);
	assert_int_equal(parsed.argc, 2);
	assert_string_equal(parsed.argv[0], "a");
	assert_string_equal(parsed.argv[1], "b");
}

static void flags_not_given_have_their_fallbacks(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(parse("a", &e), 0);
	assert_false(cli_flag(&parsed, "bool"));
	assert_false(cli_given(&parsed, "text"));
	assert_string_equal(cli_text(&parsed, "text"), "fallback");
	assert_int_equal(cli_number(&parsed, "number"), 3);
	assert_true(cli_real(&parsed, "real") == 0.5);
	assert_int_equal(cli_duration_ms(&parsed, "time"), 30000);
	assert_null(cli_text(&parsed, "textual"));
	assert_null(parsed.config);
}

static void a_value_that_may_be_left_out_is_found_in_every_form(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(parse("a --maybe", &e), 0);
	assert_true(cli_given(&parsed, "maybe"));
	assert_null(cli_text(&parsed, "maybe"));
	assert_int_equal(parse("a --maybe 2.5", &e), 0);
	assert_true(cli_real(&parsed, "maybe") == 2.5);
	assert_int_equal(parsed.argc, 1);
	assert_int_equal(parse("a --maybe=4", &e), 0);
	assert_true(cli_real(&parsed, "maybe") == 4);
	assert_int_equal(parse("-m 3 a", &e), 0);
	assert_true(cli_real(&parsed, "maybe") == 3);
	/* What is no number is the next argument. */
	assert_int_equal(parse("--maybe a", &e), 0);
	assert_null(cli_text(&parsed, "maybe"));
	assert_string_equal(parsed.argv[0], "a");
}

static void words_behind_two_dashes_are_arguments(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(parse("a -- --bool", &e), 0);
	assert_false(cli_flag(&parsed, "bool"));
	assert_string_equal(parsed.argv[1], "--bool");
}

static void each_slip_has_its_own_message(void **state)
{
	static const struct {
		const char *line, *message;
	} cases[] = {
		{"a --nothing", "there is no flag --nothing"},
		{"a -z", "there is no flag -z"},
		{"a -bz", "there is no flag -z"},
		{"a --te x", "--te is the beginning of several flags"},
		{"a --text", "--text needs a value"},
		{"a -t", "-t needs a value"},
		{"a --bool=yes", "--bool=yes takes no value"},
		{"a --number x", "--number takes a whole number, not 'x'"},
		{"a --number 1.5", "--number takes a whole number, not '1.5'"},
		{"a --number 99999999999999999999", "--number takes a whole number"},
		{"a --real x", "--real takes a number, not 'x'"},
		{"a --real nan", "--real takes a number, not 'nan'"},
		{"a --maybe=x", "--maybe takes a number, not 'x'"},
		{"a --time soon", "--time takes a time such as 30s, 500ms, 2m or 1h, not 'soon'"},
		{"a --time -3s", "--time takes a time"},
		{"a -o xml", "-o takes table, json or tsv, not 'xml'"},
		{"a -o", "-o needs a value"},
		{"", "A [B] is missing"},
		{"a b c", "'c' is one argument too many"},
	};
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int rc = parse(cases[i].line, &e);
		if (rc != ERR_INVALID || !strstr(e.text, cases[i].message))
			fail_msg("'%s': got %d '%s', wanted '%s'", cases[i].line, rc, e.text,
				 cases[i].message);
	}
}

static void help_needs_no_arguments(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(parse("--help", &e), 0);
	assert_true(parsed.help);
}

static void durations_are_understood(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {
		{"30s", 30000},	    {"500ms", 500},	{"2m", 120000}, {"1h", 3600000},
		{"1d", 86400000},   {"1.5s", 1500},	{"5", 5000},	{"0", 0},
		{"1h30m", 5400000}, {"1m2s3ms", 62003}, {"0.25", 250},
	};
	static const char *const bad[] = {"",	     "s",   "-1s",   "1x",
					  "1 s",     "1s ", "1..2s", "ms",
					  "1sm",     "1e3", "0x10",  "99999999999999999",
					  "9999999d"};
	uint64_t ms;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		if (!duration_parse(good[i].text, &ms) || ms != good[i].ms)
			fail_msg("'%s'", good[i].text);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		if (duration_parse(bad[i], &ms))
			fail_msg("'%s' was taken", bad[i]);
	}
}

/* All rows of all commands: parsing asserts on a bad fallback, and letters must not collide. */
static void every_command_row_is_sound(void **state)
{
	(void)state;
	for (size_t i = 0; commands[i]; i++) {
		const struct command *c = commands[i];
		char letters[64] = "ch", name[64];
		char *argv[] = {name, NULL};
		struct cli cli = {0};
		struct err e = {0};

		assert_true(c->name && c->help && c->run);
		assert_ptr_equal(command_find(c->name), c);
		assert_true(c->arguments_max < 0 || c->arguments_min <= c->arguments_max);
		assert_true(c->arguments_max == 0 || c->arguments || strcmp(c->help, "stub") == 0);
		snprintf(name, sizeof name, "%s", c->name);
		cli_parse(&cli, c, 1, argv, &e);
		if (c->traits & COMMAND_OUTPUT)
			strcat(letters, "o");
		if (c->traits & COMMAND_DESTRUCTIVE)
			strcat(letters, "n");
		for (const struct flag *f = c->flags; f && f->name; f++) {
			if (f->letter && strchr(letters, f->letter))
				fail_msg("%s uses -%c twice", c->name, f->letter);
			if (f->letter)
				strncat(letters, &f->letter, 1);
			assert_true(f->help && (f->type == FLAG_BOOL || f->value));
			switch (f->type) {
			case FLAG_NUMBER:
				cli_number(&cli, f->name);
				break;
			case FLAG_REAL:
			case FLAG_OPTIONAL_REAL:
				cli_real(&cli, f->name);
				break;
			case FLAG_DURATION:
				cli_duration_ms(&cli, f->name);
				break;
			case FLAG_BOOL:
			case FLAG_TEXT:
				break;
			}
		}
	}
}

static void every_command_has_help_that_names_its_flags(void **state)
{
	struct printed c;
	char line[128];

	(void)state;
	for (size_t i = 0; commands[i]; i++) {
		snprintf(line, sizeof line, "%s --help", commands[i]->name);
		assert_int_equal(run_line(&c, line), EXIT_DONE);
		assert_non_null(strstr(c.out, commands[i]->help));
		assert_string_equal(c.err, "");
		for (const struct flag *f = commands[i]->flags; f && f->name; f++)
			assert_non_null(strstr(c.out, f->name));
		char first[65536];
		memcpy(first, c.out, sizeof first);
		snprintf(line, sizeof line, "help %s", commands[i]->name);
		assert_int_equal(run_line(&c, line), EXIT_DONE);
		assert_string_equal(first, c.out);
	}
	assert_int_equal(run_line(&c, "--help"), EXIT_DONE);
	for (size_t i = 0; commands[i]; i++)
		assert_non_null(strstr(c.out, commands[i]->help));
	/* No line wider than a hundred columns, none ending in a blank. */
	assert_null(strstr(c.out, " \n"));
}

static void wrong_calls_end_with_2_and_say_what_is_right(void **state)
{
	struct printed c;

	(void)state;
	assert_int_equal(run_line(&c, "statsu"), EXIT_USAGE);
	assert_string_equal(c.err,
			    "drover: there is no command 'statsu'; did you mean 'status'?\n");
	assert_int_equal(run_line(&c, "frobnicate"), EXIT_USAGE);
	assert_non_null(strstr(c.err, "'drover --help' lists them"));
	assert_int_equal(run_line(&c, "--frob status"), EXIT_USAGE);
	assert_non_null(strstr(c.err, "there is no flag --frob"));
	assert_int_equal(run_line(&c, "status extra"), EXIT_USAGE);
	assert_non_null(strstr(c.err, "drover status: takes no arguments, but was given 'extra'"));
	assert_non_null(strstr(c.err, "\nusage: drover status"));
	assert_int_equal(run_line(&c, "start"), EXIT_USAGE);
	assert_int_equal(run_line(&c, "shell n1 -o json"), EXIT_USAGE);
	assert_int_equal(run_line(&c, "help nothing"), EXIT_USAGE);
	assert_string_equal(c.out, "");
	/* Not on a terminal, a forgotten command is an error. */
	assert_int_equal(run_line(&c, ""), EXIT_USAGE);
	assert_int_equal(run_line(&c, "--version"), EXIT_DONE);
	assert_string_equal(c.out, "drover " DROVER_VERSION "\n");
	assert_int_equal(run_line(&c, "status --version"), EXIT_DONE);
	assert_string_equal(c.out, "drover " DROVER_VERSION "\n");
}

static void wrong_values_in_the_environment_are_told(void **state)
{
	struct printed c;

	(void)state;
	setenv("DROVER_OUTPUT", "xml", 1);
	assert_int_equal(run_line(&c, "--version"), EXIT_USAGE);
	assert_non_null(strstr(c.err, "DROVER_OUTPUT is 'xml'; it takes table, json or tsv"));
	setenv("DROVER_OUTPUT", "json", 1);
	/* A command without results does not mind. */
	assert_int_equal(run_line(&c, "help"), EXIT_DONE);
	unsetenv("DROVER_OUTPUT");
}

static void a_persons_drover_ini_comes_after_the_environment(void **state)
{
	char dir[] = "/tmp/command.XXXXXX", path[160], folder[128];
	struct cli cli = {0};
	struct err e = {0};

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(folder, sizeof folder, "%s/drover", dir);
	mkdir(folder, 0755);
	snprintf(path, sizeof path, "%s/drover.ini", folder);
	FILE *f = fopen(path, "w");
	fprintf(f, "[console]\noutput = tsv\ncolor = always\n");
	fclose(f);
	setenv("XDG_CONFIG_HOME", dir, 1);
	unsetenv("NO_COLOR");
	setenv("TERM", "xterm", 1);
	assert_int_equal(cli_init(&cli, &e), 0);
	assert_int_equal(cli.output, OUTPUT_TSV);
	assert_true(cli.color);
	setenv("DROVER_OUTPUT", "json", 1);
	setenv("NO_COLOR", "1", 1);
	cli = (struct cli){0};
	assert_int_equal(cli_init(&cli, &e), 0);
	assert_int_equal(cli.output, OUTPUT_JSON);
	assert_false(cli.color);
	unsetenv("DROVER_OUTPUT");
	f = fopen(path, "w");
	fprintf(f, "[console]\noutput = xml\n");
	fclose(f);
	assert_int_equal(cli_init(&cli, &e), ERR_CONFIG);
	assert_non_null(strstr(e.text, "drover.ini:2: output = xml is not allowed"));
	unsetenv("NO_COLOR");
	setenv("XDG_CONFIG_HOME", "/nowhere", 1);
	unlink(path);
	rmdir(folder);
	rmdir(dir);
}

static void misspelt_commands_find_the_nearest(void **state)
{
	(void)state;
	assert_string_equal(command_nearest("stat"), "status");
	assert_string_equal(command_nearest("strat"), "start");
	assert_string_equal(command_nearest("kil"), "kill");
	assert_string_equal(command_nearest("lgos"), "logs");
	assert_null(command_nearest("zzzzzzzzzz"));
	assert_null(command_nearest("a-word-much-longer-than-any-command"));
}

static void questions_are_refused_without_a_terminal(void **state)
{
	struct printed c;
	struct cli cli = {.command = &test_command};
	int saved = dup(STDIN_FILENO), null = open("/dev/null", O_RDONLY);

	(void)state;
	dup2(null, STDIN_FILENO);
	printed_begin(&c);
	bool go = cli_confirm(&cli, "This removes %s.", "everything");
	printed_end(&c);
	assert_false(go);
	assert_non_null(strstr(c.err, "This removes everything."));
	assert_non_null(strstr(c.err, "--yes"));
	cli.yes = true;
	printed_begin(&c);
	go = cli_confirm(&cli, "This removes %s.", "everything");
	printed_end(&c);
	assert_true(go);
	assert_string_equal(c.err, "");
	dup2(saved, STDIN_FILENO);
	close(saved);
	close(null);
}

static void errors_have_the_exit_codes_of_the_contract(void **state)
{
	static const struct {
		int code, exit;
	} cases[] = {
		{ERR_IO, 1},	     {ERR_NOT_FOUND, 1},       {ERR_SQL, 1},
		{ERR_INVALID, 2},    {ERR_CONFIG, 2},	       {ERR_NO_QUORUM, 4},
		{ERR_NOT_LEADER, 4}, {ERR_UNREACHABLE, 5},     {ERR_CLOSED, 5},
		{ERR_TIMEOUT, 6},    {ERR_UNKNOWN_OUTCOME, 6}, {ERR_REFUSED, 8},
		{ERR_AUTH, 8},
	};
	struct cli cli = {.command = &test_command};
	struct printed c;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct err e = {0};
		err_set(&e, cases[i].code, "so it is");
		printed_begin(&c);
		int code = cli_fail(&cli, &e);
		printed_end(&c);
		assert_int_equal(code, cases[i].exit);
		assert_string_equal(c.err, "drover test: so it is\n");
	}
}

static void completion_offers_what_fits(void **state)
{
	char dir[] = "/tmp/command.XXXXXX", line[256];
	struct printed c;

	(void)state;
	assert_int_equal(run_line(&c, "completion words -- sta"), EXIT_DONE);
	assert_string_equal(c.out, "start\nstatus\n");
	assert_int_equal(run_line(&c, "completion words -- status --wa"), EXIT_DONE);
	assert_string_equal(c.out, "--watch\n");
	assert_int_equal(run_line(&c, "completion words -- stop --y"), EXIT_DONE);
	assert_string_equal(c.out, "--yes\n");
	assert_int_equal(run_line(&c, "completion words -- status -o j"), EXIT_DONE);
	assert_string_equal(c.out, "json\n");
	assert_int_equal(run_line(&c, "completion words -- help lo"), EXIT_DONE);
	assert_string_equal(c.out, "logs\n");
	assert_int_equal(run_line(&c, "completion words -- --ver"), EXIT_DONE);
	assert_string_equal(c.out, "--version\n");

	assert_non_null(mkdtemp(dir));
	snprintf(line, sizeof line, "init %s/c --nodes 3", dir);
	assert_int_equal(run_line(&c, line), EXIT_DONE);
	snprintf(line, sizeof line, "completion words -- -c %s/c/cluster.ini kill n", dir);
	assert_int_equal(run_line(&c, line), EXIT_DONE);
	assert_string_equal(c.out, "n1\nn2\nn3\n");
	snprintf(line, sizeof line, "rm -r %s", dir);
	assert_int_equal(system(line), 0);
}

static void the_installed_completion_script_is_the_programs_own(void **state)
{
	struct printed c;
	char text[4096];
	FILE *f = fopen("scripts/completion/drover.bash", "r");

	(void)state;
	assert_non_null(f);
	text[fread(text, 1, sizeof text - 1, f)] = 0;
	fclose(f);
	assert_int_equal(run_line(&c, "completion bash"), EXIT_DONE);
	assert_string_equal(text, c.out);
	assert_int_equal(run_line(&c, "completion csh"), EXIT_USAGE);
}

static int set_up(void **state)
{
	(void)state;
	/* The person's own settings must not decide what is tested. */
	unsetenv("DROVER_OUTPUT");
	unsetenv("DROVER_CONFIG");
	setenv("XDG_CONFIG_HOME", "/nowhere", 1);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_and_arguments_are_parsed_in_any_order),
		cmocka_unit_test(flags_not_given_have_their_fallbacks),
		cmocka_unit_test(a_value_that_may_be_left_out_is_found_in_every_form),
		cmocka_unit_test(words_behind_two_dashes_are_arguments),
		cmocka_unit_test(each_slip_has_its_own_message),
		cmocka_unit_test(help_needs_no_arguments),
		cmocka_unit_test(durations_are_understood),
		cmocka_unit_test(every_command_row_is_sound),
		cmocka_unit_test(every_command_has_help_that_names_its_flags),
		cmocka_unit_test(wrong_calls_end_with_2_and_say_what_is_right),
		cmocka_unit_test(wrong_values_in_the_environment_are_told),
		cmocka_unit_test(a_persons_drover_ini_comes_after_the_environment),
		cmocka_unit_test(misspelt_commands_find_the_nearest),
		cmocka_unit_test(questions_are_refused_without_a_terminal),
		cmocka_unit_test(errors_have_the_exit_codes_of_the_contract),
		cmocka_unit_test(completion_offers_what_fits),
		cmocka_unit_test(the_installed_completion_script_is_the_programs_own),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
