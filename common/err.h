/* Errors: what every fallible function of drover returns.
 *
 * A function that can fail returns 0 or one of the negative codes below and
 * takes, as its last parameter, a `struct err *e` that it fills on failure and
 * leaves alone on success. `e` may be NULL where the caller only wants the
 * code. The text is one sentence without a trailing period or newline, written
 * for the person who has to act on it: what happened, where, what to do.
 *
 * Libraries return errors; only the top of a program logs or prints them.
 * Threads: a `struct err` belongs to its caller; err_name() is pure.
 */
#ifndef DROVER_COMMON_ERR_H
#define DROVER_COMMON_ERR_H

/* name, what it means to the caller */
#define ERR_TABLE(X)                                                                         \
	X(NOMEM, "out of memory")                                                            \
	X(IO, "the operating system refused an I/O operation")                               \
	X(DISK_FULL, "no space left for the log or the data")                                \
	X(CORRUPT, "stored data fails its checks")                                           \
	X(INVALID, "the input is not of the form asked for")                                 \
	X(LIMIT, "a configured bound would be passed")                                       \
	X(BUSY, "a queue is full; try again")                                                \
	X(NOT_FOUND, "no such thing")                                                        \
	X(EXISTS, "it exists already")                                                       \
	X(CONFIG, "a configuration file is wrong")                                           \
	X(SQL, "SQLite rejected or failed a statement")                                      \
	X(UNSUPPORTED, "drover does not offer this")                                         \
	X(CONFLICT, "another writer was there first; retry the transaction")                 \
	X(NOT_LEADER, "this node does not lead the group; the answer may name who does")     \
	X(UNKNOWN_OUTCOME, "it may or may not have been done; retry with the same sequence") \
	X(NO_QUORUM, "no majority of the voters answers")                                    \
	X(TIMEOUT, "the deadline passed")                                                    \
	X(CLOSED, "the other end is gone")                                                   \
	X(UNREACHABLE, "no connection could be made")                                        \
	X(AUTH, "the peer did not prove who it is, or may not do this")                      \
	X(PROTOCOL, "the peer sent something that is not drover's protocol")                 \
	X(REFUSED, "refused; the text says why")                                             \
	X(STALE, "this node's data is older than the caller has already seen")

enum err_code {
	ERR_OK_ = 0,
#define X(name, meaning) ERR_PLUS_##name,
	ERR_TABLE(X)
#undef X
		ERR_COUNT_
};

enum {
#define X(name, meaning) ERR_##name = -ERR_PLUS_##name,
	ERR_TABLE(X)
#undef X
};

#define ERR_TEXT_MAX 512

struct err {
	int code;      /* ERR_*, 0 while unset */
	int sys_errno; /* errno behind it, 0 if none */
	char text[ERR_TEXT_MAX];
};

/* Fills *e (if not NULL) and returns `code`, so that `return err_set(e, …)` reads well. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same with errno's text appended after ": ". ENOSPC and EDQUOT turn the code ERR_IO into
 * ERR_DISK_FULL, ENOMEM into ERR_NOMEM. */
int err_sys(struct err *e, int code, int sys_errno, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Puts "context: " in front of the text of *e; returns e->code. e must be set. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "NOT_LEADER" for ERR_NOT_LEADER; "OK" for 0; "UNKNOWN" for what is no code. */
const char *err_name(int code);

/* The table's one-line meaning. */
const char *err_meaning(int code);

#endif
