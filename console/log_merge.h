/* The nodes' log files as one stream in time order, for `logs`.
 *
 * A source is one node's file. Lines begin with their time ("2026-01-31T23:59:59.123Z info  raft
 * text"); lines without one (what a crash prints) belong to the line before them. Files are read
 * forward with one buffer each; a line longer than that buffer is cut. What is left of an
 * unfinished last line waits for its end while following. */
#ifndef DROVER_CONSOLE_LOG_MERGE_H
#define DROVER_CONSOLE_LOG_MERGE_H

#include "common/buf.h"
#include "common/conf.h"

#include <regex.h>

struct log_filter {
	enum log_level least;
	char since[32];	      /* a time or its beginning; "" for all */
	const regex_t *match; /* NULL: all */
};

struct log_record {
	const struct conf_node *node;
	char when[25];	      /* "" before the first line with a time */
	enum log_level level; /* of the line it belongs to */
	bool continued;	      /* a line without a time of its own */
	const char *line;     /* whole, without newline */
	const char *part;     /* "raft"; points into line, part_n bytes; "" when continued */
	size_t part_n;
	const char *text; /* behind time, level and part */
};

struct log_merge;
struct log_merge *log_merge_new(const struct log_filter *filter);
void log_merge_free(struct log_merge *m);
/* Takes the file. last_lines: start so far before the end that this many lines come; UINT64_MAX: at
 * the beginning. */
int log_merge_add(struct log_merge *m, const struct conf_node *node, int take_fd,
		  uint64_t last_lines, struct err *e);
/* The next record of all, valid until the next call; false: the files' ends. `following`: a last
 * line without newline is not finished and stays. */
bool log_merge_next(struct log_merge *m, bool following, struct log_record *ret_record);
/* The node's file was cut or replaced since it was opened: take this one, from its beginning. */
bool log_merge_stale(struct log_merge *m, const struct conf_node *node, const char *path);

/* "10m" (ago), "2026-01-31", "2026-01-31T10:00", "10:30" (today, UTC) -> a beginning of a time. */
int log_since_parse(const char *text, uint64_t now_us, char *ret_since, size_t size, struct err *e);

#endif
