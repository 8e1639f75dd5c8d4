/* Two or more ends of links for tests: hubs with keys of their own that trust
 * each other, and a recorder of what a link's callbacks were told. Waiting is
 * always for an event, with a deadline that only a failure reaches. */
#ifndef DROVER_TESTS_LINK_FIXTURE_H
#define DROVER_TESTS_LINK_FIXTURE_H

#include "common/link.h"
#include "common/rpc.h"

#include <pthread.h>

#define FIXTURE_CLUSTER "test-cluster"
#define FIXTURE_WAIT_MS 30000

/* Fills secret and self (a node with that id, or a user "uN" for kind LINK_USER). */
void fixture_options(struct hub_options *o, enum link_kind kind, uint32_t id);
/* The same, with limits for tests, trusting everybody; asserts success. */
struct hub *fixture_hub(enum link_kind kind, uint32_t id);

bool fixture_trust_all(void *ctx, struct link_identity *claimed, enum link_purpose purpose);

struct recorder {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned opened, closed, frames, batches;
	uint64_t bytes;
	struct err why;	   /* of the last close */
	struct link *link; /* the last opened one, referenced */
	struct link_identity peer;
	struct buf last; /* the last frame's body */
	uint8_t last_type;
	bool echo;		  /* send every frame back */
	bool refuse_out_of_order; /* frames begin with a u32 that counts from 0 */
	uint32_t next;
	unsigned out_of_order;
	unsigned overlaps; /* callbacks of one link at the same time */
	int inside;
};
void recorder_init(struct recorder *r);
void recorder_done(struct recorder *r);
struct link_events recorder_events(struct recorder *r);
/* Waits until *what >= n; false after FIXTURE_WAIT_MS. */
bool recorder_wait(struct recorder *r, const unsigned *what, unsigned n);
unsigned recorder_count(struct recorder *r, const unsigned *what);
/* A reference to the last opened link. */
struct link *recorder_link(struct recorder *r);

/* "127.0.0.1:port" */
void fixture_address(uint16_t port, char *ret_address, size_t size);
uint16_t fixture_free_port(void);
/* A plain TCP connection; -1 on failure. */
int fixture_connect(uint16_t port);

void fixture_sleep_ms(unsigned ms);
unsigned fixture_fds(void);
/* Waits until no more than `most` descriptors are open (NNG closes behind the scenes). */
bool fixture_fds_settle(unsigned most);
uint64_t fixture_seed(void); /* DROVER_SEED, or random; printed */
uint32_t fixture_random(uint64_t *state);

#endif
