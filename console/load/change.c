#include "console/load/change.h"
#include "common/clock.h"
#include "common/record.h"
#include "console/sql/display.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_COLUMNS_MAX 60 /* of one value in a table */

struct change_printer {
	FILE *out;
	enum print_form form;
	change_namespace *name;
	void *ctx;
	struct record_iter iter;
	struct record_value *values; /* of the record at hand */
	size_t values_n;
	size_t values_max;
	struct buf cell;
};

/* What the columns of a line hold, apart from key and values. */
struct line {
	const struct log_entry *entry;
	uint64_t hlc_us; /* 0: not known */
	const char *namespace;
	struct slice table;
	const char *op;
	struct slice sql; /* op "statement" */
	uint64_t client, sequence;
	const struct record *record; /* of a row */
};

int change_printer_new(struct change_printer **ret_printer, FILE *out, enum print_form form,
		       change_namespace *name, void *ctx, struct err *e)
{
	struct change_printer *p = calloc(1, sizeof *p);

	if (!p)
		return err_set(e, ERR_NOMEM, "no memory to print the log");
	p->out = out;
	p->form = form;
	p->name = name;
	p->ctx = ctx;
	buf_init(&p->cell, 64u << 20);
	*ret_printer = p;
	return 0;
}

void change_printer_free(struct change_printer *p)
{
	if (!p)
		return;
	buf_done(&p->cell);
	free(p->values);
	free(p);
}

void change_print_heads(struct change_printer *p)
{
	if (p->form == PRINT_TABLE)
		fprintf(p->out, "%10s %4s  %-24s  %-10s %-12s %-9s %s\n", "INDEX", "TERM", "TIME",
			"NAMESPACE", "TABLE", "OP", "KEY: VALUES");
	else if (p->form == PRINT_TSV)
		fputs("index\tterm\ttime\tnamespace\ttable\top\tkey\tvalues\n", p->out);
}

static bool is_key_column(const struct record_table *t, uint32_t column)
{
	struct rd keys = t->keys;

	for (uint32_t i = 0; i < t->keys_n; i++) {
		if (rd_varint(&keys) == column)
			return true;
	}
	return false;
}

/* Key columns are told apart from values: in an INSERT into a table without rowid they come among
 * them. */
static bool is_key(const struct record *r, const struct record_value *v)
{
	return v->key || (r->kind == RECORD_INSERT && is_key_column(r->table, v->column));
}

static void put_padded(FILE *f, struct slice text, size_t width)
{
	size_t used = display_put(f, text, VALUE_COLUMNS_MAX);

	fprintf(f, "%*s ", used < width ? (int)(width - used) : 0, "");
}

/* Text in quotes, so that 1 and '1' look different. */
static void put_value(struct change_printer *p, const struct value *v)
{
	buf_clear(&p->cell);
	if (v->type == VALUE_TEXT) {
		fputs("'", p->out);
		display_put(p->out, v->s, VALUE_COLUMNS_MAX);
		fputs("'", p->out);
		return;
	}
	print_cell(&p->cell, v);
	display_put(p->out, buf_slice(&p->cell), SIZE_MAX);
}

/* The key's or the other columns, as "name=value name=value". */
static void put_columns(struct change_printer *p, const struct record *r, bool keys)
{
	const char *between = "";

	for (size_t i = 0; i < p->values_n; i++) {
		if (is_key(r, &p->values[i]) != keys)
			continue;
		fputs(between, p->out);
		display_put(p->out, record_table_column(r->table, p->values[i].column), SIZE_MAX);
		fputs("=", p->out);
		put_value(p, &p->values[i].value);
		between = " ";
	}
}

static void put_row_text(struct change_printer *p, const struct record *r)
{
	if (r->table->rowid_name.n) {
		display_put(p->out, r->table->rowid_name, SIZE_MAX);
		fprintf(p->out, "=%" PRId64, r->rowid);
	} else {
		put_columns(p, r, true);
	}
	if (r->kind == RECORD_UPDATE && r->table->rowid_name.n && r->new_rowid != r->rowid)
		fprintf(p->out, " -> %" PRId64, r->new_rowid);
	if (r->kind != RECORD_DELETE) {
		fputs(": ", p->out);
		put_columns(p, r, false);
	}
}

static void print_table_line(struct change_printer *p, const struct line *l)
{
	char time[32] = "-";

	if (l->hlc_us)
		clock_format(l->hlc_us, time);
	fprintf(p->out, "%10" PRIu64 " %4" PRIu64 "  %-24s  ", l->entry->index, l->entry->term,
		time);
	put_padded(p->out, slice_str(l->namespace ? l->namespace : "-"), 10);
	put_padded(p->out, l->table.n ? l->table : slice_str("-"), 12);
	fprintf(p->out, "%-9s ", l->op);
	if (l->record)
		put_row_text(p, l->record);
	else if (l->sql.n)
		display_put(p->out, l->sql, SIZE_MAX);
	fputs("\n", p->out);
}

static void put_json_columns(struct change_printer *p, const struct record *r, bool keys)
{
	const char *between = "";

	fputs("{", p->out);
	for (size_t i = 0; i < p->values_n; i++) {
		if (is_key(r, &p->values[i]) != keys)
			continue;
		fputs(between, p->out);
		print_json_text(p->out, record_table_column(r->table, p->values[i].column));
		fputs(":", p->out);
		print_json_value(p->out, &p->values[i].value);
		between = ",";
	}
	fputs("}", p->out);
}

static void put_json_rowid(struct change_printer *p, const struct record *r, int64_t rowid)
{
	fputs("{", p->out);
	print_json_text(p->out, r->table->rowid_name);
	fprintf(p->out, ":%" PRId64 "}", rowid);
}

static void put_json_key(struct change_printer *p, const struct record *r)
{
	if (r->table->rowid_name.n)
		put_json_rowid(p, r, r->rowid);
	else
		put_json_columns(p, r, true);
}

static void put_json_text(struct change_printer *p, const char *key, struct slice text)
{
	fprintf(p->out, ",\"%s\":", key);
	print_json_text(p->out, text);
}

static void print_json_line(struct change_printer *p, const struct line *l)
{
	char time[32];

	fprintf(p->out, "{\"index\":%" PRIu64 ",\"term\":%" PRIu64, l->entry->index,
		l->entry->term);
	if (l->hlc_us) {
		clock_format(l->hlc_us, time);
		put_json_text(p, "time", slice_str(time));
	}
	if (l->namespace)
		put_json_text(p, "namespace", slice_str(l->namespace));
	if (l->client)
		fprintf(p->out, ",\"client\":\"%016" PRIx64 "\",\"sequence\":%" PRIu64, l->client,
			l->sequence);
	if (l->table.n)
		put_json_text(p, "table", l->table);
	put_json_text(p, "op", slice_str(l->op));
	if (l->sql.n)
		put_json_text(p, "sql", l->sql);
	if (l->record) {
		const struct record *r = l->record;
		fputs(",\"key\":", p->out);
		put_json_key(p, r);
		if (r->kind == RECORD_UPDATE && r->table->rowid_name.n &&
		    r->new_rowid != r->rowid) {
			fputs(",\"new_key\":", p->out);
			put_json_rowid(p, r, r->new_rowid);
		}
		if (r->kind != RECORD_DELETE) {
			fputs(",\"values\":", p->out);
			put_json_columns(p, r, false);
		}
	}
	fputs("}\n", p->out);
}

/* Key and values are JSON: the one form that holds any of them on a line. */
static void print_tsv_line(struct change_printer *p, const struct line *l)
{
	char time[32] = "\\N";

	if (l->hlc_us)
		clock_format(l->hlc_us, time);
	fprintf(p->out, "%" PRIu64 "\t%" PRIu64 "\t%s\t%s\t", l->entry->index, l->entry->term, time,
		l->namespace ? l->namespace : "\\N");
	if (l->table.n)
		display_put(p->out, l->table, SIZE_MAX);
	else
		fputs("\\N", p->out);
	fprintf(p->out, "\t%s\t", l->op);
	if (l->record) {
		put_json_key(p, l->record);
		fputs("\t", p->out);
		if (l->record->kind == RECORD_DELETE)
			fputs("\\N", p->out);
		else
			put_json_columns(p, l->record, false);
	} else {
		fputs("\\N\t", p->out);
		if (l->sql.n)
			print_json_text(p->out, l->sql);
		else
			fputs("\\N", p->out);
	}
	fputs("\n", p->out);
}

static void print_line(struct change_printer *p, const struct line *l)
{
	if (p->form == PRINT_JSON)
		print_json_line(p, l);
	else if (p->form == PRINT_TSV)
		print_tsv_line(p, l);
	else
		print_table_line(p, l);
}

static int collect_values(struct change_printer *p, struct err *e)
{
	struct record_value v;

	p->values_n = 0;
	while (record_value_next(&p->iter, &v)) {
		if (p->values_n == p->values_max) {
			size_t max = p->values_max ? 2 * p->values_max : 32;
			struct record_value *values = realloc(p->values, max * sizeof *values);
			if (!values)
				return err_set(e, ERR_NOMEM, "no memory to print the log");
			p->values = values;
			p->values_max = max;
		}
		p->values[p->values_n++] = v;
	}
	return 0;
}

static int print_record(struct change_printer *p, struct line *l, const struct record *r,
			struct err *e)
{
	static const char *const ops[] = {[RECORD_INSERT] = "insert",
					  [RECORD_UPDATE] = "update",
					  [RECORD_DELETE] = "delete",
					  [RECORD_TEXT] = "statement"};
	int rc = 0;

	l->record = NULL;
	l->sql = l->table = (struct slice){0};
	switch (r->kind) {
	case RECORD_BEGIN:
		l->hlc_us = r->hlc_us;
		l->client = r->client;
		l->sequence = r->sequence;
		break;
	case RECORD_INSERT:
	case RECORD_UPDATE:
	case RECORD_DELETE:
		l->op = ops[r->kind];
		l->table = r->table->name;
		l->record = r;
		rc = collect_values(p, e);
		if (!rc)
			print_line(p, l);
		break;
	case RECORD_TEXT:
		l->op = ops[r->kind];
		l->sql = r->text;
		print_line(p, l);
		break;
	case RECORD_TABLE:
	case RECORD_SEQUENCE:
	case RECORD_END:
		break;
	}
	return rc;
}

static int print_batch(struct change_printer *p, struct line *l, struct err *e)
{
	struct record r;
	char unnamed[32];
	int more = -1, rc = 0;

	if (record_iter_init(&p->iter, l->entry->payload)) {
		l->namespace = p->name(p->ctx, p->iter.head.namespace);
		if (!l->namespace) {
			snprintf(unnamed, sizeof unnamed, "#%" PRIu64, p->iter.head.namespace);
			l->namespace = unnamed;
		}
		while (rc == 0 && (more = record_next(&p->iter, &r)) == 1)
			rc = print_record(p, l, &r, e);
	}
	if (rc == 0 && more < 0)
		return err_set(e, ERR_PROTOCOL, "entry %" PRIu64 " does not decode",
			       l->entry->index);
	return rc;
}

int change_print(struct change_printer *p, const struct log_entry *entry, struct err *e)
{
	struct line l = {.entry = entry, .op = "noop"};
	struct record_head head;

	if (entry->kind == LOG_ENTRY_DATA && entry->payload.n) {
		if (!record_head_decode(entry->payload, &head))
			return err_set(e, ERR_PROTOCOL, "entry %" PRIu64 " does not decode",
				       entry->index);
		if (head.form == RECORD_FORM_BATCH)
			return print_batch(p, &l, e);
		l.op = "mark";
	} else if (entry->kind == LOG_ENTRY_CONFIG) {
		l.op = "members";
	}
	print_line(p, &l);
	return 0;
}
