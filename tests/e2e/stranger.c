/* A client written from drover-protocol(7) alone, to see that the page is enough and that agents
 * bear what they should never be sent.
 *
 *   stranger ADDRESS CLUSTER WHO KEYFILE PURPOSE DEED
 *
 * WHO is a user's name or, for a node, its id and name as "2:n2". PURPOSE is 1 fast, 2 bulk, 3 RPC.
 * Deeds print what came of them:
 *   status     asks method 2 and prints the answer
 *   sql TEXT   runs it and prints the status and, of the first row, the first value
 *   feed TOPIC subscribes and prints topic and number of the first two items
 *   garbage    sends malformed and senseless frames, each lot on a link of its own, and says
 *              for each whether the agent answered, closed or stayed silent
 *   hello KIND spoils its hello: version, key, signature, replay, name, slow
 *
 * Exit code: 0 done; 1 the agent did what it should not, or cannot be reached.
 */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING 160
#define WAIT_MS 10000

enum { RPC_REQUEST = 0x10, RPC_REPLY, FEED_SUBSCRIBE, FEED_ITEM, HEARTBEAT = 0xf0 };

static struct {
	char host[200], port[8];
	const char *cluster, *name;
	uint32_t node_id;
	uint8_t purpose;
	uint8_t secret[crypto_sign_SECRETKEYBYTES], public_key[crypto_sign_PUBLICKEYBYTES];
} me;

static _Noreturn void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("stranger: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

/* --- bytes to send --- */

struct bytes {
	uint8_t data[1 << 16];
	size_t n;
};

static void put(struct bytes *b, const void *p, size_t n)
{
	if (n > sizeof b->data - b->n)
		die("too much for one message");
	memcpy(b->data + b->n, p, n);
	b->n += n;
}

static void put_number(struct bytes *b, uint64_t v, unsigned size)
{
	for (unsigned i = 0; i < size; i++, v >>= 8)
		put(b, &(uint8_t){(uint8_t)v}, 1);
}

static void put_varint(struct bytes *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		put(b, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
	put(b, &(uint8_t){(uint8_t)v}, 1);
}

static void put_text(struct bytes *b, const char *text)
{
	put_varint(b, strlen(text));
	put(b, text, strlen(text));
}

/* --- the connection --- */

static int dial(void)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	int fd = -1;

	if (getaddrinfo(me.host, me.port, &hints, &list) != 0)
		die("%s:%s is no address", me.host, me.port);
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(list);
	if (fd < 0)
		die("cannot connect to %s:%s: %s", me.host, me.port, strerror(errno));
	return fd;
}

/* What the agent closes in the middle of is not an error here. */
static bool tell(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t done = send(fd, at, n, MSG_NOSIGNAL);
		if (done <= 0)
			return false;
		at += done;
		n -= (size_t)done;
	}
	return true;
}

/* 1: n bytes came; 0: it was closed; -1: nothing for WAIT_MS */
static int hear(int fd, void *to, size_t n, int wait_ms)
{
	char *at = to;

	while (n > 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, wait_ms) <= 0)
			return -1;
		ssize_t done = recv(fd, at, n, 0);
		if (done <= 0)
			return 0;
		at += done;
		n -= (size_t)done;
	}
	return 1;
}

static void greeting_make(uint8_t *g)
{
	memset(g, 0, GREETING);
	memcpy(g, "drover\1", 7);
	g[8] = me.node_id ? 1 : 2;
	g[9] = me.purpose;
	for (int i = 0; i < 4; i++)
		g[12 + i] = (uint8_t)(me.node_id >> 8 * i);
	crypto_generichash(g + 16, 16, (const uint8_t *)me.cluster, strlen(me.cluster), NULL, 0);
	randombytes_buf(g + 32, 32);
	memcpy(g + 64, me.public_key, 32);
	memcpy(g + 96, me.name, strlen(me.name));
}

static size_t proof_text(uint8_t *to, char side, const uint8_t *dialer, const uint8_t *listener)
{
	size_t n = sizeof "drover hello 1";

	memcpy(to, "drover hello 1", n);
	to[n++] = (uint8_t)side;
	memcpy(to + n, dialer, GREETING);
	memcpy(to + n + GREETING, listener, GREETING);
	n += 2 * GREETING;
	memcpy(to + n, me.cluster, strlen(me.cluster));
	return n + strlen(me.cluster);
}

/* The verdict; or -1: the agent closed before it gave one. */
static int shake(int fd, const uint8_t *mine)
{
	uint8_t theirs[GREETING], text[GREETING * 2 + 200], proof[crypto_sign_BYTES], verdict;

	if (!tell(fd, mine, GREETING) || hear(fd, theirs, GREETING, WAIT_MS) != 1)
		return -1;
	size_t n = proof_text(text, 'd', mine, theirs);
	crypto_sign_detached(proof, NULL, text, n, me.secret);
	if (!tell(fd, proof, sizeof proof) || hear(fd, proof, sizeof proof, WAIT_MS) != 1)
		return -1;
	n = proof_text(text, 'l', mine, theirs);
	if (crypto_sign_verify_detached(proof, text, n, theirs + 64) != 0)
		die("the agent's signature does not hold");
	if (hear(fd, &verdict, 1, WAIT_MS) != 1)
		return -1;
	if (verdict == 0)
		tell(fd, "\0", 1);
	return verdict;
}

static int open_link(void)
{
	uint8_t mine[GREETING];
	int fd = dial();

	greeting_make(mine);
	int verdict = shake(fd, mine);
	if (verdict != 0)
		die("the agent's verdict is %d", verdict);
	return fd;
}

static bool tell_frame(int fd, uint8_t type, const void *body, size_t n)
{
	struct bytes b = {.n = 0};

	put_number(&b, n + 1, 4);
	put(&b, &type, 1);
	put(&b, body, n);
	return tell(fd, b.data, b.n);
}

/* The next frame that is no heartbeat: 1, with its body in *b; 0: closed; -1: silence. */
static int hear_frame(int fd, uint8_t *ret_type, struct bytes *b, int wait_ms)
{
	uint8_t head[5];

	for (;;) {
		int rc = hear(fd, head, sizeof head, wait_ms);
		if (rc != 1)
			return rc;
		uint32_t n = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 |
			     (uint32_t)head[3] << 24;
		if (n == 0 || n - 1 > sizeof b->data)
			die("the agent sent a frame of %u bytes", n);
		b->n = n - 1;
		rc = hear(fd, b->data, b->n, wait_ms);
		if (rc != 1)
			return rc;
		if (head[4] != HEARTBEAT) {
			*ret_type = head[4];
			return 1;
		}
	}
}

/* --- reading --- */

struct reader {
	const uint8_t *p, *end;
};

static uint64_t get_number(struct reader *r, unsigned size)
{
	uint64_t v = 0;

	if ((size_t)(r->end - r->p) < size)
		die("the answer is too short");
	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)*r->p++ << 8 * i;
	return v;
}

static uint64_t get_varint(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint64_t byte = get_number(r, 1);
		v |= (byte & 0x7f) << shift;
		if (byte < 0x80)
			return v;
	}
	die("a varint without an end");
}

static int64_t get_svarint(struct reader *r)
{
	uint64_t v = get_varint(r);

	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static struct reader get_bytes(struct reader *r)
{
	uint64_t n = get_varint(r);

	if (n > (size_t)(r->end - r->p))
		die("the answer is too short");
	struct reader inner = {r->p, r->p + n};
	r->p += n;
	return inner;
}

/* --- deeds --- */

static void request_begin(struct bytes *b, uint64_t id, unsigned method)
{
	b->n = 0;
	put_number(b, id, 8);
	put_number(b, method, 2);
	put_number(b, 5000, 4);
}

/* The reply to request `id`: what follows its status. */
static struct reader ask(int fd, const struct bytes *request, uint64_t id, struct bytes *reply,
			 int64_t *ret_status)
{
	uint8_t type = 0;

	tell_frame(fd, RPC_REQUEST, request->data, request->n);
	if (hear_frame(fd, &type, reply, WAIT_MS) != 1 || type != RPC_REPLY)
		die("no reply");
	struct reader r = {reply->data, reply->data + reply->n};
	if (get_number(&r, 8) != id)
		die("a reply to another request");
	*ret_status = get_svarint(&r);
	return r;
}

static int deed_status(void)
{
	static struct bytes request, reply;
	int fd = open_link();
	int64_t status;

	request_begin(&request, 77, 2);
	struct reader r = ask(fd, &request, 77, &reply, &status);
	printf("%.*s\n", (int)(r.end - r.p), (const char *)r.p);
	return status == 0 ? 0 : 1;
}

static void print_value(struct reader *r)
{
	struct reader s;
	uint64_t bits;
	double real;

	switch (get_number(r, 1)) {
	case 0:
		puts("NULL");
		break;
	case 1:
		printf("%lld\n", (long long)get_svarint(r));
		break;
	case 2:
		bits = get_number(r, 8);
		memcpy(&real, &bits, sizeof real);
		printf("%g\n", real);
		break;
	case 3:
	case 4:
		s = get_bytes(r);
		printf("%.*s\n", (int)(s.end - s.p), (const char *)s.p);
		break;
	default:
		die("a value of an unknown type");
	}
}

static void print_answer(struct reader *r)
{
	struct reader text;

	if (get_number(r, 1) != 1)
		die("an answer of another version");
	int64_t status = get_svarint(r);
	get_varint(r); /* group */
	get_varint(r); /* index */
	printf("%lld\n", (long long)status);
	if (status != 0) {
		text = get_bytes(r);
		printf("%.*s\n", (int)(text.end - text.p), (const char *)text.p);
		return;
	}
	if (get_varint(r) == 0)
		return;
	if (get_number(r, 1) == 0) {
		printf("%lld changed\n", (long long)get_svarint(r));
		return;
	}
	get_number(r, 4); /* size */
	uint64_t rows = get_number(r, 8);
	get_number(r, 1); /* cut? */
	uint64_t columns = get_varint(r);
	for (uint64_t i = 0; i < 2 * columns; i++)
		get_bytes(r);
	if (rows > 0)
		print_value(r);
}

static int deed_sql(const char *sql)
{
	static struct bytes request, reply;
	int fd = open_link();
	int64_t status;

	request_begin(&request, 5, 1);
	put(&request, "\1\0\2", 3); /* version, mode auto, level linearizable */
	put_varint(&request, 0);    /* flags */
	put_varint(&request, 0);    /* timeout */
	put_varint(&request, 0);    /* rows */
	put_number(&request, 0, 8); /* client */
	put_varint(&request, 0);    /* sequence */
	put_varint(&request, 0);    /* least index */
	put_text(&request, "");
	put_varint(&request, 1);
	put_varint(&request, strlen(sql) + 1);
	put(&request, sql, strlen(sql));
	put_varint(&request, 0);
	struct reader r = ask(fd, &request, 5, &reply, &status);
	if (status != 0)
		die("status %lld: %.*s", (long long)status, (int)(r.end - r.p), (const char *)r.p);
	print_answer(&r);
	return 0;
}

static int deed_feed(const char *topic)
{
	static struct bytes b;
	int fd = open_link();
	uint8_t type;

	put_text(&b, topic);
	tell_frame(fd, FEED_SUBSCRIBE, b.data, b.n);
	for (int i = 0; i < 2; i++) {
		if (hear_frame(fd, &type, &b, WAIT_MS) != 1 || type != FEED_ITEM)
			die("no item");
		struct reader r = {b.data, b.data + b.n}, name = get_bytes(&r);
		printf("%.*s ", (int)(name.end - name.p), (const char *)name.p);
		printf("%llu\n", (unsigned long long)get_varint(&r));
	}
	return 0;
}

/* What became of a link on which nonsense was sent. */
static void outcome(int fd, const char *what)
{
	static struct bytes b;
	uint8_t type;
	int rc = hear_frame(fd, &type, &b, 500);

	printf("%s: %s\n", what, rc == 1 ? "answered" : rc == 0 ? "closed" : "silent");
	close(fd);
}

static void send_raw(const char *what, const void *p, size_t n)
{
	int fd = open_link();

	tell(fd, p, n);
	outcome(fd, what);
}

static void send_frame(const char *what, uint8_t type, const void *body, size_t n)
{
	int fd = open_link();

	tell_frame(fd, type, body, n);
	outcome(fd, what);
}

/* Frames of all types with random bodies; on RPC links some with a sound head. */
static void send_noise(void)
{
	static struct bytes b;
	int fd = open_link();
	unsigned lots = 0;
	const uint8_t first = me.purpose == 3 ? RPC_REQUEST : 1;

	for (unsigned i = 0; i < 2000; i++) {
		size_t n = randombytes_uniform(200);
		uint8_t noise[200];
		randombytes_buf(noise, sizeof noise);
		if (me.purpose == 3 && i % 2) {
			request_begin(&b, i, 1 + randombytes_uniform(12));
			put(&b, noise, n);
		} else {
			b.n = 0;
			put(&b, noise, n);
		}
		uint8_t type = (uint8_t)(first + (i % 4 ? 0 : randombytes_uniform(6)));
		if (!tell_frame(fd, type, b.data, b.n)) {
			close(fd);
			fd = open_link();
			lots++;
		}
	}
	close(fd);
	printf("noise: over, on %u links\n", lots + 1);
}

/* A sound message head, then `rest`. */
static void send_peer(const char *what, uint64_t group, uint8_t kind, uint64_t from, uint64_t to,
		      const void *rest, size_t n)
{
	static struct bytes b;

	b.n = 0;
	put_varint(&b, group);
	put(&b, &kind, 1);
	put(&b, "\0", 1);
	put_varint(&b, from);
	put_varint(&b, to);
	put_varint(&b, 1);
	put(&b, rest, n);
	send_frame(what, 1, b.data, b.n);
}

static int deed_garbage(void)
{
	static const uint8_t long_varint[] = {0xff, 0xff, 0xff, 0xff, 0xff,
					      0xff, 0xff, 0xff, 0xff, 0xff};
	static uint8_t big[4096];
	const uint8_t first = me.purpose == 3 ? RPC_REQUEST : 1;

	send_raw("length 0", "\0\0\0\0", 4);
	send_raw("length 4 GiB", "\xff\xff\xff\xff\1", 5);
	send_raw("cut off in its length", "\1\0", 2);
	send_raw("cut off in its body", "\x40\0\0\0\1abc", 8);
	send_frame("own type", 0xf7, "", 0);
	send_frame("unknown type", 0x6f, "hello", 5);
	send_frame("empty frame 1", first, "", 0);
	send_frame("empty frame 2", first + 1, "", 0);
	send_frame("empty frame 3", first + 2, "", 0);
	send_frame("endless varint", first, long_varint, sizeof long_varint);
	randombytes_buf(big, sizeof big);
	send_frame("4 KiB of noise", first, big, sizeof big);
	if (me.purpose == 3) {
		send_frame("reply to nothing", RPC_REPLY, big, 64);
		send_frame("subscription to nothing", FEED_SUBSCRIBE, "\7nothing", 8);
	} else {
		send_peer("unknown group", 63, 5, me.node_id, 1, "\0\0\0\0\0", 5);
		send_peer("unknown kind", 1, 99, me.node_id, 1, "", 0);
		send_peer("from somebody else", 1, 5, me.node_id + 1, 1, "\0\0\0\0\0", 5);
		send_peer("to somebody else", 1, 5, me.node_id, 9, "\0\0\0\0\0", 5);
		send_peer("a million entries", 1, 5, me.node_id, 1, "\0\0\0\0\xc0\x84\x3d", 7);
		send_peer("entries that are not there", 1, 5, me.node_id, 1,
			  "\0\0\0\0\1\1\1\1\2\xff\xff\x03", 12);
	}
	for (int i = 0; i < 3; i++)
		send_noise();
	return 0;
}

static int deed_hello(const char *kind)
{
	uint8_t mine[GREETING], byte;
	int fd = dial();

	greeting_make(mine);
	if (strcmp(kind, "version") == 0)
		mine[6] = 9;
	else if (strcmp(kind, "key") == 0)
		crypto_sign_keypair(mine + 64, me.secret);
	else if (strcmp(kind, "signature") == 0)
		randombytes_buf(me.secret, sizeof me.secret);
	else if (strcmp(kind, "name") == 0)
		memset(mine + 96, 'x', 64);
	if (strcmp(kind, "slow") == 0) {
		/* It must not wait for the rest for ever. */
		tell(fd, mine, 100);
		uint8_t theirs[GREETING];
		hear(fd, theirs, GREETING, WAIT_MS);
		printf("%s\n", hear(fd, &byte, 1, 60000) == 0 ? "closed" : "not closed");
		return 0;
	}
	if (strcmp(kind, "mirror") == 0) {
		/* Its own greeting and proof, sent back. */
		uint8_t theirs[GREETING], proof[crypto_sign_BYTES];
		if (hear(fd, theirs, GREETING, WAIT_MS) == 1 && tell(fd, theirs, GREETING) &&
		    hear(fd, proof, sizeof proof, WAIT_MS) == 1)
			tell(fd, proof, sizeof proof);
		printf("%s\n", hear(fd, &byte, 1, WAIT_MS) == 0 ? "closed" : "not closed");
		return 0;
	}
	int verdict = shake(fd, mine);
	if (verdict < 0)
		puts("closed");
	else
		printf("verdict %d\n", verdict);
	return 0;
}

static void key_read(const char *path)
{
	char hex[80] = "";
	uint8_t seed[crypto_sign_SEEDBYTES];
	FILE *f = fopen(path, "re");

	if (!f || !fgets(hex, sizeof hex, f) ||
	    sodium_hex2bin(seed, sizeof seed, hex, 64, NULL, NULL, NULL) != 0)
		die("%s is no key file", path);
	fclose(f);
	crypto_sign_seed_keypair(me.public_key, me.secret, seed);
}

int main(int argc, char **argv)
{
	if (argc < 7 || sodium_init() < 0) {
		fputs("usage: stranger ADDRESS CLUSTER WHO KEYFILE PURPOSE DEED [TEXT]\n", stderr);
		return 2;
	}
	const char *colon = strrchr(argv[1], ':');
	if (!colon || (size_t)(colon - argv[1]) >= sizeof me.host || strlen(colon + 1) > 5)
		die("'%s' is no address", argv[1]);
	memcpy(me.host, argv[1], (size_t)(colon - argv[1]));
	strcpy(me.port, colon + 1);
	me.cluster = argv[2];
	me.node_id = (uint32_t)strtoul(argv[3], NULL, 10);
	me.name = me.node_id ? strchr(argv[3], ':') : argv[3];
	if (!me.name || strlen(me.name) > 63 || strlen(me.cluster) > 127)
		die("who?");
	me.name += me.node_id ? 1 : 0;
	key_read(argv[4]);
	me.purpose = (uint8_t)strtoul(argv[5], NULL, 10);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(argv[6], "status") == 0)
		return deed_status();
	if (strcmp(argv[6], "sql") == 0 && argc > 7)
		return deed_sql(argv[7]);
	if (strcmp(argv[6], "feed") == 0 && argc > 7)
		return deed_feed(argv[7]);
	if (strcmp(argv[6], "garbage") == 0)
		return deed_garbage();
	if (strcmp(argv[6], "hello") == 0 && argc > 7)
		return deed_hello(argv[7]);
	die("no such deed: %s", argv[6]);
}
