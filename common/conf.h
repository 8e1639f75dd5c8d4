/* The ini files: cluster.ini, which the command line reads, agent.ini, which droverd reads, and a
 * person's own drover.ini (drover.ini(5)). Parsed with inih against one table of keys: section,
 * key, type, range, default and a line of help each; the man page's table is checked against it.
 *
 * Any unknown section or key, a key or section given twice, a value of the wrong form or out of
 * range, and a missing key without default is ERR_CONFIG with file, line, and what is allowed.
 * Nothing is half read: the output is untouched on failure. Relative paths are relative to the ini
 * file's folder and come out absolute. A line holds at most CONF_LINE_MAX bytes (inih's bound);
 * ';' after a space starts a comment.
 */
#ifndef DROVER_COMMON_CONF_H
#define DROVER_COMMON_CONF_H

#include "common/err.h"
#include "common/link.h"
#include "common/log.h"

#include <stdio.h>

#define CONF_NODES_MAX 64
#define CONF_USERS_MAX 32
#define CONF_PATH_MAX 1024
#define CONF_ADDRESS_MAX 128
#define CONF_ID_MAX 64
#define CONF_LINE_MAX 198
#define CONF_VOTERS_MAX 9

enum conf_role { CONF_VOTER, CONF_LEARNER, CONF_REPLICA };

/* How the command line starts and signals a node; ssh has its place here. */
enum conf_control {
	CONF_CONTROL_LOCAL, /* a process of this machine */
	CONF_CONTROL_NONE,  /* not from here: the node is only asked over RPC */
};

/* [node N] of cluster.ini and [peer N] of agent.ini. */
struct conf_node {
	uint32_t id; /* 1..65535, from the section's name */
	char name[LINK_NAME_MAX];
	enum conf_role role;
	char peer[CONF_ADDRESS_MAX]; /* host:port other nodes dial */
	char rpc[CONF_ADDRESS_MAX];  /* host:port clients dial */
	uint8_t key[LINK_KEY_BYTES]; /* public */
	/* cluster.ini only: */
	char dir[CONF_PATH_MAX]; /* the node's folder, holds agent.ini */
	enum conf_control control;
};

struct cluster_conf {
	char path[CONF_PATH_MAX]; /* the file itself */
	char dir[CONF_PATH_MAX];  /* its folder */
	char id[CONF_ID_MAX];
	uint32_t shards;
	char user[LINK_NAME_MAX];     /* who the command line is */
	char user_key[CONF_PATH_MAX]; /* that user's secret key file */
	uint32_t nodes_n;
	struct conf_node nodes[CONF_NODES_MAX]; /* by rising id */
};

struct conf_user {
	char name[LINK_NAME_MAX];
	enum link_role role; /* admin, writer, reader */
	uint8_t key[LINK_KEY_BYTES];
};

struct agent_conf {
	char path[CONF_PATH_MAX];
	char dir[CONF_PATH_MAX];
	/* [node] */
	uint32_t id;
	char name[LINK_NAME_MAX];
	char cluster_id[CONF_ID_MAX];
	uint32_t shards;	    /* data groups, 1..32 */
	char data[CONF_PATH_MAX];   /* default: the ini's folder /data */
	char secret[CONF_PATH_MAX]; /* default: node.key */
	/* [listen] */
	char peer[CONF_ADDRESS_MAX];
	char rpc[CONF_ADDRESS_MAX];
	bool insecure; /* listen beyond loopback without TLS; default no */
	/* [log] */
	enum log_level log_level; /* default info */
	/* [raft] */
	uint32_t heartbeat_ms;	    /* 50 */
	uint32_t election_ms;	    /* 300: a timeout is drawn from once to twice that */
	uint32_t inflight_messages; /* 32 */
	uint64_t inflight_bytes;    /* inflight_mb, 32 */
	uint64_t append_bytes;	    /* append_kb, 1024: bytes in one append message */
	/* [wal] */
	uint64_t segment_bytes; /* segment_mb, 64 */
	uint64_t tail_bytes;	/* tail_mb, 16: newest entries kept in memory */
	/* [store] */
	uint32_t cache_kib; /* cache_mb, 256: writer's page cache per namespace, used as needed */
	uint32_t reader_cache_kib; /* reader_cache_mb, 4 */
	uint32_t readers;	   /* 2 reader threads */
	uint32_t flush_ms;	   /* 1000: lazy commit at the latest after */
	uint32_t flush_rows;	   /* 200000 */
	uint32_t batch_requests;   /* 512 requests in one entry */
	uint32_t batches_inflight; /* 4 entries under way per namespace */
	uint32_t statements;	   /* 256 prepared statements kept per connection */
	uint32_t sessions;	   /* 100000 clients remembered per namespace */
	/* [limits] */
	uint32_t statement_ms;	  /* 10000 */
	uint32_t request_ms;	  /* 10000: default deadline of a request */
	uint32_t rows;		  /* 100000 rows in an answer */
	uint64_t answer_bytes;	  /* answer_mb, 32 */
	uint64_t request_bytes;	  /* request_mb, 16 */
	uint32_t connections;	  /* 1024 */
	uint32_t queued_requests; /* 8192 requests waiting per group */
	uint32_t silence_ms;	  /* 10000: a link that says nothing is closed */
	/* [peer N], this node included; [user NAME] */
	uint32_t peers_n;
	struct conf_node peers[CONF_NODES_MAX];
	uint32_t users_n;
	struct conf_user users[CONF_USERS_MAX];
};

int cluster_conf_load(const char *path, struct cluster_conf *ret_conf, struct err *e);
int agent_conf_load(const char *path, struct agent_conf *ret_conf, struct err *e);
/* The same from an open file. `path` names it in messages; its folder need not exist. */
int cluster_conf_read(FILE *f, const char *path, struct cluster_conf *ret_conf, struct err *e);
int agent_conf_read(FILE *f, const char *path, struct agent_conf *ret_conf, struct err *e);

/* Writes what cluster_conf_load / agent_conf_load read back as the same, with a comment a key;
 * defaults are written commented out, paths below c->dir relative to it. Used by `drover init`.
 * ERR_INVALID for what could not be read back: paths too long for a line or with odd characters. */
int cluster_conf_write(FILE *f, const struct cluster_conf *c, struct err *e);
int agent_conf_write(FILE *f, const struct agent_conf *c, struct err *e);

/* The defaults above in place, everything else empty. */
void agent_conf_defaults(struct agent_conf *c);

/* From `start` (a folder) upwards, as git finds its folder: the first cluster.ini. ERR_NOT_FOUND.
 */
int cluster_conf_find(const char *start, char *ret_path, size_t size, struct err *e);

/* $XDG_CONFIG_HOME/drover/drover.ini: a person's defaults for the command line. */
struct console_conf {
	enum { CONF_OUTPUT_TABLE, CONF_OUTPUT_JSON, CONF_OUTPUT_TSV } output;
	enum { CONF_COLOR_AUTO, CONF_COLOR_ALWAYS, CONF_COLOR_NEVER } color;
};
/* The defaults when the file is not there. */
int console_conf_load(const char *path, struct console_conf *ret_conf, struct err *e);

/* "127.0.0.1:7001" -> port; 0: not host:port. */
unsigned conf_address_port(const char *address);
bool conf_address_is_loopback(const char *address);
/* Letters, digits, '.', '_', '-', a letter first, and no word that names a set of nodes. */
bool conf_name_is_valid(const char *name);

enum conf_type { CONF_NAME, CONF_PATH, CONF_ADDRESS, CONF_KEY, CONF_NUMBER, CONF_CHOICE };

/* One row a key, for the man page check and `--help`. */
struct conf_key {
	const char *file;    /* "cluster.ini", "agent.ini", "drover.ini" */
	const char *section; /* "node", "peer *" */
	const char *key;
	const char *allowed; /* "1..32", "host:port", "yes|no" */
	const char
		*fallback; /* default as text, NULL: required; <ID> is the section's or node's id */
	const char *help;
	/* Where and how the value is kept, for the parser and the writer. */
	enum conf_type type;
	size_t offset, size;
	uint64_t least, most, unit; /* NUMBER; CHOICE: least is the first word's value */
};
const struct conf_key *conf_keys(size_t *ret_n);

#endif
