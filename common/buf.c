#include "common/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slice slice_of(const void *p, size_t n)
{
	return (struct slice){p, n};
}

struct slice slice_str(const char *s)
{
	return (struct slice){(const uint8_t *)s, strlen(s)};
}

bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

void buf_init(struct buf *b, size_t max_bytes)
{
	*b = (struct buf){.max = max_bytes};
}

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf){.max = b->max};
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
	if (b->failed)
		return NULL;
	if (n <= b->cap - b->len)
		return b->data + b->len;
	if (n > b->max - b->len) {
		b->failed = true;
		return NULL;
	}
	size_t want = b->len + n;
	size_t cap = b->cap < 128 ? 128 : b->cap + b->cap / 2;
	if (cap < want)
		cap = want;
	if (cap > b->max)
		cap = b->max;
	uint8_t *data = realloc(b->data, cap);
	if (!data) {
		b->failed = true;
		return NULL;
	}
	b->data = data;
	b->cap = cap;
	return b->data + b->len;
}

void buf_append(struct buf *b, const void *p, size_t n)
{
	uint8_t *to = buf_reserve(b, n);

	if (to && n) {
		memcpy(to, p, n);
		b->len += n;
	}
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;

	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	char *to = n < 0 ? NULL : (char *)buf_reserve(b, (size_t)n + 1);
	if (to) {
		vsnprintf(to, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(b, fmt, ap);
	va_end(ap);
}

void buf_cut(struct buf *b, size_t len)
{
	assert(len <= b->len);
	b->len = len;
}

const char *buf_str(struct buf *b)
{
	uint8_t *end = buf_reserve(b, 1);

	if (!end)
		return "";
	*end = 0;
	return (const char *)b->data;
}

struct blob *blob_new(const void *p, uint32_t size_bytes)
{
	struct blob *b = malloc(sizeof *b + size_bytes);

	if (!b)
		return NULL;
	atomic_init(&b->refs, 1);
	b->size_bytes = size_bytes;
	if (p && size_bytes)
		memcpy(b->data, p, size_bytes);
	return b;
}

struct blob *blob_ref(struct blob *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void blob_unref(struct blob *b)
{
	if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
		free(b);
}
