/* A node whose data folder was emptied comes back.
 *
 * It has forgotten its term, its vote and what it acknowledged, so it must not
 * take part as if it were new: it could vote twice in one term, or let an old
 * leader commit over what it once held. Therefore, before it takes any message:
 *
 *   1. it asks every other voter for its current terms and waits until all have
 *      told them. A term in which it may have voted is known to the candidate
 *      it voted for, and a leader's term to that leader, so the highest term
 *      told is at least any that it took part in;
 *   2. it takes that as its term, with its vote given to itself;
 *   3. it neither votes nor campaigns until it has caught up with what a
 *      leader of that term or a later one has committed (raft_options.abstain).
 *
 * A cluster's founding members are told apart by the file `founding` in the
 * data folder, made by `drover init` and removed once the log holds something.
 * While a node rejoins, the file `rejoining` says so, across restarts.
 *
 * Threads: the loop.
 */
#ifndef DROVER_AGENT_NODE_REJOIN_H
#define DROVER_AGENT_NODE_REJOIN_H

#include "agent/node/core.h"
#include "common/conf.h"

struct rejoin {
	const struct agent_conf *conf;
	bool asking;	 /* step 1 */
	bool abstaining; /* step 3 */
	uint32_t groups_n;
	uint64_t terms[CORE_GROUPS_MAX]; /* the highest told */
	bool told[CONF_NODES_MAX];	 /* by conf->peers' position */
};

/* Looks at the markers; `empty`: the log holds nothing. */
int rejoin_init(struct rejoin *r, const struct agent_conf *conf, uint32_t groups_n, bool empty,
		struct err *e);
/* A voter's answer; true when it was the last one missing. */
bool rejoin_told(struct rejoin *r, uint32_t peer, struct slice terms);
/* Names of those that have not answered, for the log. */
void rejoin_missing(const struct rejoin *r, char *ret_text, size_t size);
/* Step 2: stages the terms; the caller waits until they are durable. */
int rejoin_stage(struct rejoin *r, struct wal *w, struct err *e);
/* Caught up in every group, or the founding log has its first entry: removes the marker. */
int rejoin_done(struct rejoin *r, struct err *e);
int rejoin_founded(const struct agent_conf *conf, struct err *e);

#endif
