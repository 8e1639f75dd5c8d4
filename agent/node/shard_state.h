/* The inside of a shard, shared by shard.c (thread, waiting, flushing), shard_write.c (leader's
 * batches) and shard_apply.c (what consensus has committed). All of it belongs to the shard's
 * thread except what says otherwise. */
#ifndef DROVER_AGENT_NODE_SHARD_STATE_H
#define DROVER_AGENT_NODE_SHARD_STATE_H

#include "agent/node/shard.h"

#include <pthread.h>

#define DIGESTS_KEPT 8

enum shard_mail_kind {
	SHARD_SUBMIT,
	SHARD_WAIT,
	SHARD_COMMIT,
	SHARD_ROLE,
	SHARD_PROPOSED,
	SHARD_DROP,
	SHARD_STOP,
};

/* What others tell a shard. Jobs travel inside one, since a mailbox does not know its mail. */
struct shard_mail {
	struct mail mail;
	enum shard_mail_kind kind;
	struct job *job;
	void *token;
	uint64_t index; /* COMMIT, PROPOSED; DROP: the namespace */
	uint64_t term;	/* ROLE, PROPOSED */
	uint64_t at_us; /* COMMIT: when it was posted */
	bool leader;	/* ROLE */
};

/* One entry under way, or about to be proposed. */
struct batch {
	struct batch *next;
	uint64_t index; /* 0: not proposed yet */
	uint64_t term;
	bool mark;
	struct job_list writes; /* part of the entry */
	struct job_list others; /* saw it or what was before it: answered with it */
};

struct shard_digest {
	uint64_t index;
	struct buf json; /* empty while it is being computed */
};

struct shard {
	struct node *node;
	uint32_t group;
	char name[32];
	struct store *store;
	pthread_t thread;
	bool running;
	struct mailbox box;

	bool leader;
	uint64_t term;
	bool ready; /* an entry of this term is applied */

	uint64_t commit;  /* told by the loop */
	uint64_t applied; /* all entries up to here are in the store (or speculative and committed)
			   */

	struct job_list queue;	 /* writes and marks, in order of arrival */
	struct batch *proposing; /* executed, index not known yet */
	bool proposing_void;	 /* taken back meanwhile */
	struct batch *inflight;	 /* proposed, by rising index */
	struct batch **inflight_last;
	unsigned inflight_n;
	bool taken_back; /* the store holds none of inflight: they come back through the log */
	uint64_t stalled_until_ms; /* the store had no room or memory: tried again then; 0: all is
				      well */
	bool fence;		   /* a MARK is under way: nothing new until it is applied */

	struct job_list waiting; /* for their index */
	uint64_t sweep_ms;	 /* when waiting's deadlines were last looked at */
	bool want_flush;

	struct store_request **requests; /* a batch's, conf->batch_requests of them */
	struct buf payload;

	atomic_uint_fast64_t applied_shown;
	atomic_uint_fast64_t flushed_shown;
	atomic_uint_fast64_t behind_since_us; /* 0: nothing committed waits */

	pthread_mutex_t digest_lock; /* guards digests */
	struct shard_digest digests[DIGESTS_KEPT];
	unsigned digest_next;
};

/* shard_write.c */
void shard_begin_batches(struct shard *s);
bool shard_may_begin(const struct shard *s); /* work is queued and nothing holds it back */
void shard_on_proposed(struct shard *s, struct batch *b, uint64_t index, uint64_t term);
void shard_lose_leadership(struct shard *s);
void shard_answer_batch(struct shard *s, struct batch *b);
/* Takes all speculation back; committed entries lost with it are applied again. */
void shard_take_back(struct shard *s);
bool shard_idle(const struct shard *s); /* no batch under way */

/* shard_apply.c */
void shard_apply_committed(struct shard *s);

/* shard.c */
/* The store could not take something. Without room or memory the shard takes everything back, leads
 * no more, and tries again after a while; other errors end the process. */
void shard_store_failed(struct shard *s, const struct err *e);
void shard_flush_now(struct shard *s);
void shard_free_batch(struct batch *b);

#endif
