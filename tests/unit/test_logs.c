#include "console/log_merge.h"

#include "tests/unit/printed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define T(s) "2026-01-31T10:00:" s "Z "

struct scene {
	char dir[64];
	struct conf_node nodes[2];
	char paths[2][128];
};

static void append(struct scene *s, int i, const char *text)
{
	FILE *f = fopen(s->paths[i], "a");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof *s);
	char dir[] = "/tmp/logs.XXXXXX";

	assert_non_null(mkdtemp(dir));
	memcpy(s->dir, dir, sizeof dir);
	for (int i = 0; i < 2; i++) {
		s->nodes[i].id = (uint32_t)i + 1;
		snprintf(s->nodes[i].name, sizeof s->nodes[i].name, "n%d", i + 1);
		snprintf(s->paths[i], sizeof s->paths[i], "%s/log%d", dir, i + 1);
		append(s, i, "");
	}
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *s = *state;
	char line[128];

	snprintf(line, sizeof line, "rm -r %s", s->dir);
	int rc = system(line);
	free(s);
	return rc;
}

static struct log_merge *merge_of(struct scene *s, const struct log_filter *filter,
				  uint64_t last_lines)
{
	struct log_merge *m = log_merge_new(filter);

	for (int i = 0; i < 2; i++) {
		int fd = open(s->paths[i], O_RDONLY);
		assert_true(fd >= 0);
		assert_int_equal(log_merge_add(m, &s->nodes[i], fd, last_lines, NULL), 0);
	}
	return m;
}

/* "n1:text|n2:text|" of all that comes now. */
static const char *drain(struct log_merge *m, bool following)
{
	static char text[4096];
	struct log_record r;
	size_t n = 0;

	text[0] = 0;
	while (log_merge_next(m, following, &r))
		n += (size_t)snprintf(text + n, sizeof text - n, "%s:%s|", r.node->name, r.text);
	return text;
}

static const struct log_filter everything = {.least = LOG_DEBUG};

static void lines_of_all_nodes_come_in_time_order(void **state)
{
	struct scene *s = *state;

	append(s, 0, T("01.000") "info  raft  a\n" T("03.000") "warn  net   c\n");
	append(s, 1,
	       T("02.000") "info  raft  b\n" T("03.000") "info  raft  d\n" T("04.000") "info  x e");
	struct log_merge *m = merge_of(s, &everything, UINT64_MAX);
	assert_string_equal(drain(m, false), "n1:a|n2:b|n1:c|n2:d|n2:e|");
	log_merge_free(m);
}

static void a_record_is_split_into_its_parts(void **state)
{
	struct scene *s = *state;
	struct log_record r;

	append(s, 0, T("01.123") "warn  raft  group=1 became leader\n");
	struct log_merge *m = merge_of(s, &everything, UINT64_MAX);
	assert_true(log_merge_next(m, false, &r));
	assert_string_equal(r.when, "2026-01-31T10:00:01.123Z");
	assert_int_equal(r.level, LOG_WARN);
	assert_int_equal(r.part_n, 4);
	assert_memory_equal(r.part, "raft", 4);
	assert_string_equal(r.text, "group=1 became leader");
	assert_false(r.continued);
	log_merge_free(m);
}

static void lines_without_a_time_stay_behind_their_line(void **state)
{
	struct scene *s = *state;
	struct log_filter errors = {.least = LOG_ERROR};

	append(s, 0, "before all\n" T("01.000") "error core  crash\n  at one\n  at two\n");
	append(s, 1, T("01.000") "info  raft  b\n" T("01.000") "info  raft  c\n");
	struct log_merge *m = merge_of(s, &everything, UINT64_MAX);
	assert_string_equal(drain(m, false),
			    "n1:before all|n1:crash|n1:  at one|n1:  at two|n2:b|n2:c|");
	log_merge_free(m);
	/* They are as bad as the line they belong to. */
	m = merge_of(s, &errors, UINT64_MAX);
	assert_string_equal(drain(m, false), "n1:crash|n1:  at one|n1:  at two|");
	log_merge_free(m);
}

static void filters_leave_out_what_does_not_fit(void **state)
{
	struct scene *s = *state;
	struct log_filter since = {.least = LOG_DEBUG, .since = "2026-01-31T10:00:03"};
	struct log_filter match = {.least = LOG_DEBUG};
	regex_t re;

	append(s, 0, T("01.000") "info  raft  apple\n" T("03.000") "debug net   pear\n");
	append(s, 1, T("02.999") "info  raft  plum\n" T("09.000") "info  raft  apple pie\n");
	struct log_merge *m = merge_of(s, &since, UINT64_MAX);
	assert_string_equal(drain(m, false), "n1:pear|n2:apple pie|");
	log_merge_free(m);
	assert_int_equal(regcomp(&re, "ap+le$|pe", REG_EXTENDED | REG_NOSUB), 0);
	match.match = &re;
	m = merge_of(s, &match, UINT64_MAX);
	assert_string_equal(drain(m, false), "n1:apple|n1:pear|");
	log_merge_free(m);
	regfree(&re);
}

static void only_the_last_lines_are_read_when_asked(void **state)
{
	struct scene *s = *state;
	char line[64];

	/* Enough to need several reads from the end. */
	for (int i = 0; i < 5000; i++) {
		snprintf(line, sizeof line, T("01.%03d") "info  raft  line %d\n", i / 10, i);
		append(s, 0, line);
	}
	append(s, 1, T("01.000") "info  raft  a\n" T("01.001") "info  raft  unfinished");
	struct log_merge *m = merge_of(s, &everything, 2);
	assert_string_equal(drain(m, false), "n2:a|n2:unfinished|n1:line 4998|n1:line 4999|");
	log_merge_free(m);
	m = merge_of(s, &everything, 0);
	assert_string_equal(drain(m, false), "");
	log_merge_free(m);
	m = merge_of(s, &everything, 4000);
	struct log_record r;
	unsigned n = 0;
	while (log_merge_next(m, false, &r))
		n++;
	assert_int_equal(n, 4002);
	log_merge_free(m);
}

static void following_waits_for_whole_lines(void **state)
{
	struct scene *s = *state;

	append(s, 0, T("01.000") "info  raft  a\n" T("02.000") "info  ra");
	struct log_merge *m = merge_of(s, &everything, UINT64_MAX);
	assert_string_equal(drain(m, true), "n1:a|");
	assert_string_equal(drain(m, true), "");
	append(s, 0, "ft  b\n");
	append(s, 1, T("03.000") "info  raft  c\n");
	assert_string_equal(drain(m, true), "n1:b|n2:c|");
	log_merge_free(m);
}

static void a_replaced_or_cut_log_is_noticed(void **state)
{
	struct scene *s = *state;
	char other[160];

	append(s, 0, T("01.000") "info  raft  a long line before\n");
	struct log_merge *m = merge_of(s, &everything, UINT64_MAX);
	assert_string_equal(drain(m, true), "n1:a long line before|");
	assert_false(log_merge_stale(m, &s->nodes[0], s->paths[0]));
	assert_int_equal(truncate(s->paths[0], 0), 0);
	assert_true(log_merge_stale(m, &s->nodes[0], s->paths[0]));
	int fd = open(s->paths[0], O_RDONLY);
	assert_int_equal(log_merge_add(m, &s->nodes[0], fd, UINT64_MAX, NULL), 0);
	append(s, 0, T("02.000") "info  raft  new\n");
	assert_string_equal(drain(m, true), "n1:new|");
	/* Replaced by another file, even by a longer one. */
	snprintf(other, sizeof other, "%s/other", s->dir);
	assert_int_equal(rename(s->paths[0], other), 0);
	append(s, 0, T("03.000") "info  raft  a still much longer line than that one\n");
	assert_true(log_merge_stale(m, &s->nodes[0], s->paths[0]));
	/* Gone is not new. */
	unlink(s->paths[0]);
	assert_false(log_merge_stale(m, &s->nodes[0], s->paths[0]));
	log_merge_free(m);
}

static void a_line_longer_than_the_buffer_is_cut(void **state)
{
	struct scene *s = *state;
	char *big = malloc(200001);
	struct log_record r;

	memset(big, 'x', 200000);
	big[200000] = 0;
	append(s, 0, T("01.000") "info  raft  ");
	append(s, 0, big);
	append(s, 0, "\n" T("02.000") "info  raft  after\n");
	struct log_merge *m = merge_of(s, &everything, UINT64_MAX);
	assert_true(log_merge_next(m, false, &r));
	assert_true(strlen(r.line) > 60000 && strlen(r.line) < 70000);
	assert_string_equal(drain(m, false), "n1:after|");
	log_merge_free(m);
	free(big);
}

/* Whatever is in a file, every line comes once and in one piece. */
static void random_files_are_read_whole(void **state)
{
	struct scene *s = *state;
	const char *given = getenv("DROVER_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
	size_t lines = 0, got = 0;
	struct log_record r;

	print_message("seed %u\n", seed);
	srand(seed);
	FILE *f = fopen(s->paths[0], "w");
	for (int i = 0; i < 3000; i++) {
		int n = rand() % (rand() % 50 ? 80 : 20000);
		if (rand() % 3)
			fputs(T("01.000") "info  raft  ", f);
		for (int k = 0; k < n; k++)
			fputc(rand() % 255 + 1 == '\n' ? 'x' : 'a' + rand() % 26, f);
		fputc('\n', f);
		lines++;
	}
	fclose(f);
	struct log_merge *m = merge_of(s, &everything, UINT64_MAX);
	while (log_merge_next(m, false, &r))
		got++;
	assert_int_equal(got, lines);
	log_merge_free(m);
}

static void times_are_understood(void **state)
{
	static const struct {
		const char *text, *since;
	} good[] = {
		{"10m", "2026-01-31T09:50:00.000Z"},
		{"1h30m", "2026-01-31T08:30:00.000Z"},
		{"2026-01-31", "2026-01-31"},
		{"2026-01-31T09:30", "2026-01-31T09:30"},
		{"2026-01-31 09:30:15", "2026-01-31T09:30:15"},
		{"09:30", "2026-01-31T09:30"},
		{"2026-01-31T09:30:15.123Z", "2026-01-31T09:30:15.123"},
	};
	static const char *const bad[] = {"",		"yesterday",
					  "2026/01/31", "2026-01-31T09-30",
					  "9:30",	"2026-01-31T09:30:15.1234",
					  "20:3x"};
	uint64_t now_us = UINT64_C(1769853600000000); /* 2026-01-31T10:00:00Z */
	char since[32];
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		if (log_since_parse(good[i].text, now_us, since, sizeof since, &e))
			fail_msg("%s", e.text);
		assert_string_equal(since, good[i].since);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(log_since_parse(bad[i], now_us, since, sizeof since, &e),
				 ERR_INVALID);
}

static void the_command_shows_the_last_lines_of_dead_nodes(void **state)
{
	struct scene *s = *state;
	struct printed c;
	char line[256], path[128];

	snprintf(line, sizeof line, "init %s/c", s->dir);
	assert_int_equal(run_line(&c, line), 0);
	snprintf(line, sizeof line, "-c %s/c/cluster.ini logs", s->dir);
	assert_int_equal(run_line(&c, line), EXIT_FAILED);
	assert_non_null(strstr(c.err, "there is no log to show"));
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/c/node%d/droverd.log", s->dir, i + 1);
		FILE *f = fopen(path, "w");
		fprintf(f, T("0%d.000") "info  raft  first of %d\n", i + 1, i + 1);
		fprintf(f, T("0%d.000") "warn  raft  second\x1b[31m of %d\n", i + 5, i + 1);
		fclose(f);
	}
	snprintf(line, sizeof line, "-c %s/c/cluster.ini logs -n 3", s->dir);
	assert_int_equal(run_line(&c, line), 0);
	assert_string_equal(
		c.out,
		"n2  " T("02.000") "info  raft  first of 2\n"
				   "n1  " T("05.000") "warn  raft  second\\x1b[31m of 1\n"
						      "n2  " T("06.000") "warn  raft  "
									 "second\\x1b[31m of 2\n");
	assert_non_null(strstr(c.err, "n3 has no log yet"));
	snprintf(line, sizeof line, "-c %s/c/cluster.ini logs n1 --level warn -o json", s->dir);
	assert_int_equal(run_line(&c, line), 0);
	assert_string_equal(c.out,
			    "{\"node\":\"n1\",\"time\":\"2026-01-31T10:00:05.000Z\",\"level\":"
			    "\"warn\",\"part\":\"raft\",\"text\":\"second\\u001B[31m of 1\"}\n");
	snprintf(line, sizeof line, "-c %s/c/cluster.ini logs --grep (", s->dir);
	assert_int_equal(run_line(&c, line), EXIT_USAGE);
	snprintf(line, sizeof line, "-c %s/c/cluster.ini logs --level loud", s->dir);
	assert_int_equal(run_line(&c, line), EXIT_USAGE);
	snprintf(line, sizeof line, "-c %s/c/cluster.ini logs -n -1", s->dir);
	assert_int_equal(run_line(&c, line), EXIT_USAGE);
	snprintf(line, sizeof line, "-c %s/c/cluster.ini logs --since never", s->dir);
	assert_int_equal(run_line(&c, line), EXIT_USAGE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(lines_of_all_nodes_come_in_time_order),
		TEST(a_record_is_split_into_its_parts),
		TEST(lines_without_a_time_stay_behind_their_line),
		TEST(filters_leave_out_what_does_not_fit),
		TEST(only_the_last_lines_are_read_when_asked),
		TEST(following_waits_for_whole_lines),
		TEST(a_replaced_or_cut_log_is_noticed),
		TEST(a_line_longer_than_the_buffer_is_cut),
		TEST(random_files_are_read_whole),
		TEST(times_are_understood),
		TEST(the_command_shows_the_last_lines_of_dead_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
