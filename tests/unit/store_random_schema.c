#include "tests/unit/store_random.h"

#include <stdio.h>

static void made_up(struct random_sql *r, char *ret_name, char letter)
{
	static const char *const odd[] = {"a b", "se\"lect", "Group", "x'y", "\xc3\xa9", "rowid2"};

	if (letter == 'c' && random_chance(r, 12)) {
		static const char *const columns[] = {"rowid", "oid",	 "_rowid_", "a b",
						      "q\"q",  "select", "\xc3\xa9"};
		snprintf(ret_name, RANDOM_NAME_MAX, "%s", RANDOM_PICK(r, columns));
		return;
	}
	if (letter == 't' && random_chance(r, 8)) {
		snprintf(ret_name, RANDOM_NAME_MAX, "%s%u", RANDOM_PICK(r, odd),
			 random_below(r, 3));
		return;
	}
	snprintf(ret_name, RANDOM_NAME_MAX, "%c%u", letter,
		 letter == 'c' ? random_below(r, 30) : r->names++ % 50);
}

static void put_reference(struct random_sql *r, struct buf *b)
{
	static const char *const actions[] = {"CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT",
					      "NO ACTION"};
	const struct random_object *to = random_object(r, OBJECT_TABLE);

	if (!to)
		return;
	buf_printf(b, " REFERENCES ");
	random_name(b, to->name);
	if (random_chance(r, 60)) {
		buf_printf(b, "(");
		random_name(b, random_column(r, to)->name);
		buf_printf(b, ")");
	}
	buf_printf(b, " ON DELETE %s ON UPDATE %s", RANDOM_PICK(r, actions),
		   RANDOM_PICK(r, actions));
	if (random_chance(r, 40))
		buf_printf(b, " DEFERRABLE INITIALLY DEFERRED");
}

static void put_column_constraints(struct random_sql *r, struct buf *b, const char *name)
{
	static const char *const resolve[] = {"", "", " ON CONFLICT REPLACE", " ON CONFLICT IGNORE",
					      " ON CONFLICT FAIL"};
	static const char *const defaults[] = {"7", "'d'", "NULL", "-1.5", "x'aa'"};

	if (random_chance(r, 15))
		buf_printf(b, " UNIQUE%s", RANDOM_PICK(r, resolve));
	if (random_chance(r, 12))
		buf_printf(b, " NOT NULL%s", RANDOM_PICK(r, resolve));
	if (random_chance(r, 20))
		buf_printf(b, " DEFAULT %s",
			   random_chance(r, 30)	  ? "(random())"
			   : random_chance(r, 20) ? "CURRENT_TIMESTAMP"
						  : RANDOM_PICK(r, defaults));
	if (random_chance(r, 10)) {
		buf_printf(b, " CHECK(");
		random_name(b, name);
		buf_printf(b, " IS NOT %d)", (int)random_below(r, 15));
	}
	if (random_chance(r, 12))
		buf_printf(b, " COLLATE %s", random_chance(r, 50) ? "NOCASE" : "RTRIM");
	if (random_chance(r, 8))
		put_reference(r, b);
}

static void put_generated(struct random_sql *r, struct buf *b, const char *of)
{
	static const char *const forms[] = {"+1", "||'g'", "*2", ""};

	buf_printf(b, " AS (");
	random_name(b, of);
	buf_printf(b, "%s) %s", RANDOM_PICK(r, forms), random_chance(r, 50) ? "STORED" : "VIRTUAL");
}

static void put_create_table(struct random_sql *r, struct buf *b)
{
	static const char *const types[] = {"",	       "INTEGER", "INT",	 "TEXT", "REAL",
					    "NUMERIC", "BLOB",	  "VARCHAR(10)", "DATE"};
	static const char *const strict_types[] = {"INTEGER", "INT", "TEXT", "REAL", "BLOB", "ANY"};
	char name[RANDOM_NAME_MAX], columns[8][RANDOM_NAME_MAX];
	unsigned n = 1 + random_below(r, 6), key = random_below(r, n);
	unsigned kind = random_below(r, 10);
	bool strict = random_chance(r, 15), first = random_chance(r, 70);

	made_up(r, name, 't');
	buf_printf(b, "CREATE TABLE ");
	random_name(b, name);
	buf_printf(b, "(");
	for (unsigned i = 0; i < n; i++) {
		bool alone = (kind <= 3) && i == (first ? 0 : key);
		made_up(r, columns[i], 'c');
		buf_printf(b, i ? ", " : "");
		random_name(b, columns[i]);
		if (alone) {
			buf_printf(b, " INTEGER PRIMARY KEY%s",
				   kind == 1   ? " AUTOINCREMENT"
				   : kind == 2 ? " DESC"
					       : "");
			continue;
		}
		buf_printf(b, " %s", strict ? RANDOM_PICK(r, strict_types) : RANDOM_PICK(r, types));
		if (i > 0 && random_chance(r, 15))
			put_generated(r, b, columns[random_below(r, i)]);
		else
			put_column_constraints(r, b, columns[i]);
	}
	bool composite = kind == 4 || kind >= 8;
	if (composite) {
		buf_printf(b, ", PRIMARY KEY(");
		random_name(b, columns[n - 1]);
		if (n > 2 && random_chance(r, 60)) {
			buf_printf(b, "%s,", random_chance(r, 30) ? " DESC" : "");
			random_name(b, columns[0]);
		}
		buf_printf(b, ")");
	}
	if (random_chance(r, 8)) {
		buf_printf(b, ", UNIQUE(");
		random_name(b, columns[0]);
		buf_printf(b, ",");
		random_name(b, columns[n - 1]);
		buf_printf(b, ")");
	}
	bool without = kind >= 8 || (kind == 3 && random_chance(r, 50));
	buf_printf(b, ")%s%s%s", without ? " WITHOUT ROWID" : "", without && strict ? "," : "",
		   strict ? " STRICT" : "");
}

static void put_body(struct random_sql *r, struct buf *b, const struct random_object *on,
		     char event)
{
	const struct random_object *to = random_chance(r, 20) ? on : random_object(r, OBJECT_TABLE);
	static const char *const raises[] = {"IGNORE", "ABORT,'no'", "FAIL,'no'"};
	const char *row = event == 'd' ? "old" : "new";
	unsigned kind = random_below(r, 10);

	if (kind == 0) {
		buf_printf(b, "SELECT RAISE(%s) WHERE %s.", RANDOM_PICK(r, raises), row);
		random_name(b, random_column(r, on)->name);
		buf_printf(b, "=%u;", random_below(r, 8));
	} else if (kind <= 5) {
		buf_printf(b, "INSERT OR IGNORE INTO ");
		random_name(b, to->name);
		buf_printf(b, "(");
		random_name(b, random_column(r, to)->name);
		buf_printf(b, ") VALUES(");
		if (random_chance(r, 50)) {
			buf_printf(b, "%s.", row);
			random_name(b, random_column(r, on)->name);
		} else {
			random_value(r, b);
		}
		buf_printf(b, ");");
	} else if (kind <= 7) {
		buf_printf(b, "UPDATE OR IGNORE ");
		random_name(b, to->name);
		buf_printf(b, " SET ");
		random_name(b, random_column(r, to)->name);
		buf_printf(b, "=%u WHERE ", random_below(r, 9));
		random_name(b, random_column(r, to)->name);
		buf_printf(b, "=%s.", row);
		random_name(b, random_column(r, on)->name);
		buf_printf(b, ";");
	} else {
		buf_printf(b, "DELETE FROM ");
		random_name(b, to->name);
		buf_printf(b, " WHERE ");
		random_name(b, random_column(r, to)->name);
		buf_printf(b, "=%s.", row);
		random_name(b, random_column(r, on)->name);
		buf_printf(b, ";");
	}
}

static void put_create_trigger(struct random_sql *r, struct buf *b)
{
	bool view = random_chance(r, 15);
	const struct random_object *on = random_object(r, view ? OBJECT_VIEW : OBJECT_TABLE);
	static const char *const events[] = {"INSERT", "UPDATE", "DELETE"};
	unsigned event = random_below(r, 3);
	char name[RANDOM_NAME_MAX];

	if (!on || !random_object(r, OBJECT_TABLE)) {
		buf_printf(b, "SELECT 1");
		return;
	}
	made_up(r, name, 'g');
	buf_printf(b, "CREATE TRIGGER ");
	random_name(b, name);
	buf_printf(b, " %s %s ON ",
		   view			  ? "INSTEAD OF"
		   : random_chance(r, 50) ? "BEFORE"
					  : "AFTER",
		   events[event]);
	random_name(b, on->name);
	if (random_chance(r, 20)) {
		buf_printf(b, " WHEN %s.", event == 2 ? "old" : "new");
		random_name(b, random_column(r, on)->name);
		buf_printf(b, ">3");
	}
	buf_printf(b, " BEGIN ");
	for (unsigned i = 0; i <= random_below(r, 2); i++)
		put_body(r, b, on, event == 2 ? 'd' : 'n');
	buf_printf(b, " END");
}

static void put_create_index(struct random_sql *r, struct buf *b, const struct random_object *o)
{
	char name[RANDOM_NAME_MAX];

	made_up(r, name, 'i');
	buf_printf(b, "CREATE %sINDEX ", random_chance(r, 30) ? "UNIQUE " : "");
	random_name(b, name);
	buf_printf(b, " ON ");
	random_name(b, o->name);
	buf_printf(b, "(");
	if (random_chance(r, 25)) {
		buf_printf(b, "length(");
		random_name(b, random_column(r, o)->name);
		buf_printf(b, ")");
	} else {
		random_name(b, random_column(r, o)->name);
		buf_printf(b, "%s", random_chance(r, 20) ? " DESC" : "");
	}
	buf_printf(b, ")");
	if (random_chance(r, 25)) {
		buf_printf(b, " WHERE ");
		random_name(b, random_column(r, o)->name);
		buf_printf(b, ">2");
	}
}

static void put_alter(struct random_sql *r, struct buf *b, const struct random_object *o)
{
	static const char *const defaults[] = {
		" DEFAULT 7",	       " DEFAULT 'd'",	 "",
		" NOT NULL DEFAULT 3", " DEFAULT (1)",	 " TEXT DEFAULT x'61'",
		" REAL DEFAULT 4",     " AS (5) VIRTUAL"};
	char name[RANDOM_NAME_MAX];

	buf_printf(b, "ALTER TABLE ");
	random_name(b, o->name);
	switch (random_below(r, 6)) {
	case 0:
		made_up(r, name, 't');
		buf_printf(b, " RENAME TO ");
		random_name(b, name);
		break;
	case 1:
		made_up(r, name, 'c');
		buf_printf(b, " RENAME COLUMN ");
		random_name(b, random_column(r, o)->name);
		buf_printf(b, " TO ");
		random_name(b, name);
		break;
	case 2:
		buf_printf(b, " DROP COLUMN ");
		random_name(b, random_column(r, o)->name);
		break;
	default:
		made_up(r, name, 'c');
		buf_printf(b, " ADD COLUMN ");
		random_name(b, name);
		buf_printf(b, "%s", RANDOM_PICK(r, defaults));
		if (random_chance(r, 10))
			put_reference(r, b);
		break;
	}
}

static void put_create_virtual(struct random_sql *r, struct buf *b)
{
	unsigned at = random_below(r, 6);

	switch (random_below(r, 4)) {
	case 0:
		buf_printf(b, "CREATE VIRTUAL TABLE v%u USING rtree(id, x0, x1)", at);
		break;
	case 1:
		buf_printf(b, "CREATE VIRTUAL TABLE v%u USING fts4(a, b)", at);
		break;
	default:
		buf_printf(b, "CREATE VIRTUAL TABLE v%u USING fts5(a, b%s)", at,
			   random_chance(r, 40) ? ", prefix='2 3'" : "");
	}
}

static void put_drop(struct random_sql *r, struct buf *b)
{
	static const char *const words[] = {"TABLE", "VIEW", "INDEX", "TRIGGER", "TABLE"};
	unsigned kind = random_below(r, 5);
	const struct random_object *o = random_object(r, (int)kind);

	if (!o) {
		buf_printf(b, "DROP TABLE IF EXISTS nothing");
		return;
	}
	buf_printf(b, "DROP %s ", words[kind]);
	random_name(b, o->name);
}

void random_schema(struct random_sql *r, struct buf *b)
{
	const struct random_object *o = random_object(r, OBJECT_TABLE);
	unsigned kind = o ? random_below(r, 100) : 0;
	char name[RANDOM_NAME_MAX];

	if (kind < 22) {
		put_create_table(r, b);
	} else if (kind < 40) {
		put_alter(r, b, o);
	} else if (kind < 55) {
		put_create_trigger(r, b);
	} else if (kind < 67) {
		put_create_index(r, b, o);
	} else if (kind < 72) {
		made_up(r, name, 'w');
		buf_printf(b, "CREATE VIEW \"%s\" AS SELECT * FROM ", name);
		random_name(b, o->name);
	} else if (kind < 76) {
		made_up(r, name, 't');
		buf_printf(b, "CREATE TABLE ");
		random_name(b, name);
		buf_printf(b, " AS SELECT *, random() AS r FROM ");
		random_name(b, o->name);
	} else if (kind < 82) {
		put_create_virtual(r, b);
	} else if (kind < 93) {
		put_drop(r, b);
	} else if (kind < 96) {
		buf_printf(b, random_chance(r, 50) ? "ANALYZE" : "REINDEX");
	} else {
		buf_printf(b, "PRAGMA user_version=%u", random_below(r, 1000));
	}
}
