/* A listener's hello with a dialer whose bytes are changed on the way: pairs of (place, value) from
 * the input over greeting, proof and verdict, or, in the other half of the inputs, raw bytes.
 * Nobody whose bytes differ from what was signed may get to the end. */
#include "common/link/hello.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct wire {
	uint8_t greeting[HELLO_GREETING_BYTES];
	uint8_t proof[HELLO_PROOF_BYTES];
	uint8_t verdict;
};

static uint8_t *at(struct wire *w, unsigned place)
{
	place %= HELLO_GREETING_BYTES + HELLO_PROOF_BYTES + 1;
	if (place < HELLO_GREETING_BYTES)
		return &w->greeting[place];
	place -= HELLO_GREETING_BYTES;
	return place < HELLO_PROOF_BYTES ? &w->proof[place] : &w->verdict;
}

static void side(struct hello *h, uint32_t id, bool dialer)
{
	static uint8_t secrets[2][LINK_SECRET_BYTES], keys[2][LINK_KEY_BYTES];
	static bool made;
	struct link_identity self = {.kind = LINK_NODE, .node_id = id, .name = "node"};
	const uint8_t seed[2][32] = {{1}, {2}};

	if (!made) {
		if (sodium_init() < 0)
			return;
		crypto_sign_seed_keypair(keys[0], secrets[0], seed[0]);
		crypto_sign_seed_keypair(keys[1], secrets[1], seed[1]);
		made = true;
	}
	memcpy(self.key, keys[id - 1], sizeof self.key);
	hello_init(h, &self, secrets[id - 1], "fuzz", dialer, LINK_RPC);
}

static void feed(struct hello *h, const struct wire *w, bool changed)
{
	uint8_t proof[HELLO_PROOF_BYTES];
	struct err e;

	if (hello_take_greeting(h, w->greeting, proof, &e) != 0)
		return;
	assert(h->peer.name[0] && memchr(h->peer.name, 0, LINK_NAME_MAX));
	assert(h->purpose >= LINK_FAST && h->purpose <= LINK_STREAM);
	if (hello_take_proof(h, w->proof, &e) != 0)
		return;
	assert(!changed);
	if (hello_take_verdict(h, &w->verdict, &e) == 0)
		assert(h->step == HELLO_OVER && hello_needs(h) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hello dialer, listener;
	struct wire sent, got;

	if (size < 1)
		return 0;
	hello_plausible(slice_of(data, size));
	side(&dialer, 1, true);
	side(&listener, 2, false);
	memset(&sent, 0, sizeof sent);
	memcpy(sent.greeting, dialer.mine, sizeof sent.greeting);
	if (hello_take_greeting(&dialer, listener.mine, sent.proof, NULL) != 0)
		assert(false);
	got = sent;
	if (data[0] & 1) {
		for (size_t i = 1; i + 2 < size; i += 3)
			*at(&got, data[i] | (unsigned)data[i + 1] << 8) = data[i + 2];
	} else {
		for (size_t i = 1; i < size && i < HELLO_GREETING_BYTES + HELLO_PROOF_BYTES; i++)
			*at(&got, (unsigned)i - 1) = data[i];
	}
	bool changed = memcmp(got.greeting, sent.greeting, sizeof got.greeting) != 0 ||
		       memcmp(got.proof, sent.proof, sizeof got.proof) != 0;
	feed(&listener, &got, changed);
	hello_done(&dialer);
	hello_done(&listener);
	return 0;
}
