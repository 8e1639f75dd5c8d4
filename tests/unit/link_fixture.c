#include "tests/unit/link_fixture.h"

#include "common/clock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

bool fixture_trust_all(void *ctx, struct link_identity *claimed, enum link_purpose purpose)
{
	(void)ctx;
	(void)purpose;
	claimed->role = claimed->kind == LINK_NODE ? LINK_ROLE_NODE : LINK_ROLE_ADMIN;
	return true;
}

void fixture_options(struct hub_options *o, enum link_kind kind, uint32_t id)
{
	*o = (struct hub_options){
		.cluster_id = FIXTURE_CLUSTER,
		.self = {.kind = kind, .node_id = kind == LINK_NODE ? id : 0},
		.trust = fixture_trust_all,
		.silence_ms = 60000,
		.hello_ms = 20000,
		.dial_ms = 20000,
	};
	snprintf(o->self.name, sizeof o->self.name, "%c%u", kind == LINK_NODE ? 'n' : 'u', id);
	int rc = key_generate(o->secret, o->self.key, NULL);
	assert(rc == 0);
}

struct hub *fixture_hub(enum link_kind kind, uint32_t id)
{
	struct hub_options o;
	struct hub *h = NULL;
	struct err e;

	fixture_options(&o, kind, id);
	int rc = hub_new(&h, &o, &e);
	if (rc)
		fprintf(stderr, "hub_new: %s\n", e.text);
	assert(rc == 0);
	return h;
}

void recorder_init(struct recorder *r)
{
	pthread_condattr_t attr;

	*r = (struct recorder){0};
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->cond, &attr);
	pthread_condattr_destroy(&attr);
	buf_init(&r->last, 128u << 20);
}

void recorder_done(struct recorder *r)
{
	link_unref(r->link);
	buf_done(&r->last);
	pthread_cond_destroy(&r->cond);
	pthread_mutex_destroy(&r->lock);
}

static void on_opened(void *ctx, struct link *l)
{
	struct recorder *r = ctx;

	pthread_mutex_lock(&r->lock);
	struct link *before = r->link;
	r->link = link_ref(l);
	r->peer = *link_peer(l);
	r->opened++;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
	link_unref(before);
}

static void on_frame(void *ctx, struct link *l, uint8_t type, struct slice body)
{
	struct recorder *r = ctx;
	uint32_t number = 0;

	if (r->echo)
		link_send(l, type, &body, 1);
	pthread_mutex_lock(&r->lock);
	if (r->refuse_out_of_order) {
		if (body.n >= sizeof number)
			memcpy(&number, body.p, sizeof number);
		r->out_of_order += number != r->next;
		r->next = number + 1;
	}
	r->frames++;
	r->bytes += body.n;
	r->last_type = type;
	buf_clear(&r->last);
	buf_append(&r->last, body.p, body.n);
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

static void on_batch_end(void *ctx, struct link *l)
{
	struct recorder *r = ctx;

	(void)l;
	pthread_mutex_lock(&r->lock);
	r->batches++;
	pthread_mutex_unlock(&r->lock);
}

static void on_closed(void *ctx, struct link *l, const struct err *why)
{
	struct recorder *r = ctx;

	(void)l;
	pthread_mutex_lock(&r->lock);
	r->why = *why;
	r->closed++;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

struct link_events recorder_events(struct recorder *r)
{
	return (struct link_events){on_opened, on_frame, on_batch_end, on_closed, r};
}

bool recorder_wait(struct recorder *r, const unsigned *what, unsigned n)
{
	uint64_t until = clock_mono_us() + FIXTURE_WAIT_MS * 1000ull;
	struct timespec ts = {.tv_sec = (time_t)(until / 1000000)};
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	while (*what < n && rc == 0)
		rc = pthread_cond_timedwait(&r->cond, &r->lock, &ts);
	bool ok = *what >= n;
	pthread_mutex_unlock(&r->lock);
	return ok;
}

unsigned recorder_count(struct recorder *r, const unsigned *what)
{
	pthread_mutex_lock(&r->lock);
	unsigned n = *what;
	pthread_mutex_unlock(&r->lock);
	return n;
}

struct link *recorder_link(struct recorder *r)
{
	pthread_mutex_lock(&r->lock);
	struct link *l = r->link ? link_ref(r->link) : NULL;
	pthread_mutex_unlock(&r->lock);
	return l;
}

void fixture_address(uint16_t port, char *ret_address, size_t size)
{
	snprintf(ret_address, size, "127.0.0.1:%u", port);
}

uint16_t fixture_free_port(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof sa;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert(fd >= 0);
	int rc = bind(fd, (struct sockaddr *)&sa, sizeof sa);
	assert(rc == 0);
	rc = getsockname(fd, (struct sockaddr *)&sa, &n);
	assert(rc == 0);
	close(fd);
	return ntohs(sa.sin_port);
}

int fixture_connect(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval limit = {.tv_sec = FIXTURE_WAIT_MS / 1000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0) {
		close(fd);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	return fd;
}

void fixture_sleep_ms(unsigned ms)
{
	struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

unsigned fixture_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ".", ".." and the one that is reading */
}

bool fixture_fds_settle(unsigned most)
{
	for (unsigned ms = 0; ms < FIXTURE_WAIT_MS; ms += 10) {
		if (fixture_fds() <= most)
			return true;
		fixture_sleep_ms(10);
	}
	return false;
}

uint64_t fixture_seed(void)
{
	const char *text = getenv("DROVER_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : clock_wall_us();

	printf("# DROVER_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

uint32_t fixture_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}
