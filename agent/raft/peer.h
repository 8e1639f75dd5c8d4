/* What the leader knows of one peer, and what it sends it.
 *
 * PROBE     `next - 1` is a guess of where the logs meet. One append, with
 *           entries, tries it; then only heartbeats do, until one is accepted
 *           (-> PIPELINE) or refused (a lower guess).
 * PIPELINE  the logs are known to meet: appends follow one another without
 *           waiting for answers, up to a window of messages and of bytes that
 *           durable acknowledgements free.
 * SNAPSHOT  the peer needs entries that the log cannot describe any more.
 *           Heartbeats go on, entries do not. It ends when the peer turns out
 *           to have what it needs. (A place kept: nothing sends one yet.)
 *
 * A follower's answers may come late, twice, in any order or never:
 *   - `match` only rises, and what it says was durable there;
 *   - a refusal counts only when it is about the prefix that is being tried;
 *   - a lost append shows when the next one is refused; with none to follow,
 *     a heartbeat about `next - 1` instead of `match` asks after half an
 *     election timeout without progress;
 *   - a refusal of a prefix that the peer itself acknowledged before this
 *     round of heartbeats began means that it lost its disk: it is started
 *     afresh.
 */
#ifndef DROVER_AGENT_RAFT_PEER_H
#define DROVER_AGENT_RAFT_PEER_H

#include "agent/raft/raft_state.h"

/* A new leader knows nothing: guesses that the peer has all but what it now appends. */
void raft_peer_begin(const struct raft *r, struct raft_peer *p, uint64_t now_ms);

/* APPEND_REPLY of the current term. */
void raft_peer_reply(const struct raft *r, struct raft_peer *p, const struct raft_message *m,
		     uint64_t now_ms);

/* RAFT_EV_SENT and RAFT_EV_UNREACHABLE. */
void raft_peer_sent(const struct raft *r, struct raft_peer *p, const struct raft_event *ev);
void raft_peer_unreachable(struct raft_peer *p);

/* Sends what is due: a heartbeat, entries, or the news of a commit. */
void raft_peer_send(const struct raft *r, struct raft_peer *p, struct raft_update *up,
		    uint64_t now_ms);

#endif
