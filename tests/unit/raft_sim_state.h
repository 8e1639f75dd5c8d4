/* The simulator's inside, shared by its files; raft_sim.h tells what it is. */
#ifndef DROVER_TESTS_UNIT_RAFT_SIM_STATE_H
#define DROVER_TESTS_UNIT_RAFT_SIM_STATE_H

#include "agent/raft/raft.h"
#include "agent/raft/raft_state.h"
#include "tests/unit/raft_sim.h"

#include <stddef.h>

#define SIM_NODES_MAX RAFT_PEERS_MAX
#define SIM_LOG_MAX 4096
#define SIM_RUNS_MAX 1024
#define SIM_TERMS_MAX 4096
#define SIM_APPEND_MAX 32
#define SIM_MADE_SLOTS 16384 /* a power of two */
#define SIM_READS_MAX 256

struct sim_entry {
	uint64_t term;
	uint64_t value; /* unique; 0: a NOOP */
};

/* A change of the disk that has been asked for and is not yet durable. */
struct sim_job {
	uint64_t persist_id;
	bool hard_changed;
	struct raft_hard_state hard;
	uint64_t truncate_from;
	uint64_t first;
	uint64_t last;
	size_t entries_at; /* first entry's place in sim_disk.staged */
};

struct sim_disk {
	struct raft_hard_state hard;
	struct sim_entry log[SIM_LOG_MAX];
	uint64_t last;
	struct sim_job *jobs;
	size_t jobs_n;
	size_t jobs_cap;
	struct sim_entry *staged;
	size_t staged_n;
	size_t staged_cap;
	uint64_t syncing; /* persist id under way; 0: idle */
};

struct sim_node {
	raft_id id;
	bool voter;
	bool up;
	unsigned life;
	uint64_t still_until_us; /* the process stands still */
	uint64_t deadline_us;
	struct raft raft;
	struct raft_run runs[SIM_RUNS_MAX];
	struct sim_entry log[SIM_LOG_MAX];
	uint64_t last;
	uint64_t snapshot_index;
	uint64_t applied;
	uint64_t applied_durable;
	struct sim_disk disk;
	bool fetching[SIM_NODES_MAX]; /* an APPEND is between update and SENT */
	/* What must not go back. */
	struct raft_hard_state seen_hard;
	uint64_t seen_commit;
	uint64_t may_apply;
	bool was_leader;
	uint64_t heard_us[SIM_TERMS_MAX]; /* when it last heard the leader of the term */
};

struct sim_message {
	struct raft_message m;
	uint64_t values[SIM_APPEND_MAX];
	struct sim_message *next_free;
};

enum sim_event_kind {
	SIM_DELIVER,
	SIM_FETCH, /* an APPEND's entries are read from the log and sent */
	SIM_SENT,
	SIM_SYNCED,
	SIM_PERSISTED,
	SIM_APPLIED,
	SIM_UNREACHABLE,
	SIM_RESTART,
	SIM_CLIENT,
	SIM_CHAOS,
};

struct sim_event {
	uint64_t at_us;
	uint64_t seq;
	enum sim_event_kind kind;
	uint8_t node; /* position in sim.nodes */
	uint8_t peer;
	unsigned life; /* void when the node has another by then */
	uint64_t a;
	uint64_t b;
	uint64_t c;
	struct sim_message *message;
};

/* How bad the day is; drawn from the seed. Chances are in 1/1000. */
struct sim_weather {
	unsigned loss;
	unsigned repeat;
	unsigned slow; /* takes up to slow_us instead of net_us */
	unsigned trim;
	unsigned send_fails;
	unsigned lose_link_news; /* a crash or cut is not reported as UNREACHABLE */
	uint64_t net_us;
	uint64_t slow_us;
	uint64_t disk_us;
	uint64_t disk_stall_us;
	unsigned disk_stall;
	unsigned crash;
	uint64_t chaos_us; /* mean time between two blows */
	uint64_t client_us;
};

struct sim_read {
	uint64_t id; /* 0: free */
	unsigned node;
	uint64_t at_us;
	uint64_t floor; /* the highest commit index that any node knew when it began */
};

/* An entry as its leader made it: one (index, term) has one value and one predecessor. */
struct sim_made {
	uint64_t index; /* 0: free slot */
	uint64_t term;
	uint64_t value;
	uint64_t prev_term;
};

struct sim_committed {
	struct sim_entry entry;
	uint64_t by_term; /* term of the leader that committed it */
};

struct sim {
	struct raft_sim_options options;
	struct raft_sim_report *report;
	struct raft_options raft_options;
	struct raft_config config;
	struct sim_weather weather;
	uint64_t rng;
	uint64_t now_us;
	uint64_t seq;
	unsigned nodes_n;
	struct sim_node *nodes;
	bool cut[SIM_NODES_MAX][SIM_NODES_MAX]; /* [from][to] */
	bool healed;

	struct sim_event *heap;
	size_t heap_n;
	size_t heap_cap;
	struct sim_message *free_messages;
	struct raft_update update;

	/* What really happened. */
	struct sim_made made[SIM_MADE_SLOTS];
	unsigned made_n;
	struct sim_committed committed[SIM_LOG_MAX];
	uint64_t commit; /* highest index that any node knows to be committed */
	raft_id leaders[SIM_TERMS_MAX];
	struct sim_read reads[SIM_READS_MAX];
	uint64_t read_ids;
	uint64_t values;
};

/* raft_sim.c */
uint64_t sim_random(struct sim *s);
uint64_t sim_below(struct sim *s, uint64_t n); /* 0..n-1 */
bool sim_chance(struct sim *s, unsigned per_mille);
struct sim_event *sim_schedule(struct sim *s, enum sim_event_kind kind, unsigned node,
			       uint64_t in_us);
struct sim_message *sim_message_new(struct sim *s, const struct raft_message *m);
void sim_message_free(struct sim *s, struct sim_message *m);
void sim_transmit(struct sim *s, struct sim_message *take_m); /* over the network */
unsigned sim_position(const struct sim *s, raft_id id);
void sim_fail(struct sim *s, const struct sim_node *n, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static inline bool sim_failed(const struct sim *s)
{
	return s->report->failure[0] != '\0';
}

/* raft_sim_script.c: one blow of the day, one go of the clients; both schedule the next. */
void sim_chaos(struct sim *s);
void sim_client(struct sim *s);
bool sim_propose(struct sim *s, struct sim_node *n, uint32_t count); /* whether it was taken */
void sim_read(struct sim *s, struct sim_node *n);
void sim_heal_network(struct sim *s);

/* raft_sim_node.c: one thing happens to a node. */
bool sim_node_start(struct sim *s, struct sim_node *n);
void sim_node_crash(struct sim *s, struct sim_node *n);
void sim_node_done(struct sim_node *n);
/* Steps raft with *ev (now and random are filled in) and carries out the update. `values` are
 * those of the message or proposal. Returns the refusal. */
enum raft_refusal sim_node_step(struct sim *s, struct sim_node *n, struct raft_event *ev,
				const uint64_t *values);
void sim_node_fetch(struct sim *s, struct sim_node *n, struct sim_message *take_m);
void sim_node_synced(struct sim *s, struct sim_node *n);

/* raft_sim_check.c: the rules. */
void sim_check_append(struct sim *s, const struct sim_node *n, uint64_t first, uint64_t last);
void sim_check_message(struct sim *s, const struct sim_node *n, const struct raft_message *m);
void sim_check_step(struct sim *s, struct sim_node *n, const struct raft_event *ev,
		    const struct raft_update *up);
void sim_check_cut(struct sim *s, const struct sim_node *n, uint64_t from);
void sim_check_read(struct sim *s, const struct sim_node *n, const struct raft_read_done *done);

#endif
