#include "console/load/ledger.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A row of a write whose outcome is unknown. */
struct unknown_row {
	uint64_t key;
	uint32_t n;
	uint32_t write;
	uint32_t found; /* what the check found at key */
};

struct unknown_write {
	uint32_t worker;
	uint32_t n;
	bool present; /* some row shows that it was done */
	bool absent;  /* some row shows that it was not */
};

struct hot {
	_Atomic uint64_t sent;
	_Atomic uint64_t acknowledged;
	uint64_t unknown;
	bool found;
};

struct ledger {
	uint64_t keys_n;
	uint32_t hot_n;
	_Atomic uint32_t *keys; /* number of the last acknowledged write, 0: none */
	struct hot *hot;
	pthread_mutex_t lock; /* of what is unknown */
	struct unknown_row *rows;
	size_t rows_n;
	size_t rows_max;
	struct unknown_write *writes;
	size_t writes_n;
	size_t writes_max;
	bool overflown;
	/* While checking: */
	struct violations *violations;
	uint64_t next_key;
};

void violations_add(struct violations *v, const char *fmt, ...)
{
	va_list ap;

	if (v->count < VIOLATIONS_SHOWN) {
		va_start(ap, fmt);
		vsnprintf(v->texts[v->count], sizeof v->texts[0], fmt, ap);
		va_end(ap);
	}
	v->count++;
}

int ledger_new(struct ledger **ret_ledger, uint64_t keys, uint32_t hot_keys, struct err *e)
{
	struct ledger *l = calloc(1, sizeof *l);

	assert(keys <= LEDGER_KEYS_MAX);
	if (l) {
		pthread_mutex_init(&l->lock, NULL);
		l->keys_n = keys;
		l->hot_n = hot_keys;
		l->keys = calloc(keys + 1, sizeof *l->keys);
		l->hot = calloc(hot_keys + 1, sizeof *l->hot);
	}
	if (!l || !l->keys || !l->hot) {
		ledger_free(l);
		return err_set(e, ERR_NOMEM, "no memory to keep account of %" PRIu64 " keys", keys);
	}
	*ret_ledger = l;
	return 0;
}

void ledger_free(struct ledger *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l->keys);
	free(l->hot);
	free(l->rows);
	free(l->writes);
	free(l);
}

void ledger_sent(struct ledger *l, const struct ledger_write *w)
{
	if (w->hot >= 0)
		atomic_fetch_add(&l->hot[w->hot].sent, 1);
}

void ledger_acknowledged(struct ledger *l, const struct ledger_write *w)
{
	if (w->hot >= 0)
		atomic_fetch_add(&l->hot[w->hot].acknowledged, 1);
	for (uint32_t i = 0; i < w->keys_n; i++) {
		assert(w->keys[i] < l->keys_n);
		atomic_store_explicit(&l->keys[w->keys[i]], w->n, memory_order_release);
	}
}

/* Room for `more` elements; false without memory. */
static bool grow(void **array, size_t *max, size_t n, size_t more, size_t size)
{
	size_t wanted = *max ? *max : 64;

	while (wanted < n + more)
		wanted *= 2;
	if (wanted == *max)
		return true;
	void *bigger = realloc(*array, wanted * size);
	if (!bigger)
		return false;
	*array = bigger;
	*max = wanted;
	return true;
}

static bool unknown_add(struct ledger *l, const struct ledger_write *w)
{
	if (l->rows_n + w->keys_n > LEDGER_UNKNOWN_MAX || l->writes_n >= LEDGER_UNKNOWN_MAX)
		return false;
	if (!grow((void **)&l->rows, &l->rows_max, l->rows_n, w->keys_n, sizeof *l->rows) ||
	    !grow((void **)&l->writes, &l->writes_max, l->writes_n, 1, sizeof *l->writes))
		return false;
	for (uint32_t i = 0; i < w->keys_n; i++)
		l->rows[l->rows_n++] = (struct unknown_row){
			.key = w->keys[i], .n = w->n, .write = (uint32_t)l->writes_n};
	l->writes[l->writes_n++] = (struct unknown_write){.worker = w->worker, .n = w->n};
	return true;
}

int ledger_unknown(struct ledger *l, const struct ledger_write *w, struct err *e)
{
	bool ok;

	pthread_mutex_lock(&l->lock);
	if (w->hot >= 0)
		l->hot[w->hot].unknown++;
	ok = unknown_add(l, w);
	l->overflown |= !ok;
	pthread_mutex_unlock(&l->lock);
	if (!ok)
		return err_set(e, ERR_LIMIT,
			       "more than %d rows have an unknown outcome; the run ends here and "
			       "cannot be checked",
			       LEDGER_UNKNOWN_MAX);
	return 0;
}

uint32_t ledger_key(const struct ledger *l, uint64_t key)
{
	assert(key < l->keys_n);
	return atomic_load_explicit(&l->keys[key], memory_order_acquire);
}

uint64_t ledger_hot(const struct ledger *l, uint32_t hot)
{
	return atomic_load(&l->hot[hot].acknowledged);
}

uint64_t ledger_hot_sent(const struct ledger *l, uint32_t hot)
{
	return atomic_load(&l->hot[hot].sent);
}

static int by_key_and_n(const void *a, const void *b)
{
	const struct unknown_row *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->n < y->n ? -1 : x->n > y->n;
}

int ledger_check_begin(struct ledger *l, struct violations *v, struct err *e)
{
	if (l->overflown)
		return err_set(e, ERR_LIMIT, "more than %d rows have an unknown outcome",
			       LEDGER_UNKNOWN_MAX);
	l->violations = v;
	l->next_key = 0;
	if (l->rows_n)
		qsort(l->rows, l->rows_n, sizeof *l->rows, by_key_and_n);
	for (uint32_t i = 0; i < l->hot_n; i++)
		l->hot[i].found = false;
	return 0;
}

/* The first unknown row at `key`, or where it would be. */
static size_t first_unknown(const struct ledger *l, uint64_t key)
{
	size_t low = 0, high = l->rows_n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (l->rows[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* `n` was found at `key` (0: no row). */
static void check_key(struct ledger *l, uint64_t key, uint32_t n)
{
	uint32_t acknowledged = ledger_key(l, key);
	bool explained = n == acknowledged;

	for (size_t i = first_unknown(l, key); i < l->rows_n && l->rows[i].key == key; i++) {
		l->rows[i].found = n;
		explained |= n > acknowledged && l->rows[i].n == n;
	}
	if (explained)
		return;
	if (n == 0)
		violations_add(l->violations,
			       "key %" PRIu64 " is missing; its write %" PRIu32 " was acknowledged",
			       key, acknowledged);
	else if (n < acknowledged)
		violations_add(l->violations,
			       "key %" PRIu64 " holds write %" PRIu32 "; the later write %" PRIu32
			       " was acknowledged",
			       key, n, acknowledged);
	else
		violations_add(l->violations,
			       "key %" PRIu64 " holds write %" PRIu32
			       ", which was answered as failed or never sent (acknowledged: "
			       "%" PRIu32 ")",
			       key, n, acknowledged);
}

void ledger_check_row(struct ledger *l, uint64_t key, uint32_t n)
{
	if (key >= l->keys_n || key < l->next_key) {
		violations_add(l->violations, "key %" PRIu64 " holds write %" PRIu32 "; it %s", key,
			       n, key >= l->keys_n ? "was never written" : "was found twice");
		return;
	}
	while (l->next_key < key)
		check_key(l, l->next_key++, 0);
	if (n == 0)
		violations_add(l->violations, "key %" PRIu64 " holds a write that was never sent",
			       key);
	else
		check_key(l, key, n);
	l->next_key = key + 1;
}

void ledger_check_hot(struct ledger *l, uint64_t hot, uint64_t count)
{
	if (hot >= l->hot_n || l->hot[hot].found) {
		violations_add(l->violations, "hot key %" PRIu64 " %s", hot,
			       hot >= l->hot_n ? "was never made" : "was found twice");
		return;
	}
	uint64_t least = atomic_load(&l->hot[hot].acknowledged);
	uint64_t most = least + l->hot[hot].unknown;
	l->hot[hot].found = true;
	if (count < least)
		violations_add(l->violations,
			       "hot key %" PRIu64 " counted to %" PRIu64 ", but %" PRIu64
			       " additions were acknowledged",
			       hot, count, least);
	else if (count > most)
		violations_add(l->violations,
			       "hot key %" PRIu64 " counted to %" PRIu64 ", but only %" PRIu64
			       " additions can have been done",
			       hot, count, most);
}

/* A transaction is done as a whole or not at all: what its rows tell must agree. A row that a
 * later write has overwritten tells nothing. */
static void check_atomicity(struct ledger *l)
{
	for (size_t i = 0; i < l->rows_n; i++) {
		struct unknown_write *w = &l->writes[l->rows[i].write];
		w->present |= l->rows[i].found == l->rows[i].n;
		w->absent |= l->rows[i].found < l->rows[i].n;
	}
	for (size_t i = 0; i < l->writes_n; i++) {
		const struct unknown_write *w = &l->writes[i];
		if (w->present && w->absent)
			violations_add(l->violations,
				       "write %" PRIu32 " of worker %" PRIu32
				       " was done in part; it was one transaction",
				       w->n, w->worker);
	}
}

void ledger_check_end(struct ledger *l)
{
	while (l->next_key < l->keys_n)
		check_key(l, l->next_key++, 0);
	for (uint32_t i = 0; i < l->hot_n; i++) {
		if (!l->hot[i].found)
			violations_add(l->violations, "hot key %" PRIu32 " is missing", i);
	}
	check_atomicity(l);
}
