/* Links: authenticated, framed, two-way messages over NNG's byte streams.
 *
 * Everything that agents, console and replicas say to each other goes through
 * here. A link is one connection. Its first exchange is a signed hello: both
 * ends send a fixed-size greeting with a fresh nonce, their claimed identity
 * and public key, then a signature (Ed25519, libsodium) over both greetings
 * and the cluster id; nothing else is decoded before the proof holds and the
 * hub's `trust` callback accepts the key for that identity. From then on the
 * link is that identity.
 *
 * Frames (drover-protocol(7), "Frames"): u32 length (of type and body), u8 type,
 * body. link_send from any thread starts the write itself when none is in
 * flight; what comes meanwhile is packed into the next one. Heartbeat frames go
 * each way every silence_ms / 4 when nothing else does; a link that hears
 * nothing for silence_ms on the monotonic clock is closed (at most an eighth
 * later; time in which this process was stopped does not count).
 *
 * The out queue is bounded in bytes (queue_bytes_max): link_send returns
 * ERR_BUSY beyond it and the message is not sent; only into an empty queue may
 * go a frame that is larger than the bound. The caller decides: Raft drops, RPC
 * answers or waits, feeds count a gap.
 *
 * Why streams and how they are torn down: findings of NNG 1.5.2; the rules are
 * at the top of link/impl.h. In short: nothing is sent after close, teardown
 * happens on the hub's own thread, every dial has a timeout and a fresh dialer,
 * timers are ours and monotonic.
 *
 * Life: a link is reference counted. link_dial and `opened` of a listener give
 * a link that lives at least until its `closed` callback has returned; who
 * keeps the pointer longer takes link_ref. link_send on a link that is closed,
 * or not yet open, returns ERR_CLOSED. link_close is asynchronous and drops what
 * is still queued; `closed` is the last callback, called exactly once for every
 * link for which `opened` was called or link_dial returned 0 (a failed dial:
 * closed without opened), after its descriptor was given back. Its reason:
 * ERR_UNREACHABLE (dial), ERR_TIMEOUT (dial, hello, silence), ERR_AUTH (who the
 * other end is, or what it thinks of us), ERR_PROTOCOL, ERR_CLOSED. The text
 * says who and where.
 *
 * Threads: callbacks come on NNG's threads or the hub's; at most one callback
 * of a link runs at a time; they must not block: enqueue and return (four that
 * block stop all input and output of the process). What a callback sends leaves
 * when it returns, packed. All functions may be called from any thread, also
 * from callbacks, except hub_free and listener_free, which wait for callbacks
 * to end.
 *
 * The process: hub_new must be its first use of NNG; NNG's threads and the
 * hub's are then started with all signals blocked, so that signals reach only
 * the program's own threads. No fork() without exec afterwards: posix_spawn.
 * NNG may hang on the way out of main: end with link_exit, after hub_free or
 * without it.
 */
#ifndef DROVER_COMMON_LINK_H
#define DROVER_COMMON_LINK_H

#include "common/buf.h"
#include "common/err.h"

#define LINK_NAME_MAX 64
#define LINK_KEY_BYTES 32    /* Ed25519 public key */
#define LINK_SECRET_BYTES 64 /* Ed25519 secret key, libsodium's form */
#define LINK_FRAME_BYTES_MAX (80u << 20)

enum link_purpose {
	LINK_FAST = 1, /* peer: votes, heartbeats, acknowledgements */
	LINK_BULK = 2, /* peer: entries, snapshots */
	LINK_RPC = 3,
	LINK_STREAM = 4, /* WAL streaming, place kept */
};

enum link_kind { LINK_NODE = 1, LINK_USER = 2 };
enum link_role { LINK_ROLE_NODE = 1, LINK_ROLE_ADMIN, LINK_ROLE_WRITER, LINK_ROLE_READER };

struct link_identity {
	enum link_kind kind;
	uint32_t node_id;	  /* NODE; else 0 */
	char name[LINK_NAME_MAX]; /* "n2", or a user's name */
	uint8_t key[LINK_KEY_BYTES];
	enum link_role role; /* as the hub's trust callback found, not as claimed */
};

struct hub; /* a process's end of all its links: identity, limits, timer and reaper thread */
struct link;
struct listener;

struct hub_options {
	const char *cluster_id;
	struct link_identity self; /* role is ignored */
	uint8_t secret[LINK_SECRET_BYTES];
	/* May this identity (its proof held) use this purpose? Sets claimed->role. Any thread. */
	bool (*trust)(void *ctx, struct link_identity *claimed, enum link_purpose purpose);
	void *trust_ctx;
	uint32_t hello_ms;	  /* the hello must be over by then; 0: 3000 */
	uint32_t dial_ms;	  /* 0: 2000 */
	uint32_t silence_ms;	  /* 0: 10000 */
	uint64_t queue_bytes_max; /* a link's out queue; 0: 64 MiB */
	uint32_t frame_bytes_max; /* larger incoming frames close the link; 0: LINK_FRAME_BYTES_MAX
				   */
	uint32_t links_max;	  /* accepted links at once, more are refused; 0: 1024 */
};

int hub_new(struct hub **ret_hub, const struct hub_options *o, struct err *e);
/* Closes every listener and link, waits for their last callbacks. RPC servers, connections and
 * clients of this hub are freed before. */
void hub_free(struct hub *h);
/* Before an orderly end: waits until no open link has anything queued; false: time is up. */
bool hub_flush(struct hub *h, uint32_t timeout_ms);
/* Flushes stdio and ends the process with _exit. */
void link_exit(int status) __attribute__((noreturn));

struct link_events {
	void (*opened)(void *ctx, struct link *l);
	/* body is valid during the call only. */
	void (*frame)(void *ctx, struct link *l, uint8_t type, struct slice body);
	/* After the last complete frame of what one read brought: a place to wake a consumer once
	 * for many frames. May be NULL. */
	void (*batch_end)(void *ctx, struct link *l);
	void (*closed)(void *ctx, struct link *l, const struct err *why);
	void *ctx;
};

/* Address: "host:port" (IPv6 in brackets; "*:port" for all interfaces; port 0 for a free one).
 * `purposes` is a bit set of 1 << link_purpose; a link of another purpose is refused. ev is copied.
 * ERR_IO with the address in the text when in use. */
int link_listen(struct hub *h, const char *address, unsigned purposes, const struct link_events *ev,
		struct listener **ret_listener, struct err *e);
/* Also refuses what is still in its hello; open links stay. */
void listener_free(struct listener *ln);
uint16_t listener_port(const struct listener *ln);

/* Starts dialing; returns at once. `expect`, when not NULL, names who must answer (kind and
 * node_id, or name): another identity closes the link. The caller gets a reference; *ret_link is
 * set before the first callback. */
int link_dial(struct hub *h, const char *address, enum link_purpose purpose,
	      const struct link_identity *expect, const struct link_events *ev,
	      struct link **ret_link, struct err *e);

/* Queues one frame made of parts (copied). type < 0xf0. ERR_BUSY, ERR_CLOSED, ERR_LIMIT. */
int link_send(struct link *l, uint8_t type, const struct slice *parts, size_t n);
/* The same, holding references to the blobs instead of copying them: for large payloads. The
 * frame's body is head followed by the blobs' bytes. */
int link_send_blobs(struct link *l, uint8_t type, struct slice head, struct blob *const *blobs,
		    size_t n);

/* Between the two, which nest, what this thread sends is queued and leaves at the last release: for
 * a loop of many sends. In callbacks this is so anyway. Not to be held while waiting. */
void link_hold(void);
void link_release(void);

void link_close(struct link *l);
struct link *link_ref(struct link *l);
void link_unref(struct link *l); /* NULL is fine */

const struct link_identity *link_peer(const struct link *l); /* after opened */
enum link_purpose link_purpose_of(const struct link *l);
const char *link_address(const struct link *l); /* the other end, for logs */
void *link_user(const struct link *l);		/* one pointer of the owner's */
void link_set_user(struct link *l, void *user);

struct link_stats {
	uint64_t sent_frames, sent_bytes, received_frames, received_bytes, writes, dropped;
	uint64_t queued_bytes;
	uint64_t last_heard_ms; /* monotonic */
};
void link_stats(const struct link *l, struct link_stats *ret_stats);

/* Sums over a hub's life, for metrics and the log. */
struct hub_stats {
	uint64_t accepted, refused_hello, refused_trust, bad_frames, silent, links;
};
void hub_stats(const struct hub *h, struct hub_stats *ret_stats);

/* Keys: a secret key file holds the Ed25519 seed in hex and is 0600; a public key is 64 hex
 * digits. */
int key_generate(uint8_t *ret_secret, uint8_t *ret_public, struct err *e);
int key_save(const char *path, const uint8_t *secret,
	     struct err *e); /* ERR_EXISTS, never overwrites */
int key_load(const char *path, uint8_t *ret_secret, uint8_t *ret_public, struct err *e);
void key_to_hex(const uint8_t *public_key, char *ret_hex); /* 65 bytes */
int key_from_hex(const char *hex, uint8_t *ret_public, struct err *e);

#endif
