#include "common/log.h"

#include "common/clock.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static atomic_int log_fd = STDERR_FILENO;
static atomic_int log_least = LOG_INFO;
static void (*_Atomic log_tap)(void *ctx, enum log_level level, const char *line);
static void *_Atomic log_tap_ctx;

void log_init(int fd, enum log_level least)
{
	atomic_store(&log_fd, fd);
	atomic_store(&log_least, (int)least);
}

void log_set_level(enum log_level least)
{
	atomic_store(&log_least, (int)least);
}

bool log_enabled(enum log_level level)
{
	return (int)level >= atomic_load_explicit(&log_least, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

bool log_level_parse(const char *text, enum log_level *ret_level)
{
	for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*ret_level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

void log_set_tap(void (*tap)(void *ctx, enum log_level level, const char *line), void *ctx)
{
	atomic_store(&log_tap_ctx, ctx);
	atomic_store(&log_tap, tap);
}

/* Copies text, control characters made visible; returns the bytes written, < room. */
static size_t put_visible(char *to, size_t room, const char *text)
{
	size_t n = 0;

	for (; *text && n + 5 < room; text++) {
		unsigned char c = (unsigned char)*text;
		if (c < 0x20 || c == 0x7f)
			n += (size_t)snprintf(to + n, room - n, "\\x%02x", c);
		else
			to[n++] = (char)c;
	}
	to[n] = 0;
	return n;
}

void log_line(enum log_level level, const char *part, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES / 2], line[LINE_MAX_BYTES], when[25];
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	clock_format(clock_wall_us(), when);
	size_t n = (size_t)snprintf(line, sizeof line, "%s %-5s %-5s ", when, level_names[level],
				    part);
	n += put_visible(line + n, sizeof line - n - 1, text);

	void (*tap)(void *, enum log_level, const char *) = atomic_load(&log_tap);
	if (tap)
		tap(atomic_load(&log_tap_ctx), level, line);
	line[n++] = '\n';
	/* A log that cannot be written has nowhere to complain to. */
	if (write(atomic_load(&log_fd), line, n) < 0)
		return;
}

bool log_allowed(struct log_limit *limit, uint64_t *ret_left_out)
{
	uint64_t now = clock_mono_ms();
	uint64_t next = atomic_load(&limit->next_ms);

	if (now < next || !atomic_compare_exchange_strong(&limit->next_ms, &next, now + 1000)) {
		atomic_fetch_add(&limit->skipped, 1);
		return false;
	}
	*ret_left_out = atomic_exchange(&limit->skipped, 0);
	return true;
}
