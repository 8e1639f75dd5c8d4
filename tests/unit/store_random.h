/* Random SQL against a schema that grows and changes: all that SQLite offers and drover lets
 * through, including what fails half-way. */
#ifndef DROVER_TESTS_UNIT_STORE_RANDOM_H
#define DROVER_TESTS_UNIT_STORE_RANDOM_H

#include "agent/store/store.h"

#define RANDOM_NAME_MAX 40
#define RANDOM_COLUMNS_MAX 12
#define RANDOM_OBJECTS_MAX 40

struct random_column {
	char name[RANDOM_NAME_MAX];
	bool pk, generated;
};

struct random_object {
	char name[RANDOM_NAME_MAX];
	enum { OBJECT_TABLE, OBJECT_VIEW, OBJECT_INDEX, OBJECT_TRIGGER, OBJECT_VIRTUAL } kind;
	char module; /* VIRTUAL: '5', '4', 'r' */
	struct random_column columns[RANDOM_COLUMNS_MAX];
	unsigned columns_n;
};

struct random_sql {
	uint64_t state;
	struct random_object objects[RANDOM_OBJECTS_MAX];
	unsigned objects_n;
	unsigned names; /* counts made-up names */
};

uint64_t random_next(struct random_sql *r);
unsigned random_below(struct random_sql *r, unsigned n);
bool random_chance(struct random_sql *r, unsigned percent);

/* Learns the schema from the store's namespace. */
void random_learn(struct random_sql *r, struct store *s, uint64_t ns);
/* Appends one statement; true: it may change the schema. */
bool random_statement(struct random_sql *r, struct buf *sql);

/* Its parts, in two files. */

#define RANDOM_PICK(r, list) (list)[random_below(r, sizeof(list) / sizeof *(list))]

void random_name(struct buf *b, const char *name); /* quoted */
void random_value(struct random_sql *r, struct buf *b);
/* NULL: there is none of this kind (OBJECT_*). */
const struct random_object *random_object(struct random_sql *r, int kind);
const struct random_column *random_column(struct random_sql *r, const struct random_object *o);
/* store_random_schema.c: a statement that changes the schema. */
void random_schema(struct random_sql *r, struct buf *b);

#endif
