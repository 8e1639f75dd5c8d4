/* The signed hello at the start of every link (drover-protocol(7), "Hello").
 *
 * Three fixed-size steps, each end sending its own as soon as it may:
 *   greeting  160 bytes: magic, version, kind, purpose (the dialer's; the
 *             listener says 0), node id, a hash of the cluster id, a fresh
 *             nonce, public key, name
 *   proof     64 bytes: Ed25519 over a context text, who of the two is signing,
 *             both greetings (the dialer's first) and the cluster id
 *   verdict   1 byte: 0, or why this end will not talk to the other
 *
 * Both nonces are under both signatures, so recorded bytes prove nothing a
 * second time; the signer's side is too, so an end's own proof cannot be sent
 * back to it. Only the sizes above are ever read before a proof holds, and
 * nothing of a greeting is believed before that. Source of the shape: the
 * signed Diffie-Hellman family of protocols (SIGMA), without a key exchange:
 * secrecy is TLS's.
 *
 * Pure: bytes in, bytes out; trust is asked by the link. Threads: one at a time.
 */
#ifndef DROVER_COMMON_LINK_HELLO_H
#define DROVER_COMMON_LINK_HELLO_H

#include "common/link.h"

#define HELLO_GREETING_BYTES 160
#define HELLO_PROOF_BYTES 64
#define HELLO_VERDICT_BYTES 1
#define HELLO_CLUSTER_MAX 128 /* bytes of a cluster id, NUL included */

enum hello_step { HELLO_GREETING, HELLO_PROOF, HELLO_VERDICT, HELLO_OVER };

enum hello_verdict {
	HELLO_WELCOME = 0,
	HELLO_UNTRUSTED = 1,  /* the key may not say who it claims to be, or may not do this */
	HELLO_NO_PURPOSE = 2, /* nothing of that purpose is served here */
	HELLO_NOT_YOU = 3,    /* the dialer wanted somebody else */
};

struct hello {
	enum hello_step step; /* what the other end must send next */
	bool dialer;
	enum link_purpose purpose; /* a listener knows it after the greeting */
	char cluster_id[HELLO_CLUSTER_MAX];
	uint8_t secret[LINK_SECRET_BYTES];
	uint8_t mine[HELLO_GREETING_BYTES];
	uint8_t theirs[HELLO_GREETING_BYTES];
	struct link_identity peer; /* claimed after the greeting, proven after the proof */
};

/* `purpose` is only used for a dialer. cluster_id is shorter than HELLO_CLUSTER_MAX. */
void hello_init(struct hello *h, const struct link_identity *self, const uint8_t *secret,
		const char *cluster_id, bool dialer, enum link_purpose purpose);
/* Forgets the secret. */
void hello_done(struct hello *h);

/* How many bytes the next step takes; 0 when it is over. */
size_t hello_needs(const struct hello *h);

/* false: these first bytes, however few, cannot become a greeting. */
bool hello_plausible(struct slice in);

/* Each takes exactly hello_needs() bytes. Greeting: fills this end's proof, to be sent. */
int hello_take_greeting(struct hello *h, const uint8_t *in, uint8_t *ret_proof, struct err *e);
int hello_take_proof(struct hello *h, const uint8_t *in, struct err *e);
int hello_take_verdict(struct hello *h, const uint8_t *in, struct err *e);

#endif
