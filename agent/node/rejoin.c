#include "agent/node/rejoin.h"

#include "common/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void marker(const struct agent_conf *conf, const char *name, char *ret_path, size_t size)
{
	snprintf(ret_path, size, "%s/%s", conf->data, name);
}

static int sync_folder(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 || fsync(fd) < 0 ? err_sys(e, ERR_IO, errno, "cannot sync folder %s", path)
					 : 0;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int make_marker(const struct agent_conf *conf, const char *name, struct err *e)
{
	char path[CONF_PATH_MAX + 32];

	marker(conf, name, path, sizeof path);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, ERR_IO, errno, "cannot create %s", path);
	close(fd);
	return sync_folder(conf->data, e);
}

static int remove_marker(const struct agent_conf *conf, const char *name, struct err *e)
{
	char path[CONF_PATH_MAX + 32];

	marker(conf, name, path, sizeof path);
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : err_sys(e, ERR_IO, errno, "cannot remove %s", path);
	return sync_folder(conf->data, e);
}

static bool has_marker(const struct agent_conf *conf, const char *name)
{
	char path[CONF_PATH_MAX + 32];

	marker(conf, name, path, sizeof path);
	return access(path, F_OK) == 0;
}

static bool is_other_voter(const struct rejoin *r, uint32_t i)
{
	return r->conf->peers[i].id != r->conf->id && r->conf->peers[i].role == CONF_VOTER;
}

static bool all_told(const struct rejoin *r)
{
	for (uint32_t i = 0; i < r->conf->peers_n; i++) {
		if (is_other_voter(r, i) && !r->told[i])
			return false;
	}
	return true;
}

int rejoin_init(struct rejoin *r, const struct agent_conf *conf, uint32_t groups_n, bool empty,
		struct err *e)
{
	bool founding = has_marker(conf, "founding"), rejoining = has_marker(conf, "rejoining");

	*r = (struct rejoin){.conf = conf, .groups_n = groups_n};
	if (empty && founding)
		return 0;
	/* A cluster of one has nobody to have promised anything to. */
	if (empty && !all_told(r)) {
		r->asking = true;
		r->abstaining = true;
		return make_marker(conf, "rejoining", e);
	}
	r->abstaining = rejoining;
	return 0;
}

bool rejoin_told(struct rejoin *r, uint32_t peer, struct slice terms)
{
	struct rd rd = rd_of(terms);
	uint64_t told[CORE_GROUPS_MAX];

	if (rd_count(&rd, 1) != r->groups_n)
		return false;
	for (uint32_t i = 0; i < r->groups_n; i++)
		told[i] = rd_varint(&rd);
	if (!rd_end(&rd))
		return false;
	for (uint32_t i = 0; i < r->conf->peers_n; i++) {
		if (r->conf->peers[i].id == peer && is_other_voter(r, i)) {
			r->told[i] = true;
			for (uint32_t g = 0; g < r->groups_n; g++)
				r->terms[g] = told[g] > r->terms[g] ? told[g] : r->terms[g];
		}
	}
	return all_told(r);
}

void rejoin_missing(const struct rejoin *r, char *ret_text, size_t size)
{
	size_t n = 0;

	ret_text[0] = 0;
	for (uint32_t i = 0; i < r->conf->peers_n && n < size; i++) {
		if (is_other_voter(r, i) && !r->told[i])
			n += (size_t)snprintf(ret_text + n, size - n, "%s%s", n ? ", " : "",
					      r->conf->peers[i].name);
	}
}

int rejoin_stage(struct rejoin *r, struct wal *w, struct err *e)
{
	for (uint32_t g = 0; g < r->groups_n; g++) {
		/* Where nobody ever had a term there is nothing that could have been promised. */
		struct wal_job job = {.group = g,
				      .hard_changed = true,
				      .term = r->terms[g],
				      .vote = r->terms[g] ? r->conf->id : 0};
		int rc = wal_stage(w, &job, e);
		if (rc < 0)
			return rc;
	}
	r->asking = false;
	return 0;
}

int rejoin_done(struct rejoin *r, struct err *e)
{
	r->abstaining = false;
	return remove_marker(r->conf, "rejoining", e);
}

int rejoin_founded(const struct agent_conf *conf, struct err *e)
{
	return remove_marker(conf, "founding", e);
}
