#include "console/make_cluster.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_ROOM (CONF_PATH_MAX + 32)

static int check_options(const struct make_options *o, struct err *e)
{
	if (o->nodes < 1 || o->nodes > CONF_VOTERS_MAX)
		return err_set(e, ERR_INVALID, "--nodes is 1 to %d, not %lld", CONF_VOTERS_MAX,
			       (long long)o->nodes);
	if (o->shards < 1 || o->shards > 32)
		return err_set(e, ERR_INVALID, "--shards is 1 to 32, not %lld",
			       (long long)o->shards);
	if (o->replicas)
		return err_set(e, ERR_UNSUPPORTED,
			       "--replicas %lld: read replicas are not offered yet, only 0",
			       (long long)o->replicas);
	if (o->base_port && (o->base_port < 1 || o->base_port + 4 * o->nodes > 65536))
		return err_set(e, ERR_INVALID,
			       "--base-port is 1 to %lld for %lld nodes (each takes four ports)",
			       65536 - 4 * (long long)o->nodes, (long long)o->nodes);
	return 0;
}

/* The folder's name, as far as it can be a cluster's. */
static void choose_id(const char *dir, char *ret_id)
{
	const char *base = strrchr(dir, '/');
	size_t n = 0;

	base = base ? base + 1 : dir;
	if (!isalpha((unsigned char)base[0]))
		n = (size_t)sprintf(ret_id, "c");
	for (; *base && n < CONF_ID_MAX - 1; base++) {
		bool fine =
			isascii(*base) && (isalnum((unsigned char)*base) || strchr("._-", *base));
		ret_id[n++] = fine ? *base : '-';
	}
	ret_id[n] = 0;
}

static void fill_node(struct conf_node *node, uint32_t id, const char *dir, int64_t base_port)
{
	int64_t peer = base_port ? base_port + 4 * (id - 1) : 9090 + id;
	int64_t rpc = base_port ? peer + 1 : 7000 + id;

	*node = (struct conf_node){.id = id, .role = CONF_VOTER};
	snprintf(node->name, sizeof node->name, "n%u", id);
	snprintf(node->peer, sizeof node->peer, "127.0.0.1:%lld", (long long)peer);
	snprintf(node->rpc, sizeof node->rpc, "127.0.0.1:%lld", (long long)rpc);
	snprintf(node->dir, sizeof node->dir, "%.1000s/node%u", dir, id);
}

#define FILES_OF_NODE 3

/* Every file that is made, in the order of making: cluster.ini last, since with it the cluster is
 * there. */
static void path_of(const struct cluster_conf *c, uint32_t i, char *ret_path)
{
	static const char *const names[FILES_OF_NODE] = {"node.key", "data/founding", "agent.ini"};
	const uint32_t files = c->nodes_n * FILES_OF_NODE;

	if (i < files)
		snprintf(ret_path, PATH_ROOM, "%s/%s", c->nodes[i / FILES_OF_NODE].dir,
			 names[i % FILES_OF_NODE]);
	else
		snprintf(ret_path, PATH_ROOM, "%s", i == files ? c->user_key : c->path);
}

static int refuse_existing(const struct cluster_conf *c, struct err *e)
{
	char path[PATH_ROOM];

	for (uint32_t i = c->nodes_n * FILES_OF_NODE + 2; i-- > 0;) {
		path_of(c, i, path);
		if (access(path, F_OK) == 0)
			return err_set(e, ERR_EXISTS, "%s is there already; nothing was changed",
				       path);
	}
	return 0;
}

static void remove_made(const struct cluster_conf *c)
{
	char path[PATH_ROOM];

	for (uint32_t i = 0; i < c->nodes_n * FILES_OF_NODE + 2; i++) {
		path_of(c, i, path);
		unlink(path);
	}
	for (uint32_t i = 0; i < c->nodes_n; i++) {
		snprintf(path, sizeof path, "%s/data", c->nodes[i].dir);
		rmdir(path);
		rmdir(c->nodes[i].dir);
	}
	snprintf(path, sizeof path, "%s/keys", c->dir);
	rmdir(path);
}

static int make_folder(const char *path, mode_t mode, struct err *e)
{
	if (mkdir(path, mode) == 0 || errno == EEXIST)
		return 0;
	return err_sys(e, ERR_IO, errno, "the folder %s", path);
}

static int make_key(const char *path, uint8_t *ret_public, struct err *e)
{
	uint8_t secret[LINK_SECRET_BYTES];
	int rc = key_generate(secret, ret_public, e);

	if (rc == 0)
		rc = key_save(path, secret, e);
	explicit_bzero(secret, sizeof secret);
	return rc;
}

int make_founding(const char *data, struct err *e)
{
	char path[PATH_ROOM];
	int rc = make_folder(data, 0700, e);

	if (rc)
		return rc;
	snprintf(path, sizeof path, "%s/founding", data);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, ERR_IO, errno, "%s", path);
	close(fd);
	return 0;
}

static int make_keys(struct cluster_conf *c, uint8_t *ret_user_key, struct err *e)
{
	char path[PATH_ROOM];
	int rc;

	snprintf(path, sizeof path, "%s/keys", c->dir);
	rc = make_folder(path, 0700, e);
	if (rc == 0)
		rc = make_key(c->user_key, ret_user_key, e);
	for (uint32_t i = 0; rc == 0 && i < c->nodes_n; i++) {
		rc = make_folder(c->nodes[i].dir, 0700, e);
		if (rc)
			break;
		snprintf(path, sizeof path, "%s/node.key", c->nodes[i].dir);
		rc = make_key(path, c->nodes[i].key, e);
		snprintf(path, sizeof path, "%s/data", c->nodes[i].dir);
		if (rc == 0)
			rc = make_founding(path, e);
	}
	return rc;
}

static int close_written(FILE *f, int rc, const char *path, struct err *e)
{
	if (rc == 0 && fsync(fileno(f)))
		rc = err_sys(e, ERR_IO, errno, "it cannot be written");
	fclose(f);
	if (rc)
		err_wrap(e, "%s", path);
	return rc;
}

static int write_agent(const struct cluster_conf *c, uint32_t i, const uint8_t *user_key,
		       struct err *e)
{
	char path[PATH_ROOM];
	const struct conf_node *self = &c->nodes[i];
	struct agent_conf *a = malloc(sizeof *a);
	FILE *f;
	int rc;

	if (!a)
		return err_set(e, ERR_NOMEM, "no memory to write agent.ini");
	agent_conf_defaults(a);
	snprintf(a->dir, sizeof a->dir, "%s", self->dir);
	a->id = self->id;
	a->shards = c->shards;
	memcpy(a->name, self->name, sizeof a->name);
	memcpy(a->cluster_id, c->id, sizeof a->cluster_id);
	memcpy(a->peer, self->peer, sizeof a->peer);
	memcpy(a->rpc, self->rpc, sizeof a->rpc);
	a->peers_n = c->nodes_n;
	for (uint32_t k = 0; k < c->nodes_n; k++) {
		a->peers[k] = c->nodes[k];
		a->peers[k].dir[0] = 0;
	}
	a->users_n = 1;
	a->users[0].role = LINK_ROLE_ADMIN;
	memcpy(a->users[0].name, c->user, sizeof a->users[0].name);
	memcpy(a->users[0].key, user_key, LINK_KEY_BYTES);
	snprintf(path, sizeof path, "%s/agent.ini", self->dir);
	f = fopen(path, "wxe");
	rc = f ? agent_conf_write(f, a, e) : err_sys(e, ERR_IO, errno, "%s", path);
	free(a);
	return f ? close_written(f, rc, path, e) : rc;
}

static int write_cluster(const struct cluster_conf *c, struct err *e)
{
	FILE *f = fopen(c->path, "wxe");

	if (!f)
		return err_sys(e, ERR_IO, errno, "%s", c->path);
	return close_written(f, cluster_conf_write(f, c, e), c->path, e);
}

/* Makes the folder, its parents being there, and says where it really is. */
static int enter(const char *dir, char *ret_dir, struct err *e)
{
	char real[PATH_MAX];
	int rc = make_folder(dir, 0755, e);

	if (rc)
		return rc;
	if (!realpath(dir, real))
		return err_sys(e, ERR_IO, errno, "%s", dir);
	if (strlen(real) + 64 > CONF_PATH_MAX)
		return err_set(e, ERR_LIMIT, "the path %.60s... is too long", real);
	memcpy(ret_dir, real, strlen(real) + 1);
	return 0;
}

int make_cluster(const struct make_options *o, struct cluster_conf *ret_conf, struct err *e)
{
	struct cluster_conf *c = calloc(1, sizeof *c);
	uint8_t user_key[LINK_KEY_BYTES];
	int rc;

	if (!c)
		return err_set(e, ERR_NOMEM, "no memory to make a cluster");
	rc = check_options(o, e);
	if (rc == 0)
		rc = enter(o->dir, c->dir, e);
	if (rc)
		goto out;
	choose_id(c->dir, c->id);
	c->shards = (uint32_t)o->shards;
	snprintf(c->path, sizeof c->path, "%.1000s/cluster.ini", c->dir);
	snprintf(c->user, sizeof c->user, "admin");
	snprintf(c->user_key, sizeof c->user_key, "%.1000s/keys/admin.key", c->dir);
	c->nodes_n = (uint32_t)o->nodes;
	for (uint32_t i = 0; i < c->nodes_n; i++)
		fill_node(&c->nodes[i], i + 1, c->dir, o->base_port);
	rc = refuse_existing(c, e);
	if (rc)
		goto out;
	rc = make_keys(c, user_key, e);
	for (uint32_t i = 0; rc == 0 && i < c->nodes_n; i++)
		rc = write_agent(c, i, user_key, e);
	if (rc == 0)
		rc = write_cluster(c, e);
	if (rc)
		remove_made(c);
	else
		*ret_conf = *c;
out:
	free(c);
	return rc;
}

bool address_in_use(const char *address)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)conf_address_port(address))};
	const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	bool used = bind(fd, (struct sockaddr *)&at, sizeof at) != 0 && errno == EADDRINUSE;
	close(fd);
	return used;
}
