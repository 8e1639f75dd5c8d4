#include "tests/unit/store_random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t random_next(struct random_sql *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

unsigned random_below(struct random_sql *r, unsigned n)
{
	return (unsigned)(random_next(r) % n);
}

bool random_chance(struct random_sql *r, unsigned percent)
{
	return random_below(r, 100) < percent;
}

/* Learning. */

static void copy_text(char *to, const struct value *v)
{
	size_t n = v->s.n < RANDOM_NAME_MAX - 1 ? v->s.n : RANDOM_NAME_MAX - 1;

	memcpy(to, v->s.p, n);
	to[n] = 0;
}

static bool holds(const struct value *v, const char *text)
{
	return v->s.n && memmem(v->s.p, v->s.n, text, strlen(text)) != NULL;
}

static int on_object(void *ctx, const struct value *v, unsigned n)
{
	struct random_sql *r = ctx;
	struct random_object *o = &r->objects[r->objects_n];

	(void)n;
	if (r->objects_n == RANDOM_OBJECTS_MAX)
		return 0;
	memset(o, 0, sizeof *o);
	copy_text(o->name, &v[0]);
	o->kind = v[1].s.p[0] == 'v'   ? OBJECT_VIEW
		  : v[1].s.p[0] == 'i' ? OBJECT_INDEX
		  : v[1].s.p[1] == 'r' ? OBJECT_TRIGGER
				       : OBJECT_TABLE;
	if (holds(&v[2], "CREATE VIRTUAL")) {
		o->kind = OBJECT_VIRTUAL;
		o->module = holds(&v[2], "fts5") ? '5' : holds(&v[2], "fts4") ? '4' : 'r';
	}
	r->objects_n++;
	return 0;
}

static int on_column(void *ctx, const struct value *v, unsigned n)
{
	struct random_object *o = ctx;
	struct random_column *c = &o->columns[o->columns_n];

	(void)n;
	if (o->columns_n == RANDOM_COLUMNS_MAX)
		return 0;
	copy_text(c->name, &v[0]);
	c->pk = v[1].i > 0;
	c->generated = v[2].i > 1;
	o->columns_n++;
	return 0;
}

void random_learn(struct random_sql *r, struct store *s, uint64_t ns)
{
	struct err e;
	char sql[300];

	r->objects_n = 0;
	store_select(s, ns,
		     "SELECT name, type, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE "
		     "'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'drover\\_%' ESCAPE '\\' AND name "
		     "NOT GLOB 'v[0-9]*_*'",
		     on_object, r, &e);
	for (unsigned i = 0; i < r->objects_n; i++) {
		struct random_object *o = &r->objects[i];
		if (o->kind != OBJECT_TABLE && o->kind != OBJECT_VIEW)
			continue;
		char quoted[2 * RANDOM_NAME_MAX], *to = quoted;
		for (const char *p = o->name; *p; p++) {
			if (*p == '\'')
				*to++ = '\'';
			*to++ = *p;
		}
		*to = 0;
		snprintf(sql, sizeof sql, "SELECT name, pk, hidden FROM pragma_table_xinfo('%s')",
			 quoted);
		/* A view whose tables are gone has no columns to tell. */
		store_select(s, ns, sql, on_column, o, &e);
	}
	/* The same order for the same seed. */
	for (unsigned i = 1; i < r->objects_n; i++)
		for (unsigned k = i; k > 0; k--)
			if (strcmp(r->objects[k - 1].name, r->objects[k].name) > 0) {
				struct random_object swap = r->objects[k];
				r->objects[k] = r->objects[k - 1];
				r->objects[k - 1] = swap;
			}
}

/* Names and values. */

void random_name(struct buf *b, const char *name)
{
	buf_printf(b, "\"");
	for (; *name; name++)
		buf_printf(b, *name == '"' ? "\"\"" : "%c", *name);
	buf_printf(b, "\"");
}

const struct random_object *random_object(struct random_sql *r, int kind)
{
	unsigned from = r->objects_n ? random_below(r, r->objects_n) : 0;

	for (unsigned i = 0; i < r->objects_n; i++) {
		const struct random_object *o = &r->objects[(from + i) % r->objects_n];
		if ((int)o->kind == kind && (o->columns_n || kind > OBJECT_VIEW))
			return o;
	}
	return NULL;
}

const struct random_column *random_column(struct random_sql *r, const struct random_object *o)
{
	unsigned from = random_below(r, o->columns_n);

	for (unsigned i = 0; i < o->columns_n; i++) {
		const struct random_column *c = &o->columns[(from + i) % o->columns_n];
		if (!c->generated || random_chance(r, 3))
			return c;
	}
	return &o->columns[from];
}

void random_value(struct random_sql *r, struct buf *b)
{
	static const char *const odd[] = {
		"9007199254740993",
		"-9223372036854775808",
		"9223372036854775807",
		"9e999",
		"-9e999",
		"1e18",
		"0.1",
		"-0.0",
		"''",
		"x''",
		"x'00ff00'",
		"zeroblob(50)",
		"char(0)||'z'",
		"'1e3'",
		"'12 '",
		"' 7'",
		"'0x10'",
		"random()",
		"randomblob(9)",
		"datetime('now')",
		"julianday('now')",
		"CURRENT_TIMESTAMP",
		"last_insert_rowid()",
		"changes()",
		"'a''b'",
		"hex(randomblob(400))",
		"zeroblob(20000)",
		"CAST(x'ff61' AS TEXT)",
		"140737488355328",
		"-140737488355329",
		"4503599627370497.0",
		"1.0",
		"2.0",
		"'ABC'",
		"'abc'",
		"total_changes()",
		"abs(random())%10",
		"1=1",
	};

	switch (random_below(r, 8)) {
	case 0:
		buf_printf(b, "NULL");
		break;
	case 1:
		buf_printf(b, "%s", RANDOM_PICK(r, odd));
		break;
	case 2:
		buf_printf(b, "'t%u'", random_below(r, 20));
		break;
	case 3:
		buf_printf(b, "%u.5", random_below(r, 10));
		break;
	case 4:
		buf_printf(b, "x'%02x%02x'", random_below(r, 4), random_below(r, 256));
		break;
	default:
		buf_printf(b, "%d", (int)random_below(r, 25) - 5);
		break;
	}
}

static void put_expression(struct random_sql *r, struct buf *b, const struct random_object *o)
{
	if (random_chance(r, 50) || !o->columns_n) {
		random_value(r, b);
		return;
	}
	static const char *const forms[] = {"+1", "||'x'", "*2", "/2", "-10", "", "", "+0.5", "%7"};
	static const char *const functions[] = {"", "", "abs", "-", "10-", "typeof", "length"};
	buf_printf(b, "%s(", RANDOM_PICK(r, functions));
	random_name(b, random_column(r, o)->name);
	buf_printf(b, "%s)", RANDOM_PICK(r, forms));
}

static void put_where(struct random_sql *r, struct buf *b, const struct random_object *o)
{
	static const char *const operators[] = {"=", "<", ">", "<>", " IS ", "<=", " IS NOT "};

	if (!o->columns_n || random_chance(r, 8))
		return;
	buf_printf(b, " WHERE ");
	switch (random_below(r, 6)) {
	case 0:
		buf_printf(b, "abs(random())%%4=0");
		break;
	case 1:
		random_name(b, random_column(r, o)->name);
		buf_printf(b, " IN (%d,%d,'t%u',", (int)random_below(r, 20), -3,
			   random_below(r, 20));
		random_value(r, b);
		buf_printf(b, ")");
		break;
	case 2:
		buf_printf(b, "rowid%s%d", RANDOM_PICK(r, operators), (int)random_below(r, 30));
		break;
	default:
		random_name(b, random_column(r, o)->name);
		buf_printf(b, "%s", RANDOM_PICK(r, operators));
		random_value(r, b);
		break;
	}
}

static const char *conflict(struct random_sql *r)
{
	static const char *const words[] = {" OR IGNORE", " OR REPLACE", " OR ABORT", " OR FAIL"};

	return random_chance(r, 35) ? RANDOM_PICK(r, words) : "";
}

/* Rows. */

static void put_returning(struct random_sql *r, struct buf *b)
{
	if (random_chance(r, 8))
		buf_printf(b, " RETURNING *");
}

static void put_upsert(struct random_sql *r, struct buf *b, const struct random_object *o)
{
	if (!random_chance(r, 20))
		return;
	buf_printf(b, " ON CONFLICT");
	const struct random_column *key = NULL;
	for (unsigned i = 0; i < o->columns_n; i++)
		if (o->columns[i].pk)
			key = &o->columns[i];
	if (key || random_chance(r, 10)) {
		buf_printf(b, "(");
		random_name(b, key ? key->name : random_column(r, o)->name);
		buf_printf(b, ")");
	}
	if (random_chance(r, 30)) {
		buf_printf(b, " DO NOTHING");
		return;
	}
	buf_printf(b, " DO UPDATE SET ");
	random_name(b, random_column(r, o)->name);
	buf_printf(b, "=");
	put_expression(r, b, o);
}

static void put_insert(struct random_sql *r, struct buf *b, const struct random_object *o)
{
	unsigned columns[RANDOM_COLUMNS_MAX], n = 0, rows = 1 + random_below(r, 4);

	if (random_chance(r, 8))
		rows = 40;
	buf_printf(b, random_chance(r, 10) ? "REPLACE INTO " : "INSERT%s INTO ", conflict(r));
	random_name(b, o->name);
	if (random_chance(r, 4)) {
		buf_printf(b, " DEFAULT VALUES");
		return;
	}
	for (unsigned i = 0; i < o->columns_n; i++)
		if (!o->columns[i].generated && random_chance(r, 85))
			columns[n++] = i;
	if (n == 0)
		columns[n++] = 0;
	buf_printf(b, "(");
	bool rowid = random_chance(r, 6);
	if (rowid)
		buf_printf(b, "rowid,");
	for (unsigned i = 0; i < n; i++) {
		buf_printf(b, i ? "," : "");
		random_name(b, o->columns[columns[i]].name);
	}
	buf_printf(b, ") VALUES");
	for (unsigned k = 0; k < rows; k++) {
		buf_printf(b, k ? ",(" : "(");
		if (rowid)
			buf_printf(b, "%d,", (int)random_below(r, 60) - 10);
		for (unsigned i = 0; i < n; i++) {
			buf_printf(b, i ? "," : "");
			random_value(r, b);
		}
		buf_printf(b, ")");
	}
	put_upsert(r, b, o);
	put_returning(r, b);
}

static void put_insert_select(struct random_sql *r, struct buf *b, const struct random_object *o)
{
	const struct random_object *from = random_object(r, OBJECT_TABLE);
	unsigned n = 0;

	buf_printf(b, "INSERT%s INTO ", conflict(r));
	random_name(b, o->name);
	unsigned carried = 0;
	for (unsigned i = 0; i < o->columns_n; i++)
		carried += !o->columns[i].generated;
	if (random_chance(r, carried == from->columns_n ? 60 : 2)) {
		/* SQLite copies rows as they are stored where the tables are alike. */
		buf_printf(b, " SELECT * FROM ");
		random_name(b, from->name);
		return;
	}
	buf_printf(b, "(");
	for (unsigned i = 0; i < o->columns_n; i++) {
		if (o->columns[i].generated)
			continue;
		buf_printf(b, n++ ? "," : "");
		random_name(b, o->columns[i].name);
	}
	buf_printf(b, ") SELECT ");
	for (unsigned i = 0; i < n; i++) {
		buf_printf(b, i ? "," : "");
		put_expression(r, b, from);
	}
	buf_printf(b, " FROM ");
	random_name(b, from->name);
	put_where(r, b, from);
	buf_printf(b, " LIMIT %u", 1 + random_below(r, 30));
}

static void put_update(struct random_sql *r, struct buf *b, const struct random_object *o)
{
	unsigned n = 1 + random_below(r, 3);

	buf_printf(b, "UPDATE%s ", conflict(r));
	random_name(b, o->name);
	buf_printf(b, " SET ");
	if (random_chance(r, 6))
		buf_printf(b, "rowid=rowid+%d,", (int)random_below(r, 9) - 4);
	for (unsigned i = 0; i < n; i++) {
		buf_printf(b, i ? "," : "");
		random_name(b, random_column(r, o)->name);
		buf_printf(b, "=");
		put_expression(r, b, o);
	}
	put_where(r, b, o);
	put_returning(r, b);
}

static void put_delete(struct random_sql *r, struct buf *b, const struct random_object *o)
{
	buf_printf(b, "DELETE FROM ");
	random_name(b, o->name);
	put_where(r, b, o);
	put_returning(r, b);
}

static void put_rows(struct random_sql *r, struct buf *b, const struct random_object *o)
{
	unsigned kind = random_below(r, 100);

	if (kind < 45)
		put_insert(r, b, o);
	else if (kind < 57)
		put_insert_select(r, b, o);
	else if (kind < 86)
		put_update(r, b, o);
	else
		put_delete(r, b, o);
}

static void put_virtual(struct random_sql *r, struct buf *b, const struct random_object *o)
{
	unsigned id = 1 + random_below(r, 40);

	if (o->module == 'r') {
		switch (random_below(r, 4)) {
		case 0:
			buf_printf(b, "DELETE FROM %s WHERE id%%%u=0", o->name,
				   2 + random_below(r, 9));
			break;
		case 1:
			buf_printf(b, "UPDATE %s SET x1=x1+%u WHERE id<%u", o->name,
				   random_below(r, 5), id);
			break;
		default:
			buf_printf(b, "INSERT%s INTO %s VALUES(%u,%u,%u)", conflict(r), o->name, id,
				   random_below(r, 50), 50 + random_below(r, 50));
		}
		return;
	}
	static const char *const orders5[] = {
		"'automerge', 2",   "'crisismerge', 3", "'usermerge', 2",  "'merge', -3",
		"'merge', 20",	    "'pgsz', 64",	"'rebuild', NULL", "'automerge', 0",
		"'rank', 'bm25()'", "'optimize', NULL"};
	static const char *const orders4[] = {"automerge=2", "automerge=8", "merge=5,2",
					      "merge=1,3",   "rebuild",	    "automerge=0",
					      "optimize"};
	const char *key = o->module == '5' ? "rowid" : "docid";
	if (random_chance(r, 15)) {
		if (o->module == '5')
			buf_printf(b, "INSERT INTO %s(%s, rank) VALUES(%s)", o->name, o->name,
				   RANDOM_PICK(r, orders5));
		else
			buf_printf(b, "INSERT INTO %s(%s) VALUES('%s')", o->name, o->name,
				   RANDOM_PICK(r, orders4));
		return;
	}
	if (random_chance(r, 10)) {
		buf_printf(
			b,
			"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<%u) "
			"INSERT INTO %s(a, b) SELECT 'many ' || x || hex(randomblob(20)), x FROM c",
			20 + random_below(r, 200), o->name);
		return;
	}
	switch (random_below(r, 8)) {
	case 0:
		buf_printf(b, "DELETE FROM %s WHERE %s=%u", o->name, key, id);
		break;
	case 1:
		buf_printf(b, "UPDATE %s SET a=a||' more%u' WHERE %s<%u", o->name, id, key, id);
		break;
	case 2:
		buf_printf(b, "INSERT INTO %s(%s) VALUES('optimize')", o->name, o->name);
		break;
	case 3:
		buf_printf(b, "INSERT INTO %s(%s) VALUES('integrity-check')", o->name, o->name);
		break;
	case 4:
		buf_printf(b, "SELECT count(*) FROM %s WHERE %s MATCH 'word1*'", o->name, o->name);
		break;
	default:
		buf_printf(b,
			   "INSERT%s INTO %s(%s,a,b) VALUES(%u,'word%u word%u text','b%u ' || "
			   "random())",
			   conflict(r), o->name, key, id, random_below(r, 30), random_below(r, 30),
			   id);
	}
}

static void put_sequence(struct random_sql *r, struct buf *b)
{
	switch (random_below(r, 3)) {
	case 0:
		buf_printf(b, "UPDATE sqlite_sequence SET seq=%u", random_below(r, 90));
		break;
	case 1:
		buf_printf(b, "DELETE FROM sqlite_sequence");
		break;
	default:
		buf_printf(b, "INSERT INTO sqlite_sequence SELECT 't%u', %u", random_below(r, 50),
			   random_below(r, 90));
	}
}

/* Statements in a block of a transaction or savepoint, kept or taken back. */
static bool put_block(struct random_sql *r, struct buf *sql)
{
	static const char *const blocks[][2] = {
		{"BEGIN", "COMMIT"},
		{"BEGIN", "ROLLBACK"},
		{"BEGIN IMMEDIATE", "END"},
		{"SAVEPOINT a", "RELEASE a"},
		{"SAVEPOINT a", "ROLLBACK TO a; RELEASE a"},
		{"SAVEPOINT a", "COMMIT"},
		{"SAVEPOINT a", "ROLLBACK"},
		{"BEGIN; SAVEPOINT \"x y\"", "ROLLBACK TO \"x y\"; COMMIT"},
		{"PRAGMA defer_foreign_keys=1", "SELECT 1"},
	};
	unsigned which = random_below(r, sizeof blocks / sizeof blocks[0]);
	bool schema = false;

	buf_printf(sql, "%s; ", blocks[which][0]);
	for (unsigned i = 0; i <= random_below(r, 2); i++) {
		schema |= random_statement(r, sql);
		buf_printf(sql, "; ");
	}
	buf_printf(sql, "%s", blocks[which][1]);
	return schema;
}

bool random_statement(struct random_sql *r, struct buf *sql)
{
	const struct random_object *o = random_object(r, OBJECT_TABLE);
	const struct random_object *v = random_object(r, OBJECT_VIRTUAL);
	const struct random_object *w = random_object(r, OBJECT_VIEW);
	unsigned kind = random_below(r, 1000);

	if (!o || kind < (r->objects_n < 5 ? 400 : 130)) {
		random_schema(r, sql);
		return true;
	}
	if (kind < 160)
		return put_block(r, sql);
	if (kind < 170)
		put_sequence(r, sql);
	else if (kind < 175)
		buf_printf(sql, "%s", random_chance(r, 50) ? "COMMIT" : "ROLLBACK TO a");
	else if (kind < 280 && v)
		put_virtual(r, sql, v);
	else if (kind < 290 && w)
		put_rows(r, sql, w);
	else
		put_rows(r, sql, o);
	return false;
}
