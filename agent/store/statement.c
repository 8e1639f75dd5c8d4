#include "agent/store/statement.h"

#include "agent/store/classify.h"
#include "agent/store/connection.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define CACHED_TEXT_MAX 16384 /* longer texts are hardly sent twice */

int statement_cache_init(struct statement_cache *cache, uint32_t max, struct err *e)
{
	uint32_t slots = 64;

	if (max < 8)
		max = 8;
	while (slots < max)
		slots *= 2;
	*cache = (struct statement_cache){.slots_n = slots, .max = max};
	cache->slots = calloc(slots, sizeof *cache->slots);
	if (!cache->slots)
		return err_set(e, ERR_NOMEM, "no memory for a statement cache");
	return 0;
}

static void statement_free(struct statement *st)
{
	sqlite3_finalize(st->stmt);
	free(st->object);
	free(st->text);
	free(st);
}

static void lru_unlink(struct statement_cache *cache, struct statement *st)
{
	if (st->newer)
		st->newer->older = st->older;
	else
		cache->newest = st->older;
	if (st->older)
		st->older->newer = st->newer;
	else
		cache->oldest = st->newer;
	st->newer = st->older = NULL;
}

static void lru_push(struct statement_cache *cache, struct statement *st)
{
	st->older = cache->newest;
	st->newer = NULL;
	if (cache->newest)
		cache->newest->newer = st;
	else
		cache->oldest = st;
	cache->newest = st;
}

static void cache_drop(struct statement_cache *cache, struct statement *st)
{
	struct statement **at = &cache->slots[st->hash & (cache->slots_n - 1)];

	while (*at != st)
		at = &(*at)->chain;
	*at = st->chain;
	lru_unlink(cache, st);
	cache->used--;
	statement_free(st);
}

static void cache_add(struct statement_cache *cache, struct statement *st)
{
	struct statement **slot = &cache->slots[st->hash & (cache->slots_n - 1)];

	if (cache->used == cache->max)
		cache_drop(cache, cache->oldest);
	slot = &cache->slots[st->hash & (cache->slots_n - 1)];
	st->chain = *slot;
	*slot = st;
	st->cached = true;
	lru_push(cache, st);
	cache->used++;
}

static struct statement *cache_find(struct statement_cache *cache, struct slice text, uint64_t hash)
{
	struct statement *st = cache->slots[hash & (cache->slots_n - 1)];

	while (st &&
	       !(st->hash == hash && st->text_n == text.n && memcmp(st->text, text.p, text.n) == 0))
		st = st->chain;
	if (st && st != cache->newest) {
		lru_unlink(cache, st);
		lru_push(cache, st);
	}
	return st;
}

void statement_cache_clear(struct statement_cache *cache)
{
	while (cache->oldest)
		cache_drop(cache, cache->oldest);
}

void statement_cache_done(struct statement_cache *cache)
{
	if (!cache->slots)
		return;
	statement_cache_clear(cache);
	free(cache->slots);
	cache->slots = NULL;
}

void statement_script_init(struct statement_script *s, struct slice text)
{
	*s = (struct statement_script){.text = text};
}

void statement_script_done(struct statement_script *s)
{
	free(s->copy);
	s->copy = NULL;
}

bool statement_blank(const char *text)
{
	for (;;) {
		if (isspace((unsigned char)*text) || *text == ';') {
			text++;
		} else if (text[0] == '-' && text[1] == '-') {
			while (*text && *text != '\n')
				text++;
		} else if (text[0] == '/' && text[1] == '*') {
			const char *end = strstr(text + 2, "*/");
			if (!end)
				return true;
			text = end + 2;
		} else {
			return *text == 0;
		}
	}
}

/* Prepares what stands at s->at. *ret_statement NULL: nothing but blanks there. */
static int prepare_at(struct connection *c, struct statement_script *s,
		      struct statement **ret_statement, int32_t *ret_offset, struct err *e)
{
	const char *text = s->copy + s->at, *tail;
	size_t left = s->text.n - s->at;
	struct classify k;
	sqlite3_stmt *stmt = NULL;
	int code = 0;

	*ret_offset = -1;
	if (classify_is_vacuum(text, left))
		return err_set(e, ERR_UNSUPPORTED,
			       "VACUUM is not offered: it would give rows other rowids");
	classify_init(&k);
	c->collect = &k;
	c->refusal_code = 0;
	int rc = sqlite3_prepare_v3(c->db, text, (int)left + 1,
				    left <= CACHED_TEXT_MAX ? SQLITE_PREPARE_PERSISTENT : 0, &stmt,
				    &tail);
	c->collect = NULL;
	s->base = s->at;
	if (rc != SQLITE_OK) {
		int at = sqlite3_error_offset(c->db);
		if (at >= 0)
			*ret_offset = (int32_t)(s->base + (size_t)at);
		code = connection_error(c, e);
		goto out;
	}
	c->refusal_code = 0;
	s->at = (size_t)(tail - s->copy);
	if (!stmt)
		goto out;
	struct statement *st = calloc(1, sizeof *st);
	if (!st) {
		sqlite3_finalize(stmt);
		code = err_set(e, ERR_NOMEM, "no memory for a statement");
		goto out;
	}
	st->stmt = stmt;
	code = classify_statement(&k, st, text, (size_t)(tail - text), e);
	if (code) {
		statement_free(st);
		goto out;
	}
	*ret_statement = st;
out:
	classify_done(&k);
	return code;
}

static int script_start(struct statement_script *s, struct err *e)
{
	if (s->text.n && memchr(s->text.p, 0, s->text.n))
		return err_set(e, ERR_INVALID, "the SQL text holds a NUL byte");
	if (s->text.n >= SQL_REQUEST_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "the SQL text is longer than %u bytes",
			       SQL_REQUEST_BYTES_MAX);
	s->copy = malloc(s->text.n + 1);
	if (!s->copy)
		return err_set(e, ERR_NOMEM, "no memory for a text of %zu bytes", s->text.n);
	if (s->text.n)
		memcpy(s->copy, s->text.p, s->text.n);
	s->copy[s->text.n] = 0;
	return 0;
}

int statement_next(struct connection *c, struct statement_script *s,
		   struct statement **ret_statement, int32_t *ret_offset, struct err *e)
{
	struct statement *st = NULL;
	uint64_t hash = 0;
	bool first = !s->copy, whole = first && s->text.n <= CACHED_TEXT_MAX;

	*ret_offset = -1;
	if (whole && !s->ended) {
		hash = XXH3_64bits(s->text.p, s->text.n);
		st = cache_find(&c->cache, s->text, hash);
		if (st)
			s->ended = true;
	}
	if (!st && !s->ended) {
		if (first && script_start(s, e))
			return e->code;
		while (!st && s->at < s->text.n) {
			int code = prepare_at(c, s, &st, ret_offset, e);
			if (code)
				return code;
		}
		if (!st || statement_blank(s->copy + s->at)) {
			s->ended = true;
			if (st && whole && s->base == 0) {
				st->text = s->copy;
				st->text_n = s->text.n;
				st->hash = hash;
				s->copy = NULL;
				cache_add(&c->cache, st);
			}
		}
	}
	*ret_statement = st;
	return 0;
}

void statement_release(struct statement *st)
{
	if (!st)
		return;
	if (st->cached)
		sqlite3_reset(st->stmt);
	else
		statement_free(st);
}

int statement_bind(struct connection *c, struct statement *st, struct rd params, uint32_t params_n,
		   struct err *e)
{
	if (params_n != st->params_n)
		return err_set(e, ERR_SQL, "the statement takes %u parameters, %u were given",
			       st->params_n, params_n);
	for (uint32_t i = 0; i < params_n; i++) {
		struct value v = value_get(&params);
		if (!rd_ok(&params))
			return err_set(e, ERR_INVALID, "parameter %u is malformed", i + 1);
		if (connection_bind(st->stmt, (int)i + 1, &v) != SQLITE_OK)
			return connection_error(c, e);
	}
	if (params_n && !rd_end(&params))
		return err_set(e, ERR_INVALID, "more parameter bytes than parameters");
	return 0;
}
