#include "tests/unit/raft_sim_state.h"

#include <string.h>

static bool same(const struct sim_entry *a, const struct sim_entry *b)
{
	return a->term == b->term && a->value == b->value;
}

static struct sim_made *made_slot(struct sim *s, uint64_t index, uint64_t term)
{
	uint64_t at = (index * 0x9e3779b97f4a7c15u) ^ (term * 0xc2b2ae3d27d4eb4fu);

	for (at ^= at >> 29;; at++) {
		struct sim_made *m = &s->made[at & (SIM_MADE_SLOTS - 1)];

		if (m->index == 0 || (m->index == index && m->term == term))
			return m;
	}
}

/* Log matching: wherever (index, term) occurs, it has the same value and the same term before it;
 * by induction the same everything before it. Raft's runs say the same as the real log. */
void sim_check_append(struct sim *s, const struct sim_node *n, uint64_t first, uint64_t last)
{
	for (uint64_t i = first; i <= last; i++) {
		const struct sim_entry *e = &n->log[i];
		struct sim_made *m = made_slot(s, i, e->term);

		if (raft_term_at(&n->raft, i) != e->term)
			sim_fail(s, n, "entry %lu has term %lu in the log, %lu in raft", i, e->term,
				 raft_term_at(&n->raft, i));
		if (m->index == 0) {
			if (++s->made_n > SIM_MADE_SLOTS / 2)
				sim_fail(s, n, "the simulator's table of entries is full");
			*m = (struct sim_made){i, e->term, e->value, n->log[i - 1].term};
		} else if (m->value != e->value || m->prev_term != n->log[i - 1].term) {
			sim_fail(s, n, "log matching: entry %lu of term %lu is not what was made",
				 i, e->term);
		}
	}
}

/* What is acknowledged, or told to be the same, is what the leader has there. */
static void check_same_as_leader(struct sim *s, const struct sim_node *n,
				 const struct raft_message *m)
{
	const struct sim_node *l = &s->nodes[sim_position(s, m->to)];

	if (!l->up || raft_role(&l->raft) != RAFT_LEADER || raft_term(&l->raft) != m->term)
		return;
	if (m->prev_index > l->last || m->prev_index > n->last)
		sim_fail(s, n, "tells the leader that %lu is the same", m->prev_index);
	else if (m->prev_index > 0 && !same(&l->log[m->prev_index], &n->log[m->prev_index]))
		sim_fail(s, n, "tells the leader that %lu is the same: it is not", m->prev_index);
}

/* What a message says must already be true of its sender's disk. */
void sim_check_message(struct sim *s, const struct sim_node *n, const struct raft_message *m)
{
	const struct sim_disk *d = &n->disk;
	bool pre = m->kind == RAFT_PRE_VOTE || (m->kind == RAFT_PRE_VOTE_REPLY && m->granted);

	if (!pre && m->term > d->hard.term)
		sim_fail(s, n, "message %d of term %lu leaves, durable is %lu", (int)m->kind,
			 m->term, d->hard.term);
	if (m->kind == RAFT_VOTE && (m->term != d->hard.term || d->hard.vote != n->id))
		sim_fail(s, n, "asks for votes before its own is durable");
	if (m->kind == RAFT_VOTE_REPLY && m->granted &&
	    (m->term != d->hard.term || d->hard.vote != m->to))
		sim_fail(s, n, "gives a vote that is not durable");
	if (m->kind != RAFT_APPEND_REPLY || !m->granted)
		return;
	if (m->match > d->last)
		sim_fail(s, n, "acknowledges %lu, durable is %lu", m->match, d->last);
	else if (m->match > n->snapshot_index && !same(&d->log[m->match], &n->log[m->match]))
		sim_fail(s, n, "acknowledges %lu, another entry is durable there", m->match);
	else
		check_same_as_leader(s, n, m);
}

static bool on_majority(const struct sim *s, uint64_t index)
{
	unsigned have = 0, voters = 0;

	for (unsigned i = 0; i < s->nodes_n; i++) {
		const struct sim_node *o = &s->nodes[i];

		voters += o->voter;
		have += o->voter && o->disk.last >= index &&
			same(&o->disk.log[index], &s->committed[index].entry);
	}
	return have > voters / 2;
}

/* A committed entry is durable on a majority, and the same wherever one commits it. */
static void check_commit(struct sim *s, const struct sim_node *n, uint64_t index)
{
	struct sim_committed *c = &s->committed[index];

	if (index <= s->commit) {
		if (!same(&c->entry, &n->log[index]))
			sim_fail(s, n, "commits another entry %lu than was committed before",
				 index);
		return;
	}
	*c = (struct sim_committed){n->log[index], raft_term(&n->raft)};
	s->commit = index;
	if (!on_majority(s, index))
		sim_fail(s, n, "commits entry %lu that is on no majority of disks", index);
	if (raft_role(&n->raft) != RAFT_LEADER)
		sim_fail(s, n, "commits entry %lu before any leader did", index);
	s->report->committed++;
}

/* One leader a term; and it has all that was committed in terms before. */
static void check_leader(struct sim *s, struct sim_node *n)
{
	uint64_t term = raft_term(&n->raft);

	if (term >= SIM_TERMS_MAX) {
		sim_fail(s, n, "term %lu: elections run away", term);
		return;
	}
	if (s->leaders[term] != 0)
		sim_fail(s, n, "becomes leader of term %lu, which %u led", term, s->leaders[term]);
	s->leaders[term] = n->id;
	s->report->leaders++;
	for (uint64_t i = n->snapshot_index + 1; i <= s->commit; i++) {
		if (s->committed[i].by_term >= term)
			continue;
		if (i > n->last || !same(&n->log[i], &s->committed[i].entry)) {
			sim_fail(s, n, "leads term %lu without entry %lu, committed in term %lu",
				 term, i, s->committed[i].by_term);
			return;
		}
	}
}

static void check_updates_own_rules(struct sim *s, const struct sim_node *n,
				    const struct raft_event *ev, const struct raft_update *up)
{
	bool persists = up->hard_changed || up->append_last != 0 || up->truncate_from != 0;

	if (persists != (up->persist_id != 0))
		sim_fail(s, n, "an update's persist id does not go with its content");
	if (up->truncate_from != 0 && up->truncate_from <= n->seen_commit)
		sim_fail(s, n, "truncates from %lu, %lu is committed", up->truncate_from,
			 n->seen_commit);
	if (ev->kind == RAFT_EV_TICK && up->deadline_ms <= ev->now_ms)
		sim_fail(s, n, "a tick leaves a deadline that has passed");
	if (ev->kind == RAFT_EV_PROPOSE &&
	    (up->refused == RAFT_REFUSED_NOT) !=
		    (up->append_last != 0 && up->append_last - up->append_first + 1 == ev->count))
		sim_fail(s, n, "a proposal was neither taken nor refused");
	if (up->refused == RAFT_REFUSED_NOT && ev->kind == RAFT_EV_PROPOSE &&
	    raft_role(&n->raft) != RAFT_LEADER)
		sim_fail(s, n, "takes a proposal without leading");
}

/* Only entries of the leader's own term are committed by counting. */
static void check_counting(struct sim *s, const struct sim_node *n, uint64_t commit)
{
	if (commit > n->seen_commit && n->was_leader && raft_role(&n->raft) == RAFT_LEADER &&
	    n->log[commit].term != raft_term(&n->raft))
		sim_fail(s, n, "counts its way to entry %lu of term %lu", commit,
			 n->log[commit].term);
}

void sim_check_step(struct sim *s, struct sim_node *n, const struct raft_event *ev,
		    const struct raft_update *up)
{
	const struct raft_hard_state *hard = &n->raft.hard;
	uint64_t commit = raft_commit(&n->raft);
	bool leads = raft_role(&n->raft) == RAFT_LEADER;

	check_updates_own_rules(s, n, ev, up);
	if (hard->term < n->seen_hard.term)
		sim_fail(s, n, "term goes back to %lu", hard->term);
	if (hard->term == n->seen_hard.term && n->seen_hard.vote != 0 &&
	    hard->vote != n->seen_hard.vote)
		sim_fail(s, n, "votes twice in term %lu", hard->term);
	n->seen_hard = *hard;
	if (raft_last_index(&n->raft) != n->last)
		sim_fail(s, n, "log ends at %lu, raft says %lu", n->last,
			 raft_last_index(&n->raft));
	if (leads && !n->was_leader)
		check_leader(s, n);
	n->was_leader = leads;
	if (commit < n->seen_commit)
		sim_fail(s, n, "commit goes back to %lu", commit);
	check_counting(s, n, commit);
	for (uint64_t i = n->seen_commit + 1; i <= commit && !sim_failed(s); i++)
		check_commit(s, n, i);
	n->seen_commit = commit;
	if (up->commit > commit || up->commit > n->disk.last || up->commit < n->may_apply)
		sim_fail(s, n, "may apply up to %lu, commit is %lu, durable %lu", up->commit,
			 commit, n->disk.last);
	if (up->commit_changed != (up->commit != n->may_apply))
		sim_fail(s, n, "commit_changed is wrong");
	n->may_apply = up->commit;
	if (ev->kind == RAFT_EV_RECEIVE && ev->message->kind == RAFT_APPEND &&
	    ev->message->term == hard->term && raft_leader(&n->raft) == ev->message->from)
		n->heard_us[hard->term] = s->now_us;
}

/* What is committed stays on a majority of the disks. One node's may drop it: a truncation that it
 * was slow to write can come after others have committed what it replaced. */
void sim_check_cut(struct sim *s, const struct sim_node *n, uint64_t from)
{
	for (uint64_t i = from; i <= s->commit; i++)
		if (!on_majority(s, i))
			sim_fail(s, n,
				 "its disk drops entry %lu, committed and on no majority then", i);
}

/* A majority took this term's leader for theirs at some moment after the read began. */
static void check_confirmed(struct sim *s, const struct sim_node *n, const struct sim_read *read)
{
	uint64_t term = raft_term(&n->raft);
	unsigned have = 0, voters = 0;

	for (unsigned i = 0; i < s->nodes_n; i++) {
		const struct sim_node *o = &s->nodes[i];

		voters += o->voter;
		have += o->voter && (s->leaders[term] == o->id || o->heard_us[term] >= read->at_us);
	}
	if (have <= voters / 2)
		sim_fail(s, n, "reads at a leader that %u of %u have heard since", have, voters);
}

void sim_check_read(struct sim *s, const struct sim_node *n, const struct raft_read_done *done)
{
	struct sim_read *read = &s->reads[done->read_id % SIM_READS_MAX];

	if (read->id != done->read_id || &s->nodes[read->node] != n) {
		sim_fail(s, n, "answers the read %lu that nobody waits for", done->read_id);
		return;
	}
	read->id = 0;
	if (done->index == 0) {
		s->report->reads_void++;
		return;
	}
	s->report->reads++;
	check_confirmed(s, n, read);
	if (done->index < read->floor)
		sim_fail(s, n, "reads at %lu, %lu was committed when the read began", done->index,
			 read->floor);
}
