#include "tests/unit/raft_sim_state.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_DEFAULT 4000
#define HEALING_MS_MAX 120000 /* one entry a round trip can be all the window allows */
#define STANDSTILL_MS_MAX 10000

/* splitmix64 */
uint64_t sim_random(struct sim *s)
{
	uint64_t z = s->rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t sim_below(struct sim *s, uint64_t n)
{
	assert(n > 0);
	return sim_random(s) % n;
}

bool sim_chance(struct sim *s, unsigned per_mille)
{
	return sim_below(s, 1000) < per_mille;
}

unsigned sim_position(const struct sim *s, raft_id id)
{
	assert(id >= 1 && id <= s->nodes_n);
	return id - 1;
}

void sim_fail(struct sim *s, const struct sim_node *n, const char *fmt, ...)
{
	char *to = s->report->failure;
	size_t size = sizeof(s->report->failure);
	va_list ap;
	int at;

	if (sim_failed(s))
		return;
	at = snprintf(to, size, "seed %lu, %lu.%03lu ms, node %u: ", s->options.seed,
		      s->now_us / 1000, s->now_us % 1000, n ? n->id : 0);
	va_start(ap, fmt);
	vsnprintf(to + at, size - (size_t)at, fmt, ap);
	va_end(ap);
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

/* The result is the caller's to fill in until the next call. */
struct sim_event *sim_schedule(struct sim *s, enum sim_event_kind kind, unsigned node,
			       uint64_t in_us)
{
	struct sim_event e = {
		.at_us = s->now_us + in_us,
		.seq = s->seq++,
		.kind = kind,
		.node = (uint8_t)node,
		.life = s->nodes[node].life,
	};
	size_t at = s->heap_n;

	if (s->heap_n == s->heap_cap) {
		s->heap_cap = s->heap_cap ? s->heap_cap * 2 : 256;
		s->heap = realloc(s->heap, s->heap_cap * sizeof(s->heap[0]));
		assert(s->heap);
	}
	s->heap_n++;
	for (; at > 0 && before(&e, &s->heap[(at - 1) / 2]); at = (at - 1) / 2)
		s->heap[at] = s->heap[(at - 1) / 2];
	s->heap[at] = e;
	return &s->heap[at];
}

static struct sim_event pop(struct sim *s)
{
	struct sim_event top = s->heap[0];
	struct sim_event e = s->heap[--s->heap_n];
	size_t at = 0, child;

	while ((child = 2 * at + 1) < s->heap_n) {
		if (child + 1 < s->heap_n && before(&s->heap[child + 1], &s->heap[child]))
			child++;
		if (!before(&s->heap[child], &e))
			break;
		s->heap[at] = s->heap[child];
		at = child;
	}
	s->heap[at] = e;
	return top;
}

struct sim_message *sim_message_new(struct sim *s, const struct raft_message *m)
{
	struct sim_message *sm = s->free_messages;

	if (sm)
		s->free_messages = sm->next_free;
	else
		sm = malloc(sizeof(*sm));
	assert(sm);
	sm->m = *m;
	return sm;
}

void sim_message_free(struct sim *s, struct sim_message *m)
{
	m->next_free = s->free_messages;
	s->free_messages = m;
}

static void post(struct sim *s, struct sim_message *take_m)
{
	const struct sim_weather *w = &s->weather;
	uint64_t us = w->net_us / 2 + sim_below(s, w->net_us + 1);
	unsigned to = sim_position(s, take_m->m.to);

	if (!s->healed && sim_chance(s, w->slow))
		us = sim_below(s, w->slow_us + 1);
	sim_schedule(s, SIM_DELIVER, to, us)->message = take_m;
}

void sim_transmit(struct sim *s, struct sim_message *take_m)
{
	unsigned from = sim_position(s, take_m->m.from);
	unsigned to = sim_position(s, take_m->m.to);

	if (s->cut[from][to] || (!s->healed && sim_chance(s, s->weather.loss))) {
		sim_message_free(s, take_m);
		return;
	}
	while (!s->healed && sim_chance(s, s->weather.repeat)) {
		struct sim_message *copy = sim_message_new(s, &take_m->m);

		memcpy(copy->values, take_m->values, sizeof(copy->values));
		post(s, copy);
	}
	post(s, take_m);
}

static void node_event(struct sim *s, struct sim_node *n, const struct sim_event *e)
{
	struct raft_event ev = {0};
	const uint64_t *values = NULL;

	switch (e->kind) {
	case SIM_DELIVER:
		ev.kind = RAFT_EV_RECEIVE;
		ev.message = &e->message->m;
		values = e->message->values;
		s->report->messages++;
		break;
	case SIM_SENT:
		ev.kind = RAFT_EV_SENT;
		ev.peer = s->nodes[e->peer].id;
		ev.index = e->a;
		ev.count = (uint32_t)e->b;
		ev.size_bytes = e->c;
		n->fetching[e->peer] = false;
		break;
	case SIM_PERSISTED:
		ev.kind = RAFT_EV_PERSISTED;
		ev.persist_id = e->a;
		break;
	case SIM_APPLIED:
		if (e->a <= n->applied)
			return;
		n->applied = e->a;
		ev.kind = RAFT_EV_APPLIED;
		ev.index = e->a;
		break;
	default: /* SIM_UNREACHABLE */
		ev.kind = RAFT_EV_UNREACHABLE;
		ev.peer = s->nodes[e->peer].id;
	}
	sim_node_step(s, n, &ev, values);
}

static bool of_a_process(enum sim_event_kind kind)
{
	return kind != SIM_RESTART && kind != SIM_CLIENT && kind != SIM_CHAOS;
}

static void trace(const struct sim *s, const struct sim_event *e)
{
	const struct raft_message *m = e->message ? &e->message->m : NULL;

	printf("%lu.%03lu event %d node %u: %lu %lu\n", s->now_us / 1000, s->now_us % 1000,
	       (int)e->kind, s->nodes[e->node].id, e->a, e->b);
	if (m)
		printf("  message %d, %u to %u, term %lu, prev %lu (%lu), count %u, commit %lu, "
		       "round "
		       "%lu, %s, match %lu, hint %lu (%lu)\n",
		       (int)m->kind, m->from, m->to, m->term, m->prev_index, m->prev_term, m->count,
		       m->commit, m->round, m->granted ? "yes" : "no", m->match, m->hint_index,
		       m->hint_term);
}

static void dispatch(struct sim *s, struct sim_event *e)
{
	struct sim_node *n = &s->nodes[e->node];
	bool void_event = !n->up || e->life != n->life;

	if (e->kind == SIM_DELIVER) /* outlives its receiver's lives */
		void_event = !n->up;
	if (of_a_process(e->kind) && !void_event && e->kind != SIM_SYNCED &&
	    s->now_us < n->still_until_us) {
		struct sim_event *later =
			sim_schedule(s, e->kind, e->node, n->still_until_us - s->now_us);
		uint64_t at_us = later->at_us, seq = later->seq;

		*later = *e;
		later->at_us = at_us;
		later->seq = seq;
		return;
	}
	if (s->options.trace)
		trace(s, e);
	if (e->kind == SIM_CHAOS && !s->healed)
		sim_chaos(s);
	else if (e->kind == SIM_CLIENT)
		sim_client(s);
	else if (e->kind == SIM_RESTART && !n->up)
		sim_node_start(s, n);
	else if (e->kind == SIM_FETCH && !void_event)
		sim_node_fetch(s, n, e->message);
	else if (e->kind == SIM_SYNCED && !void_event)
		sim_node_synced(s, n);
	else if (of_a_process(e->kind) && !void_event)
		node_event(s, n, e);
	if (e->message && (e->kind == SIM_DELIVER || void_event))
		sim_message_free(s, e->message);
}

/* The next thing that happens: an event of the queue, or a node's deadline. */
static void advance(struct sim *s)
{
	struct sim_node *due = NULL;
	uint64_t at_us = s->heap_n > 0 ? s->heap[0].at_us : UINT64_MAX;
	const struct sim_node *who;

	for (unsigned i = 0; i < s->nodes_n; i++) {
		struct sim_node *n = &s->nodes[i];
		uint64_t tick_us =
			n->deadline_us > n->still_until_us ? n->deadline_us : n->still_until_us;

		/* What waits in the queue goes first, as raft.h asks of callers. */
		if (n->up && n->deadline_us != UINT64_MAX && tick_us < at_us) {
			at_us = tick_us;
			due = n;
		}
	}
	assert(at_us != UINT64_MAX);
	if (at_us > s->now_us)
		s->now_us = at_us;
	s->report->events++;
	if (due) {
		struct raft_event ev = {.kind = RAFT_EV_TICK};

		sim_node_step(s, due, &ev, NULL);
		who = due;
	} else {
		struct sim_event e = pop(s);

		dispatch(s, &e);
		who = &s->nodes[e.node];
	}
	s->report->hash = (s->report->hash ^ s->now_us ^ (uint64_t)who->id << 48 ^ who->last << 20 ^
			   who->seen_commit << 8 ^ who->seen_hard.term) *
			  0x100000001b3u;
}

static void dump(const struct sim *s)
{
	for (unsigned i = 0; i < s->nodes_n; i++) {
		const struct sim_node *n = &s->nodes[i];
		const struct raft *r = &n->raft;

		printf("node %u %s: %s of %u, term %lu, vote %u, log %lu (%lu durable), commit "
		       "%lu\n",
		       n->id, n->up ? "up" : "down", raft_role_name(r->role), r->leader,
		       r->hard.term, r->hard.vote, n->last, n->disk.last, r->commit);
		for (unsigned k = 0; k < r->config.n && r->role == RAFT_LEADER; k++)
			printf("  peer %u: state %d%s, match %lu, next %lu, %u in flight%s\n",
			       r->peers[k].id, (int)r->peers[k].state,
			       r->peers[k].paused ? " paused" : "", r->peers[k].match,
			       r->peers[k].next, r->peers[k].inflight_n,
			       r->peers[k].sent_awaited ? ", awaits SENT" : "");
	}
}

static void draw_weather(struct sim *s)
{
	bool calm = sim_chance(s, 250);

	s->weather = (struct sim_weather){
		.loss = calm ? 0 : (unsigned)sim_below(s, 150),
		.repeat = calm ? 0 : (unsigned)sim_below(s, 150),
		.slow = calm ? 10 : (unsigned)sim_below(s, 300),
		.trim = (unsigned)sim_below(s, 400),
		.send_fails = calm ? 0 : (unsigned)sim_below(s, 50),
		.lose_link_news = (unsigned)sim_below(s, 1000),
		.net_us = 100 + sim_below(s, 5000),
		.slow_us = 1000 + sim_below(s, sim_chance(s, 200) ? 2000000 : 200000),
		.disk_us = 100 + sim_below(s, 10000),
		.disk_stall_us = sim_below(s, 1000000),
		.disk_stall = (unsigned)sim_below(s, 50),
		.crash = (unsigned)sim_below(s, 600),
		.chaos_us = 5000 + sim_below(s, 200000),
		.client_us = 1000 + sim_below(s, sim_chance(s, 200) ? 200000 : 20000),
	};
	s->raft_options = (struct raft_options){
		.heartbeat_ms = 50,
		.election_min_ms = 300,
		.inflight_messages = 1 + (uint32_t)sim_below(s, RAFT_INFLIGHT_MAX),
		.inflight_bytes = 100 + sim_below(s, 10000),
		.append_entries_max = 1 + (uint32_t)sim_below(s, SIM_APPEND_MAX),
	};
}

static void draw_cluster(struct sim *s)
{
	static const unsigned usual[] = {1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7};
	unsigned voters = s->options.voters, learners = s->options.learners;

	if (voters == 0) {
		voters = usual[sim_below(s, sizeof(usual) / sizeof(usual[0]))];
		learners = sim_chance(s, 300) ? 1 + (unsigned)sim_below(s, 2) : 0;
	}
	s->nodes_n = voters + learners;
	assert(s->nodes_n <= SIM_NODES_MAX);
	s->report->voters = voters;
	s->report->learners = learners;
	s->nodes = calloc(s->nodes_n, sizeof(s->nodes[0]));
	assert(s->nodes);
	s->config.n = s->nodes_n;
	for (unsigned i = 0; i < s->nodes_n; i++) {
		s->nodes[i].id = i + 1;
		s->nodes[i].voter = i < voters;
		s->config.members[i] = (struct raft_member){
			.id = i + 1,
			.role = i < voters ? RAFT_VOTER : RAFT_LEARNER,
		};
	}
	for (unsigned i = 0; i < s->nodes_n; i++)
		sim_node_start(s, &s->nodes[i]);
}

/* All have committed all that anybody has, and a leader is ready. */
static struct sim_node *settled(struct sim *s)
{
	struct sim_node *leader = NULL;

	for (unsigned i = 0; i < s->nodes_n; i++) {
		struct sim_node *n = &s->nodes[i];

		if (raft_commit(&n->raft) != s->commit || n->last != s->commit)
			return NULL;
		if (raft_ready(&n->raft))
			leader = n;
	}
	for (unsigned i = 0; i < s->nodes_n && leader; i++)
		if (raft_leader(&s->nodes[i].raft) != leader->id)
			return NULL;
	return leader;
}

static uint64_t progress(const struct sim *s)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < s->nodes_n; i++)
		sum += s->nodes[i].disk.last + s->nodes[i].seen_commit;
	return sum;
}

static struct sim_node *wait_settled(struct sim *s)
{
	uint64_t from_us = s->now_us, moved_us = s->now_us, sum = 0;
	struct sim_node *leader = NULL;

	while (!sim_failed(s) && !(leader = settled(s))) {
		advance(s);
		if (progress(s) != sum) {
			sum = progress(s);
			moved_us = s->now_us;
		}
		if (s->now_us > from_us + HEALING_MS_MAX * 1000u ||
		    s->now_us > moved_us + STANDSTILL_MS_MAX * 1000u)
			sim_fail(s, NULL, "healed, but not well after %lu ms",
				 (s->now_us - from_us) / 1000);
	}
	return leader;
}

static bool reads_wait(const struct sim *s)
{
	for (unsigned i = 0; i < SIM_READS_MAX; i++)
		if (s->reads[i].id != 0)
			return true;
	return false;
}

/* Heals everything; then the cluster must do its work. */
static void heal(struct sim *s)
{
	uint64_t from_us = s->now_us, reads, until_us;
	struct sim_node *leader;

	s->healed = true;
	sim_heal_network(s);
	for (unsigned i = 0; i < s->nodes_n; i++) {
		s->nodes[i].still_until_us = 0;
		if (!s->nodes[i].up)
			sim_node_start(s, &s->nodes[i]);
	}
	if (!(leader = wait_settled(s)))
		return;
	/* A transfer may be under way still; it ends within an election timeout. */
	until_us = s->now_us + 5000000;
	while (!sim_failed(s) && s->commit + 101 <= SIM_LOG_MAX &&
	       !((leader = settled(s)) && sim_propose(s, leader, 1))) {
		advance(s);
		if (s->now_us > until_us)
			sim_fail(s, NULL, "healed and ready, but refuses proposals");
	}
	if (!wait_settled(s))
		return;
	s->report->healed_ms = (s->now_us - from_us) / 1000;
	reads = s->report->reads;
	for (unsigned i = 0; i < s->nodes_n; i++)
		sim_read(s, &s->nodes[i]);
	until_us = s->now_us + 1000000;
	while (!sim_failed(s) && reads_wait(s) && s->now_us < until_us)
		advance(s);
	if (s->report->reads < reads + s->nodes_n)
		sim_fail(s, NULL, "healed, but reads are not answered");
}

static void drain(struct sim *s)
{
	for (size_t i = 0; i < s->heap_n; i++)
		free(s->heap[i].message);
	while (s->free_messages) {
		struct sim_message *m = s->free_messages;

		s->free_messages = m->next_free;
		free(m);
	}
	for (unsigned i = 0; i < s->nodes_n; i++)
		sim_node_done(&s->nodes[i]);
	free(s->nodes);
	free(s->heap);
}

bool raft_sim_run(const struct raft_sim_options *o, struct raft_sim_report *ret_report)
{
	struct sim *s = calloc(1, sizeof(*s));
	uint64_t events = o->events ? o->events : EVENTS_DEFAULT;

	assert(s);
	memset(ret_report, 0, sizeof(*ret_report));
	s->options = *o;
	s->report = ret_report;
	s->rng = o->seed * 0xd1342543de82ef95u + 1;
	s->now_us = 1000000 + sim_below(s, 1000000);
	draw_weather(s);
	draw_cluster(s);
	sim_schedule(s, SIM_CLIENT, 0, 100000);
	sim_schedule(s, SIM_CHAOS, 0, 500000);
	while (ret_report->events < events && !sim_failed(s))
		advance(s);
	if (!sim_failed(s))
		heal(s);
	ret_report->now_ms = s->now_us / 1000;
	if (o->trace)
		dump(s);
	drain(s);
	free(s);
	return ret_report->failure[0] == '\0';
}
