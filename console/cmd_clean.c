#include "console/control/control.h"
#include "console/lifecycle.h"
#include "console/make_cluster.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char failed_path[CONF_PATH_MAX];
static int failed_errno;

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)where;
	if ((kind == FTW_DP ? rmdir(path) : unlink(path)) == 0 || errno == ENOENT)
		return 0;
	failed_errno = errno;
	snprintf(failed_path, sizeof failed_path, "%s", path);
	return 1;
}

/* The folder and all in it; links are removed, not followed; other file systems are left. */
static int remove_folder(const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : err_sys(e, ERR_IO, errno, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_REFUSED, "%s is no folder; it is left alone", path);
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
		return err_sys(e, ERR_IO, failed_errno, "%s", failed_path);
	return 0;
}

static int remove_file(const struct conf_node *node, const char *name, struct err *e)
{
	char path[CONF_PATH_MAX + 32];

	control_path(node, name, path, sizeof path);
	if (unlink(path) && errno != ENOENT)
		return err_sys(e, ERR_IO, errno, "%s", path);
	return 0;
}

/* Somebody holds the data folder's lock although no process was found: do not touch it. */
static int check_lock(const char *data, struct err *e)
{
	char path[CONF_PATH_MAX + 8];
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	snprintf(path, sizeof path, "%s/lock", data);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, ERR_IO, errno, "%s", path);
	bool held = flock(fd, LOCK_EX | LOCK_NB) != 0 || fcntl(fd, F_OFD_SETLK, &whole) != 0;
	close(fd);
	if (held)
		return err_set(e, ERR_REFUSED,
			       "a process that drover does not know holds %s; it is "
			       "left alone",
			       path);
	return 0;
}

static bool has(const char *folder, const char *name)
{
	char path[CONF_PATH_MAX + 16];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

/* Nothing but . and .. in it. */
static bool is_empty(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	while (dir && n < 3 && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return dir && n < 3;
}

/* data = in agent.ini may say anything: only what an agent has filled is removed, and never a
 * folder that holds the node's own. */
static int check_data(const struct conf_node *node, const char *data, struct err *e)
{
	size_t n = strlen(data);
	struct stat st;

	if (strncmp(node->dir, data, n) == 0 &&
	    (node->dir[n] == '/' || node->dir[n] == 0 || n <= 1))
		return err_set(e, ERR_REFUSED,
			       "%s holds more than the data of %s; it is left alone", data,
			       node->name);
	if (lstat(data, &st))
		return errno == ENOENT ? 0 : err_sys(e, ERR_IO, errno, "%s", data);
	if (has(data, "lock") || has(data, "founding") || is_empty(data))
		return 0;
	return err_set(
		e, ERR_REFUSED,
		"%s has no file 'lock', so it does not look like an agent's data; it is left "
		"alone",
		data);
}

static int data_folder(const struct conf_node *node, char *ret_path, struct err *e)
{
	char ini[CONF_PATH_MAX + 32];
	struct agent_conf *conf = malloc(sizeof *conf);

	if (!conf)
		return err_set(e, ERR_NOMEM, "no memory to read agent.ini");
	control_path(node, CONTROL_INI_FILE, ini, sizeof ini);
	int rc = agent_conf_load(ini, conf, e);
	if (rc == 0)
		memcpy(ret_path, conf->data, CONF_PATH_MAX);
	free(conf);
	return rc;
}

static int clean_node(const struct conf_node *node, const char *data, struct err *e)
{
	struct control_look look;

	control_of(node)->look(node, &look);
	if (look.state != CONTROL_DOWN)
		return err_set(e, ERR_REFUSED, "%s still runs, pid %d", node->name, (int)look.pid);
	int rc = check_lock(data, e);
	if (rc == 0)
		rc = remove_folder(data, e);
	if (rc == 0)
		rc = remove_file(node, CONTROL_LOG_FILE, e);
	if (rc == 0)
		rc = remove_file(node, CONTROL_PID_FILE, e);
	return rc;
}

/* Every folder is looked at before anything is stopped or removed. */
static int plan(const struct cluster_conf *conf, char (*ret_data)[CONF_PATH_MAX], struct err *e)
{
	for (uint32_t i = 0; i < conf->nodes_n; i++) {
		const struct conf_node *node = &conf->nodes[i];
		if (node->control != CONF_CONTROL_LOCAL)
			return err_set(
				e, ERR_REFUSED,
				"%s is not controlled from here, so its data cannot be removed",
				node->name);
		int rc = data_folder(node, ret_data[i], e);
		if (rc == 0)
			rc = check_data(node, ret_data[i], e);
		if (rc)
			return rc;
	}
	return 0;
}

static int clean_all(struct cli *cli, char (*data)[CONF_PATH_MAX], struct err *e)
{
	const struct cluster_conf *conf = cli->conf;
	struct node_set all = {0};
	struct outcomes o;

	for (uint32_t i = 0; i < conf->nodes_n; i++)
		all.nodes[all.n++] = &conf->nodes[i];
	/* What they would still write down in order is removed next. */
	life_signal(&all, SIGKILL, &o);
	for (uint32_t i = 0; i < o.n; i++) {
		if (o.items[i].code)
			return err_set(e, ERR_IO, "%s: %.300s", o.items[i].node->name,
				       o.items[i].text);
	}
	for (uint32_t i = 0; i < conf->nodes_n; i++) {
		int rc = clean_node(&conf->nodes[i], data[i], e);
		if (rc)
			return rc;
	}
	/* Now that no node has any data left, all may found the cluster anew. */
	for (uint32_t i = 0; i < conf->nodes_n; i++) {
		int rc = make_founding(data[i], e);
		if (rc)
			return rc;
	}
	return 0;
}

static int run_clean(struct cli *cli)
{
	const struct cluster_conf *conf = cli->conf;
	char(*data)[CONF_PATH_MAX] = calloc(conf->nodes_n, sizeof *data);
	struct err e = {0};
	int code = EXIT_DONE;

	if (!data)
		return EXIT_FAILED;
	if (plan(conf, data, &e)) {
		code = cli_fail(cli, &e);
	} else if (cli->dry_run) {
		for (uint32_t i = 0; i < conf->nodes_n; i++)
			printf("would stop %s and remove %s\n", conf->nodes[i].name, data[i]);
	} else if (!cli_confirm(cli,
				"This stops all %u nodes of %s and removes all their data (%s ...) "
				"and logs for good.",
				conf->nodes_n, conf->id, data[0])) {
		code = EXIT_REFUSED;
	} else if (clean_all(cli, data, &e)) {
		code = cli_fail(cli, &e);
	} else {
		fprintf(stderr,
			"The data of %s is gone; configuration and keys are still in %s, for "
			"'drover up'.\n",
			conf->id, conf->dir);
	}
	free(data);
	return code;
}

const struct command command_clean = {
	.name = "clean",
	.arguments_max = 0,
	.traits = COMMAND_NEEDS_CLUSTER | COMMAND_DESTRUCTIVE,
	.help = "stop everything and remove the data",
	.details = "Removes every node's data folder, log and pid file. cluster.ini, agent.ini and "
		   "keys "
		   "stay, so that 'drover up' starts anew with an empty database.",
	.run = run_clean,
};
