#include "agent/node/status.h"

#include "agent/node/node.h"
#include "common/clock.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAL_ENTRIES_MAX 1000
#define WAL_BYTES_MAX (4u << 20)

static uint64_t resident_bytes(void)
{
	unsigned long long size = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &size, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static const char *node_name(const struct node *n, uint32_t id, char *ret_name, size_t size)
{
	snprintf(ret_name, size, "node %u", id);
	for (uint32_t i = 0; i < n->conf->peers_n; i++) {
		if (n->conf->peers[i].id == id)
			snprintf(ret_name, size, "%s", n->conf->peers[i].name);
	}
	return ret_name;
}

static const char *rpc_address(const struct node *n, uint32_t id)
{
	for (uint32_t i = 0; i < n->conf->peers_n; i++) {
		if (n->conf->peers[i].id == id)
			return n->conf->peers[i].rpc;
	}
	return NULL;
}

static json_t *id_or_null(uint32_t id)
{
	return id ? json_integer(id) : json_null();
}

static json_t *group_json(struct node *n, uint32_t g)
{
	struct core_view v;
	struct wal_group_state ws;
	char name[32];

	loop_view(n->loop, g, &v);
	wal_group(n->wal, g, &ws);
	uint64_t applied = shard_applied(n->shards[g]);
	return json_pack("{s:i,s:s,s:s,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:i,s:I,s:f}", "group", (int)g,
			 "name", core_group_name(g, name, sizeof name), "role",
			 raft_role_name(v.role), "leader_id", id_or_null(v.leader), "term",
			 (json_int_t)v.term, "first_index", (json_int_t)ws.first_index,
			 "last_index", (json_int_t)v.last_index, "committed", (json_int_t)v.commit,
			 "applied", (json_int_t)applied, "durable",
			 (json_int_t)shard_flushed(n->shards[g]), "snapshot_index", 0,
			 "lag_entries", (json_int_t)(v.commit > applied ? v.commit - applied : 0),
			 "lag_ms", (double)shard_lag_us(n->shards[g]) / 1000.0);
}

/* Of the data groups: leading one is leading; following all of them is synced once what their
 * leaders have committed is applied. */
static const char *sync_state(struct node *n)
{
	bool synced = true;

	if (!loop_ready(n->loop))
		return "connecting";
	for (uint32_t g = 1; g < n->groups_n; g++) {
		struct core_view v;
		loop_view(n->loop, g, &v);
		if (v.role == RAFT_LEADER)
			return "leader";
		if (v.leader == 0)
			return "disconnected";
		synced &= shard_applied(n->shards[g]) + 1000 >= v.commit;
	}
	return synced ? "synced" : "syncing";
}

void status_json(struct node *n, struct buf *b)
{
	struct wal_stats ws;
	struct hub_stats hs;
	json_t *groups = json_array();

	wal_stats(n->wal, &ws);
	hub_stats(n->hub, &hs);
	for (uint32_t g = 0; g < n->groups_n; g++)
		json_array_append_new(groups, group_json(n, g));
	json_t *log =
		json_pack("{s:I,s:I,s:I,s:I,s:I}", "bytes", (json_int_t)ws.bytes, "segments",
			  (json_int_t)ws.segments, "syncs", (json_int_t)ws.syncs, "sync_us_p50",
			  (json_int_t)ws.sync_us_p50, "sync_us_p99", (json_int_t)ws.sync_us_p99);
	json_t *links = json_pack("{s:I,s:I,s:I,s:I,s:I}", "open", (json_int_t)hs.links,
				  "refused_hello", (json_int_t)hs.refused_hello, "refused_trust",
				  (json_int_t)hs.refused_trust, "bad_frames",
				  (json_int_t)hs.bad_frames, "silent", (json_int_t)hs.silent);
	json_t *root = json_pack(
		"{s:i,s:s,s:s,s:i,s:s,s:f,s:I,s:{s:s,s:s,s:n,s:n},s:s,s:f,s:f,s:o,s:o,s:o}", "id",
		(int)n->conf->id, "name", n->conf->name, "state", "up", "pid", (int)getpid(),
		"version", DROVER_VERSION, "uptime_s",
		(double)(clock_mono_ms() - n->started_ms) / 1000.0, "rss_bytes",
		(json_int_t)resident_bytes(), "addresses", "peer", n->conf->peer, "rpc",
		n->conf->rpc, "http", "mysql", "sync_state", sync_state(n), "writes_per_s",
		(double)n->writes_per_s, "reads_per_s", (double)n->reads_per_s, "groups", groups,
		"log", log, "links", links);
	char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
	if (text)
		buf_append(b, text, strlen(text));
	free(text);
	json_decref(root);
}

static void reply_json(struct job *job, json_t *root)
{
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

	if (text)
		job_reply(job, slice_str(text));
	else
		job_fail(job, ERR_NOMEM, "no memory for the answer");
	free(text);
	json_decref(root);
}

void status_answer(struct node *n, struct job *take_job)
{
	struct buf b;

	buf_init(&b, 1u << 20);
	status_json(n, &b);
	job_reply(take_job, buf_slice(&b));
	buf_done(&b);
}

void status_answer_namespaces(struct node *n, struct job *take_job)
{
	struct catalogue_row *rows;
	size_t rows_n;
	json_t *list = json_array();

	if (catalogue_list(n->catalogue, &rows, &rows_n) < 0) {
		json_decref(list);
		job_fail(take_job, ERR_NOMEM, "no memory for the answer");
		return;
	}
	for (size_t i = 0; i < rows_n; i++)
		json_array_append_new(list,
				      json_pack("{s:I,s:s,s:i}", "id", (json_int_t)rows[i].id,
						"name", rows[i].name, "group", (int)rows[i].group));
	free(rows);
	reply_json(take_job, list);
}

void status_answer_groups(struct node *n, struct job *take_job)
{
	json_t *list = json_array();
	char name[32], leader[LINK_NAME_MAX];

	for (uint32_t g = 0; g < n->groups_n; g++) {
		struct core_view v;
		loop_view(n->loop, g, &v);
		const char *rpc = rpc_address(n, v.leader);
		json_array_append_new(
			list,
			json_pack("{s:i,s:s,s:o,s:s?,s:s?}", "group", (int)g, "name",
				  core_group_name(g, name, sizeof name), "leader_id",
				  id_or_null(v.leader), "leader_name",
				  v.leader ? node_name(n, v.leader, leader, sizeof leader) : NULL,
				  "leader_rpc", rpc));
	}
	reply_json(take_job, list);
}

/* varint first_index, committed, count; then index, term, kind, payload of each. Only what is
 * committed is shown. */
void status_answer_wal(struct node *n, struct job *take_job)
{
	struct wal_entry *entries;
	struct wal_group_state ws;
	struct core_view v;
	struct buf b;
	struct err e;
	size_t got = 0;
	int rc = 0;

	loop_view(n->loop, take_job->group, &v);
	wal_group(n->wal, take_job->group, &ws);
	uint64_t commit = v.commit,
		 from = take_job->from < ws.first_index ? ws.first_index : take_job->from;
	uint64_t want = take_job->count < WAL_ENTRIES_MAX ? take_job->count : WAL_ENTRIES_MAX;
	if (from > commit)
		want = 0;
	else if (want > commit - from + 1)
		want = commit - from + 1;
	entries = calloc(want + 1, sizeof *entries);
	buf_init(&b, SQL_ANSWER_BYTES_MAX);
	if (!entries)
		rc = err_set(&e, ERR_NOMEM, "no memory for the answer");
	else if (want > 0)
		rc = wal_read(n->wal, take_job->group, from, (size_t)want,
			      take_job->bytes_max < WAL_BYTES_MAX ? take_job->bytes_max
								  : WAL_BYTES_MAX,
			      entries, &got, &e);
	wire_varint(&b, ws.first_index);
	wire_varint(&b, commit);
	wire_varint(&b, got);
	for (size_t i = 0; i < got; i++) {
		wire_varint(&b, entries[i].index);
		wire_varint(&b, entries[i].term);
		wire_u8(&b, entries[i].kind);
		wire_bytes(&b, blob_slice(entries[i].data));
	}
	if (got)
		wal_entries_unref(entries, got);
	free(entries);
	if (rc < 0)
		job_fail_err(take_job, &e);
	else
		job_reply(take_job, buf_slice(&b));
	buf_done(&b);
}

void status_answer_digest(struct node *n, struct job *take_job)
{
	struct buf b;

	buf_init(&b, 1u << 20);
	if (shard_digest(n->shards[take_job->group], take_job->index, &b))
		job_reply(take_job, buf_slice(&b));
	else if (shard_applied(n->shards[take_job->group]) < take_job->index)
		job_fail(take_job, ERR_TIMEOUT,
			 "this node has applied up to %llu, not yet the mark at %llu",
			 (unsigned long long)shard_applied(n->shards[take_job->group]),
			 (unsigned long long)take_job->index);
	else
		job_fail(take_job, ERR_BUSY,
			 "the digest at %llu is still being computed, or was "
			 "not asked for while this node ran",
			 (unsigned long long)take_job->index);
	buf_done(&b);
}
