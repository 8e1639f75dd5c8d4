#include "agent/raft/runs.h"

#include <assert.h>
#include <string.h>

/* How many runs begin at or before `index`; the last of them holds it. */
static size_t runs_until(const struct raft_log *log, uint64_t index)
{
	size_t low = 0, high = log->n;

	/* Nearly every question is about the newest entries. */
	if (high > 0 && log->runs[high - 1].first <= index)
		return high;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (log->runs[mid].first <= index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void forget_oldest(struct raft_log *log, size_t n)
{
	memmove(log->runs, log->runs + n, (log->n - n) * sizeof(log->runs[0]));
	log->n -= n;
}

static void push(struct raft_log *log, uint64_t first, uint64_t term)
{
	if (log->n > 0 && log->runs[log->n - 1].term == term)
		return;
	if (log->n == log->cap)
		forget_oldest(log, log->cap / 4);
	log->runs[log->n++] = (struct raft_run){.first = first, .term = term};
}

bool raft_runs_restore(struct raft_log *log, const struct raft_restore *from)
{
	size_t i;

	if (from->last_index < from->snapshot_index || from->snapshot_term > from->hard.term)
		return false;
	if ((from->snapshot_index == 0) != (from->snapshot_term == 0))
		return false;
	log->snapshot_index = from->snapshot_index;
	log->snapshot_term = from->snapshot_term;
	log->last = from->last_index;
	log->stable = from->last_index;
	log->n = 0;
	if (from->runs_n == 0)
		return from->last_index == from->snapshot_index;

	if (from->runs[0].first == 0 || from->runs[0].first > from->snapshot_index + 1)
		return false;
	if (from->runs[from->runs_n - 1].first > from->last_index)
		return false;
	for (i = 0; i < from->runs_n; i++) {
		const struct raft_run *run = &from->runs[i];

		if (run->term == 0 || run->term > from->hard.term)
			return false;
		if (i > 0 && (run->first <= run[-1].first || run->term < run[-1].term))
			return false;
		push(log, run->first, run->term);
	}
	/* The snapshot's last entry, when the log still has it, is the same in both. */
	i = runs_until(log, from->snapshot_index);
	if (i > 0)
		return log->runs[i - 1].term == from->snapshot_term;
	return log->runs[0].term >= from->snapshot_term;
}

bool raft_runs_term(const struct raft_log *log, uint64_t index, uint64_t *ret_term)
{
	size_t i;

	if (index > log->last)
		return false;
	if (index == log->snapshot_index) {
		*ret_term = log->snapshot_term;
		return true;
	}
	if (index == 0) {
		*ret_term = 0;
		return true;
	}
	i = runs_until(log, index);
	if (i == 0)
		return false;
	*ret_term = log->runs[i - 1].term;
	return true;
}

uint64_t raft_runs_last_term(const struct raft_log *log)
{
	uint64_t term = 0;
	bool known = raft_runs_term(log, log->last, &term);

	assert(known);
	return term;
}

bool raft_runs_holds(const struct raft_log *log, uint64_t index)
{
	return log->n > 0 && index >= log->runs[0].first && index <= log->last;
}

void raft_runs_append(struct raft_log *log, uint64_t last, uint64_t term)
{
	assert(last > log->last);
	assert(term >= raft_runs_last_term(log));
	push(log, log->last + 1, term);
	log->last = last;
}

void raft_runs_truncate(struct raft_log *log, uint64_t from)
{
	assert(from > log->snapshot_index && from <= log->last);
	while (log->n > 0 && log->runs[log->n - 1].first >= from)
		log->n--;
	log->last = from - 1;
	if (log->stable > log->last)
		log->stable = log->last;
}

uint64_t raft_runs_floor(const struct raft_log *log, uint64_t index, uint64_t term)
{
	size_t i;

	if (index > log->last)
		index = log->last;
	for (i = runs_until(log, index); i > 0 && log->runs[i - 1].term > term; i--)
		index = log->runs[i - 1].first - 1;
	return index;
}

void raft_runs_describe(const struct raft_log *log, uint32_t count, struct raft_message *m)
{
	uint64_t first = m->prev_index + 1;
	uint64_t end = first + count; /* one past the last */
	size_t i = runs_until(log, first);

	assert(count > 0 && i > 0 && end <= log->last + 1);
	m->runs_n = 0;
	for (i--; i < log->n && log->runs[i].first < end; i++) {
		if (m->runs_n == RAFT_APPEND_RUNS_MAX) {
			end = log->runs[i].first;
			break;
		}
		m->runs[m->runs_n] = log->runs[i];
		if (m->runs_n == 0)
			m->runs[0].first = first;
		m->runs_n++;
	}
	m->count = (uint32_t)(end - first);
}
