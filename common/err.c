#include "common/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	const char *meaning;
} rows[] = {{"OK", "no error"},
#define X(name, meaning) {#name, meaning},
	    ERR_TABLE(X)
#undef X
};

int err_set(struct err *e, int code, const char *fmt, ...)
{
	if (e) {
		va_list ap;
		va_start(ap, fmt);
		e->code = code;
		e->sys_errno = 0;
		vsnprintf(e->text, sizeof e->text, fmt, ap);
		va_end(ap);
	}
	return code;
}

int err_sys(struct err *e, int code, int sys_errno, const char *fmt, ...)
{
	if (code == ERR_IO && (sys_errno == ENOSPC || sys_errno == EDQUOT))
		code = ERR_DISK_FULL;
	if (sys_errno == ENOMEM)
		code = ERR_NOMEM;
	if (e) {
		va_list ap;
		char reason[96];
		va_start(ap, fmt);
		e->code = code;
		e->sys_errno = sys_errno;
		vsnprintf(e->text, sizeof e->text, fmt, ap);
		va_end(ap);
		size_t n = strlen(e->text);
		snprintf(e->text + n, sizeof e->text - n, ": %s",
			 strerror_r(sys_errno, reason, sizeof reason));
	}
	return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char inner[ERR_TEXT_MAX];
	va_list ap;

	memcpy(inner, e->text, sizeof inner);
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	size_t n = strlen(e->text);
	snprintf(e->text + n, sizeof e->text - n, ": %s", inner);
	return e->code;
}

const char *err_name(int code)
{
	if (code > 0 || code <= -ERR_COUNT_)
		return "UNKNOWN";
	return rows[-code].name;
}

const char *err_meaning(int code)
{
	if (code > 0 || code <= -ERR_COUNT_)
		return "not one of drover's error codes";
	return rows[-code].meaning;
}
