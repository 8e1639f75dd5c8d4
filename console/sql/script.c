#include "console/sql/script.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <sqlite3.h>
#include <string.h>
#include <strings.h>

int script_read(FILE *f, const char *name, struct buf *ret_text, struct err *e)
{
	struct buf text;
	char part[65536];
	size_t n;
	int rc = 0;

	buf_init(&text, SCRIPT_BYTES_MAX);
	while ((n = fread(part, 1, sizeof part, f)) > 0)
		buf_append(&text, part, n);
	if (ferror(f))
		rc = err_sys(e, ERR_IO, errno, "%s", name);
	else if (!buf_ok(&text))
		rc = err_set(e, ERR_LIMIT, "%s is larger than %u MiB; split it", name,
			     SCRIPT_BYTES_MAX >> 20);
	if (rc) {
		buf_done(&text);
		return rc;
	}
	if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0) {
		memmove(text.data, text.data + 3, text.len - 3);
		buf_cut(&text, text.len - 3);
	}
	*ret_text = text;
	return 0;
}

/* Behind the quoted thing that starts at `at`; the script's end when it is never closed. A doubled
 * quote inside is two quoted things in a row, which comes to the same. */
static size_t skip_quoted(struct slice s, size_t at)
{
	char close = (char)s.p[at] == '[' ? ']' : (char)s.p[at];
	const uint8_t *end = memchr(s.p + at + 1, close, s.n - at - 1);

	return end ? (size_t)(end - s.p) + 1 : s.n;
}

/* Behind the comment at `at`, or `at` itself when there is none. */
static size_t skip_comment(struct slice s, size_t at)
{
	const uint8_t *end;

	if (at + 1 >= s.n)
		return at;
	if (s.p[at] == '-' && s.p[at + 1] == '-') {
		end = memchr(s.p + at, '\n', s.n - at);
		return end ? (size_t)(end - s.p) + 1 : s.n;
	}
	if (s.p[at] != '/' || s.p[at + 1] != '*')
		return at;
	end = s.n - at > 2 ? memmem(s.p + at + 2, s.n - at - 2, "*/", 2) : NULL;
	return end ? (size_t)(end - s.p) + 2 : s.n;
}

static size_t skip_space(struct slice s, size_t at)
{
	for (;;) {
		size_t start = at;

		while (at < s.n && isspace(s.p[at]))
			at++;
		at = skip_comment(s, at);
		if (at == start)
			return at;
	}
}

/* sqlite3_complete wants a string of its own; it reads a NUL inside as the end, and so does SQLite
 * when it is given the statement. */
static int is_complete(struct slice statement, struct buf *copy, bool *ret_complete)
{
	buf_clear(copy);
	buf_append(copy, statement.p, statement.n);
	const char *text = buf_str(copy);
	if (!buf_ok(copy))
		return ERR_NOMEM;
	*ret_complete = sqlite3_complete(text) != 0 || memchr(text, 0, statement.n) != NULL;
	return 0;
}

/* The end of the statement's own characters: without the space and comments behind them. `last` is
 * the end of the last thing that was neither. */
static void set_statement(struct script_statement *st, struct slice script, size_t from,
			  size_t last, bool complete)
{
	st->at = from;
	st->text = (struct slice){script.p + from, last - from};
	st->complete = complete;
}

int script_next(struct slice script, size_t *at, struct script_statement *ret_statement)
{
	struct buf copy;
	size_t from = skip_space(script, *at);
	int rc = 0;

	while (from < script.n && script.p[from] == ';')
		from = skip_space(script, from + 1);
	if (from >= script.n) {
		*at = script.n;
		return 0;
	}
	buf_init(&copy, script.n + 1);
	size_t i = from, last = from;
	bool complete = false;
	while (i < script.n) {
		size_t next = skip_space(script, i);
		if (next != i) {
			i = next;
			continue;
		}
		if (script.p[i] == ';') {
			rc = is_complete((struct slice){script.p + from, i + 1 - from}, &copy,
					 &complete);
			if (rc || complete)
				break;
			last = ++i;
		} else {
			i = memchr("'\"`[", script.p[i], 4) ? skip_quoted(script, i) : i + 1;
			last = i;
		}
	}
	buf_done(&copy);
	if (rc)
		return rc;
	set_statement(ret_statement, script, from, last, complete);
	*at = complete ? i + 1 : script.n;
	return 1;
}

/* The next word in lower case, "" when what comes is none. */
static size_t next_word(struct slice s, size_t at, char *ret_word, size_t size)
{
	size_t n = 0;

	at = skip_space(s, at);
	while (at < s.n && (isalnum(s.p[at]) || s.p[at] == '_')) {
		if (n + 1 < size)
			ret_word[n++] = (char)tolower(s.p[at]);
		at++;
	}
	ret_word[n] = 0;
	return at;
}

enum script_kind script_kind(struct slice statement)
{
	char word[16];
	size_t at = next_word(statement, 0, word, sizeof word);

	if (strcmp(word, "begin") == 0)
		return SCRIPT_BEGIN;
	if (strcmp(word, "commit") == 0 || strcmp(word, "end") == 0)
		return SCRIPT_COMMIT;
	if (strcmp(word, "rollback") != 0)
		return SCRIPT_OTHER;
	at = next_word(statement, at, word, sizeof word);
	if (strcmp(word, "transaction") == 0)
		next_word(statement, at, word, sizeof word);
	return strcmp(word, "to") == 0 ? SCRIPT_OTHER : SCRIPT_ROLLBACK;
}

static bool starts_character(uint8_t byte)
{
	return (byte & 0xc0) != 0x80;
}

void script_place(struct slice script, size_t at, unsigned *ret_line, unsigned *ret_column)
{
	unsigned line = 1, column = 1;

	assert(at <= script.n);
	for (size_t i = 0; i < at; i++) {
		if (script.p[i] == '\n') {
			line++;
			column = 1;
		} else if (starts_character(script.p[i])) {
			column++;
		}
	}
	*ret_line = line;
	*ret_column = column;
}

struct slice script_line(struct slice script, size_t at, size_t *ret_at_in_line)
{
	assert(at <= script.n);
	const uint8_t *before = at ? memrchr(script.p, '\n', at) : NULL;
	size_t from = before ? (size_t)(before - script.p) + 1 : 0;
	const uint8_t *end = at < script.n ? memchr(script.p + at, '\n', script.n - at) : NULL;
	size_t to = end ? (size_t)(end - script.p) : script.n;

	if (to > from && script.p[to - 1] == '\r' && to - 1 >= at)
		to--;
	*ret_at_in_line = at - from;
	return (struct slice){script.p + from, to - from};
}
