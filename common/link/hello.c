#include "common/link/hello.h"

#include "common/wire.h"

#include <assert.h>
#include <endian.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define CLUSTER_HASH_BYTES 16
#define NONCE_BYTES 32

/* Offsets inside a greeting. */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 6,
	AT_KIND = 8,
	AT_PURPOSE = 9,
	AT_ZERO = 10,
	AT_NODE_ID = 12,
	AT_CLUSTER = 16,
	AT_NONCE = 32,
	AT_KEY = 64,
	AT_NAME = 96,
};
static_assert(AT_NAME + LINK_NAME_MAX == HELLO_GREETING_BYTES, "a greeting's parts fill it");
static_assert(crypto_sign_BYTES == HELLO_PROOF_BYTES, "a proof is one signature");

static const uint8_t magic[8] = {'d', 'r', 'o', 'v', 'e', 'r', 1, 0};
static const char context[] = "drover hello 1";

static void cluster_hash(const char *cluster_id, uint8_t *ret_hash)
{
	static_assert(CLUSTER_HASH_BYTES >= crypto_generichash_BYTES_MIN, "BLAKE2b's least size");
	crypto_generichash(ret_hash, CLUSTER_HASH_BYTES, (const uint8_t *)cluster_id,
			   strlen(cluster_id), NULL, 0);
}

void hello_init(struct hello *h, const struct link_identity *self, const uint8_t *secret,
		const char *cluster_id, bool dialer, enum link_purpose purpose)
{
	uint32_t node_id = htole32(self->node_id);

	memset(h, 0, sizeof *h);
	h->dialer = dialer;
	h->purpose = dialer ? purpose : 0;
	assert(strlen(cluster_id) < sizeof h->cluster_id);
	strcpy(h->cluster_id, cluster_id);
	memcpy(h->secret, secret, sizeof h->secret);

	memcpy(h->mine + AT_MAGIC, magic, sizeof magic);
	h->mine[AT_KIND] = (uint8_t)self->kind;
	h->mine[AT_PURPOSE] = (uint8_t)h->purpose;
	memcpy(h->mine + AT_NODE_ID, &node_id, sizeof node_id);
	cluster_hash(cluster_id, h->mine + AT_CLUSTER);
	randombytes_buf(h->mine + AT_NONCE, NONCE_BYTES);
	memcpy(h->mine + AT_KEY, self->key, LINK_KEY_BYTES);
	memcpy(h->mine + AT_NAME, self->name, strnlen(self->name, LINK_NAME_MAX - 1));
}

void hello_done(struct hello *h)
{
	sodium_memzero(h->secret, sizeof h->secret);
}

size_t hello_needs(const struct hello *h)
{
	switch (h->step) {
	case HELLO_GREETING:
		return HELLO_GREETING_BYTES;
	case HELLO_PROOF:
		return HELLO_PROOF_BYTES;
	case HELLO_VERDICT:
		return HELLO_VERDICT_BYTES;
	default:
		return 0;
	}
}

bool hello_plausible(struct slice in)
{
	size_t n = in.n < sizeof magic ? in.n : sizeof magic;

	return n == 0 || memcmp(in.p, magic, n) == 0;
}

/* A name is printable ASCII without blanks, and only zeroes follow it. */
static bool name_decode(const uint8_t *in, char *ret_name)
{
	size_t n = strnlen((const char *)in, LINK_NAME_MAX);

	if (n == 0 || n == LINK_NAME_MAX)
		return false;
	for (size_t i = 0; i < LINK_NAME_MAX; i++) {
		if (i < n ? in[i] <= 0x20 || in[i] >= 0x7f : in[i] != 0)
			return false;
	}
	memcpy(ret_name, in, LINK_NAME_MAX);
	return true;
}

static int greeting_decode(struct hello *h, struct err *e)
{
	const uint8_t *g = h->theirs;
	struct link_identity who = {.kind = g[AT_KIND]};
	uint32_t node_id;

	if (memcmp(g, magic, AT_VERSION) != 0)
		return err_set(e, ERR_PROTOCOL, "what it sent is not drover's hello");
	if (memcmp(g + AT_VERSION, magic + AT_VERSION, 2) != 0)
		return err_set(e, ERR_PROTOCOL, "it speaks version %u of drover's protocol, not 1",
			       g[AT_VERSION] | g[AT_VERSION + 1] << 8);
	memcpy(&node_id, g + AT_NODE_ID, sizeof node_id);
	who.node_id = le32toh(node_id);
	memcpy(who.key, g + AT_KEY, LINK_KEY_BYTES);
	bool kind_ok = who.kind == LINK_NODE ? who.node_id != 0
					     : who.kind == LINK_USER && who.node_id == 0;
	bool purpose_ok = h->dialer ? g[AT_PURPOSE] == 0
				    : g[AT_PURPOSE] >= LINK_FAST && g[AT_PURPOSE] <= LINK_STREAM;
	if (!kind_ok || !purpose_ok || g[AT_ZERO] || g[AT_ZERO + 1] ||
	    !name_decode(g + AT_NAME, who.name))
		return err_set(e, ERR_PROTOCOL, "its hello is malformed");
	if (sodium_memcmp(g + AT_CLUSTER, h->mine + AT_CLUSTER, CLUSTER_HASH_BYTES) != 0)
		return err_set(e, ERR_AUTH, "it belongs to another cluster");
	if (!h->dialer)
		h->purpose = g[AT_PURPOSE];
	h->peer = who;
	return 0;
}

/* What the dialer or the listener signs. */
static size_t statement(const struct hello *h, bool by_dialer, uint8_t *to)
{
	size_t n = sizeof context, id_n = strlen(h->cluster_id);

	memcpy(to, context, n);
	to[n++] = by_dialer ? 'd' : 'l';
	memcpy(to + n, h->dialer ? h->mine : h->theirs, HELLO_GREETING_BYTES);
	n += HELLO_GREETING_BYTES;
	memcpy(to + n, h->dialer ? h->theirs : h->mine, HELLO_GREETING_BYTES);
	n += HELLO_GREETING_BYTES;
	memcpy(to + n, h->cluster_id, id_n);
	return n + id_n;
}

#define STATEMENT_MAX (sizeof context + 1 + 2 * HELLO_GREETING_BYTES + HELLO_CLUSTER_MAX)

int hello_take_greeting(struct hello *h, const uint8_t *in, uint8_t *ret_proof, struct err *e)
{
	uint8_t text[STATEMENT_MAX];

	assert(h->step == HELLO_GREETING);
	memcpy(h->theirs, in, HELLO_GREETING_BYTES);
	int rc = greeting_decode(h, e);
	if (rc)
		return rc;
	size_t n = statement(h, h->dialer, text);
	crypto_sign_detached(ret_proof, NULL, text, n, h->secret);
	h->step = HELLO_PROOF;
	return 0;
}

int hello_take_proof(struct hello *h, const uint8_t *in, struct err *e)
{
	uint8_t text[STATEMENT_MAX];

	assert(h->step == HELLO_PROOF);
	size_t n = statement(h, !h->dialer, text);
	if (crypto_sign_verify_detached(in, text, n, h->peer.key) != 0)
		return err_set(e, ERR_AUTH, "its signature does not prove the key it claims");
	h->step = HELLO_VERDICT;
	return 0;
}

int hello_take_verdict(struct hello *h, const uint8_t *in, struct err *e)
{
	assert(h->step == HELLO_VERDICT);
	switch (in[0]) {
	case HELLO_WELCOME:
		h->step = HELLO_OVER;
		return 0;
	case HELLO_UNTRUSTED:
		return err_set(e, ERR_AUTH, "it does not know our key, or does not allow this");
	case HELLO_NO_PURPOSE:
		return err_set(e, ERR_AUTH, "it does not serve links of this purpose there");
	case HELLO_NOT_YOU:
		return err_set(e, ERR_AUTH, "it wanted somebody else");
	default:
		return err_set(e, ERR_PROTOCOL, "it sent an unknown verdict on the hello");
	}
}
