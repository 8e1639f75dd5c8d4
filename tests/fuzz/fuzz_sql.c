/* Any bytes as an SQL request and as an answer. */
#include "common/sql.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk_request(struct slice in)
{
	struct sql_request q;
	struct sql_cursor c;
	struct sql_statement s;

	if (!sql_request_decode(in, &q))
		return;
	sql_cursor_init(&c, &q);
	while (sql_cursor_next(&c, &s) == 1)
		for (uint32_t i = 0; i < s.params_n && rd_ok(&s.params); i++)
			value_get(&s.params);
}

static void walk_answer(struct slice in)
{
	struct sql_answer a;
	struct sql_result_cursor c;
	struct sql_result r;

	if (!sql_answer_decode(in, &a))
		return;
	sql_result_cursor_init(&c, &a);
	while (sql_result_next(&c, &r) == 1) {
		if (r.kind != SQL_ROWS)
			continue;
		for (uint32_t i = 0; i < r.columns_n * 2; i++)
			rd_bytes(&r.names);
		for (uint64_t i = 0; i < r.rows_n * r.columns_n && rd_ok(&r.values); i++)
			value_get(&r.values);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	walk_request((struct slice){data, size});
	walk_answer((struct slice){data, size});
	return 0;
}
