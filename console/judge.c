/* From what the nodes say to one verdict and to the nodes that a word means. Nothing here asks. */
#include "console/cluster.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

static bool leads(const struct cluster_node *node, unsigned group)
{
	return strcmp(json_field_text(cluster_group(node, group), "role"), "leader") == 0;
}

static unsigned voters_up(const struct cluster_view *view, unsigned group)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < view->n; i++)
		n += view->nodes[i].conf->role == CONF_VOTER &&
		     cluster_group(&view->nodes[i], group);
	return n;
}

const struct cluster_node *cluster_leader(const struct cluster_view *view, unsigned group)
{
	const struct cluster_node *leader = NULL;
	int64_t term = -1;
	unsigned known = 0;

	/* A leader that has been cut off may not know yet that another one leads in a later term.
	 */
	for (uint32_t i = 0; i < view->n; i++) {
		const struct cluster_node *node = &view->nodes[i];
		int64_t its_term = json_field_int(cluster_group(node, group), "term");
		if (leads(node, group) && its_term > term) {
			leader = node;
			term = its_term;
		}
	}
	for (uint32_t i = 0; leader && i < view->n; i++) {
		const struct cluster_node *node = &view->nodes[i];
		known +=
			node->conf->role == CONF_VOTER &&
			json_field_int(cluster_group(node, group), "leader_id") == leader->conf->id;
	}
	return known >= cluster_majority(view->conf) ? leader : NULL;
}

struct text {
	char *at;
	size_t left;
};

static void put(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct text *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(t->at, t->left, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	size_t took = (size_t)n < t->left ? (size_t)n : t->left - 1;
	t->at += took;
	t->left -= took;
}

/* "n2 is down, n3 is paused" */
static unsigned put_missing(struct text *t, const struct cluster_view *view)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < view->n; i++) {
		const struct cluster_node *node = &view->nodes[i];
		if (node->state == NODE_UP)
			continue;
		put(t, "%s%s is %s", n ? ", " : "", node->conf->name, node_state_name(node->state));
		n++;
	}
	return n;
}

static const char *group_name(const struct cluster_view *view, unsigned group)
{
	for (uint32_t i = 0; i < view->n; i++) {
		const char *name = json_field_text(cluster_group(&view->nodes[i], group), "name");
		if (name[0])
			return name;
	}
	return group == 0 ? "meta" : "data";
}

/* Nodes that have not applied what the leader of a group has committed long ago. */
static unsigned put_lagging(struct text *t, const struct cluster_view *view, unsigned group)
{
	const struct cluster_node *leader = cluster_leader(view, group);
	unsigned n = 0;

	if (!leader)
		return 0;
	int64_t committed = json_field_int(cluster_group(leader, group), "committed");
	for (uint32_t i = 0; i < view->n; i++) {
		const json_t *at = cluster_group(&view->nodes[i], group);
		int64_t behind = committed - json_field_int(at, "applied");
		if (!at || behind <= CLUSTER_LAG_ENTRIES)
			continue;
		put(t, "; %s is %lld entries behind in group %u (%s)", view->nodes[i].conf->name,
		    (long long)behind, group, group_name(view, group));
		n++;
	}
	return n;
}

/* The command that brings the missing ones back. */
static void put_remedy(struct text *t, const struct cluster_view *view)
{
	static const struct {
		enum node_state state;
		const char *verb;
	} kinds[] = {{NODE_DOWN, "start"}, {NODE_PAUSED, "resume"}};

	for (size_t k = 0; k < 2; k++) {
		bool any = false;
		for (uint32_t i = 0; i < view->n; i++) {
			if (view->nodes[i].state != kinds[k].state)
				continue;
			if (!any)
				put(t, "; try 'drover %s", kinds[k].verb);
			put(t, " %s", view->nodes[i].conf->name);
			any = true;
		}
		if (any)
			put(t, "'");
	}
}

/* Nodes that answer us, but do not know the leader that the majority knows: cut off from it, or
 * just started. */
static unsigned put_astray(struct text *t, const struct cluster_view *view, unsigned group)
{
	const struct cluster_node *leader = cluster_leader(view, group);
	unsigned n = 0;

	for (uint32_t i = 0; leader && i < view->n; i++) {
		const json_t *at = cluster_group(&view->nodes[i], group);
		if (!at || json_field_int(at, "leader_id") == leader->conf->id)
			continue;
		put(t, "; %s does not know the leader of group %u (%s)", view->nodes[i].conf->name,
		    group, group_name(view, group));
		n++;
	}
	return n;
}

static void say_no_quorum(struct text *t, const struct cluster_view *view, unsigned group)
{
	unsigned voters = 0;

	for (uint32_t i = 0; i < view->n; i++)
		voters += view->nodes[i].conf->role == CONF_VOTER;
	put(t,
	    "NO QUORUM: nothing can be written; %u of %u voters answer for group %u (%s), %u are "
	    "needed; ",
	    voters_up(view, group), voters, group, group_name(view, group),
	    cluster_majority(view->conf));
	put_missing(t, view);
	put_remedy(t, view);
}

static void say_healthy(struct text *t, const struct cluster_view *view)
{
	const struct cluster_node *leader = cluster_leader(view, 1);
	unsigned voters = voters_up(view, 1), may_fail = voters - cluster_majority(view->conf);

	if (view->conf->shards == 1)
		put(t, "healthy: all %u nodes are up and %s leads", view->n,
		    leader ? leader->conf->name : "?");
	else
		put(t, "healthy: all %u nodes are up and every group has a leader", view->n);
	if (may_fail)
		put(t, "; %u more may fail", may_fail);
	else
		put(t, "; none may fail");
}

static void say_degraded(struct text *t, const struct cluster_view *view, unsigned missing)
{
	unsigned spare = voters_up(view, 1) - cluster_majority(view->conf);

	put(t, "degraded: ");
	if (missing) {
		put_missing(t, view);
		if (spare)
			put(t, "; the others go on, %u more may fail", spare);
		else
			put(t, "; the others go on, but none more may fail");
	} else {
		put(t, "all nodes are up");
	}
}

void cluster_judge(struct cluster_view *view)
{
	unsigned majority = cluster_majority(view->conf), missing = 0, lagging = 0, leaderless = 0;
	struct text t = {view->verdict, sizeof view->verdict};
	char more[300] = "";
	struct text m = {more, sizeof more};

	for (unsigned group = 0; group <= view->conf->shards; group++) {
		if (voters_up(view, group) < majority) {
			view->health = HEALTH_NO_QUORUM;
			say_no_quorum(&t, view, group);
			return;
		}
		if (!cluster_leader(view, group)) {
			put(&m, "; group %u (%s) has no leader at this moment", group,
			    group_name(view, group));
			leaderless++;
		}
		lagging += put_lagging(&m, view, group) + put_astray(&m, view, group);
	}
	for (uint32_t i = 0; i < view->n; i++)
		missing += view->nodes[i].state != NODE_UP;
	if (missing + lagging + leaderless == 0) {
		view->health = HEALTH_HEALTHY;
		say_healthy(&t, view);
		return;
	}
	view->health = HEALTH_DEGRADED;
	say_degraded(&t, view, missing);
	put(&t, "%s", more);
}

bool cluster_words_need_view(int argc, char *const *argv)
{
	static const char *const words[] = {"leader", "followers", "random"};

	for (int i = 0; i < argc; i++) {
		for (size_t j = 0; j < sizeof words / sizeof words[0]; j++) {
			if (strcmp(argv[i], words[j]) == 0)
				return true;
		}
	}
	return false;
}

static void add(struct node_set *set, const struct conf_node *node)
{
	for (uint32_t i = 0; i < set->n; i++) {
		if (set->nodes[i] == node)
			return;
	}
	set->nodes[set->n++] = node;
}

/* splitmix64: enough to pick a node. */
static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* As many voters as may fail, picked at random. */
static void add_minority(const struct cluster_conf *conf, uint64_t *seed, struct node_set *set)
{
	const struct conf_node *voters[CONF_NODES_MAX];
	uint32_t n = 0;

	for (uint32_t i = 0; i < conf->nodes_n; i++) {
		if (conf->nodes[i].role == CONF_VOTER)
			voters[n++] = &conf->nodes[i];
	}
	for (uint32_t left = n - cluster_majority(conf); left; left--) {
		uint32_t pick = (uint32_t)(next_random(seed) % n);
		add(set, voters[pick]);
		voters[pick] = voters[--n];
	}
}

/* Of those that are up, since a command on a node that is not would show nothing; of all when none
 * is. */
static void add_random(const struct cluster_view *view, uint64_t *seed, struct node_set *set)
{
	uint32_t up = 0;

	assert(view);
	for (uint32_t i = 0; i < view->n; i++)
		up += view->nodes[i].state == NODE_UP;
	uint32_t pick = (uint32_t)(next_random(seed) % (up ? up : view->n));
	for (uint32_t i = 0; i < view->n; i++) {
		if (up && view->nodes[i].state != NODE_UP)
			continue;
		if (pick-- == 0) {
			add(set, view->nodes[i].conf);
			return;
		}
	}
}

static int add_role(const struct cluster_view *view, bool leader, struct node_set *set,
		    struct err *e)
{
	assert(view);
	const struct cluster_node *who = cluster_leader(view, 1);
	if (!who)
		return err_set(
			e, ERR_NO_QUORUM,
			"nobody leads group 1 now, so there is no %s; 'drover status' tells more",
			leader ? "leader" : "follower");
	for (uint32_t i = 0; i < view->n; i++) {
		const struct cluster_node *node = &view->nodes[i];
		if (leader ? node == who : node != who && node->state == NODE_UP)
			add(set, node->conf);
	}
	return set->n ? 0 : err_set(e, ERR_NOT_FOUND, "no follower is up");
}

static int add_named(const struct cluster_conf *conf, const char *word, struct node_set *set,
		     struct err *e)
{
	char id[16];

	for (uint32_t i = 0; i < conf->nodes_n; i++) {
		snprintf(id, sizeof id, "%u", conf->nodes[i].id);
		if (strcmp(word, id) == 0 || strcmp(word, conf->nodes[i].name) == 0) {
			add(set, &conf->nodes[i]);
			return 0;
		}
	}
	char names[200] = "";
	struct text t = {names, sizeof names};
	for (uint32_t i = 0; i < conf->nodes_n; i++)
		put(&t, "%s%s", i ? ", " : "", conf->nodes[i].name);
	return err_set(
		e, ERR_INVALID,
		"there is no node '%s'; nodes are %s, or leader, followers, minority, random, all",
		word, names);
}

int cluster_resolve(const struct cluster_conf *conf, const struct cluster_view *view, int argc,
		    char *const *argv, uint64_t seed, struct node_set *ret_set, struct err *e)
{
	struct node_set set = {0};
	int rc = 0;

	for (int i = 0; i < argc && rc == 0; i++) {
		const char *word = argv[i];
		if (strcmp(word, "all") == 0) {
			for (uint32_t k = 0; k < conf->nodes_n; k++)
				add(&set, &conf->nodes[k]);
		} else if (strcmp(word, "minority") == 0) {
			add_minority(conf, &seed, &set);
		} else if (strcmp(word, "random") == 0) {
			add_random(view, &seed, &set);
		} else if (strcmp(word, "leader") == 0 || strcmp(word, "followers") == 0) {
			rc = add_role(view, word[0] == 'l', &set, e);
		} else {
			rc = add_named(conf, word, &set, e);
		}
	}
	if (rc)
		return rc;
	if (set.n == 0)
		return err_set(e, ERR_INVALID,
			       "that is no node at all: a minority of this cluster is empty");
	*ret_set = set;
	return 0;
}
