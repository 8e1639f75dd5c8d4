/* The follower's side of replication.
 *
 * An append is accepted when the entry before it is the same here as at the
 * leader (3.5). Only a real conflict truncates: a late or repeated append whose
 * entries are all here changes nothing. `verified` is how far the log is known
 * to be this term's leader's; entries beyond it may be there, but neither are
 * acknowledged nor become committed.
 *
 * New entries are acknowledged when they are durable; everything else at once.
 */
#ifndef DROVER_AGENT_RAFT_FOLLOW_H
#define DROVER_AGENT_RAFT_FOLLOW_H

#include "agent/raft/raft_state.h"

/* Whether an APPEND makes sense in itself. */
bool raft_follow_sound(const struct raft_message *m);

/* APPEND of the current term. */
void raft_follow_append(struct raft *r, const struct raft_event *ev, struct raft_update *up);

/* APPEND of an older term: tells its sender that it leads no more. */
void raft_follow_stale(struct raft *r, const struct raft_message *m, struct raft_update *up);

/* Something has become durable: acknowledges what that allows. */
void raft_follow_persisted(struct raft *r, struct raft_update *up);

#endif
