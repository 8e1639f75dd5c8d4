#include "common/rpc/pending.h"

#include <assert.h>
#include <stdlib.h>

#define BUCKETS_START 64
#define SPARE_MAX 1024

void pending_init(struct pending_table *t)
{
	*t = (struct pending_table){0};
}

void pending_done(struct pending_table *t)
{
	assert(t->n == 0);
	while (t->spare) {
		struct pending *p = t->spare;
		t->spare = p->next;
		free(p);
	}
	free(t->buckets);
}

struct pending *pending_alloc(struct pending_table *t)
{
	struct pending *p = t->spare;

	if (!p)
		return malloc(sizeof *p);
	t->spare = p->next;
	t->spare_n--;
	return p;
}

void pending_release(struct pending_table *t, struct pending *p)
{
	if (t->spare_n >= SPARE_MAX) {
		free(p);
		return;
	}
	p->next = t->spare;
	t->spare = p;
	t->spare_n++;
}

static bool grow(struct pending_table *t)
{
	size_t n = t->buckets_n ? t->buckets_n * 2 : BUCKETS_START;
	struct pending **buckets = calloc(n, sizeof(struct pending *));

	if (!buckets)
		return t->buckets_n > 0;
	for (size_t i = 0; i < t->buckets_n; i++) {
		while (t->buckets[i]) {
			struct pending *p = t->buckets[i];
			t->buckets[i] = p->next;
			p->next = buckets[p->id & (n - 1)];
			buckets[p->id & (n - 1)] = p;
		}
	}
	free(t->buckets);
	t->buckets = buckets;
	t->buckets_n = n;
	return true;
}

bool pending_put(struct pending_table *t, struct pending *p)
{
	if (t->n >= PENDING_MAX || (t->n >= t->buckets_n && !grow(t)))
		return false;
	/* Ids count up, so their low bits spread well. */
	struct pending **at = &t->buckets[p->id & (t->buckets_n - 1)];
	p->next = *at;
	*at = p;
	t->n++;
	return true;
}

struct pending *pending_take(struct pending_table *t, uint64_t id)
{
	if (t->buckets_n == 0)
		return NULL;
	struct pending **at = &t->buckets[id & (t->buckets_n - 1)];
	while (*at && (*at)->id != id)
		at = &(*at)->next;
	struct pending *p = *at;
	if (p) {
		*at = p->next;
		t->n--;
	}
	return p;
}

struct pending *pending_take_due(struct pending_table *t, uint64_t now_us, uint64_t *ret_next_us)
{
	struct pending *due = NULL;
	uint64_t next_us = UINT64_MAX;

	for (size_t i = 0; i < t->buckets_n; i++) {
		for (struct pending **at = &t->buckets[i]; *at;) {
			struct pending *p = *at;
			if (p->due_us <= now_us) {
				*at = p->next;
				p->next = due;
				due = p;
				t->n--;
				continue;
			}
			if (p->due_us < next_us)
				next_us = p->due_us;
			at = &p->next;
		}
	}
	*ret_next_us = next_us;
	return due;
}
