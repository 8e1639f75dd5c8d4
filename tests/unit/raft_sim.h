/* A whole cluster of raft_step()s in one process, under a random day of the worst kind.
 *
 * One seed decides everything: the size of the cluster, how bad network and
 * disks are, who crashes when. Nodes get an abstract disk (what was not synced
 * when they crash is lost), a network that loses, repeats, delays, reorders
 * and partitions, clocks that are late, processes that stand still. Clients
 * propose, read and hand leadership over all the while. After every step of
 * every node the rules of Raft are checked against what the simulator, which
 * sees everything, knows (raft_sim_check.c). At last all is healed, and the
 * cluster must come to a leader, commit, catch everybody up, and answer reads.
 *
 * The same seed and options give the same run, event by event: `hash` in the
 * report tells.
 *
 *   raft_sim.c        time, the event queue, the network, the end of the day
 *   raft_sim_script.c what befalls nodes and network, what clients ask
 *   raft_sim_node.c   a node: its disk, its log, what it does with an update
 *   raft_sim_check.c  the rules
 */
#ifndef DROVER_TESTS_UNIT_RAFT_SIM_H
#define DROVER_TESTS_UNIT_RAFT_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct raft_sim_options {
	uint64_t seed;
	unsigned voters;   /* 0: drawn, 1..7 */
	unsigned learners; /* when voters is not 0 */
	uint64_t events;   /* of the bad part; 0: 4,000 */
	bool trace;	   /* print each event */
};

struct raft_sim_report {
	unsigned voters;
	unsigned learners;
	uint64_t events;
	uint64_t messages;  /* delivered */
	uint64_t leaders;   /* elections won */
	uint64_t committed; /* entries */
	uint64_t reads;	    /* confirmed */
	uint64_t reads_void;
	uint64_t crashes;
	uint64_t lost_entries; /* not yet durable when their node crashed */
	uint64_t truncations;
	uint64_t transfers; /* asked for */
	uint64_t now_ms;    /* simulated */
	uint64_t healed_ms; /* from the end of the bad part to all being well */
	uint64_t hash;
	char failure[512]; /* empty: every rule held */
};

/* Returns whether every rule held. */
bool raft_sim_run(const struct raft_sim_options *o, struct raft_sim_report *ret_report);

#endif
