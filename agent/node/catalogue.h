/* Which namespaces there are, and in which group each lives.
 *
 * The truth is the table `namespaces` of group 0, kept by consensus; this is
 * the copy that requests are routed by, made anew whenever group 0 has applied
 * a change. Ids rise and are never used again.
 *
 * Threads: any.
 */
#ifndef DROVER_AGENT_NODE_CATALOGUE_H
#define DROVER_AGENT_NODE_CATALOGUE_H

#include "common/buf.h"
#include "common/err.h"
#include "common/sql.h"

#define CATALOGUE_META_GROUP 0
#define CATALOGUE_META_NS 1 /* group 0 has one namespace, which clients cannot name */
#define CATALOGUE_MAX 4096  /* namespaces in a cluster */

/* Group 0's content before its first entry. */
#define CATALOGUE_SCHEMA                                                \
	"CREATE TABLE namespaces(id INTEGER PRIMARY KEY AUTOINCREMENT," \
	" name TEXT NOT NULL UNIQUE COLLATE NOCASE);"                   \
	"INSERT INTO namespaces VALUES(1,'main');"
#define CATALOGUE_SELECT "SELECT id, name FROM namespaces ORDER BY id"

struct catalogue_row {
	uint64_t id;
	uint32_t group;
	char name[SQL_NAMESPACE_MAX];
};

struct catalogue;

int catalogue_new(struct catalogue **ret_catalogue, uint32_t shards, struct err *e);
void catalogue_free(struct catalogue *c);

/* An id's group: spread by id over the data groups. */
uint32_t catalogue_group(const struct catalogue *c, uint64_t id);

/* Replaces the content; rows by rising id; index: of group 0, applied. Calls gone() for each
 * namespace that is no longer there. */
int catalogue_set(struct catalogue *c, const struct catalogue_row *rows, size_t n, uint64_t index,
		  void (*gone)(void *ctx, const struct catalogue_row *row), void *ctx,
		  struct err *e);

/* By name, without regard to ASCII case; an empty name means "main". */
bool catalogue_find(struct catalogue *c, struct slice name, struct catalogue_row *ret_row);
bool catalogue_name(struct catalogue *c, uint64_t id, char *ret_name, size_t size);
/* Was this id given out once and is gone now? */
bool catalogue_dropped(struct catalogue *c, uint64_t id);
/* A copy, for listings; the caller frees *ret_rows. */
int catalogue_list(struct catalogue *c, struct catalogue_row **ret_rows, size_t *ret_n);

/* CREATE NAMESPACE [IF NOT EXISTS] name; DROP NAMESPACE [IF EXISTS] name; SHOW NAMESPACES. */
enum namespace_verb { NAMESPACE_NONE, NAMESPACE_CREATE, NAMESPACE_DROP, NAMESPACE_SHOW };
struct namespace_statement {
	enum namespace_verb verb;
	bool if_clause;
	char name[SQL_NAMESPACE_MAX];
};
/* 0 with verb NONE: some other SQL. ERR_INVALID: one of ours, but not well formed; names are
 * letters, digits, _ and -, beginning with a letter. */
int namespace_parse(struct slice sql, struct namespace_statement *ret_statement, struct err *e);

#endif
