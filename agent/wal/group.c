#include "agent/wal/group.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct group *group_new(uint32_t id, unsigned slot)
{
	struct group *g = calloc(1, sizeof *g);

	if (!g)
		return NULL;
	g->id = id;
	g->slot = slot;
	g->first_index = 1;
	g->tail_first = 1;
	g->truncated_low = UINT64_MAX;
	return g;
}

void group_free(struct group *g)
{
	if (!g)
		return;
	/* Without a tail after a recovery that was broken off. */
	while (g->tail && g->tail_first <= g->last_index)
		blob_unref(group_tail_pop_last(g));
	free(g->tail);
	free(g->runs);
	free(g->points);
	blob_unref(g->meta);
	blob_unref(g->enc_meta);
	free(g);
}

uint64_t group_durable(const struct group *g)
{
	uint64_t last = g->disk_last < g->last_index ? g->disk_last : g->last_index;

	return last < g->truncated_low ? last : g->truncated_low - 1;
}

/* Makes *array hold n things of `size` bytes; doubles, so that growing stays cheap. */
static bool grow(void **array, size_t *cap, size_t n, size_t size)
{
	if (n <= *cap)
		return true;
	size_t want = *cap < 16 ? 16 : *cap * 2;
	if (want < n)
		want = n;
	void *more = realloc(*array, want * size);
	if (!more)
		return false;
	*array = more;
	*cap = want;
	return true;
}

bool group_runs_reserve(struct group *g, size_t more)
{
	void *array = g->runs;
	bool ok = grow(&array, &g->runs_cap, g->runs_n + more, sizeof *g->runs);

	g->runs = array;
	return ok;
}

void group_runs_add(struct group *g, uint64_t index, uint64_t term)
{
	if (g->runs_n > 0 && g->runs[g->runs_n - 1].term == term)
		return;
	assert(g->runs_n < g->runs_cap);
	g->runs[g->runs_n++] = (struct wal_run){index, term};
}

void group_runs_cut(struct group *g, uint64_t from)
{
	while (g->runs_n > 0 && g->runs[g->runs_n - 1].first >= from)
		g->runs_n--;
}

/* The run that holds index: the last one that begins at or below it; runs_n when none does. */
static size_t run_of(const struct group *g, uint64_t index)
{
	size_t low = 0, high = g->runs_n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (g->runs[mid].first <= index)
			low = mid + 1;
		else
			high = mid;
	}
	return low == 0 ? g->runs_n : low - 1;
}

void group_runs_drop(struct group *g, uint64_t first)
{
	if (first > g->last_index) {
		g->runs_n = 0;
		return;
	}
	size_t keep = run_of(g, first);
	if (keep == g->runs_n)
		return;
	memmove(g->runs, g->runs + keep, (g->runs_n - keep) * sizeof *g->runs);
	g->runs_n -= keep;
	g->runs[0].first = first;
}

uint64_t group_term_at(const struct group *g, uint64_t index)
{
	size_t at = run_of(g, index);

	if (index > g->last_index || at == g->runs_n)
		return 0;
	return g->runs[at].term;
}

bool group_tail_reserve(struct group *g, uint64_t more)
{
	uint64_t held = g->last_index + 1 - g->tail_first;
	size_t cap = g->tail_cap ? g->tail_cap : 64;

	while (cap < held + more)
		cap *= 2;
	if (cap == g->tail_cap)
		return true;
	struct tail_slot *tail = malloc(cap * sizeof *tail);
	if (!tail)
		return false;
	for (uint64_t i = g->tail_first; i <= g->last_index; i++)
		tail[i & (cap - 1)] = *group_tail_at(g, i);
	free(g->tail);
	g->tail = tail;
	g->tail_cap = cap;
	return true;
}

struct blob *group_tail_pop_last(struct group *g)
{
	assert(g->tail_first <= g->last_index);
	return group_tail_at(g, g->last_index--)->data;
}

struct blob *group_tail_pop_first(struct group *g)
{
	assert(g->tail_first <= g->last_index);
	return group_tail_at(g, g->tail_first++)->data;
}

bool group_points_reserve(struct group *g, size_t more)
{
	void *array = g->points;
	bool ok = grow(&array, &g->points_cap, g->points_n + more, sizeof *g->points);

	g->points = array;
	return ok;
}

void group_points_note(struct group *g, uint64_t index, struct segment *s, uint32_t offset)
{
	const struct wal_point *last = g->points_n ? &g->points[g->points_n - 1] : NULL;

	if (last && last->segment == s && offset - last->offset < WAL_POINT_STEP && !g->point_due)
		return;
	assert(g->points_n < g->points_cap);
	assert(!last || last->index < index);
	g->points[g->points_n++] = (struct wal_point){index, s, offset};
	g->point_due = false;
}

void group_points_cut(struct group *g, uint64_t from)
{
	while (g->points_n > 0 && g->points[g->points_n - 1].index >= from)
		g->points_n--;
	g->point_due = true;
}

void group_points_drop(struct group *g, const struct segment *s)
{
	size_t n = 0;

	while (n < g->points_n && g->points[n].segment == s)
		n++;
	if (n == 0)
		return;
	memmove(g->points, g->points + n, (g->points_n - n) * sizeof *g->points);
	g->points_n -= n;
}

size_t group_points_find(const struct group *g, uint64_t index)
{
	size_t low = 0, high = g->points_n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (g->points[mid].index <= index)
			low = mid + 1;
		else
			high = mid;
	}
	/* Every entry on disk has one: the first of each segment, the first after a truncation. */
	assert(low > 0);
	return low - 1;
}
