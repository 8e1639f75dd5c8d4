/* A leader's and a follower's store side by side, for tests: what the leader executes is kept as
 * a log and applied to the follower; both are compared by a dump of all they hold and by digest. */
#ifndef DROVER_TESTS_UNIT_STORE_RIG_H
#define DROVER_TESTS_UNIT_STORE_RIG_H

#include "agent/store/reader.h"
#include "agent/store/store.h"

#define RIG_NS 7

struct rig_entry {
	struct buf payload;
	uint64_t term;
};

struct rig {
	char root[64], leader_dir[80], follower_dir[80];
	struct store_options o;
	struct store *leader, *follower;
	struct rig_entry *log; /* by index - 1 */
	size_t log_n;
	uint64_t now_us;
	/* The last request. */
	struct buf message;
	struct sql_request sql;
	struct store_request request;
};

/* A rig with fresh folders. `tune` may change the options, or be NULL. */
void rig_open(struct rig *g, void (*tune)(struct store_options *o));
void rig_close(struct rig *g); /* removes the folders */

/* Builds g->sql of one or more statements, NULL at the end. */
void rig_prepare(struct rig *g, const char *const *texts);
void rig_prepare_one(struct rig *g, const char *text, const struct value *params, uint32_t n);
/* Executes g->sql as a batch of its own on the leader; when it wrote: as entry of the log,
 * committed and applied to the follower. Returns the request's status. */
int rig_execute(struct rig *g);
/* The same with one text. */
int rig_run(struct rig *g, const char *text);
/* … that must succeed; must fail with this code and a text holding the fragment. */
void rig_must(struct rig *g, const char *text);
void rig_refused(struct rig *g, const char *text, int code, const char *fragment);
/* An entry from elsewhere: put into the log, applied to both. */
void rig_append(struct rig *g, struct slice payload);
/* Applies the log's entries from..to (inclusive) to a store. */
void rig_replay(struct rig *g, struct store *s, uint64_t from, uint64_t to);

/* The first value of the last answer's first result with rows. */
struct value rig_value(struct rig *g);
/* The last answer's results, as decoded DONE at place `at`. */
struct sql_result rig_result(struct rig *g, unsigned at);

/* Everything in a namespace's file: schema, rows with rowids, settings. malloc'ed. */
char *rig_dump(const char *dir, uint64_t ns);
/* false: integrity_check finds damage, and prints it. */
bool rig_sound(const char *dir, uint64_t ns);
void rig_digest(const char *dir, uint64_t ns, char *ret_hex);
/* Flushes both, compares them. */
void rig_same(struct rig *g);
/* One integer from a plain look into the flushed file. */
int64_t rig_look(const char *dir, uint64_t ns, const char *sql);
/* Opens a store again in the same folder; asserts. */
void rig_reopen(struct rig *g, struct store **s, const char *dir);
void rig_remove(const char *dir);

#endif
