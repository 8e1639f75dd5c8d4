/* Any bytes as a log entry's payload: walked as `drover wal` does, and applied to a store, which
 * must survive them and stay usable. */
#include "agent/store/store.h"
#include "common/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(struct slice payload)
{
	static struct record_iter it;
	struct record rec;
	struct record_value v;
	struct record_results results;

	if (!record_iter_init(&it, payload))
		return;
	while (record_next(&it, &rec) == 1) {
		if (rec.table)
			for (uint32_t i = 0; i < rec.table->columns_n && i < 4; i++)
				record_table_column(rec.table, i);
		if (rec.kind == RECORD_END)
			record_answer_decode(rec.answer, &results);
		while (record_value_next(&it, &v))
			;
	}
}

static char dir[] = "/tmp/fuzz-record-XXXXXX";

static void remove_files(void)
{
	static const char *const names[] = {"ns-1.db",	"ns-1.db-wal",	"ns-1.db-shm",
					    "group.db", "group.db-wal", "group.db-shm"};
	char path[100];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static struct store *open_store(void)
{
	struct store_options o = {.dir = dir, .group = 1, .statements_max = 64, .sessions_max = 10};
	struct store *s;

	o.first_schema = "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a, b UNIQUE);"
			 "CREATE TABLE w(a, b, PRIMARY KEY(b, a)) WITHOUT ROWID;"
			 "INSERT INTO t VALUES(1, 2, 3); INSERT INTO w VALUES(1, 2)";
	o.first_schema_ns = 1;
	if (!mkdtemp(dir) || store_open(&s, &o, NULL))
		abort();
	atexit(remove_files);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct store *s;
	struct record_head head;
	struct slice payload = {data, size};

	walk(payload);
	if (size == 0 || !record_head_decode(payload, &head))
		return 0;
	/* One namespace, or the disk would fill; and no statements of its own choice, which could
	 * run for ever. */
	if (head.form == RECORD_FORM_BATCH) {
		static struct record_iter it;
		struct record rec;
		if (head.namespace != 1 || !record_iter_init(&it, payload))
			return 0;
		while (record_next(&it, &rec) == 1)
			if (rec.kind == RECORD_TEXT)
				return 0;
	}
	if (!s)
		s = open_store();
	store_apply(s, 5, 1, payload, NULL);
	if (store_rewind(s, NULL) || store_flush(s, 0, NULL))
		abort();
	return 0;
}
