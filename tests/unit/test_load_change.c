/* Entries of the log as `drover wal` prints them, pages of it, and the comparison of digests. */
#include "common/record.h"
#include "console/load/change.h"
#include "console/load/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct buf payload;
static char *out;
static size_t out_n;

static const char *name_of(void *ctx, uint64_t id)
{
	(void)ctx;
	return id == 1 ? "main" : NULL;
}

static void put(struct value v)
{
	value_put(&payload, &v);
}

/* Table 0: users(id INTEGER PRIMARY KEY, name, age); table 1: pairs(a, b, c) by (b, a). */
static void begin(uint64_t namespace)
{
	static const char *const users[] = {"name", "age"}, *const pairs[] = {"a", "b", "c"};
	struct buf definition;

	buf_init(&payload, 65536);
	buf_init(&definition, 4096);
	record_put_batch(&payload, namespace, UINT64_C(1769903999123000));
	record_definition_put(&definition, "users", users, 2, "id", NULL, 0);
	record_put_table(&payload, 0, buf_slice(&definition));
	buf_clear(&definition);
	record_definition_put(&definition, "pairs", pairs, 3, NULL, (uint32_t[]){1, 0}, 2);
	record_put_table(&payload, 1, buf_slice(&definition));
	buf_done(&definition);
	record_put_begin(&payload, 0, 0xabc, 7);
}

static void all_kinds_of_changes(void)
{
	begin(1);
	record_put_text(&payload, slice_str("CREATE TABLE x(y)"));
	record_put_row(&payload, RECORD_INSERT, 0);
	wire_svarint(&payload, 1);
	put(value_text(slice_str("ann\n")));
	put(value_null());
	record_put_row(&payload, RECORD_UPDATE | RECORD_MOVED, 0);
	wire_svarint(&payload, 1);
	wire_svarint(&payload, -5);
	wire_u8(&payload, 2);
	put(value_int(30));
	record_put_row(&payload, RECORD_DELETE, 0);
	wire_svarint(&payload, -5);
	record_put_row(&payload, RECORD_INSERT, 1);
	put(value_int(1));
	put(value_text(slice_str("two")));
	put(value_real(3));
	record_put_row(&payload, RECORD_DELETE, 1);
	put(value_text(slice_str("two")));
	put(value_int(1));
	record_put_end(&payload, slice_of("\0", 1));
}

static int print(enum print_form form, uint8_t kind, struct slice bytes)
{
	struct log_entry entry = {.index = 42, .term = 3, .kind = kind, .payload = bytes};
	struct change_printer *p;
	struct err e = {0};
	FILE *f;
	int rc;

	free(out);
	f = open_memstream(&out, &out_n);
	assert_int_equal(change_printer_new(&p, f, form, name_of, NULL, NULL), 0);
	rc = change_print(p, &entry, &e);
	change_printer_free(p);
	fclose(f);
	return rc;
}

static void every_change_is_a_line_of_the_table(void **state)
{
	(void)state;
	all_kinds_of_changes();
	assert_int_equal(print(PRINT_TABLE, LOG_ENTRY_DATA, buf_slice(&payload)), 0);
	const char *head = "        42    3  2026-01-31T23:59:59.123Z  main       ";
	static const char *const lines[] = {
		"-            statement CREATE TABLE x(y)",
		"users        insert    id=1: name='ann\\n' age=NULL",
		"users        update    id=1 -> -5: age=30",
		"users        delete    id=-5",
		"pairs        insert    a=1 b='two': c=3.0",
		"pairs        delete    b='two' a=1",
	};
	char *at = out;
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		char expected[300];
		snprintf(expected, sizeof expected, "%s%s\n", head, lines[i]);
		assert_memory_equal(at, expected, strlen(expected));
		at += strlen(expected);
	}
	assert_string_equal(at, "");
	buf_done(&payload);
}

static void every_change_is_a_json_object(void **state)
{
	(void)state;
	all_kinds_of_changes();
	assert_int_equal(print(PRINT_JSON, LOG_ENTRY_DATA, buf_slice(&payload)), 0);
	for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n")) {
		json_t *o = json_loads(line, 0, NULL);
		assert_non_null(o);
		assert_int_equal(json_integer_value(json_object_get(o, "index")), 42);
		assert_int_equal(json_integer_value(json_object_get(o, "sequence")), 7);
		const char *op = json_string_value(json_object_get(o, "op"));
		if (strcmp(op, "update") == 0) {
			json_t *expected = json_pack("{s:{s:i},s:{s:i},s:{s:i}}", "key", "id", 1,
						     "new_key", "id", -5, "values", "age", 30);
			const char *key;
			json_t *value;
			json_object_foreach(expected, key, value)
				assert_true(json_equal(json_object_get(o, key), value));
			json_decref(expected);
		}
		json_decref(o);
	}
	buf_done(&payload);
}

static void tsv_has_eight_fields(void **state)
{
	(void)state;
	all_kinds_of_changes();
	assert_int_equal(print(PRINT_TSV, LOG_ENTRY_DATA, buf_slice(&payload)), 0);
	for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n")) {
		int tabs = 0;
		for (char *c = line; *c; c++)
			tabs += *c == '\t';
		assert_int_equal(tabs, 7);
	}
	buf_done(&payload);
}

static void entries_without_data_have_a_line_too(void **state)
{
	struct buf mark;

	(void)state;
	assert_int_equal(print(PRINT_JSON, LOG_ENTRY_NOOP, slice_str("")), 0);
	assert_string_equal(out, "{\"index\":42,\"term\":3,\"op\":\"noop\"}\n");
	assert_int_equal(print(PRINT_JSON, LOG_ENTRY_CONFIG, slice_str("x")), 0);
	assert_string_equal(out, "{\"index\":42,\"term\":3,\"op\":\"members\"}\n");
	buf_init(&mark, 64);
	record_put_mark(&mark, 9);
	assert_int_equal(print(PRINT_JSON, LOG_ENTRY_DATA, buf_slice(&mark)), 0);
	assert_string_equal(out, "{\"index\":42,\"term\":3,\"op\":\"mark\"}\n");
	buf_done(&mark);
}

static void an_unknown_namespace_is_shown_by_its_number(void **state)
{
	(void)state;
	begin(77);
	record_put_text(&payload, slice_str("x"));
	record_put_end(&payload, slice_of("\0", 1));
	assert_int_equal(print(PRINT_TSV, LOG_ENTRY_DATA, buf_slice(&payload)), 0);
	assert_non_null(strstr(out, "\t#77\t"));
	buf_done(&payload);
}

static void a_cut_payload_is_an_error(void **state)
{
	(void)state;
	all_kinds_of_changes();
	for (size_t n = 1; n < payload.len; n++) {
		uint8_t *copy = malloc(n);
		assert_non_null(copy);
		memcpy(copy, payload.data, n);
		/* Between transactions an end is sound: only right behind the tables. */
		int rc = print(PRINT_JSON, LOG_ENTRY_DATA, slice_of(copy, n));
		assert_true(rc == ERR_PROTOCOL || out_n == 0);
		free(copy);
	}
	buf_done(&payload);
}

static void a_page_gives_its_entries_in_order(void **state)
{
	struct log_page page;
	struct log_entry entry;
	struct err e = {0};
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	wire_varint(&b, 5);
	wire_varint(&b, 300);
	wire_varint(&b, 2);
	for (uint64_t i = 0; i < 2; i++) {
		wire_varint(&b, 299 + i);
		wire_varint(&b, 4);
		wire_u8(&b, LOG_ENTRY_DATA);
		wire_str(&b, i ? "second" : "first");
	}
	assert_int_equal(log_page_decode(buf_slice(&b), &page, &e), 0);
	assert_int_equal(page.first_index, 5);
	assert_int_equal(page.committed, 300);
	assert_int_equal(log_page_next(&page, &entry, &e), 1);
	assert_int_equal(entry.index, 299);
	assert_true(slice_eq(entry.payload, slice_str("first")));
	assert_int_equal(log_page_next(&page, &entry, &e), 1);
	assert_int_equal(log_page_next(&page, &entry, &e), 0);
	/* A hole between two entries is never silently passed over. */
	b.data[b.len - 7 - 2 - 2] = 3;
	assert_int_equal(log_page_decode(buf_slice(&b), &page, &e), 0);
	assert_int_equal(log_page_next(&page, &entry, &e), 1);
	assert_int_equal(log_page_next(&page, &entry, &e), ERR_PROTOCOL);
	b.len -= 3;
	assert_int_equal(log_page_decode(buf_slice(&b), &page, &e), 0);
	assert_int_equal(log_page_next(&page, &entry, &e), 1);
	assert_int_equal(log_page_next(&page, &entry, &e), ERR_PROTOCOL);
	buf_done(&b);
}

static void digests_are_compared_by_namespace(void **state)
{
	static const struct conf_node nodes[3];
	struct digest_group g = {.n = 3};

	(void)state;
	for (int i = 0; i < 3; i++)
		g.nodes[i].node = &nodes[i];
	g.nodes[0].namespaces = json_pack("{s:s,s:s}", "main", "aa", "shop", "bb");
	g.nodes[2].namespaces = json_pack("{s:s,s:s}", "shop", "bb", "main", "aa");
	digest_compare(&g);
	assert_false(g.differs);
	assert_string_equal(g.nodes[0].hex, g.nodes[2].hex);
	assert_int_equal(json_array_size(g.different), 0);
	json_decref(g.different);

	g.nodes[1].namespaces = json_pack("{s:s}", "main", "aa");
	json_object_set_new(g.nodes[2].namespaces, "shop", json_string("cc"));
	digest_compare(&g);
	assert_true(g.differs);
	assert_string_not_equal(g.nodes[0].hex, g.nodes[2].hex);
	assert_int_equal(json_array_size(g.different), 1);
	assert_string_equal(json_string_value(json_array_get(g.different, 0)), "shop");
	digest_group_done(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_change_is_a_line_of_the_table),
		cmocka_unit_test(every_change_is_a_json_object),
		cmocka_unit_test(tsv_has_eight_fields),
		cmocka_unit_test(entries_without_data_have_a_line_too),
		cmocka_unit_test(an_unknown_namespace_is_shown_by_its_number),
		cmocka_unit_test(a_cut_payload_is_an_error),
		cmocka_unit_test(a_page_gives_its_entries_in_order),
		cmocka_unit_test(digests_are_compared_by_namespace),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	free(out);
	return failed;
}

/* What digest.c and log_page.c ask nodes with; nothing here comes that far. */
int client_rpc(struct client *c, uint32_t node_id, unsigned method, struct slice body,
	       uint32_t timeout_ms, struct buf *ret_body, struct err *e)
{
	(void)c, (void)node_id, (void)method, (void)body, (void)timeout_ms, (void)ret_body;
	return err_set(e, ERR_UNREACHABLE, "no cluster here");
}

struct rpc_conn *client_conn(struct client *c, uint32_t node_id)
{
	(void)c, (void)node_id;
	return NULL;
}

void rpc_conn_nudge(struct rpc_conn *c)
{
	(void)c;
}
