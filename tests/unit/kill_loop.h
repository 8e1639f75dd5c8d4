/* Peers that die by SIGKILL under two-way traffic, over and over: shared by the
 * unit test (a few hundred) and tests/e2e/link_kill (the full count).
 *
 * Some lanes run side by side. A lane starts a child process (this program
 * again, as "--victim address"), which dials the parent and listens; the parent
 * dials back; frames are thrown to and fro on both links without pause; after a
 * random number of them the child is killed, and both links must tell their
 * end. A wedge shows as a wait that never ends. Header only, because programs
 * under tests/e2e are not linked with the unit tests' own library.
 */
#ifndef DROVER_TESTS_KILL_LOOP_H
#define DROVER_TESTS_KILL_LOOP_H

#include "common/clock.h"
#include "common/link.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KILL_WAIT_MS 30000
#define KILL_BURST 40
#define KILL_FRAMES_MAX 400
#define KILL_PURPOSES (1u << LINK_RPC | 1u << LINK_BULK)
#define KILL_HERE 1 /* the child's first frame: its lane and its port */
#define KILL_BALL 2

extern char **environ;

struct kill_lane {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct kill_loop *loop;
	struct link_events ev;
	unsigned number;
	uint64_t seed;
	unsigned frames[2]; /* by direction of the dial */
	unsigned opened, closed;
	struct link *back;
	unsigned done;
	bool failed;
	char what[200];
};

struct kill_loop {
	struct hub *hub;
	struct listener *listener;
	char address[64];
	unsigned lanes_n, kills_each;
	struct kill_lane lanes[8];
	unsigned fds_before;
	long rss_early_kib, rss_end_kib;
	struct hub_stats stats;
};

static uint32_t kill_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

static bool kill_trust(void *ctx, struct link_identity *claimed, enum link_purpose purpose)
{
	(void)ctx;
	(void)purpose;
	claimed->role = LINK_ROLE_NODE;
	return true;
}

static struct hub *kill_hub(uint32_t id)
{
	struct hub_options o = {.cluster_id = "kill-loop", .trust = kill_trust};
	struct hub *h = NULL;

	o.self.kind = LINK_NODE;
	o.self.node_id = id;
	snprintf(o.self.name, sizeof o.self.name, "n%u", id);
	o.silence_ms = o.hello_ms = o.dial_ms = KILL_WAIT_MS;
	if (key_generate(o.secret, o.self.key, NULL) != 0 || hub_new(&h, &o, NULL) != 0)
		abort();
	return h;
}

static void kill_burst(struct link *l)
{
	static const uint8_t data[20000];

	for (unsigned i = 0; i < KILL_BURST; i++) {
		struct slice body = slice_of(data, i * i * 12);
		link_send(l, KILL_BALL, &body, 1);
	}
}

/* The child: throws every frame back. ctx of the link it dialed: where to tell its port. */
struct victim {
	uint32_t lane;
	uint32_t port;
};

static void victim_opened(void *ctx, struct link *l)
{
	struct victim *v = ctx;
	struct slice here = slice_of(v, sizeof *v);

	if (v)
		link_send(l, KILL_HERE, &here, 1);
	kill_burst(l);
}

static void victim_frame(void *ctx, struct link *l, uint8_t type, struct slice body)
{
	(void)ctx;
	link_send(l, type, &body, 1);
}

static void victim_closed(void *ctx, struct link *l, const struct err *why)
{
	/* The parent is gone: nothing is left to die for. */
	(void)ctx;
	(void)l;
	(void)why;
	_exit(3);
}

static int kill_victim(const char *address, const char *lane)
{
	struct hub *h = kill_hub(2);
	struct link_events ev = {victim_opened, victim_frame, NULL, victim_closed, NULL};
	struct victim v = {.lane = (uint32_t)atoi(lane)};
	struct listener *ln;
	struct link *l;

	if (link_listen(h, "127.0.0.1:0", KILL_PURPOSES, &ev, &ln, NULL) != 0)
		return 4;
	v.port = listener_port(ln);
	ev.ctx = &v;
	if (link_dial(h, address, LINK_RPC, NULL, &ev, &l, NULL) != 0)
		return 5;
	for (;;)
		pause();
}

static void lane_opened(void *ctx, struct link *l)
{
	struct kill_lane *lane = ctx;

	/* Of links that the child dialed the lane is not known yet. */
	if (!lane)
		return;
	pthread_mutex_lock(&lane->lock);
	lane->opened++;
	pthread_mutex_unlock(&lane->lock);
	kill_burst(l);
}

static void lane_frame(void *ctx, struct link *l, uint8_t type, struct slice body)
{
	struct kill_loop *loop = ctx;
	struct kill_lane *lane = link_user(l);
	struct victim v;

	if (type == KILL_HERE && !lane && body.n == sizeof v) {
		char address[64];
		memcpy(&v, body.p, sizeof v);
		lane = &loop->lanes[v.lane % loop->lanes_n];
		link_set_user(l, lane);
		snprintf(address, sizeof address, "127.0.0.1:%u", v.port);
		pthread_mutex_lock(&lane->lock);
		lane->opened++;
		if (link_dial(loop->hub, address, LINK_BULK, NULL, &lane->ev, &lane->back, NULL) !=
		    0)
			lane->failed = true;
		pthread_mutex_unlock(&lane->lock);
		kill_burst(l);
		return;
	}
	link_send(l, type, &body, 1);
	if (!lane)
		return;
	pthread_mutex_lock(&lane->lock);
	lane->frames[0]++;
	pthread_cond_signal(&lane->cond);
	pthread_mutex_unlock(&lane->lock);
}

static void lane_frame_back(void *ctx, struct link *l, uint8_t type, struct slice body)
{
	struct kill_lane *lane = ctx;

	link_send(l, type, &body, 1);
	pthread_mutex_lock(&lane->lock);
	lane->frames[1]++;
	pthread_cond_signal(&lane->cond);
	pthread_mutex_unlock(&lane->lock);
}

static void lane_count_closed(struct kill_lane *lane)
{
	pthread_mutex_lock(&lane->lock);
	lane->closed++;
	pthread_cond_signal(&lane->cond);
	pthread_mutex_unlock(&lane->lock);
}

static void lane_closed(void *ctx, struct link *l, const struct err *why)
{
	(void)ctx;
	(void)why;
	if (link_user(l))
		lane_count_closed(link_user(l));
}

static void lane_closed_back(void *ctx, struct link *l, const struct err *why)
{
	(void)l;
	(void)why;
	lane_count_closed(ctx);
}

/* Waits until both directions have had n frames, or (n == 0) both links are closed. */
static bool lane_wait(struct kill_lane *lane, unsigned n)
{
	uint64_t until_us = clock_mono_us() + KILL_WAIT_MS * 1000ull;
	struct timespec until = {.tv_sec = (time_t)(until_us / 1000000)};
	int rc = 0;
	bool ok;

	pthread_mutex_lock(&lane->lock);
	for (;;) {
		ok = n ? lane->frames[0] >= n && lane->frames[1] >= n : lane->closed == 2;
		if (ok || rc || lane->failed)
			break;
		rc = pthread_cond_timedwait(&lane->cond, &lane->lock, &until);
	}
	pthread_mutex_unlock(&lane->lock);
	return ok;
}

static bool lane_round(struct kill_lane *lane)
{
	char self[] = "/proc/self/exe", flag[] = "--victim", number[12];
	char *argv[] = {self, flag, lane->loop->address, number, NULL};
	pid_t pid;

	snprintf(number, sizeof number, "%u", lane->number);
	lane->frames[0] = lane->frames[1] = lane->opened = lane->closed = 0;
	lane->back = NULL;
	if (posix_spawn(&pid, self, NULL, NULL, argv, environ) != 0) {
		snprintf(lane->what, sizeof lane->what, "posix_spawn failed");
		return false;
	}
	unsigned n = 1 + kill_random(&lane->seed) % KILL_FRAMES_MAX;
	bool ran = lane_wait(lane, n);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	bool ended = ran && lane_wait(lane, 0);
	if (!ended)
		snprintf(lane->what, sizeof lane->what,
			 "%s: frames %u and %u of %u, opened %u, closed %u",
			 ran ? "the links' end was not told" : "no traffic", lane->frames[0],
			 lane->frames[1], n, lane->opened, lane->closed);
	if (lane->back)
		link_unref(lane->back);
	return ended;
}

static void *lane_thread(void *arg)
{
	struct kill_lane *lane = arg;

	while (!lane->failed && lane->done < lane->loop->kills_each) {
		if (lane_round(lane))
			lane->done++;
		else
			lane->failed = true;
	}
	return NULL;
}

static long kill_rss_kib(void)
{
	long pages = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f) {
		if (fscanf(f, "%ld %ld", &pages, &resident) != 2)
			resident = 0;
		fclose(f);
	}
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static unsigned kill_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static bool kill_run_lanes(struct kill_loop *loop, unsigned kills_each)
{
	pthread_t threads[8];
	bool ok = true;

	loop->kills_each = kills_each;
	for (unsigned i = 0; i < loop->lanes_n; i++) {
		loop->lanes[i].done = 0;
		pthread_create(&threads[i], NULL, lane_thread, &loop->lanes[i]);
	}
	for (unsigned i = 0; i < loop->lanes_n; i++) {
		pthread_join(threads[i], NULL);
		ok = ok && !loop->lanes[i].failed;
	}
	return ok;
}

static bool kill_settled(struct kill_loop *loop)
{
	for (unsigned ms = 0; ms < KILL_WAIT_MS; ms += 10) {
		struct timespec pause_10_ms = {.tv_nsec = 10000000};
		hub_stats(loop->hub, &loop->stats);
		if (loop->stats.links == 0 && kill_fds() <= loop->fds_before)
			return true;
		nanosleep(&pause_10_ms, NULL);
	}
	return false;
}

static void kill_start(struct kill_loop *loop, unsigned lanes_n, uint64_t seed)
{
	pthread_condattr_t attr;
	struct link_events accepted = {lane_opened, lane_frame, NULL, lane_closed, loop};

	memset(loop, 0, sizeof *loop);
	loop->lanes_n = lanes_n;
	loop->hub = kill_hub(1);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	for (unsigned i = 0; i < lanes_n; i++) {
		struct kill_lane *lane = &loop->lanes[i];
		*lane = (struct kill_lane){.loop = loop, .number = i, .seed = seed + i};
		lane->ev = (struct link_events){lane_opened, lane_frame_back, NULL,
						lane_closed_back, lane};
		pthread_mutex_init(&lane->lock, NULL);
		pthread_cond_init(&lane->cond, &attr);
	}
	pthread_condattr_destroy(&attr);
	accepted.opened = NULL;
	if (link_listen(loop->hub, "127.0.0.1:0", KILL_PURPOSES, &accepted, &loop->listener,
			NULL) != 0)
		abort();
	snprintf(loop->address, sizeof loop->address, "127.0.0.1:%u",
		 listener_port(loop->listener));
}

/* The whole of it. The first kills warm memory up; the rest must not add to it. */
static bool kill_loop_run(struct kill_loop *loop, unsigned kills)
{
	unsigned warm = kills / 4 / loop->lanes_n, rest = kills / loop->lanes_n - warm;

	loop->fds_before = kill_fds();
	if (!kill_run_lanes(loop, warm) || !kill_settled(loop))
		return false;
	loop->rss_early_kib = kill_rss_kib();
	if (!kill_run_lanes(loop, rest) || !kill_settled(loop))
		return false;
	loop->rss_end_kib = kill_rss_kib();
	return true;
}

#endif
