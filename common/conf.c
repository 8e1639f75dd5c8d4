#include "common/conf.h"

#include "common/conf_parse.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static int add_node(struct parse *p, const char *word, struct conf_node *nodes, uint32_t *n,
		    struct conf_node **ret_node)
{
	uint64_t id;

	if (!parse_unsigned(word, &id) || id < 1 || id > 65535)
		return parse_error(p, "[%s]: a node's id is a number 1..65535", p->section_text);
	if (*n == CONF_NODES_MAX)
		return parse_error(p, "more than %d nodes", CONF_NODES_MAX);
	*ret_node = &nodes[(*n)++];
	(*ret_node)->id = (uint32_t)id;
	return 0;
}

static int cluster_section(struct parse *p, const char *kind, const char *word, void **ret_base)
{
	struct cluster_conf *c = p->conf;
	struct conf_node *node;

	if (strcmp(kind, "cluster") == 0) {
		*ret_base = c;
		return 0;
	}
	int rc = add_node(p, word, c->nodes, &c->nodes_n, &node);
	if (rc == 0)
		*ret_base = node;
	return rc;
}

static int agent_section(struct parse *p, const char *kind, const char *word, void **ret_base)
{
	struct agent_conf *c = p->conf;
	struct conf_node *node;

	if (strcmp(kind, "peer *") == 0) {
		int rc = add_node(p, word, c->peers, &c->peers_n, &node);
		if (rc == 0)
			*ret_base = node;
		return rc;
	}
	if (strcmp(kind, "user *") == 0) {
		if (!conf_word_is_name(word))
			return parse_error(p,
					   "[%s]: a user's name has letters, digits, '.', '_', '-'",
					   p->section_text);
		if (c->users_n == CONF_USERS_MAX)
			return parse_error(p, "more than %d users", CONF_USERS_MAX);
		struct conf_user *user = &c->users[c->users_n++];
		snprintf(user->name, sizeof user->name, "%s", word);
		*ret_base = user;
		return 0;
	}
	*ret_base = c;
	return 0;
}

static int console_section(struct parse *p, const char *kind, const char *word, void **ret_base)
{
	(void)kind;
	(void)word;
	*ret_base = p->conf;
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct conf_node *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* What must hold between the nodes of one file. `kind` is the section's word. */
static int check_nodes(struct parse *p, const char *kind, const struct conf_node *nodes, uint32_t n)
{
	unsigned voters = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct conf_node *a = &nodes[i];
		voters += a->role == CONF_VOTER;
		p->line = parse_section_line(p, kind, a->id);
		if (!conf_name_is_valid(a->name))
			return parse_error(
				p,
				"[%s %u]: '%s' names a set of nodes, so no node can be called so",
				kind, a->id, a->name);
		if (strcmp(a->peer, a->rpc) == 0)
			return parse_error(p, "[%s %u]: peer and rpc are both %s", kind, a->id,
					   a->rpc);
		for (uint32_t j = 0; j < i; j++) {
			const struct conf_node *b = &nodes[j];
			if (strcmp(a->name, b->name) == 0)
				return parse_error(p, "[%s %u] and [%s %u] are both called %s",
						   kind, b->id, kind, a->id, a->name);
			if (strcmp(a->peer, b->peer) == 0 || strcmp(a->peer, b->rpc) == 0)
				return parse_error(p, "[%s %u] and [%s %u] both use %s", kind,
						   b->id, kind, a->id, a->peer);
			if (strcmp(a->rpc, b->peer) == 0 || strcmp(a->rpc, b->rpc) == 0)
				return parse_error(p, "[%s %u] and [%s %u] both use %s", kind,
						   b->id, kind, a->id, a->rpc);
			if (a->dir[0] && strcmp(a->dir, b->dir) == 0)
				return parse_error(p, "[%s %u] and [%s %u] share the folder %s",
						   kind, b->id, kind, a->id, a->dir);
			if (memcmp(a->key, b->key, LINK_KEY_BYTES) == 0)
				return parse_error(p, "[%s %u] and [%s %u] have the same key", kind,
						   b->id, kind, a->id);
		}
	}
	p->line = 0;
	if (n == 0)
		return parse_error(p, "there is no [%s N] section", kind);
	if (voters == 0 || voters > CONF_VOTERS_MAX)
		return parse_error(p, "%u voters; a cluster has 1..%d", voters, CONF_VOTERS_MAX);
	return 0;
}

static int check_cluster(struct parse *p)
{
	struct cluster_conf *c = p->conf;

	qsort(c->nodes, c->nodes_n, sizeof c->nodes[0], by_id);
	return check_nodes(p, "node", c->nodes, c->nodes_n);
}

static int check_listen(struct parse *p, const struct agent_conf *c)
{
	p->line = parse_section_line(p, "listen", 0);
	if (strcmp(c->peer, c->rpc) == 0)
		return parse_error(p, "[listen]: peer and rpc are both %s", c->rpc);
	if (c->insecure)
		return 0;
	const char *far = !conf_address_is_loopback(c->peer)  ? c->peer
			  : !conf_address_is_loopback(c->rpc) ? c->rpc
							      : NULL;
	if (far)
		return parse_error(
			p,
			"[listen]: %s can be reached from other machines and nothing is encrypted; "
			"listen on 127.0.0.1, or say 'insecure = yes' if the network is safe",
			far);
	return 0;
}

static int check_agent(struct parse *p)
{
	struct agent_conf *c = p->conf;
	const struct conf_node *self = NULL;
	int rc;

	qsort(c->peers, c->peers_n, sizeof c->peers[0], by_id);
	rc = check_nodes(p, "peer", c->peers, c->peers_n);
	if (rc == 0)
		rc = check_listen(p, c);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < c->peers_n; i++) {
		if (c->peers[i].id == c->id)
			self = &c->peers[i];
	}
	p->line = parse_section_line(p, "node", 0);
	if (!self)
		return parse_error(p, "[node]: there is no [peer %u] for this node itself", c->id);
	if (strcmp(self->name, c->name) != 0)
		return parse_error(p, "[node]: this node is called %s here and %s in [peer %u]",
				   c->name, self->name, c->id);
	p->line = parse_section_line(p, "raft", 0);
	if (c->election_ms < 2 * c->heartbeat_ms)
		return parse_error(
			p, "[raft]: election_ms = %u must be at least twice heartbeat_ms = %u",
			c->election_ms, c->heartbeat_ms);
	if (c->append_bytes > c->inflight_bytes)
		return parse_error(p, "[raft]: append_kb is more than inflight_mb allows");
	p->line = 0;
	if (c->users_n == 0)
		return parse_error(p,
				   "there is no [user NAME] section: nobody could use this node");
	return 0;
}

static int check_nothing(struct parse *p)
{
	(void)p;
	return 0;
}

/* Where the file lies, absolute; kept as written when that cannot be found out. */
static int place(const char *path, char *ret_path, char *ret_dir, struct err *e)
{
	char copy[CONF_PATH_MAX], folder[CONF_PATH_MAX], real[PATH_MAX];

	if (strlen(path) >= sizeof copy)
		return err_set(e, ERR_CONFIG, "the path of the file is too long: %.60s...", path);
	snprintf(copy, sizeof copy, "%s", path);
	snprintf(folder, sizeof folder, "%s", dirname(copy));
	snprintf(ret_dir, CONF_PATH_MAX, "%s", folder);
	if (realpath(folder, real)) {
		if (strlen(real) >= CONF_PATH_MAX)
			return err_set(e, ERR_CONFIG, "the path of the file is too long: %.60s...",
				       real);
		memcpy(ret_dir, real, strlen(real) + 1);
	}
	snprintf(copy, sizeof copy, "%s", path);
	const char *base = basename(copy);
	bool root = strcmp(ret_dir, "/") == 0;
	if (strlen(ret_dir) + strlen(base) + 2 > CONF_PATH_MAX)
		return err_set(e, ERR_CONFIG, "the path of the file is too long: %.60s...", path);
	size_t n = strlen(root ? "" : ret_dir);
	memcpy(ret_path, ret_dir, n);
	ret_path[n] = '/';
	memcpy(ret_path + n + 1, base, strlen(base) + 1);
	return 0;
}

int cluster_conf_read(FILE *f, const char *path, struct cluster_conf *ret_conf, struct err *e)
{
	struct cluster_conf *c = calloc(1, sizeof *c);
	int rc;

	if (!c)
		return err_set(e, ERR_NOMEM, "no memory for %s", path);
	rc = place(path, c->path, c->dir, e);
	if (rc == 0)
		rc = parse_file(f, "cluster.ini", path, c->dir, c, cluster_section, check_cluster,
				e);
	if (rc == 0)
		*ret_conf = *c;
	free(c);
	return rc;
}

int agent_conf_read(FILE *f, const char *path, struct agent_conf *ret_conf, struct err *e)
{
	struct agent_conf *c = calloc(1, sizeof *c);
	int rc;

	if (!c)
		return err_set(e, ERR_NOMEM, "no memory for %s", path);
	rc = place(path, c->path, c->dir, e);
	if (rc == 0) {
		parse_defaults("agent.ini", c);
		rc = parse_file(f, "agent.ini", path, c->dir, c, agent_section, check_agent, e);
	}
	if (rc == 0)
		*ret_conf = *c;
	free(c);
	return rc;
}

static int open_ini(const char *path, FILE **ret_file, struct err *e)
{
	*ret_file = fopen(path, "re");
	if (*ret_file)
		return 0;
	if (errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "%s: there is no such file", path);
	return err_sys(e, ERR_IO, errno, "%s", path);
}

int cluster_conf_load(const char *path, struct cluster_conf *ret_conf, struct err *e)
{
	FILE *f;
	int rc = open_ini(path, &f, e);

	if (rc)
		return rc;
	rc = cluster_conf_read(f, path, ret_conf, e);
	fclose(f);
	return rc;
}

int agent_conf_load(const char *path, struct agent_conf *ret_conf, struct err *e)
{
	FILE *f;
	int rc = open_ini(path, &f, e);

	if (rc)
		return rc;
	rc = agent_conf_read(f, path, ret_conf, e);
	fclose(f);
	return rc;
}

int console_conf_load(const char *path, struct console_conf *ret_conf, struct err *e)
{
	struct console_conf c = {0};
	FILE *f;
	int rc = open_ini(path, &f, e);

	if (rc == ERR_NOT_FOUND)
		rc = 0;
	else if (rc)
		return rc;
	else {
		rc = parse_file(f, "drover.ini", path, "/", &c, console_section, check_nothing, e);
		fclose(f);
	}
	if (rc == 0)
		*ret_conf = c;
	return rc;
}

void agent_conf_defaults(struct agent_conf *c)
{
	memset(c, 0, sizeof *c);
	parse_defaults("agent.ini", c);
}

int cluster_conf_find(const char *start, char *ret_path, size_t size, struct err *e)
{
	char at[PATH_MAX], path[PATH_MAX + 16];

	if (!realpath(start, at))
		return err_sys(e, ERR_IO, errno, "%s", start);
	for (;;) {
		snprintf(path, sizeof path, "%s/cluster.ini", strcmp(at, "/") ? at : "");
		FILE *f = fopen(path, "re");
		if (f) {
			fclose(f);
			if (strlen(path) >= size)
				return err_set(e, ERR_LIMIT, "the path %.60s... is too long", path);
			memcpy(ret_path, path, strlen(path) + 1);
			return 0;
		}
		if (errno != ENOENT && errno != ENOTDIR)
			return err_sys(e, ERR_IO, errno, "%s", path);
		char *slash = strrchr(at, '/');
		if (!slash || strcmp(at, "/") == 0)
			break;
		slash[slash == at] = 0;
	}
	return err_set(
		e, ERR_NOT_FOUND,
		"no cluster.ini in this folder or above it; name one with -c FILE, or make a "
		"cluster with 'drover up'");
}
