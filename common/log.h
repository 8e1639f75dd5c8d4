/* The agent's log lines, for people and for `drover logs`.
 *
 * One line an event: "2026-01-31T23:59:59.123Z info  raft  group=1 became leader term=3".
 * time, level, part, text. Lines go to one file descriptor with one write each,
 * so lines of several threads never mix; no buffering, nothing is lost when the
 * process dies. Control characters in the text are written as \xNN.
 *
 * Only programs and the agent's node/ and net/ log; libraries return errors.
 * Threads: any, after log_init; log_set_level any time.
 */
#ifndef DROVER_COMMON_LOG_H
#define DROVER_COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* fd stays the caller's. Before the first call lines go to stderr. */
void log_init(int fd, enum log_level least);
void log_set_level(enum log_level least);
bool log_enabled(enum log_level level);
const char *log_level_name(enum log_level level);
/* false for a text that names no level */
bool log_level_parse(const char *text, enum log_level *ret_level);

/* Also hands each line (without newline) to `tap`, e.g. the log feed; called on the logging
 * thread, must not block or log. */
void log_set_tap(void (*tap)(void *ctx, enum log_level level, const char *line), void *ctx);

void log_line(enum log_level level, const char *part, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_debug(part, ...)                                    \
	do {                                                    \
		if (log_enabled(LOG_DEBUG))                     \
			log_line(LOG_DEBUG, part, __VA_ARGS__); \
	} while (0)
#define log_info(part, ...) log_line(LOG_INFO, part, __VA_ARGS__)
#define log_warn(part, ...) log_line(LOG_WARN, part, __VA_ARGS__)
#define log_error(part, ...) log_line(LOG_ERROR, part, __VA_ARGS__)

/* At most one line a second from one place, with the number left out:
 *   static struct log_limit limit;
 *   uint64_t left_out;
 *   if (log_allowed(&limit, &left_out)) log_warn(…); */
struct log_limit {
	uint64_t _Atomic next_ms;
	uint64_t _Atomic skipped;
};
bool log_allowed(struct log_limit *limit, uint64_t *ret_left_out);

#endif
