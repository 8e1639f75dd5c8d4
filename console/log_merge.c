#include "console/log_merge.h"

#include "common/clock.h"
#include "console/command.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES 65536
#define LINE_BYTES_MAX (CHUNK_BYTES - 1)
#define WHEN_BYTES 24

struct source {
	const struct conf_node *node;
	int fd;
	off_t offset; /* read so far */
	char data[CHUNK_BYTES + 1];
	size_t at, end; /* not yet consumed */
	bool skipping;	/* the rest of a line that was cut */
	char when[WHEN_BYTES + 1];
	enum log_level level;
	bool has_head;
	struct log_record head;
};

struct log_merge {
	struct log_filter filter;
	size_t n;
	struct source *sources[CONF_NODES_MAX];
	struct source *last; /* whose record came last */
};

struct log_merge *log_merge_new(const struct log_filter *filter)
{
	struct log_merge *m = calloc(1, sizeof *m);

	if (m)
		m->filter = *filter;
	return m;
}

void log_merge_free(struct log_merge *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++) {
		close(m->sources[i]->fd);
		free(m->sources[i]);
	}
	free(m);
}

/* Where the last n lines of the file begin. */
static off_t offset_of_last(int fd, uint64_t n)
{
	char chunk[CHUNK_BYTES];
	off_t end = lseek(fd, 0, SEEK_END), at = end;
	uint64_t newlines = 0;

	if (n == 0 || end <= 0)
		return n == 0 && end > 0 ? end : 0;
	while (at > 0) {
		size_t want = at < CHUNK_BYTES ? (size_t)at : CHUNK_BYTES;
		if (pread(fd, chunk, want, at - (off_t)want) != (ssize_t)want)
			return 0;
		for (size_t i = want; i > 0; i--) {
			off_t place = at - (off_t)want + (off_t)i - 1;
			/* The newline that ends the file ends the last line; it separates nothing.
			 */
			if (chunk[i - 1] == '\n' && place != end - 1 && ++newlines == n)
				return place + 1;
		}
		at -= (off_t)want;
	}
	return 0;
}

int log_merge_add(struct log_merge *m, const struct conf_node *node, int take_fd,
		  uint64_t last_lines, struct err *e)
{
	struct source *s = m->n < CONF_NODES_MAX ? malloc(sizeof *s) : NULL;

	if (!s) {
		close(take_fd);
		return err_set(e, ERR_NOMEM, "no memory to read the log of %s", node->name);
	}
	s->node = node;
	s->fd = take_fd;
	s->offset = last_lines == UINT64_MAX ? 0 : offset_of_last(take_fd, last_lines);
	s->at = s->end = 0;
	s->skipping = false;
	s->when[0] = 0;
	s->level = LOG_INFO;
	s->has_head = false;
	m->sources[m->n++] = s;
	return 0;
}

/* Reads on behind what is still to be consumed; false: nothing new. */
static bool fill(struct source *s)
{
	ssize_t n;

	memmove(s->data, s->data + s->at, s->end - s->at);
	s->end -= s->at;
	s->at = 0;
	do {
		n = pread(s->fd, s->data + s->end, CHUNK_BYTES - s->end, s->offset);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return false;
	s->end += (size_t)n;
	s->offset += n;
	return true;
}

/* The next line, NUL-terminated in place; NULL: none yet. */
static char *next_line(struct source *s, bool following)
{
	for (;;) {
		char *start = s->data + s->at;
		char *newline = memchr(start, '\n', s->end - s->at);
		bool full = !newline && s->end - s->at >= LINE_BYTES_MAX;
		if (newline || full) {
			bool skip = s->skipping;
			size_t n = newline ? (size_t)(newline - start) : s->end - s->at;
			start[n] = 0;
			s->at += newline ? n + 1 : n;
			s->skipping = full;
			if (skip)
				continue;
			return start;
		}
		if (fill(s))
			continue;
		if (following || s->at == s->end || s->skipping)
			return NULL;
		s->data[s->end] = 0;
		start = s->data + s->at;
		s->at = s->end;
		return start;
	}
}

/* "2026-01-31T23:59:59.123Z " */
static bool begins_with_time(const char *line)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ ";

	for (size_t i = 0; form[i]; i++) {
		if (form[i] == 'd' ? !isdigit((unsigned char)line[i]) : line[i] != form[i])
			return false;
	}
	return true;
}

static void split(struct source *s, const char *line, struct log_record *ret_record)
{
	struct log_record r = {.node = s->node, .line = line, .part = "", .text = line};
	char level[8];

	r.continued = !begins_with_time(line);
	if (!r.continued) {
		const char *at = line + WHEN_BYTES + 1;
		size_t n = strcspn(at, " ");
		memcpy(s->when, line, WHEN_BYTES);
		s->when[WHEN_BYTES] = 0;
		snprintf(level, sizeof level, "%.*s", (int)(n < 7 ? n : 7), at);
		if (log_level_parse(level, &s->level)) {
			at += n + strspn(at + n, " ");
			r.part = at;
			r.part_n = strcspn(at, " ");
			at += r.part_n + strspn(at + r.part_n, " ");
			r.text = at;
		} else {
			s->level = LOG_INFO;
			r.text = at;
		}
	}
	r.level = s->level;
	memcpy(r.when, s->when, sizeof r.when);
	*ret_record = r;
}

static bool wanted(const struct log_filter *f, const struct log_record *r)
{
	if (r->level < f->least)
		return false;
	if (f->since[0] && strncmp(r->when, f->since, strlen(f->since)) < 0)
		return false;
	return !f->match || regexec(f->match, r->line, 0, NULL, 0) == 0;
}

static void load_head(struct log_merge *m, struct source *s, bool following)
{
	while (!s->has_head) {
		char *line = next_line(s, following);
		if (!line)
			return;
		split(s, line, &s->head);
		s->has_head = wanted(&m->filter, &s->head);
	}
}

bool log_merge_next(struct log_merge *m, bool following, struct log_record *ret_record)
{
	struct source *first = NULL;

	for (size_t i = 0; i < m->n; i++) {
		struct source *s = m->sources[i];
		load_head(m, s, following);
		if (!s->has_head)
			continue;
		/* What belongs to the line before must not be torn from it. */
		if (s == m->last && s->head.continued) {
			first = s;
			break;
		}
		if (!first || strcmp(s->head.when, first->head.when) < 0)
			first = s;
	}
	if (!first)
		return false;
	*ret_record = first->head;
	first->has_head = false;
	m->last = first;
	return true;
}

bool log_merge_stale(struct log_merge *m, const struct conf_node *node, const char *path)
{
	struct stat now, then;

	for (size_t i = 0; i < m->n; i++) {
		struct source *s = m->sources[i];
		if (s->node != node)
			continue;
		if (stat(path, &now) || fstat(s->fd, &then))
			return false;
		if (now.st_ino == then.st_ino && now.st_dev == then.st_dev &&
		    now.st_size >= s->offset)
			return false;
		close(s->fd);
		free(s);
		m->sources[i] = m->sources[--m->n];
		m->last = NULL;
		return true;
	}
	/* There was none before: there is one now if it can be opened. */
	return access(path, R_OK) == 0;
}

int log_since_parse(const char *text, uint64_t now_us, char *ret_since, size_t size, struct err *e)
{
	static const char date[] = "dddd-dd-ddTdd:dd:dd.ddd", hour[] = "dd:dd:dd.ddd";
	char today[25], start[32];
	uint64_t ms;

	if (duration_parse(text, &ms)) {
		clock_format(now_us > ms * 1000 ? now_us - ms * 1000 : 0, start);
		snprintf(ret_since, size, "%s", start);
		return 0;
	}
	size_t n = strlen(text);
	bool is_hour = n >= 3 && text[2] == ':';
	const char *form = is_hour ? hour : date;
	if (n && text[n - 1] == 'Z')
		n--;
	bool ok = n >= (is_hour ? 5u : 4u) && n <= strlen(form);
	for (size_t i = 0; ok && i < n; i++) {
		char c = text[i] == ' ' ? 'T' : text[i];
		ok = form[i] == 'd' ? isdigit((unsigned char)c) != 0 : form[i] == c;
		start[i] = c;
	}
	if (!ok)
		return err_set(
			e, ERR_INVALID,
			"--since takes a time ago (10m), a time (2026-01-31T23:59) or an hour of "
			"today (23:59), all in UTC, not '%s'",
			text);
	start[n] = 0;
	clock_format(now_us, today);
	if (is_hour)
		snprintf(ret_since, size, "%.11s%s", today, start);
	else
		snprintf(ret_since, size, "%s", start);
	return 0;
}
