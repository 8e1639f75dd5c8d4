#include "console/output.h"

#include "common/buf.h"

#include <assert.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define TABLE_BYTES_MAX (512u << 20)

static const char *const tints[] = {
	[TINT_PLAIN] = "",
	[TINT_GOOD] = "\033[32m",
	[TINT_WARN] = "\033[33m",
	[TINT_BAD] = "\033[31m",
	[TINT_DIM] = "\033[2m",
	[TINT_HEAD] = "\033[1m",
	[TINT_NODE] = "\033[36m",
	[TINT_NODE + 1] = "\033[35m",
	[TINT_NODE + 2] = "\033[34m",
	[TINT_NODE + 3] = "\033[96m",
	[TINT_NODE + 4] = "\033[95m",
	[TINT_NODE + 5] = "\033[94m",
};

enum tint tint_of_node(uint32_t id)
{
	return (enum tint)(TINT_NODE + (id + TINT_NODES - 1) % TINT_NODES);
}

const char *tint_on(bool color, enum tint tint)
{
	return color ? tints[tint] : "";
}

const char *tint_off(bool color, enum tint tint)
{
	return color && tint != TINT_PLAIN ? "\033[0m" : "";
}

struct cell {
	size_t at; /* in text, NUL-terminated */
	enum tint tint;
};

struct table {
	const struct column *columns;
	size_t columns_n;
	struct buf text;
	struct buf cells; /* struct cell */
};

struct table *table_new(const struct column *columns, size_t n)
{
	struct table *t = malloc(sizeof *t);

	assert(n > 0);
	if (!t)
		return NULL;
	t->columns = columns;
	t->columns_n = n;
	buf_init(&t->text, TABLE_BYTES_MAX);
	buf_init(&t->cells, TABLE_BYTES_MAX);
	return t;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	buf_done(&t->text);
	buf_done(&t->cells);
	free(t);
}

void table_cell(struct table *t, enum tint tint, const char *fmt, ...)
{
	struct cell cell = {.at = t->text.len, .tint = tint};
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&t->text, fmt, ap);
	va_end(ap);
	buf_append(&t->text, "", 1);
	if (buf_ok(&t->text))
		buf_append(&t->cells, &cell, sizeof cell);
}

size_t table_rows(const struct table *t)
{
	return t->cells.len / sizeof(struct cell) / t->columns_n;
}

static struct cell cell_at(const struct table *t, size_t row, size_t column)
{
	struct cell cell;

	memcpy(&cell, t->cells.data + (row * t->columns_n + column) * sizeof cell, sizeof cell);
	return cell;
}

/* One character of text: its bytes, and what it takes on a terminal; width -1: not to be shown. */
static size_t next_character(const char *text, mbstate_t *state, int *ret_width)
{
	wchar_t wide;
	size_t n = mbrtowc(&wide, text, strlen(text), state);

	if (n == (size_t)-1 || n == (size_t)-2) {
		memset(state, 0, sizeof *state);
		*ret_width = -1;
		return 1;
	}
	*ret_width = wcwidth(wide);
	return n;
}

/* Writes text as a terminal may have it; f NULL: only measures. */
static size_t put_text(FILE *f, const char *text)
{
	mbstate_t state = {0};
	size_t width = 0;

	while (*text) {
		int columns;
		size_t n = next_character(text, &state, &columns);
		for (size_t i = 0; columns < 0 && i < n; i++) {
			if (f)
				fprintf(f, "\\x%02x", (unsigned char)text[i]);
			width += 4;
		}
		if (columns >= 0) {
			if (f)
				fwrite(text, 1, n, f);
			width += (size_t)columns;
		}
		text += n;
	}
	return width;
}

size_t output_width(const char *text)
{
	return put_text(NULL, text);
}

static void put_tsv(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '\t')
			fputs("\\t", f);
		else if (*text == '\n')
			fputs("\\n", f);
		else if (*text == '\\')
			fputs("\\\\", f);
		else
			fputc(*text, f);
	}
}

static void print_tsv(const struct table *t, FILE *f)
{
	for (size_t i = 0; i < t->columns_n; i++)
		fprintf(f, "%s%c", t->columns[i].key, i + 1 < t->columns_n ? '\t' : '\n');
	for (size_t row = 0; row < table_rows(t); row++) {
		for (size_t i = 0; i < t->columns_n; i++) {
			put_tsv(f, (const char *)t->text.data + cell_at(t, row, i).at);
			fputc(i + 1 < t->columns_n ? '\t' : '\n', f);
		}
	}
}

static void print_padded(FILE *f, const char *text, size_t width, enum align align, bool last,
			 bool color, enum tint tint)
{
	size_t have = output_width(text);
	int pad = have < width ? (int)(width - have) : 0;

	if (align == ALIGN_RIGHT)
		fprintf(f, "%*s", pad, "");
	fputs(tint_on(color, tint), f);
	put_text(f, text);
	fputs(tint_off(color, tint), f);
	if (align == ALIGN_LEFT && !last)
		fprintf(f, "%*s", pad, "");
	if (!last)
		fputs("  ", f);
}

static void print_aligned(const struct table *t, FILE *f, bool color, const char *eol)
{
	size_t *widths = calloc(t->columns_n, sizeof *widths);
	size_t rows = table_rows(t);

	if (!widths) {
		print_tsv(t, f);
		return;
	}
	for (size_t i = 0; i < t->columns_n; i++) {
		widths[i] = output_width(t->columns[i].title);
		for (size_t row = 0; row < rows; row++) {
			size_t w = output_width((const char *)t->text.data + cell_at(t, row, i).at);
			if (w > widths[i])
				widths[i] = w;
		}
	}
	for (size_t i = 0; i < t->columns_n; i++)
		print_padded(f, t->columns[i].title, widths[i], t->columns[i].align,
			     i + 1 == t->columns_n, color, TINT_HEAD);
	fputs(eol, f);
	for (size_t row = 0; row < rows; row++) {
		for (size_t i = 0; i < t->columns_n; i++) {
			struct cell cell = cell_at(t, row, i);
			print_padded(f, (const char *)t->text.data + cell.at, widths[i],
				     t->columns[i].align, i + 1 == t->columns_n, color, cell.tint);
		}
		fputs(eol, f);
	}
	free(widths);
}

void table_print(const struct table *t, FILE *f, enum output form, bool color, const char *eol)
{
	if (form == OUTPUT_TSV)
		print_tsv(t, f);
	else
		print_aligned(t, f, color, eol);
	if (!buf_ok(&t->text) || !buf_ok(&t->cells))
		fprintf(stderr, "drover: the table was cut: it is too large\n");
}

void output_json(FILE *f, json_t *take_json)
{
	char *text = take_json ? json_dumps(take_json, JSON_COMPACT | JSON_REAL_PRECISION(15) |
							       JSON_ENCODE_ANY)
			       : NULL;

	json_decref(take_json);
	if (text)
		fprintf(f, "%s\n", text);
	else
		fprintf(stderr, "drover: no memory for the JSON output\n");
	free(text);
}

bool output_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

void output_uptime(double seconds, char *ret_text, size_t size)
{
	unsigned long long s = seconds > 0 ? (unsigned long long)seconds : 0;

	if (s < 60)
		snprintf(ret_text, size, "%llus", s);
	else if (s < 3600)
		snprintf(ret_text, size, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(ret_text, size, "%lluh%02llum", s / 3600, s / 60 % 60);
	else
		snprintf(ret_text, size, "%llud%02lluh", s / 86400, s / 3600 % 24);
}
