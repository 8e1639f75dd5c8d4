/* A mailbox: many threads post, one takes, in order of posting.
 *
 * Mail is intrusive: the poster owns a struct that begins with `struct mail`,
 * and from the post on the taker owns it. A mailbox is bounded where it takes
 * what the world sends (mailbox_offer); what the node's own parts tell each
 * other is bounded by what they have under way and always gets in
 * (mailbox_post).
 */
#ifndef DROVER_AGENT_NODE_MAILBOX_H
#define DROVER_AGENT_NODE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mail {
	struct mail *next;
};

struct mailbox {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct mail *first;
	struct mail **last;
	size_t offered; /* of mailbox_offer, waiting */
	size_t offered_max;
	bool taker_waits;
};

void mailbox_init(struct mailbox *b, size_t offered_max);
void mailbox_done(struct mailbox *b); /* what is left in it stays its poster's */

void mailbox_post(struct mailbox *b, struct mail *m);
/* false: full, nothing was posted. mailbox_taken() gives the room back. */
bool mailbox_offer(struct mailbox *b, struct mail *m);
void mailbox_taken(struct mailbox *b, size_t n);

/* All that waits, as a list in order; waits until the monotonic time wake_us for some; NULL then.
 * 0 does not wait. */
struct mail *mailbox_take(struct mailbox *b, uint64_t wake_us);

#endif
