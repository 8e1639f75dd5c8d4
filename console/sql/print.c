#include "console/sql/print.h"
#include "console/sql/display.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CELL_COLUMNS_MAX 1000 /* a wider one is cut in a table */
#define BLOB_BYTES_SHOWN 32
#define CELL_BYTES_MAX (64u << 20)

void print_real(double r, char *ret_text, size_t size)
{
	if (isnan(r) || isinf(r)) {
		snprintf(ret_text, size, "%s", isnan(r) ? "NaN" : r > 0 ? "Inf" : "-Inf");
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(ret_text, size, "%.*g", digits, r);
		if (strtod(ret_text, NULL) == r)
			break;
	}
	size_t n = strlen(ret_text);
	if (!strpbrk(ret_text, ".e") && n + 3 <= size)
		memcpy(ret_text + n, ".0", 3);
}

static void put_hex(struct buf *b, struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		buf_printf(b, "%02x", s.p[i]);
}

void print_cell(struct buf *b, const struct value *v)
{
	char real[40];
	struct slice s;

	switch (v->type) {
	case VALUE_NULL:
		buf_printf(b, "NULL");
		break;
	case VALUE_INT:
		buf_printf(b, "%" PRId64, v->i);
		break;
	case VALUE_REAL:
		print_real(v->r, real, sizeof real);
		buf_printf(b, "%s", real);
		break;
	case VALUE_TEXT:
		if (slice_eq(v->s, slice_str("NULL")))
			buf_printf(b, "'NULL'");
		else
			buf_append(b, v->s.p, v->s.n);
		break;
	case VALUE_BLOB:
		s = v->s;
		if (s.n > BLOB_BYTES_SHOWN)
			s.n = BLOB_BYTES_SHOWN;
		buf_printf(b, "x'");
		put_hex(b, s);
		if (v->s.n > s.n)
			buf_printf(b, "…' (%zu bytes)", v->s.n);
		else
			buf_printf(b, "'");
		break;
	}
}

void print_json_text(FILE *f, struct slice s)
{
	struct buf repaired;

	/* Each bad byte becomes three. */
	buf_init(&repaired, 3 * s.n + 1);
	utf8_repair(&repaired, s);
	json_t *text = buf_ok(&repaired)
			       ? json_stringn((const char *)buf_str(&repaired), repaired.len)
			       : NULL;
	if (!text || json_dumpf(text, f, JSON_ENCODE_ANY | JSON_COMPACT) != 0)
		fputs("null", f);
	json_decref(text);
	buf_done(&repaired);
}

void print_json_value(FILE *f, const struct value *v)
{
	char real[40];

	switch (v->type) {
	case VALUE_NULL:
		fputs("null", f);
		break;
	case VALUE_INT:
		fprintf(f, "%" PRId64, v->i);
		break;
	case VALUE_REAL:
		if (isnan(v->r)) {
			fputs("null", f);
		} else if (isinf(v->r)) {
			fputs(v->r > 0 ? "9e999" : "-9e999", f);
		} else {
			print_real(v->r, real, sizeof real);
			fputs(real, f);
		}
		break;
	case VALUE_TEXT:
		print_json_text(f, v->s);
		break;
	case VALUE_BLOB:
		fputs("{\"hex\":\"", f);
		for (size_t i = 0; i < v->s.n; i++)
			fprintf(f, "%02x", v->s.p[i]);
		fputs("\"}", f);
		break;
	}
}

static void put_tsv_text(FILE *f, struct slice s)
{
	static const char special[] = "\\\t\n\r", letters[] = "\\tnr";

	for (size_t i = 0; i < s.n; i++) {
		const char *at = s.p[i] ? strchr(special, s.p[i]) : NULL;
		if (s.p[i] == 0)
			fputs("\\0", f);
		else if (at)
			fprintf(f, "\\%c", letters[at - special]);
		else
			fputc(s.p[i], f);
	}
}

static void put_tsv_value(FILE *f, const struct value *v, struct buf *scratch)
{
	if (v->type == VALUE_NULL) {
		fputs("\\N", f);
	} else if (v->type == VALUE_TEXT) {
		put_tsv_text(f, v->s);
	} else if (v->type == VALUE_BLOB) {
		fputs("x'", f);
		for (size_t i = 0; i < v->s.n; i++)
			fprintf(f, "%02x", v->s.p[i]);
		fputs("'", f);
	} else {
		buf_clear(scratch);
		print_cell(scratch, v);
		fputs(buf_str(scratch), f);
	}
}

struct column {
	struct slice name;
	struct slice type;
	size_t width;
	struct buf label; /* JSON: the name made unique */
};

struct printer {
	const struct print_options *o;
	const struct sql_result *r;
	struct column *columns;
	struct buf scratch;
};

static int columns_read(struct printer *p, struct err *e)
{
	struct rd names = p->r->names;

	/* Two empty byte strings take two bytes: more columns than that were never sent. */
	if (p->r->columns_n == 0 || p->r->columns_n > rd_left(&names) / 2)
		return err_set(e, ERR_PROTOCOL, "the answer's columns do not decode");
	p->columns = calloc(p->r->columns_n + 1, sizeof *p->columns);
	if (!p->columns)
		return err_set(e, ERR_NOMEM, "no memory to print %u columns", p->r->columns_n);
	for (uint32_t i = 0; i < p->r->columns_n; i++) {
		p->columns[i].name = rd_bytes(&names);
		p->columns[i].type = rd_bytes(&names);
	}
	if (!rd_ok(&names))
		return err_set(e, ERR_PROTOCOL, "the answer's columns do not decode");
	return 0;
}

static int value_next(struct rd *values, struct value *ret_value, struct err *e)
{
	*ret_value = value_get(values);
	if (!rd_ok(values))
		return err_set(e, ERR_PROTOCOL, "the answer's rows do not decode");
	return 0;
}

/* The value's text in the table, in p->scratch. */
static struct slice cell_of(struct printer *p, const struct value *v)
{
	buf_clear(&p->scratch);
	print_cell(&p->scratch, v);
	return buf_slice(&p->scratch);
}

static size_t column_width(struct slice s)
{
	size_t width = display_width(s);

	return width < CELL_COLUMNS_MAX ? width : CELL_COLUMNS_MAX;
}

static void widen(struct column *c, struct slice s)
{
	size_t width = column_width(s);

	if (width > c->width)
		c->width = width;
}

static int measure(struct printer *p, struct err *e)
{
	struct rd values = p->r->values;
	struct value v;

	for (uint32_t i = 0; i < p->r->columns_n; i++) {
		widen(&p->columns[i], p->columns[i].name);
		widen(&p->columns[i], p->columns[i].type);
	}
	for (uint64_t row = 0; row < p->r->rows_n; row++) {
		for (uint32_t i = 0; i < p->r->columns_n; i++) {
			int rc = value_next(&values, &v, e);
			if (rc)
				return rc;
			widen(&p->columns[i], cell_of(p, &v));
		}
	}
	return 0;
}

static void pad(FILE *f, size_t n)
{
	fprintf(f, "%*s", (int)n, "");
}

static void put_cell(struct printer *p, uint32_t i, struct slice text, bool right,
		     const char *style)
{
	FILE *f = p->o->out;
	size_t width = column_width(text), blank = p->columns[i].width - width;
	bool last = i + 1 == p->r->columns_n;

	fputs(i ? "| " : " ", f);
	if (right)
		pad(f, blank);
	if (p->o->color && style)
		fputs(style, f);
	display_put(f, text, CELL_COLUMNS_MAX);
	if (p->o->color && style)
		fputs("\033[0m", f);
	if (!right && !last)
		pad(f, blank);
	fputs(last ? "\n" : " ", f);
}

static void put_heads(struct printer *p)
{
	FILE *f = p->o->out;
	bool typed = false;

	for (uint32_t i = 0; i < p->r->columns_n; i++) {
		put_cell(p, i, p->columns[i].name, false, "\033[1m");
		typed = typed || p->columns[i].type.n > 0;
	}
	for (uint32_t i = 0; typed && i < p->r->columns_n; i++)
		put_cell(p, i, p->columns[i].type, false, "\033[2m");
	for (uint32_t i = 0; i < p->r->columns_n; i++) {
		fputs(i ? "+" : "", f);
		for (size_t n = p->columns[i].width + 2; n > 0; n--)
			fputc('-', f);
	}
	fputs("\n", f);
}

static const char *style_of(const struct value *v)
{
	return v->type == VALUE_NULL ? "\033[2m" : NULL;
}

static int put_table(struct printer *p, struct err *e)
{
	struct rd values = p->r->values;
	struct value v;
	int rc = measure(p, e);

	if (rc)
		return rc;
	put_heads(p);
	for (uint64_t row = 0; row < p->r->rows_n; row++) {
		for (uint32_t i = 0; i < p->r->columns_n; i++) {
			rc = value_next(&values, &v, e);
			if (rc)
				return rc;
			bool number = v.type == VALUE_INT || v.type == VALUE_REAL;
			put_cell(p, i, cell_of(p, &v), number, style_of(&v));
		}
	}
	return 0;
}

static int put_expanded(struct printer *p, struct err *e)
{
	FILE *f = p->o->out;
	struct rd values = p->r->values;
	struct value v;
	size_t width = 0;

	for (uint32_t i = 0; i < p->r->columns_n; i++) {
		size_t w = column_width(p->columns[i].name);
		width = w > width ? w : width;
	}
	for (uint64_t row = 0; row < p->r->rows_n; row++) {
		fprintf(f, "-[ row %" PRIu64 " ]-\n", row + 1);
		for (uint32_t i = 0; i < p->r->columns_n; i++) {
			int rc = value_next(&values, &v, e);
			if (rc)
				return rc;
			size_t used = display_put(f, p->columns[i].name, CELL_COLUMNS_MAX);
			pad(f, width - used);
			fputs(" | ", f);
			if (p->o->color && style_of(&v))
				fputs(style_of(&v), f);
			display_put(f, cell_of(p, &v), SIZE_MAX);
			if (p->o->color && style_of(&v))
				fputs("\033[0m", f);
			fputs("\n", f);
		}
	}
	return 0;
}

static bool label_taken(const struct printer *p, uint32_t n, struct slice label)
{
	for (uint32_t i = 0; i < n; i++) {
		if (slice_eq(buf_slice(&p->columns[i].label), label))
			return true;
	}
	return false;
}

static int make_labels(struct printer *p, struct err *e)
{
	for (uint32_t i = 0; i < p->r->columns_n; i++) {
		struct column *c = &p->columns[i];
		unsigned copy = 1;

		buf_init(&c->label, c->name.n + 16);
		buf_append(&c->label, c->name.p, c->name.n);
		while (buf_ok(&c->label) && label_taken(p, i, buf_slice(&c->label))) {
			buf_cut(&c->label, c->name.n);
			buf_printf(&c->label, "_%u", ++copy);
		}
		if (!buf_ok(&c->label))
			return err_set(e, ERR_NOMEM, "no memory to print the columns' names");
	}
	return 0;
}

static int put_json(struct printer *p, struct err *e)
{
	FILE *f = p->o->out;
	struct rd values = p->r->values;
	struct value v;
	int rc = make_labels(p, e);

	if (rc)
		return rc;
	fputs("[", f);
	for (uint64_t row = 0; row < p->r->rows_n; row++) {
		fputs(row ? ",{" : "{", f);
		for (uint32_t i = 0; i < p->r->columns_n; i++) {
			rc = value_next(&values, &v, e);
			if (rc)
				return rc;
			if (i)
				fputc(',', f);
			print_json_text(f, buf_slice(&p->columns[i].label));
			fputc(':', f);
			print_json_value(f, &v);
		}
		fputs("}", f);
	}
	fputs("]\n", f);
	return 0;
}

static int put_tsv(struct printer *p, struct err *e)
{
	FILE *f = p->o->out;
	struct rd values = p->r->values;
	struct value v;

	for (uint32_t i = 0; i < p->r->columns_n; i++) {
		if (i)
			fputc('\t', f);
		put_tsv_text(f, p->columns[i].name);
	}
	fputc('\n', f);
	for (uint64_t row = 0; row < p->r->rows_n; row++) {
		for (uint32_t i = 0; i < p->r->columns_n; i++) {
			int rc = value_next(&values, &v, e);
			if (rc)
				return rc;
			if (i)
				fputc('\t', f);
			put_tsv_value(f, &v, &p->scratch);
		}
		fputc('\n', f);
	}
	return 0;
}

static void put_timing(const struct print_options *o)
{
	if (o->timing)
		fprintf(o->out, ", %.2f ms", (double)o->us / 1000);
}

static void print_done(const struct print_options *o, const struct sql_result *r)
{
	if (o->form == PRINT_JSON) {
		fprintf(o->out, "{\"changes\":%" PRId64 ",\"last_rowid\":%" PRId64 "}\n",
			r->changes, r->last_rowid);
	} else if (o->form == PRINT_TABLE) {
		fputs("ok", o->out);
		if (r->changes > 0)
			fprintf(o->out, ", %" PRId64 " row%s changed", r->changes,
				r->changes == 1 ? "" : "s");
		put_timing(o);
		fputs("\n", o->out);
	}
}

static int print_rows(struct printer *p, struct err *e)
{
	const struct print_options *o = p->o;
	int rc;

	if (o->form == PRINT_JSON)
		return put_json(p, e);
	if (o->form == PRINT_TSV)
		return put_tsv(p, e);
	rc = o->expanded ? put_expanded(p, e) : put_table(p, e);
	if (rc)
		return rc;
	fprintf(o->out, "(%" PRIu64 " row%s", p->r->rows_n, p->r->rows_n == 1 ? "" : "s");
	put_timing(o);
	fputs(")\n", o->out);
	return 0;
}

int print_result(const struct print_options *o, const struct sql_result *r, struct err *e)
{
	struct printer p = {.o = o, .r = r};
	int rc;

	if (r->kind == SQL_DONE) {
		print_done(o, r);
		return 0;
	}
	buf_init(&p.scratch, CELL_BYTES_MAX);
	rc = columns_read(&p, e);
	if (!rc)
		rc = print_rows(&p, e);
	for (uint32_t i = 0; p.columns && i < r->columns_n; i++)
		buf_done(&p.columns[i].label);
	free(p.columns);
	buf_done(&p.scratch);
	return rc;
}
