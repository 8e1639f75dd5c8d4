#include "tests/unit/wal_model.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum change_kind { CHANGE_HARD, CHANGE_TRUNCATE, CHANGE_ENTRY, CHANGE_META, CHANGE_COMPACT };

struct change {
	enum change_kind kind;
	uint32_t group;
	uint64_t index;
	uint64_t term;
	uint64_t mark; /* META: seed and size; HARD: the vote */
};

struct held {
	bool known;
	uint64_t term;
	uint32_t vote;
	uint64_t first;
	uint64_t last;
	uint64_t base_term;
	uint64_t meta;	 /* 0: none */
	uint64_t *terms; /* of entry i at i */
	size_t terms_cap;
};

struct model {
	uint64_t seed;
	uint64_t dice;
	unsigned groups;
	uint32_t entry_bytes_max;
	struct held base[WAL_GROUPS_MAX]; /* durable */
	struct held now[WAL_GROUPS_MAX];  /* with all changes */
	struct change *changes;
	size_t n;
	size_t cap;
	uint64_t persist_id;
};

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t model_dice(struct model *m)
{
	return mix(m->dice += 0x9e3779b97f4a7c15u);
}

struct model *model_new(uint64_t seed, unsigned groups, uint32_t entry_bytes_max)
{
	struct model *m = calloc(1, sizeof *m);

	assert(m && groups <= WAL_GROUPS_MAX);
	m->seed = m->dice = seed;
	m->groups = groups;
	m->entry_bytes_max = entry_bytes_max;
	for (unsigned g = 0; g < groups; g++)
		m->base[g].first = m->now[g].first = 1;
	return m;
}

void model_free(struct model *m)
{
	if (!m)
		return;
	for (unsigned g = 0; g < m->groups; g++) {
		free(m->base[g].terms);
		free(m->now[g].terms);
	}
	free(m->changes);
	free(m);
}

/* Mostly small, some larger. */
static struct blob *payload(const struct model *m, uint32_t group, uint64_t index, uint64_t term)
{
	uint64_t z = mix(m->seed ^ mix(index * 64 + group) ^ mix(term << 32));
	uint32_t n = (uint32_t)(z % (z % 16 == 0 ? m->entry_bytes_max + 1 : 180));
	struct blob *b;

	if (n > m->entry_bytes_max)
		n = m->entry_bytes_max;
	b = blob_new(NULL, n);
	assert(b);
	for (uint32_t i = 0; i < n; i++)
		b->data[i] = (uint8_t)(z >> (i % 8 * 8)) ^ (uint8_t)i;
	return b;
}

static uint8_t kind_of(uint64_t index)
{
	return (uint8_t)(1 + index % 3);
}

bool model_entry_right(struct model *m, uint32_t group, const struct wal_entry *entry)
{
	struct blob *b = payload(m, group, entry->index, entry->term);
	bool right = entry->kind == kind_of(entry->index) &&
		     slice_eq(blob_slice(b), blob_slice(entry->data));

	blob_unref(b);
	return right;
}

static void meta_bytes(uint64_t mark, struct blob **ret_meta)
{
	uint32_t n = (uint32_t)(mark & 0xffff);
	struct blob *b = blob_new(NULL, n);

	assert(b);
	for (uint32_t i = 0; i < n; i++)
		b->data[i] = (uint8_t)(mark >> 16 >> (i % 4 * 8));
	*ret_meta = b;
}

static void apply(struct held *groups, const struct change *c)
{
	struct held *h = &groups[c->group];

	h->known = true;
	switch (c->kind) {
	case CHANGE_HARD:
		h->term = c->term;
		h->vote = (uint32_t)c->mark;
		break;
	case CHANGE_TRUNCATE:
		h->last = c->index - 1;
		break;
	case CHANGE_ENTRY:
		assert(c->index == h->last + 1);
		h->last = c->index;
		if (c->index >= h->terms_cap) {
			h->terms_cap = (c->index + 64) * 2;
			h->terms = realloc(h->terms, h->terms_cap * sizeof *h->terms);
			assert(h->terms);
		}
		h->terms[c->index] = c->term;
		break;
	case CHANGE_META:
		h->meta = c->mark;
		break;
	case CHANGE_COMPACT:
		h->first = c->index + 1;
		h->base_term = c->term;
		if (h->last < c->index)
			h->last = c->index;
		break;
	}
}

static void add(struct model *m, const struct change *c)
{
	if (m->n == m->cap) {
		m->cap = m->cap ? m->cap * 2 : 256;
		m->changes = realloc(m->changes, m->cap * sizeof *m->changes);
		assert(m->changes);
	}
	m->changes[m->n++] = *c;
	apply(m->now, c);
}

static uint64_t term_at(const struct held *h, uint64_t index)
{
	return index < h->first ? h->base_term : h->terms[index];
}

/* Truncation, entries and hard state in one job, as consensus does. */
static int stage(struct model *m, struct wal *w, uint32_t group, uint64_t truncate_from,
		 unsigned entries, bool hard, struct err *e)
{
	struct held *h = &m->now[group];
	struct wal_entry rows[64];
	struct wal_job job = {.group = group, .persist_id = ++m->persist_id};
	uint64_t last = truncate_from ? truncate_from - 1 : h->last;
	uint64_t term = term_at(h, last);

	assert(entries <= 64);
	if (h->term > term)
		term = h->term;
	if (hard) {
		job.hard_changed = true;
		job.term = h->term + 1 + model_dice(m) % 2;
		job.vote = (uint32_t)(model_dice(m) % 4);
	}
	job.truncate_from = truncate_from;
	for (unsigned i = 0; i < entries; i++)
		rows[i] = (struct wal_entry){
			.index = last + 1 + i,
			.term = term,
			.kind = kind_of(last + 1 + i),
			.data = payload(m, group, last + 1 + i, term),
		};
	job.entries = rows;
	job.entries_n = entries;
	int rc = wal_stage(w, &job, e);
	if (rc == 0 && hard)
		add(m, &(struct change){CHANGE_HARD, group, 0, job.term, job.vote});
	if (rc == 0 && truncate_from && truncate_from <= h->last)
		add(m, &(struct change){CHANGE_TRUNCATE, group, truncate_from, 0, 0});
	for (unsigned i = 0; i < entries; i++) {
		if (rc == 0)
			add(m, &(struct change){CHANGE_ENTRY, group, rows[i].index, term, 0});
		blob_unref(rows[i].data);
	}
	return rc;
}

int model_append(struct model *m, struct wal *w, uint32_t group, unsigned entries, struct err *e)
{
	return stage(m, w, group, 0, entries, false, e);
}

int model_truncate(struct model *m, struct wal *w, uint32_t group, uint64_t from, unsigned entries,
		   struct err *e)
{
	return stage(m, w, group, from, entries, true, e);
}

int model_hard(struct model *m, struct wal *w, uint32_t group, struct err *e)
{
	return stage(m, w, group, 0, 0, true, e);
}

int model_meta(struct model *m, struct wal *w, uint32_t group, uint32_t bytes, struct err *e)
{
	struct wal_job job = {.group = group, .persist_id = ++m->persist_id};
	uint64_t mark = (model_dice(m) | 1u << 16) << 16 | bytes;
	struct blob *b;

	assert(bytes <= 0xffff);
	meta_bytes(mark, &b);
	job.meta = blob_slice(b);
	int rc = wal_stage(w, &job, e);
	if (rc == 0)
		add(m, &(struct change){CHANGE_META, group, 0, 0, mark});
	blob_unref(b);
	return rc;
}

int model_compact(struct model *m, struct wal *w, uint32_t group, uint64_t index, struct err *e)
{
	struct held *h = &m->now[group];
	uint64_t term = index > h->last ? term_at(h, h->last) + 1 : term_at(h, index);

	if (index < h->first)
		return 0;
	int rc = wal_compact(w, group, index, term, e);
	if (rc == 0)
		add(m, &(struct change){CHANGE_COMPACT, group, index, term, 0});
	return rc;
}

int model_act(struct model *m, struct wal *w, struct err *e)
{
	uint32_t group = (uint32_t)(model_dice(m) % m->groups);
	const struct held *h = &m->now[group];
	uint64_t held = h->last + 1 - h->first;

	switch (model_dice(m) % 16) {
	case 0:
		return model_hard(m, w, group, e);
	case 1:
		return model_meta(m, w, group, (uint32_t)(model_dice(m) % 100), e);
	case 2:
		if (held > 0)
			return model_truncate(m, w, group,
					      h->last - model_dice(m) % (held < 8 ? held : 8),
					      (unsigned)(model_dice(m) % 4), e);
		break;
	case 3:
		if (held > 0)
			return model_compact(m, w, group, h->first + model_dice(m) % held, e);
		break;
	case 4:
		if (model_dice(m) % 8 == 0)
			return model_compact(m, w, group, h->last + 1 + model_dice(m) % 5, e);
		break;
	}
	return model_append(m, w, group, 1 + (unsigned)(model_dice(m) % 6), e);
}

uint64_t model_last(struct model *m, uint32_t group)
{
	return m->now[group].last;
}

uint64_t model_first(struct model *m, uint32_t group)
{
	return m->now[group].first;
}

void model_synced(struct model *m)
{
	for (size_t i = 0; i < m->n; i++)
		apply(m->base, &m->changes[i]);
	m->n = 0;
}

size_t model_staged(const struct model *m)
{
	return m->n;
}

static void held_copy(struct held *to, const struct held *from)
{
	uint64_t *terms = realloc(to->terms, (from->terms_cap + 1) * sizeof *terms);

	assert(terms);
	*to = *from;
	to->terms = terms;
	if (from->terms_cap > 0)
		memcpy(terms, from->terms, from->terms_cap * sizeof *terms);
}

void model_cut(struct model *m, size_t n)
{
	assert(n <= m->n);
	m->n = n;
	for (unsigned g = 0; g < m->groups; g++)
		held_copy(&m->now[g], &m->base[g]);
	for (size_t i = 0; i < n; i++)
		apply(m->now, &m->changes[i]);
}

struct model *model_copy(const struct model *m)
{
	struct model *copy = model_new(m->seed, m->groups, m->entry_bytes_max);

	copy->dice = m->dice;
	copy->persist_id = m->persist_id;
	for (unsigned g = 0; g < m->groups; g++) {
		held_copy(&copy->base[g], &m->base[g]);
		held_copy(&copy->now[g], &m->base[g]);
	}
	for (size_t i = 0; i < m->n; i++)
		add(copy, &m->changes[i]);
	return copy;
}

static bool meta_matches(const struct held *h, struct slice meta)
{
	struct blob *b;

	if (!h->meta)
		return meta.p == NULL;
	meta_bytes(h->meta, &b);
	bool same = meta.p && slice_eq(meta, blob_slice(b));
	blob_unref(b);
	return same;
}

static bool runs_match(const struct held *h, const struct wal_group_state *s)
{
	size_t at = 0;

	if ((h->last >= h->first) != (s->runs_n > 0))
		return false;
	for (uint64_t i = h->first; i <= h->last; i++) {
		if (at < s->runs_n && s->runs[at].first == i) {
			if (s->runs[at].term != h->terms[i])
				return false;
			at++;
		} else if (i == h->first || h->terms[i] != h->terms[i - 1]) {
			return false;
		}
	}
	return at == s->runs_n;
}

static bool state_matches(const struct held *h, struct wal *w, uint32_t group)
{
	struct wal_group_state s;

	wal_group(w, group, &s);
	if (!h->known)
		return s.last_index == 0 && s.term == 0 && !s.meta.p;
	return s.term == h->term && s.vote == h->vote && s.first_index == h->first &&
	       s.last_index == h->last && s.base_term == h->base_term && runs_match(h, &s) &&
	       meta_matches(h, s.meta);
}

static bool entries_match(struct model *m, const struct held *h, struct wal *w, uint32_t group)
{
	uint64_t at = h->first;

	while (at <= h->last) {
		struct wal_entry rows[100];
		struct err e;
		size_t n = 0;
		if (wal_read(w, group, at, 1 + (size_t)(model_dice(m) % 100), model_dice(m) % 20000,
			     rows, &n, &e)) {
			printf("group %u entry %" PRIu64 ": %s\n", group, at, e.text);
			return false;
		}
		bool right = n > 0;
		for (size_t i = 0; i < n; i++, at++)
			right = right && at <= h->last && rows[i].index == at &&
				rows[i].term == h->terms[at] &&
				model_entry_right(m, group, &rows[i]);
		wal_entries_unref(rows, n);
		if (!right) {
			printf("group %u: wrong entry before %" PRIu64 "\n", group, at);
			return false;
		}
	}
	return true;
}

bool model_matches(struct model *m, struct wal *w)
{
	/* The longest first part of which the states match; several only differ by what cannot be
	 * seen, such as an entry that a truncation voided at once. */
	for (size_t part = 0;; part++) {
		bool same = true;
		for (uint32_t g = 0; g < m->groups && same; g++)
			same = state_matches(&m->base[g], w, g);
		for (uint32_t g = 0; g < m->groups && same; g++)
			same = entries_match(m, &m->base[g], w, g);
		if (same) {
			m->n -= part;
			if (m->n > 0)
				memmove(m->changes, m->changes + part, m->n * sizeof *m->changes);
			break;
		}
		if (part == m->n)
			return false;
		apply(m->base, &m->changes[part]);
	}
	model_cut(m, 0);
	return true;
}
