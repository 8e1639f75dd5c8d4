/* What the files of common/link, and RPC on top of it, know of links beyond
 * common/link.h.
 *
 * Who may do what, and why (each rule is from a failure of NNG 1.5.2):
 *   - nothing is submitted to a stream that is being closed: `submitting` counts
 *     the threads inside nng_stream_send, nng_stream_recv and the dial; closing
 *     starts only after `state` says so and the count has fallen to 0;
 *   - close, stop and free are called on the hub's reaper thread alone, never in
 *     an aio's own callback;
 *   - every dial has a fresh dialer and a timeout, NNG's and ours;
 *   - one write and one read are in flight at a time: NNG may finish either
 *     with a part of what was asked;
 *   - callbacks of users come from the read's callback, or, when that has been
 *     stopped for good, from the reaper: so one at a time.
 *
 * Locks, outer first: a user's own (RPC's connection) > link.lock; hub.lock >
 * link.lock; timers.lock last. No user's callback is called with any of them.
 */
#ifndef DROVER_COMMON_LINK_IMPL_H
#define DROVER_COMMON_LINK_IMPL_H

#include "common/link.h"
#include "common/link/frame.h"
#include "common/link/hello.h"
#include "common/link/out.h"
#include "common/link/timer.h"

#include <nng/nng.h>
#include <nng/supplemental/util/platform.h>
#include <pthread.h>
#include <stdatomic.h>

#define LINK_ADDRESS_MAX 272

enum link_state {
	LINK_DIALING,
	LINK_HELLO,
	LINK_REFUSING, /* our verdict is on its way; waiting for the other end to close */
	LINK_OPEN,
	LINK_CLOSING, /* the reaper has it, or is about to */
	LINK_CLOSED,
};

struct link {
	struct hub *hub;       /* not to be used once CLOSED */
	struct listener *from; /* that accepted it, until `opened` has returned: hub.lock */
	bool accepted;
	atomic_bool opened; /* `opened` was, or is being, called; `peer` is set */
	atomic_uint refs;
	atomic_int state; /* written under lock */
	enum link_purpose purpose;
	bool expects;
	struct link_identity expect;
	struct link_identity peer;
	struct link_events ev;
	void *_Atomic user;
	char address[LINK_ADDRESS_MAX];

	nng_stream_dialer *dialer;
	nng_stream *stream;
	nng_aio *dial_aio, *recv_aio, *send_aio;
	struct hub_timer deadline; /* of the dial, then of the hello */
	struct hello *hello;	   /* NULL once over */
	struct frame_in in;

	pthread_mutex_t lock;	/* from here on */
	pthread_cond_t settled; /* `submitting` fell to 0 */
	unsigned submitting;
	bool writing;
	struct out out[2];
	unsigned fill; /* out[fill] takes new frames, the other is being written */
	uint64_t queued_bytes, queue_bytes_max;
	unsigned unsent_ticks;
	struct err why;
	uint64_t sent_frames, sent_bytes, writes, dropped;

	atomic_uint quiet_ticks;
	uint64_t _Atomic received_frames, received_bytes, last_heard_ms;

	struct link *prev, *next; /* the hub's list: hub.lock */
	struct link *reap_next;
};

struct listener {
	struct hub *hub;
	char address[LINK_ADDRESS_MAX];
	unsigned purposes;
	struct link_events ev;
	nng_stream_listener *nng;
	nng_aio *aio;
	struct hub_timer again; /* after an accept that failed */
	/* hub.lock from here on */
	bool closing;
	unsigned submitting;
	unsigned unopened; /* accepted links on their way to `opened` or to their end */
	struct listener *prev, *next;
};

struct hub {
	char cluster_id[HELLO_CLUSTER_MAX];
	struct link_identity self;
	uint8_t secret[LINK_SECRET_BYTES];
	bool (*trust)(void *ctx, struct link_identity *claimed, enum link_purpose purpose);
	void *trust_ctx;
	uint32_t hello_ms, dial_ms, silence_ms, frame_bytes_max, links_max;
	uint64_t queue_bytes_max;

	struct hub_timers timers;
	struct hub_timer tick;
	uint64_t tick_us;
	pthread_t reaper;
	bool reaping;

	pthread_mutex_t lock;
	pthread_cond_t reap_wake; /* the reaper has something to do */
	pthread_cond_t changed;	  /* a link went, or a listener's count fell */
	bool stopping;
	struct link *links;
	uint64_t links_n, accepted_n;
	struct link *reap_first, *reap_last;
	struct listener *listeners;

	uint64_t _Atomic accepted, refused_hello, refused_trust, bad_frames, silent;
};

/* hub.c */
int hub_add(struct hub *h, struct link *l, struct err *e); /* ERR_CLOSED: the hub is ending */
void hub_remove(struct hub *h, struct link *l);		   /* and its listener's count of it */
void hub_reap(struct hub *h, struct link *l);
/* `opened` of an accepted link has returned, or it will never be called. */
void hub_settle(struct hub *h, struct link *l);

/* address.c */
int address_url(const char *address, bool listening, char *ret_url, size_t size, struct err *e);
void address_of(const nng_sockaddr *sa, char *ret_text, size_t size);

/* link.c */
int link_new(struct hub *h, bool accepted, struct link **ret_link, struct err *e);
void link_discard(struct link *l); /* one that hub_add never saw */
/* The first of several reasons counts. */
void link_close_why(struct link *l, const struct err *why);
void link_fail(struct link *l, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void link_teardown(struct link *l); /* on the reaper */
bool link_submit_begin(struct link *l);
void link_submit_end(struct link *l);
/* true: it has been silent too long and is now CLOSING, to be reaped. hub.lock is held. */
bool link_tick(struct link *l);

/* in.c */
void link_start_hello(struct link *l); /* the stream is there */
void link_recv_done(void *arg);	       /* the read's callback */
void link_late(void *arg);	       /* the deadline's timer */

/* send.c */
void link_send_done(void *arg); /* the write's callback */
/* Bytes of the hello, unframed; goes over to `state` in the same step. */
void link_send_raw(struct link *l, const void *p, size_t n, enum link_state state);
/* link_send with a prefix to its parts and a bound of its own on the queue. Nothing is written
 * before link_kick, which must follow, outside of the caller's locks. */
int link_enqueue(struct link *l, uint8_t type, struct slice prefix, const struct slice *parts,
		 size_t n, uint64_t queue_max);
void link_kick(struct link *l);
void link_heartbeat(struct link *l); /* link.lock is held; kick afterwards */

#endif
