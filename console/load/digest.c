#include "console/load/digest.h"
#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#define PAUSE_MS 50
#define NODE_MS 3000 /* a node that does not answer at all is not waited for longer */

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)ms * 1000000}, NULL);
}

static uint32_t left_ms(uint64_t deadline_ms, uint32_t most)
{
	uint64_t now_ms = clock_mono_ms(), left = deadline_ms > now_ms ? deadline_ms - now_ms : 1;

	return left < most ? (uint32_t)left : most;
}

/* The group's leader by what a node says, 0: it does not know, or does not answer. */
static uint32_t leader_told_by(struct client *c, uint32_t node, uint32_t group, uint32_t timeout_ms)
{
	struct buf body;
	uint32_t leader = 0;

	buf_init(&body, 1u << 20);
	if (client_rpc(c, node, RPC_GROUPS, (struct slice){0}, timeout_ms, &body, NULL) == 0) {
		json_t *list = json_loadb((const char *)body.data, body.len, 0, NULL);
		for (size_t i = 0; i < json_array_size(list); i++) {
			const json_t *at = json_array_get(list, i);
			if (json_integer_value(json_object_get(at, "group")) == group)
				leader = (uint32_t)json_integer_value(
					json_object_get(at, "leader_id"));
		}
		json_decref(list);
	}
	buf_done(&body);
	return leader;
}

static int mark_at(struct client *c, uint32_t leader, uint32_t group, uint32_t timeout_ms,
		   uint64_t *ret_index, struct err *e)
{
	uint8_t bytes[16];
	struct buf request = {.data = bytes, .cap = sizeof bytes, .max = sizeof bytes};
	struct buf body;
	int rc;

	wire_varint(&request, group);
	buf_init(&body, 4096);
	rc = client_rpc(c, leader, RPC_MARK, buf_slice(&request), timeout_ms, &body, e);
	if (rc == 0) {
		struct rd r = rd_of(buf_slice(&body));
		uint64_t index = rd_varint(&r);
		if (rd_end(&r))
			*ret_index = index;
		else
			rc = err_set(e, ERR_PROTOCOL, "the answer to a mark does not decode");
	}
	buf_done(&body);
	return rc;
}

/* Finds the leader and has it commit a mark. Each node in turn is asked who leads, since the first
 * ones may be down. */
static int mark(struct client *c, const struct conf_node *const *nodes, uint32_t n, uint32_t group,
		uint64_t deadline_ms, bool (*interrupted)(void), uint64_t *ret_index, struct err *e)
{
	struct err why = {0};
	int rc;

	for (uint32_t turn = 0;; turn++) {
		uint32_t leader =
			leader_told_by(c, nodes[turn % n]->id, group, left_ms(deadline_ms, 1000));
		if (leader) {
			rc = mark_at(c, leader, group, left_ms(deadline_ms, NODE_MS), ret_index,
				     &why);
			if (rc == 0)
				return 0;
			if (rc == ERR_AUTH || rc == ERR_UNSUPPORTED || rc == ERR_PROTOCOL) {
				*e = why;
				return rc;
			}
		}
		if ((interrupted && interrupted()) || clock_mono_ms() >= deadline_ms)
			return err_set(e, ERR_NO_QUORUM,
				       "group %u has no leader that commits a mark%s%.300s", group,
				       why.text[0] ? ": " : "", why.text);
		pause_ms(PAUSE_MS);
	}
}

static int digest_once(struct client *c, uint32_t group, uint64_t index, uint32_t wait_ms,
		       struct digest_node *row, struct err *e)
{
	uint8_t bytes[40];
	struct buf request = {.data = bytes, .cap = sizeof bytes, .max = sizeof bytes};
	struct buf body;
	int rc;

	wire_varint(&request, group);
	wire_varint(&request, index);
	wire_varint(&request, wait_ms);
	buf_init(&body, 4u << 20);
	rc = client_rpc(c, row->node->id, RPC_DIGEST, buf_slice(&request), wait_ms + NODE_MS, &body,
			e);
	if (rc == 0) {
		json_t *root = json_loadb((const char *)body.data, body.len, 0, NULL);
		row->namespaces = json_incref(json_object_get(root, "namespaces"));
		if (!json_is_object(row->namespaces)) {
			json_decref(row->namespaces);
			row->namespaces = NULL;
			rc = err_set(e, ERR_PROTOCOL, "its digest does not decode");
		}
		json_decref(root);
	}
	buf_done(&body);
	return rc;
}

/* BUSY: it still computes; TIMEOUT: it has not come that far. Both are worth waiting for as long as
 * the node answers at all. CLOSED: the connection was lost meanwhile; the next try makes another.
 */
static void digest_of(struct client *c, struct digest_group *g, struct digest_node *row,
		      uint64_t deadline_ms, bool (*interrupted)(void))
{
	struct err e = {0};
	int rc, lost = 0;

	for (;;) {
		rc = digest_once(c, g->group, g->index, left_ms(deadline_ms, 1000), row, &e);
		bool gone = rc == ERR_CLOSED || rc == ERR_UNREACHABLE;
		if ((!gone && rc != ERR_BUSY && rc != ERR_TIMEOUT) || (gone && ++lost > 4))
			break;
		if (client_conn(c, row->node->id))
			rpc_conn_nudge(client_conn(c, row->node->id));
		if ((interrupted && interrupted()) || clock_mono_ms() >= deadline_ms)
			break;
		pause_ms(PAUSE_MS);
	}
	row->code = rc;
	if (rc)
		snprintf(row->why, sizeof row->why, "%.199s", e.text);
}

static void combine(struct digest_node *row)
{
	char *text = json_dumps(row->namespaces, JSON_COMPACT | JSON_SORT_KEYS);
	XXH128_hash_t hash = {0};

	if (text) {
		hash = XXH3_128bits(text, strlen(text));
		snprintf(row->hex, sizeof row->hex, "%016llx%016llx",
			 (unsigned long long)hash.high64, (unsigned long long)hash.low64);
	}
	free(text);
}

/* Adds the namespaces of `row` that another node has not, or otherwise. */
static void add_different(struct digest_group *g, const struct digest_node *row)
{
	const char *name;
	json_t *hex;

	json_object_foreach(row->namespaces, name, hex)
	{
		bool same = true, listed = false;
		for (uint32_t i = 0; i < g->n; i++) {
			const struct digest_node *other = &g->nodes[i];
			if (other->namespaces)
				same &= json_equal(json_object_get(other->namespaces, name), hex);
		}
		for (size_t i = 0; i < json_array_size(g->different); i++)
			listed |= strcmp(json_string_value(json_array_get(g->different, i)),
					 name) == 0;
		if (!same && !listed)
			json_array_append_new(g->different, json_string(name));
	}
}

void digest_compare(struct digest_group *g)
{
	const struct digest_node *first = NULL;

	g->differs = false;
	g->different = json_array();
	for (uint32_t i = 0; i < g->n; i++) {
		struct digest_node *row = &g->nodes[i];
		if (!row->namespaces)
			continue;
		combine(row);
		if (!first)
			first = row;
		g->differs |= !json_equal(first->namespaces, row->namespaces);
	}
	for (uint32_t i = 0; g->differs && i < g->n; i++) {
		if (g->nodes[i].namespaces)
			add_different(g, &g->nodes[i]);
	}
}

int digest_ask(struct client *c, const struct conf_node *const *nodes, uint32_t n, uint32_t group,
	       uint32_t timeout_ms, bool (*interrupted)(void), struct digest_group *ret_group,
	       struct err *e)
{
	uint64_t deadline_ms = clock_mono_ms() + timeout_ms;
	struct digest_group *g = ret_group;
	uint64_t index = 0;
	int rc = mark(c, nodes, n, group, deadline_ms, interrupted, &index, e);

	if (rc)
		return rc;
	*g = (struct digest_group){.group = group, .index = index, .n = n};
	for (uint32_t i = 0; i < n; i++) {
		g->nodes[i].node = nodes[i];
		digest_of(c, g, &g->nodes[i], deadline_ms, interrupted);
	}
	digest_compare(g);
	return 0;
}

void digest_group_done(struct digest_group *g)
{
	for (uint32_t i = 0; i < g->n; i++)
		json_decref(g->nodes[i].namespaces);
	json_decref(g->different);
	g->different = NULL;
	g->n = 0;
}
