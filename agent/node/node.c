#include "agent/node/node.h"

#include "agent/node/service.h"
#include "agent/node/status.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A page that changes often is moved once per checkpoint: so not too often, but before SQLite's
 * WAL, which is read through when the file is opened, grows large. */
#define CHECKPOINT_MS 10000
#define CHECKPOINT_BYTES (128u << 20)
#define CHECKPOINT_RESTART_BYTES (512u << 20)
#define HAND_OVER_MS 1000 /* then somebody else finds out by himself */

/* The background thread: checkpoints, rates, the stats feed. */
struct background {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	struct store_checkpointer *checkpointers[CORE_GROUPS_MAX];
};

static struct background background;

void node_fatal(struct node *n, const char *part, const struct err *e)
{
	(void)n;
	log_error(part, "%s", e->text);
	log_error(part, "ending at once, since going on could break what was promised (%s)",
		  err_name(e->code));
	_exit(1);
}

void node_event(struct node *n, uint32_t group, enum raft_role role, uint64_t term, raft_id leader)
{
	char text[256], name[32];

	if (!n->rpc || !rpc_has_subscribers(n->rpc, "events"))
		return;
	int len = snprintf(text, sizeof text,
			   "{\"time_us\":%llu,\"node\":%u,\"group\":\"%s\",\"event\":\"role\","
			   "\"role\":\"%s\",\"term\":%llu,\"leader_id\":%u}",
			   (unsigned long long)clock_wall_us(), n->conf->id,
			   core_group_name(group, name, sizeof name), raft_role_name(role),
			   (unsigned long long)term, leader);
	rpc_publish(n->rpc, "events", slice_of(text, (size_t)len));
}

static bool trust(void *ctx, struct link_identity *claimed, enum link_purpose purpose)
{
	const struct agent_conf *conf = ctx;
	const uint8_t *key = NULL;

	if (claimed->kind == LINK_NODE) {
		for (uint32_t i = 0; i < conf->peers_n; i++) {
			if (conf->peers[i].id == claimed->node_id)
				key = conf->peers[i].key;
		}
		claimed->role = LINK_ROLE_NODE;
	} else if (purpose == LINK_RPC) {
		for (uint32_t i = 0; i < conf->users_n; i++) {
			if (strcmp(conf->users[i].name, claimed->name) == 0) {
				key = conf->users[i].key;
				claimed->role = conf->users[i].role;
			}
		}
	}
	return key && sodium_memcmp(key, claimed->key, LINK_KEY_BYTES) == 0;
}

static void on_synced(void *ctx, const struct wal_synced *rows, size_t n)
{
	struct node *node = ctx;

	loop_persisted(node->loop, rows, n);
}

static void on_log_failed(void *ctx, const struct err *e)
{
	node_fatal(ctx, "log", e);
}

static void on_receive(void *ctx, struct message *take_message)
{
	struct node *n = ctx;

	loop_receive(n->loop, take_message);
}

static bool on_terms(void *ctx, struct buf *b)
{
	struct node *n = ctx;

	if (!loop_ready(n->loop))
		return false;
	wire_varint(b, n->groups_n);
	for (uint32_t g = 0; g < n->groups_n; g++) {
		struct core_view v;
		loop_view(n->loop, g, &v);
		wire_varint(b, v.term);
	}
	return true;
}

static void on_told(void *ctx, uint32_t peer, struct slice terms)
{
	struct node *n = ctx;

	loop_terms(n->loop, peer, terms);
}

static void on_down(void *ctx, uint32_t peer)
{
	struct node *n = ctx;

	loop_unreachable(n->loop, peer);
}

static void log_tap(void *ctx, enum log_level level, const char *line)
{
	struct node *n = ctx;

	(void)level;
	if (rpc_has_subscribers(n->rpc, "log"))
		rpc_publish(n->rpc, "log", slice_str(line));
}

static void publish_stats(struct node *n)
{
	struct buf b;

	if (!rpc_has_subscribers(n->rpc, "stats"))
		return;
	buf_init(&b, 1u << 20);
	status_json(n, &b);
	if (buf_ok(&b))
		rpc_publish(n->rpc, "stats", buf_slice(&b));
	buf_done(&b);
}

static bool checkpoint_due(struct node *n, uint64_t last_us, uint64_t now_us)
{
	if (now_us >= last_us + CHECKPOINT_MS * 1000u)
		return true;
	for (uint32_t g = 0; g < n->groups_n; g++) {
		struct store_stats s;
		store_stats(shard_store(n->shards[g]), &s);
		if (s.sqlite_wal_bytes >= CHECKPOINT_BYTES)
			return true;
	}
	return false;
}

static void checkpoint_all(struct node *n)
{
	static struct log_limit limit;
	uint64_t left_out;
	struct err e;

	for (uint32_t g = 0; g < n->groups_n; g++) {
		int rc =
			store_checkpoint(background.checkpointers[g], CHECKPOINT_RESTART_BYTES, &e);
		if (rc < 0 && rc != ERR_BUSY && log_allowed(&limit, &left_out))
			log_error("store", "cannot checkpoint: %s", e.text);
	}
}

static void *background_run(void *arg)
{
	struct node *n = arg;
	uint64_t writes = 0, reads = 0, last_us = clock_mono_us();
	uint64_t checkpoint_us = last_us;
	struct timespec until;

	pthread_mutex_lock(&background.lock);
	while (!background.stop) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&background.wake, &background.lock, &until);
		if (background.stop)
			break;
		pthread_mutex_unlock(&background.lock);
		uint64_t w = atomic_load(&n->writes), r = atomic_load(&n->reads);
		uint64_t now_us = clock_mono_us();
		double seconds = (double)(now_us - last_us) / 1e6;
		n->writes_per_s = (double)(w - writes) / seconds;
		n->reads_per_s = (double)(r - reads) / seconds;
		writes = w;
		reads = r;
		last_us = now_us;
		publish_stats(n);
		if (checkpoint_due(n, checkpoint_us, now_us)) {
			checkpoint_all(n);
			checkpoint_us = now_us;
		}
		pthread_mutex_lock(&background.lock);
	}
	pthread_mutex_unlock(&background.lock);
	return NULL;
}

static int background_start(struct node *n, struct err *e)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&background.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&background.wake, &attr);
	for (uint32_t g = 0; g < n->groups_n; g++) {
		int rc = store_checkpointer_new(&background.checkpointers[g],
						shard_store(n->shards[g]), e);
		if (rc < 0)
			return rc;
	}
	int rc = pthread_create(&background.thread, NULL, background_run, n);
	if (rc == 0)
		pthread_setname_np(background.thread, "background");
	return rc == 0 ? 0 : err_sys(e, ERR_IO, rc, "cannot start the background thread");
}

static void background_stop(void)
{
	pthread_mutex_lock(&background.lock);
	background.stop = true;
	pthread_cond_signal(&background.wake);
	pthread_mutex_unlock(&background.lock);
	pthread_join(background.thread, NULL);
}

/* "127.0.0.1:7001", "[::1]:7001", "localhost:7001" */
static bool is_loopback(const char *address)
{
	return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]:", 6) == 0 ||
	       strncmp(address, "localhost:", 10) == 0;
}

static int check_conf(const struct agent_conf *conf, struct err *e)
{
	const char *open = !is_loopback(conf->peer)  ? conf->peer
			   : !is_loopback(conf->rpc) ? conf->rpc
						     : NULL;

	if (open && !conf->insecure)
		return err_set(e, ERR_REFUSED,
			       "%s: %s is not a loopback address, and links are not encrypted "
			       "yet; where the network is trusted, say insecure = yes under "
			       "[listen]",
			       conf->path, open);
	return 0;
}

static uint64_t random_u64(void *ctx)
{
	uint64_t v;

	(void)ctx;
	randombytes_buf(&v, sizeof v);
	return v;
}

static int open_log(struct node *n, struct err *e)
{
	char dir[CONF_PATH_MAX + 32];

	snprintf(dir, sizeof dir, "%s/log", n->conf->data);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_sys(e, ERR_IO, errno, "cannot make folder %s", dir);
	struct wal_options o = {
		.dir = dir,
		.disk = disk_real(),
		.random = random_u64,
		.segment_bytes = n->conf->segment_bytes,
		.tail_bytes = n->conf->tail_bytes,
	};
	uint64_t begun = clock_mono_ms();
	int rc = wal_open(&n->wal, &o, e);
	if (rc == 0) {
		struct wal_stats s;
		wal_stats(n->wal, &s);
		log_info("log", "opened %s: %llu segments, %llu entries, %llu ms%s", dir,
			 (unsigned long long)s.segments, (unsigned long long)s.entries,
			 (unsigned long long)(clock_mono_ms() - begun),
			 s.torn_bytes ? ", cut off a torn write" : "");
	}
	return rc;
}

/* Files of namespaces that were dropped while this node was down. */
static void drop_leftovers(struct node *n)
{
	uint64_t ids[CATALOGUE_MAX];
	struct err e;

	for (uint32_t g = 1; g < n->groups_n; g++) {
		size_t count = store_namespaces(shard_store(n->shards[g]), ids, CATALOGUE_MAX);
		for (size_t i = 0; i < count && i < CATALOGUE_MAX; i++) {
			if (catalogue_dropped(n->catalogue, ids[i]) &&
			    store_drop(shard_store(n->shards[g]), ids[i], &e) < 0)
				log_warn("store", "%s", e.text);
		}
	}
}

static int open_network(struct node *n, struct err *e)
{
	const struct agent_conf *conf = n->conf;
	struct hub_options o = {
		.cluster_id = conf->cluster_id,
		.self = {.kind = LINK_NODE, .node_id = conf->id},
		.trust = trust,
		.trust_ctx = (void *)conf,
		.silence_ms = conf->silence_ms,
		.links_max = conf->connections,
	};
	struct peers_events ev = {.receive = on_receive,
				  .terms = on_terms,
				  .told = on_told,
				  .down = on_down,
				  .ctx = n};

	snprintf(o.self.name, sizeof o.self.name, "%s", conf->name);
	int rc = key_load(conf->secret, o.secret, o.self.key, e);
	if (rc == 0)
		rc = hub_new(&n->hub, &o, e);
	sodium_memzero(o.secret, sizeof o.secret);
	if (rc == 0)
		rc = peers_new(&n->peers, n->hub, conf, &ev, e);
	return rc;
}

/* Data without the log that led to it: the log holds this node's vote and what it acknowledged, so
 * it must not go on as if there had been none. */
static int check_log_reaches(struct node *n, uint32_t g, struct err *e)
{
	struct wal_group_state ws;
	uint64_t held;
	char name[32];
	int rc = store_held(shard_store(n->shards[g]), &held, e);

	if (rc < 0)
		return rc;
	wal_group(n->wal, g, &ws);
	if (held <= ws.last_index)
		return 0;
	return err_set(
		e, ERR_CORRUPT,
		"group %s: the data holds log entry %llu, but the log ends at %llu: log files "
		"are missing or were put back from an older copy; to let this node recover "
		"from the others, remove its whole data folder",
		core_group_name(g, name, sizeof name), (unsigned long long)held,
		(unsigned long long)ws.last_index);
}

static int start_parts(struct node *n, struct err *e)
{
	uint64_t applied[CORE_GROUPS_MAX];
	struct rpc_server *rpc;
	int rc = 0;

	for (uint32_t g = 0; g < n->groups_n && rc == 0; g++) {
		rc = shard_new(&n->shards[g], n, g, e);
		if (rc == 0)
			rc = check_log_reaches(n, g, e);
		if (rc == 0)
			applied[g] = store_applied(shard_store(n->shards[g]));
	}
	if (rc == 0)
		rc = pool_start(&n->pool, n, e);
	if (rc < 0)
		return rc;
	shard_catalogue_first(n->shards[CATALOGUE_META_GROUP]);
	drop_leftovers(n);
	rc = wal_writer_start(&n->writer, n->wal, on_synced, on_log_failed, n, e);
	if (rc == 0)
		rc = open_network(n, e);
	if (rc == 0)
		rc = loop_start(&n->loop, n, applied, e);
	for (uint32_t g = 0; g < n->groups_n && rc == 0; g++)
		rc = shard_run(n->shards[g], e);
	/* Everything that callbacks touch is there: others may come in. */
	if (rc == 0)
		rc = peers_listen(n->peers, e);
	if (rc == 0)
		rc = rpc_server_new(&rpc, n->hub, n->conf->rpc, service_call, NULL, n, e);
	if (rc == 0) {
		atomic_store(&n->rpc, rpc);
		rc = background_start(n, e);
	}
	return rc;
}

int node_start(struct node **ret_node, const struct agent_conf *conf, struct err *e)
{
	struct node *n = calloc(1, sizeof *n);
	int rc = check_conf(conf, e);

	if (rc < 0 || !n) {
		free(n);
		return rc < 0 ? rc : err_set(e, ERR_NOMEM, "no memory for the node");
	}
	n->conf = conf;
	n->groups_n = conf->shards + 1;
	n->started_ms = clock_mono_ms();
	rc = catalogue_new(&n->catalogue, conf->shards, e);
	if (rc == 0)
		rc = open_log(n, e);
	if (rc == 0)
		rc = start_parts(n, e);
	/* On failure the process ends: nothing is taken down piece by piece. */
	if (rc < 0)
		return rc;
	log_set_tap(log_tap, n);
	*ret_node = n;
	return 0;
}

static bool leads_any(struct node *n)
{
	for (uint32_t g = 0; g < n->groups_n; g++) {
		struct core_view v;
		loop_view(n->loop, g, &v);
		if (v.role == RAFT_LEADER && v.members_n > 1)
			return true;
	}
	return false;
}

void node_stop(struct node *n)
{
	uint64_t until = clock_mono_ms() + HAND_OVER_MS;

	atomic_store(&n->stopping, true);
	loop_retire(n->loop);
	for (uint64_t again = 0; leads_any(n) && clock_mono_ms() < until; usleep(10000)) {
		if (clock_mono_ms() >= again) {
			loop_retire(n->loop);
			again = clock_mono_ms() + 2ull * n->conf->election_ms;
		}
	}
	if (leads_any(n))
		log_warn("raft", "nobody took leadership over in time");
	background_stop();
	for (uint32_t g = 0; g < n->groups_n; g++)
		shard_stop(n->shards[g]);
	pool_stop(n->pool);
	loop_stop(n->loop);
	wal_writer_stop(n->writer);
}
