#include "agent/store/session.h"

#include <stdlib.h>
#include <string.h>

void sessions_init(struct sessions *s, uint32_t max)
{
	*s = (struct sessions){.max = max ? max : 1};
}

void sessions_forget(struct sessions *s)
{
	while (s->newest) {
		struct session *next = s->newest->older;
		free(s->newest->answer);
		free(s->newest);
		s->newest = next;
	}
	if (s->slots)
		memset(s->slots, 0, s->slots_n * sizeof *s->slots);
	s->oldest = NULL;
	s->used = 0;
	s->gone_n = s->dirty_n = 0;
	s->loaded = false;
}

void sessions_done(struct sessions *s)
{
	sessions_forget(s);
	free(s->slots);
	free(s->gone);
	s->slots = NULL;
	s->gone = NULL;
	s->slots_n = 0;
	s->gone_cap = 0;
}

/* Client ids are random already; sequential ones spread too. */
static uint32_t slot_of(const struct sessions *s, uint64_t client)
{
	return (uint32_t)(client * 0x9e3779b97f4a7c15ull >> 32) & (s->slots_n - 1);
}

static int grow(struct sessions *s, struct err *e)
{
	uint32_t slots_n = s->slots_n ? s->slots_n * 2 : 256;
	struct session **slots = calloc(slots_n, sizeof *slots);

	if (!slots)
		return err_set(e, ERR_NOMEM, "no memory for client sessions");
	free(s->slots);
	s->slots = slots;
	s->slots_n = slots_n;
	for (struct session *k = s->newest; k; k = k->older) {
		uint32_t at = slot_of(s, k->client);
		k->chain = slots[at];
		slots[at] = k;
	}
	return 0;
}

struct session *sessions_find(struct sessions *s, uint64_t client)
{
	struct session *k = s->slots_n ? s->slots[slot_of(s, client)] : NULL;

	while (k && k->client != client)
		k = k->chain;
	return k;
}

static void unlink_order(struct sessions *s, struct session *k)
{
	if (k->newer)
		k->newer->older = k->older;
	else
		s->newest = k->older;
	if (k->older)
		k->older->newer = k->newer;
	else
		s->oldest = k->newer;
}

static void push_newest(struct sessions *s, struct session *k)
{
	k->newer = NULL;
	k->older = s->newest;
	if (s->newest)
		s->newest->newer = k;
	else
		s->oldest = k;
	s->newest = k;
}

static int forget_oldest(struct sessions *s, struct err *e)
{
	struct session *k = s->oldest;
	struct session **at = &s->slots[slot_of(s, k->client)];

	if (s->gone_n == s->gone_cap) {
		size_t cap = s->gone_cap ? s->gone_cap * 2 : 64;
		uint64_t *gone = realloc(s->gone, cap * sizeof *gone);
		if (!gone)
			return err_set(e, ERR_NOMEM, "no memory for client sessions");
		s->gone = gone;
		s->gone_cap = cap;
	}
	s->gone[s->gone_n++] = k->client;
	while (*at != k)
		at = &(*at)->chain;
	*at = k->chain;
	unlink_order(s, k);
	s->used--;
	s->dirty_n -= k->dirty;
	free(k->answer);
	free(k);
	return 0;
}

static int add(struct sessions *s, uint64_t client, struct session **ret_session, struct err *e)
{
	if (s->used >= s->slots_n && grow(s, e))
		return e ? e->code : ERR_NOMEM;
	struct session *k = calloc(1, sizeof *k);
	if (!k)
		return err_set(e, ERR_NOMEM, "no memory for client sessions");
	uint32_t at = slot_of(s, client);
	k->client = client;
	k->chain = s->slots[at];
	s->slots[at] = k;
	push_newest(s, k);
	s->used++;
	*ret_session = k;
	return 0;
}

static int set_answer(struct session *k, struct slice answer, struct err *e)
{
	if (answer.n > k->answer_cap) {
		uint8_t *to = realloc(k->answer, answer.n);
		if (!to)
			return err_set(e, ERR_NOMEM, "no memory for a client's answer");
		k->answer = to;
		k->answer_cap = (uint32_t)answer.n;
	}
	if (answer.n)
		memcpy(k->answer, answer.p, answer.n);
	k->answer_n = (uint32_t)answer.n;
	return 0;
}

int sessions_put(struct sessions *s, uint64_t client, uint64_t sequence, uint64_t index,
		 uint32_t ordinal, struct slice answer, struct err *e)
{
	struct session *k = sessions_find(s, client);
	int code;

	if (k) {
		unlink_order(s, k);
		push_newest(s, k);
	} else if ((code = add(s, client, &k, e))) {
		return code;
	}
	if ((code = set_answer(k, answer, e)))
		return code;
	k->sequence = sequence;
	k->index = index;
	k->ordinal = ordinal;
	if (!k->dirty)
		s->dirty_n++;
	k->dirty = true;
	while (s->used > s->max)
		if ((code = forget_oldest(s, e)))
			return code;
	return 0;
}

void sessions_proposed(struct sessions *s, uint64_t index)
{
	for (struct session *k = s->newest; k && k->index == SESSION_UNPROPOSED; k = k->older)
		k->index = index;
}

int sessions_load(struct sessions *s, struct connection *c, struct err *e)
{
	sqlite3_stmt *stmt = NULL;
	bool before = c->internal;
	int rc, code;

	if (s->loaded)
		return 0;
	sessions_forget(s);
	code = connection_prepare(c,
				  "SELECT client, sequence, idx, ordinal, answer FROM "
				  "drover_sessions ORDER BY idx, ordinal",
				  &stmt, e);
	if (code)
		return code;
	c->internal = true;
	while (!code && (rc = sqlite3_step(stmt)) != SQLITE_DONE) {
		struct session *k = NULL;
		if (rc != SQLITE_ROW) {
			code = connection_error(c, e);
			break;
		}
		code = add(s, (uint64_t)sqlite3_column_int64(stmt, 0), &k, e);
		if (code)
			break;
		k->sequence = (uint64_t)sqlite3_column_int64(stmt, 1);
		k->index = (uint64_t)sqlite3_column_int64(stmt, 2);
		k->ordinal = (uint32_t)sqlite3_column_int64(stmt, 3);
		const void *p = sqlite3_column_blob(stmt, 4);
		code = set_answer(k, slice_of(p, (size_t)sqlite3_column_bytes(stmt, 4)), e);
	}
	sqlite3_finalize(stmt);
	c->internal = before;
	if (code)
		sessions_forget(s);
	else
		s->loaded = true;
	return code;
}

static int delete_gone(struct sessions *s, struct connection *c, struct err *e)
{
	sqlite3_stmt *stmt = NULL;
	int code;

	if (s->gone_n == 0)
		return 0;
	code = connection_prepare(c, "DELETE FROM drover_sessions WHERE client=?1", &stmt, e);
	for (size_t i = 0; i < s->gone_n && !code; i++) {
		sqlite3_bind_int64(stmt, 1, (int64_t)s->gone[i]);
		code = connection_finish(c, stmt, e);
	}
	sqlite3_finalize(stmt);
	return code;
}

int sessions_flush(struct sessions *s, struct connection *c, struct err *e)
{
	sqlite3_stmt *stmt = NULL;
	int code = delete_gone(s, c, e);

	if (code || s->dirty_n == 0)
		goto out;
	code = connection_prepare(c, "REPLACE INTO drover_sessions VALUES(?1,?2,?3,?4,?5)", &stmt,
				  e);
	/* What changed since the last flush stands at the newest end. */
	for (struct session *k = s->newest; k && k->dirty && !code; k = k->older) {
		struct value answer = value_blob(slice_of(k->answer, k->answer_n));
		sqlite3_bind_int64(stmt, 1, (int64_t)k->client);
		sqlite3_bind_int64(stmt, 2, (int64_t)k->sequence);
		sqlite3_bind_int64(stmt, 3, (int64_t)k->index);
		sqlite3_bind_int64(stmt, 4, k->ordinal);
		connection_bind(stmt, 5, &answer);
		code = connection_finish(c, stmt, e);
	}
	sqlite3_finalize(stmt);
out:
	if (!code) {
		for (struct session *k = s->newest; k && k->dirty; k = k->older)
			k->dirty = false;
		s->dirty_n = s->gone_n = 0;
	}
	return code;
}
