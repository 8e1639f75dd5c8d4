/* The table of keys: what the parser accepts, the writer explains and the man page lists. */
#include "common/conf.h"

#include <stddef.h>

#define FIELD(st, field) offsetof(struct st, field), sizeof(((struct st *)0)->field)

#define NAME(file, section, key, st, field, fallback, help)                                       \
	{                                                                                         \
		file, section, key, "letters, digits, '.', '_', '-'; a letter first; 63 at most", \
			fallback, help, CONF_NAME, FIELD(st, field), 0, 0, 0                      \
	}
#define PATH(file, section, key, st, field, fallback, help)                                        \
	{                                                                                          \
		file, section, key, "a path", fallback, help, CONF_PATH, FIELD(st, field), 0, 0, 0 \
	}
#define ADDRESS(file, section, key, st, field, help)                                               \
	{                                                                                          \
		file, section, key, "host:port", NULL, help, CONF_ADDRESS, FIELD(st, field), 0, 0, \
			0                                                                          \
	}
#define KEY(file, section, key, st, field, help)                                                   \
	{                                                                                          \
		file, section, key, "64 hex digits", NULL, help, CONF_KEY, FIELD(st, field), 0, 0, \
			0                                                                          \
	}
#define NUMBER(file, section, key, st, field, lo, hi, unit, fallback, help)                      \
	{                                                                                        \
		file, section, key, #lo ".." #hi, fallback, help, CONF_NUMBER, FIELD(st, field), \
			lo, hi, unit                                                             \
	}
#define CHOICE(file, section, key, st, field, words, first, fallback, help)                      \
	{                                                                                        \
		file, section, key, words, fallback, help, CONF_CHOICE, FIELD(st, field), first, \
			0, 0                                                                     \
	}

#define MIB 1048576

static const struct conf_key keys[] = {
#define C "cluster.ini"
	NAME(C, "cluster", "id", cluster_conf, id, NULL,
	     "Part of every greeting: nodes and users of another cluster are turned away."),
	NUMBER(C, "cluster", "shards", cluster_conf, shards, 1, 32, 1, "1",
	       "Data groups. Fixed once there is data."),
	NAME(C, "cluster", "user", cluster_conf, user, "admin", "Who the command line is."),
	PATH(C, "cluster", "user_key", cluster_conf, user_key, "keys/admin.key",
	     "That user's secret key, readable by its owner only."),
	NAME(C, "node *", "name", conf_node, name, "n<ID>", "What people call it."),
	CHOICE(C, "node *", "role", conf_node, role, "voter|learner|replica", CONF_VOTER, "voter",
	       "Voters elect and commit; at most 9 of them."),
	ADDRESS(C, "node *", "peer", conf_node, peer, "Where the other nodes reach it."),
	ADDRESS(C, "node *", "rpc", conf_node, rpc, "Where clients reach it."),
	KEY(C, "node *", "key", conf_node, key, "Its public key."),
	PATH(C, "node *", "dir", conf_node, dir, "node<ID>",
	     "Its folder, with agent.ini, log and pid file."),
	CHOICE(C, "node *", "control", conf_node, control, "local|none", CONF_CONTROL_LOCAL,
	       "local",
	       "How it is started and signalled: local, or none: only asked over the network."),
#undef C
#define A "agent.ini"
	NUMBER(A, "node", "id", agent_conf, id, 1, 65535, 1, NULL,
	       "This node's number; it never changes."),
	NAME(A, "node", "name", agent_conf, name, "n<ID>", "What people call it."),
	NAME(A, "node", "cluster", agent_conf, cluster_id, NULL, "The cluster's id."),
	NUMBER(A, "node", "shards", agent_conf, shards, 1, 32, 1, "1",
	       "Data groups, the same on every node. Fixed once there is data."),
	PATH(A, "node", "data", agent_conf, data, "data", "The folder of log and databases."),
	PATH(A, "node", "secret", agent_conf, secret, "node.key",
	     "This node's secret key, readable by its owner only."),
	ADDRESS(A, "listen", "peer", agent_conf, peer, "Where it listens for the other nodes."),
	ADDRESS(A, "listen", "rpc", agent_conf, rpc, "Where it listens for clients."),
	CHOICE(A, "listen", "insecure", agent_conf, insecure, "no|yes", 0, "no",
	       "yes: listen beyond this machine although nothing is encrypted."),
	CHOICE(A, "log", "level", agent_conf, log_level, "debug|info|warn|error", LOG_DEBUG, "info",
	       "The least of what is logged."),
	NUMBER(A, "raft", "heartbeat_ms", agent_conf, heartbeat_ms, 5, 10000, 1, "50",
	       "A leader says this often that it lives."),
	NUMBER(A, "raft", "election_ms", agent_conf, election_ms, 20, 60000, 1, "300",
	       "Without a leader for this to twice this long, a voter stands for election. At "
	       "least "
	       "twice heartbeat_ms."),
	NUMBER(A, "raft", "inflight_messages", agent_conf, inflight_messages, 1, 64, 1, "32",
	       "Appends under way to one peer."),
	NUMBER(A, "raft", "inflight_mb", agent_conf, inflight_bytes, 1, 1024, MIB, "32",
	       "Their size together, MiB."),
	NUMBER(A, "raft", "append_kb", agent_conf, append_bytes, 4, 16384, 1024, "1024",
	       "Entries in one append, KiB."),
	NUMBER(A, "wal", "segment_mb", agent_conf, segment_bytes, 1, 1024, MIB, "64",
	       "One file of the log, MiB."),
	NUMBER(A, "wal", "tail_mb", agent_conf, tail_bytes, 1, 4096, MIB, "16",
	       "The newest entries, kept in memory for slower peers, MiB."),
	NUMBER(A, "store", "cache_mb", agent_conf, cache_kib, 1, 65536, 1024, "256",
	       "Page cache of a namespace's writer, taken as needed, MiB."),
	NUMBER(A, "store", "reader_cache_mb", agent_conf, reader_cache_kib, 1, 4096, 1024, "4",
	       "Page cache of a reader's connection, MiB."),
	NUMBER(A, "store", "readers", agent_conf, readers, 1, 64, 1, "2", "Threads that read."),
	NUMBER(A, "store", "flush_ms", agent_conf, flush_ms, 1, 60000, 1, "1000",
	       "SQLite commits at the latest after this."),
	NUMBER(A, "store", "flush_rows", agent_conf, flush_rows, 1, 10000000, 1, "200000",
	       "SQLite commits at the latest after this many rows."),
	NUMBER(A, "store", "batch_requests", agent_conf, batch_requests, 1, 512, 1, "512",
	       "Requests in one entry."),
	NUMBER(A, "store", "batches_inflight", agent_conf, batches_inflight, 1, 64, 1, "4",
	       "Entries under way for one namespace."),
	NUMBER(A, "store", "statements", agent_conf, statements, 16, 65536, 1, "256",
	       "Prepared statements kept by a connection."),
	NUMBER(A, "store", "sessions", agent_conf, sessions, 100, 10000000, 1, "100000",
	       "Clients whose last write a namespace remembers."),
	NUMBER(A, "limits", "statement_ms", agent_conf, statement_ms, 1, 3600000, 1, "10000",
	       "Time of one statement."),
	NUMBER(A, "limits", "request_ms", agent_conf, request_ms, 1, 3600000, 1, "10000",
	       "Deadline of a request that names none."),
	NUMBER(A, "limits", "rows", agent_conf, rows, 1, 100000000, 1, "100000",
	       "Rows in one answer."),
	NUMBER(A, "limits", "answer_mb", agent_conf, answer_bytes, 1, 64, MIB, "32",
	       "One answer, MiB."),
	NUMBER(A, "limits", "request_mb", agent_conf, request_bytes, 1, 16, MIB, "16",
	       "One request, MiB."),
	NUMBER(A, "limits", "connections", agent_conf, connections, 8, 65536, 1, "1024",
	       "Connections at once."),
	NUMBER(A, "limits", "queued_requests", agent_conf, queued_requests, 1, 1000000, 1, "8192",
	       "Requests that wait in one group; more are refused as busy."),
	NUMBER(A, "limits", "silence_ms", agent_conf, silence_ms, 100, 600000, 1, "10000",
	       "A connection that says nothing for this long is closed."),
	NAME(A, "peer *", "name", conf_node, name, "n<ID>", "What people call it."),
	CHOICE(A, "peer *", "role", conf_node, role, "voter|learner|replica", CONF_VOTER, "voter",
	       "As in cluster.ini."),
	ADDRESS(A, "peer *", "peer", conf_node, peer, "Where the other nodes reach it."),
	ADDRESS(A, "peer *", "rpc", conf_node, rpc, "Where clients reach it."),
	KEY(A, "peer *", "key", conf_node, key, "Its public key."),
	CHOICE(A, "user *", "role", conf_user, role, "admin|writer|reader", LINK_ROLE_ADMIN, NULL,
	       "What this user may do."),
	KEY(A, "user *", "key", conf_user, key, "The user's public key."),
#undef A
#define D "drover.ini"
	CHOICE(D, "console", "output", console_conf, output, "table|json|tsv", 0, "table",
	       "The form of results."),
	CHOICE(D, "console", "color", console_conf, color, "auto|always|never", 0, "auto",
	       "Colour: auto is on a terminal."),
#undef D
};

const struct conf_key *conf_keys(size_t *ret_n)
{
	*ret_n = sizeof keys / sizeof keys[0];
	return keys;
}
