/* droverd: the agent of one node. */
#include "agent/node/node.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
	"usage: droverd -c FILE [--check]\n"
	"\n"
	"The agent of one node of a drover cluster: stores data, agrees on writes with its\n"
	"peers, serves clients. Runs in the foreground and logs to stderr; `drover start`\n"
	"runs it in the background.\n"
	"\n"
	"  -c, --config FILE  the node's agent.ini (DROVER_AGENT_CONFIG)\n"
	"      --check        read the configuration, say whether it is sound, and exit\n"
	"  -h, --help         this text\n"
	"      --version      the version\n"
	"\n"
	"SIGTERM ends it in order: leadership is handed over, what is acknowledged is kept.\n"
	"See droverd(8), drover.ini(5).\n";

/* Held until the process ends: no second agent on the same data. */
static int lock_data(const struct agent_conf *conf, struct err *e)
{
	char path[CONF_PATH_MAX + 32], owner[32] = "";

	if (mkdir(conf->data, 0700) < 0 && errno != EEXIST)
		return err_sys(e, ERR_IO, errno, "cannot make the data folder %s", conf->data);
	snprintf(path, sizeof path, "%s/lock", conf->data);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, ERR_IO, errno, "cannot open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return err_sys(e, ERR_IO, errno, "cannot lock %s", path);
		ssize_t n = read(fd, owner, sizeof owner - 1);
		owner[n > 0 ? strcspn(owner, "\n") : 0] = 0;
		return err_set(e, ERR_REFUSED,
			       "another agent (pid %s) is running on the data folder %s",
			       owner[0] ? owner : "unknown", conf->data);
	}
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		return err_sys(e, ERR_IO, errno, "cannot write %s", path);
	return 0;
}

static int write_pid(const struct agent_conf *conf, char *ret_path, size_t size, struct err *e)
{
	char temporary[CONF_PATH_MAX + 64];

	snprintf(ret_path, size, "%s/droverd.pid", conf->dir);
	snprintf(temporary, sizeof temporary, "%s.new", ret_path);
	FILE *f = fopen(temporary, "we");
	if (!f)
		return err_sys(e, ERR_IO, errno, "cannot write %s", temporary);
	fprintf(f, "%d\n", (int)getpid());
	if (fclose(f) != 0 || rename(temporary, ret_path) < 0)
		return err_sys(e, ERR_IO, errno, "cannot write %s", ret_path);
	return 0;
}

static int serve(const struct agent_conf *conf)
{
	char pid_path[CONF_PATH_MAX + 32];
	struct node *node;
	struct err e;
	sigset_t set;
	int got = 0;

	/* Before NNG's threads exist, which block only SIGPIPE. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGXFSZ, SIG_IGN);

	log_init(STDERR_FILENO, conf->log_level);
	log_info("main", "droverd %s, node %u (%s) of cluster %s, pid %d", DROVER_VERSION, conf->id,
		 conf->name, conf->cluster_id, (int)getpid());
	bool locked = lock_data(conf, &e) == 0;
	if (!locked || write_pid(conf, pid_path, sizeof pid_path, &e) < 0 ||
	    node_start(&node, conf, &e) < 0) {
		log_error("main", "%s", e.text);
		if (locked)
			unlink(pid_path);
		return 1;
	}
	log_info("main", "serving clients on %s, peers on %s", conf->rpc, conf->peer);
	sigdelset(&set, SIGPIPE);
	do {
		sigwait(&set, &got);
	} while (got == SIGHUP);
	log_info("main", "%s: stopping", got == SIGTERM ? "SIGTERM" : "SIGINT");
	node_stop(node);
	unlink(pid_path);
	log_info("main", "stopped");
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
		{"foreground", no_argument, NULL, 'f'},	  {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},	  {NULL, 0, NULL, 0}};
	const char *path = getenv("DROVER_AGENT_CONFIG");
	static struct agent_conf conf;
	bool check = false;
	struct err e;
	int c;

	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			path = optarg;
			break;
		case 'k':
			check = true;
			break;
		case 'f':
			break; /* it always is; accepted for clarity in scripts */
		case 'h':
			fputs(help, stdout);
			return 0;
		case 'v':
			puts("droverd " DROVER_VERSION);
			return 0;
		default:
			fputs("droverd: see droverd --help\n", stderr);
			return 2;
		}
	}
	if (!path || optind < argc) {
		fprintf(stderr, "droverd: %s; see droverd --help\n",
			path ? "unexpected arguments" : "which agent.ini? (-c FILE)");
		return 2;
	}
	if (sodium_init() < 0) {
		fputs("droverd: libsodium cannot start\n", stderr);
		return 1;
	}
	if (agent_conf_load(path, &conf, &e) < 0) {
		fprintf(stderr, "droverd: %s\n", e.text);
		return 1;
	}
	if (check) {
		printf("%s is sound: node %u (%s) of cluster %s\n", path, conf.id, conf.name,
		       conf.cluster_id);
		return 0;
	}
	umask(077);
	int rc = serve(&conf);
	/* NNG's own end can hang after peers have died under traffic. */
	fflush(NULL);
	_exit(rc);
}
