#include "common/conf_parse.h"

#include <assert.h>
#include <ctype.h>
#include <ini.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int parse_error(struct parse *p, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	if (p->rc)
		return p->rc;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (p->line)
		p->rc = err_set(p->e, ERR_CONFIG, "%s:%d: %s", p->path, p->line, text);
	else
		p->rc = err_set(p->e, ERR_CONFIG, "%s: %s", p->path, text);
	return p->rc;
}

int parse_section_line(const struct parse *p, const char *kind, uint32_t id)
{
	char word[16] = "";
	size_t n = strlen(kind);

	if (id)
		snprintf(word, sizeof word, "%u", id);
	for (size_t i = 0; i < p->instances_n; i++) {
		const struct parse_instance *at = &p->instances[i];
		uint64_t number;
		if (strncmp(at->kind, kind, n) != 0 || (at->kind[n] && at->kind[n] != ' '))
			continue;
		if (!id || (parse_unsigned(at->word, &number) && number == id))
			return at->line;
	}
	return 0;
}

const struct conf_key *parse_rows(const char *kind, size_t *ret_n)
{
	size_t n, first = 0;
	const struct conf_key *all = conf_keys(&n);

	while (first < n && strcmp(all[first].file, kind) != 0)
		first++;
	*ret_n = 0;
	while (first + *ret_n < n && strcmp(all[first + *ret_n].file, kind) == 0)
		(*ret_n)++;
	assert(*ret_n > 0 && *ret_n <= 64);
	return all + first;
}

bool parse_unsigned(const char *text, uint64_t *ret_number)
{
	uint64_t n = 0;
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 18 || text[digits])
		return false;
	for (; *text; text++)
		n = n * 10 + (uint64_t)(*text - '0');
	*ret_number = n;
	return true;
}

bool conf_word_is_name(const char *text)
{
	size_t n =
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return n > 0 && n < LINK_NAME_MAX && !text[n] && isalpha((unsigned char)text[0]);
}

bool conf_name_is_valid(const char *name)
{
	return conf_word_is_name(name) &&
	       conf_choice_index("leader|followers|minority|random|all", name) < 0;
}

int conf_choice_index(const char *words, const char *text)
{
	size_t want = strlen(text);

	for (int i = 0;; i++) {
		size_t n = strcspn(words, "|");
		if (n == want && strncmp(words, text, n) == 0)
			return i;
		if (!words[n])
			return -1;
		words += n + 1;
	}
}

void conf_store_number(void *field, size_t size, uint64_t number)
{
	uint8_t narrow = (uint8_t)number;
	uint32_t middle = (uint32_t)number;

	assert(size == 1 || size == 4 || size == 8);
	memcpy(field,
	       size == 1   ? (void *)&narrow
	       : size == 4 ? (void *)&middle
			   : (void *)&number,
	       size);
}

uint64_t conf_fetch_number(const void *field, size_t size)
{
	uint8_t narrow;
	uint32_t middle;
	uint64_t wide;

	switch (size) {
	case 1:
		memcpy(&narrow, field, 1);
		return narrow;
	case 4:
		memcpy(&middle, field, 4);
		return middle;
	default:
		assert(size == 8);
		memcpy(&wide, field, 8);
		return wide;
	}
}

void conf_expand_id(const char *text, uint32_t id, char *ret_text, size_t size)
{
	const char *star = strstr(text, "<ID>");

	if (star)
		snprintf(ret_text, size, "%.*s%u%s", (int)(star - text), text, id, star + 4);
	else
		snprintf(ret_text, size, "%s", text);
}

int conf_join(const char *dir, const char *value, char *ret_path, size_t size)
{
	int n;

	while (strncmp(value, "./", 2) == 0 && value[2])
		value += 2;
	if (value[0] == '/')
		n = snprintf(ret_path, size, "%s", value);
	else if (strcmp(value, ".") == 0)
		n = snprintf(ret_path, size, "%s", dir);
	else
		n = snprintf(ret_path, size, "%s/%s", strcmp(dir, "/") ? dir : "", value);
	/* "data/" and "data" are one folder, and are compared as text. */
	while (n > 1 && (size_t)n < size && ret_path[n - 1] == '/')
		ret_path[--n] = 0;
	return n < 0 || (size_t)n >= size ? ERR_LIMIT : 0;
}

unsigned conf_address_port(const char *address)
{
	const char *colon = strrchr(address, ':');
	uint64_t port;

	if (!colon || colon == address || strlen(address) >= CONF_ADDRESS_MAX)
		return 0;
	if (!parse_unsigned(colon + 1, &port) || port < 1 || port > 65535)
		return 0;
	size_t host = (size_t)(colon - address);
	if (address[0] == '[') {
		size_t inside = strspn(address + 1, "0123456789abcdefABCDEF:.%");
		return inside > 0 && inside + 2 == host && address[host - 1] == ']' ? (unsigned)port
										    : 0;
	}
	for (size_t i = 0; i < host; i++) {
		if (!isalnum((unsigned char)address[i]) && !strchr(".-_", address[i]))
			return 0;
	}
	return (unsigned)port;
}

bool conf_address_is_loopback(const char *address)
{
	return strncmp(address, "127.", 4) == 0 || strncmp(address, "localhost:", 10) == 0 ||
	       strncmp(address, "[::1]:", 6) == 0;
}

static void *field_of(const struct parse_instance *at, const struct conf_key *row)
{
	return (char *)at->base + row->offset;
}

static int bad_value(struct parse *p, const struct conf_key *row, const char *value)
{
	return parse_error(p, "%s = %.80s is not allowed; use %s", row->key, value, row->allowed);
}

static int store_text(struct parse *p, const struct conf_key *row, void *field, const char *value)
{
	int n = snprintf(field, row->size, "%s", value);

	return (size_t)n < row->size ? 0 : bad_value(p, row, value);
}

static int store_path(struct parse *p, const struct conf_key *row, void *field, const char *value)
{
	if (!value[0])
		return bad_value(p, row, value);
	for (const char *c = value; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return parse_error(p, "%s: a path without control characters, please",
					   row->key);
	}
	char joined[CONF_PATH_MAX];
	if (conf_join(p->dir, value, joined, sizeof joined))
		return parse_error(p, "%s: with its folder the path is longer than %d bytes",
				   row->key, CONF_PATH_MAX - 1);
	return store_text(p, row, field, joined);
}

static int store_number(struct parse *p, const struct conf_key *row, void *field, const char *value)
{
	uint64_t number;

	if (!parse_unsigned(value, &number) || number < row->least || number > row->most)
		return bad_value(p, row, value);
	conf_store_number(field, row->size, number * row->unit);
	return 0;
}

static int store_choice(struct parse *p, const struct conf_key *row, void *field, const char *value)
{
	int index = conf_choice_index(row->allowed, value);

	if (index < 0 && strcmp(row->key, "control") == 0 && strcmp(value, "ssh") == 0)
		return parse_error(p, "control = ssh is not offered yet; use %s", row->allowed);
	if (index < 0)
		return bad_value(p, row, value);
	conf_store_number(field, row->size, row->least + (uint64_t)index);
	return 0;
}

static int store(struct parse *p, const struct conf_key *row, void *field, const char *value)
{
	switch (row->type) {
	case CONF_NAME:
		return conf_word_is_name(value) ? store_text(p, row, field, value)
						: bad_value(p, row, value);
	case CONF_PATH:
		return store_path(p, row, field, value);
	case CONF_ADDRESS:
		return conf_address_port(value) ? store_text(p, row, field, value)
						: bad_value(p, row, value);
	case CONF_KEY:
		return key_from_hex(value, field, NULL) == 0 ? 0 : bad_value(p, row, value);
	case CONF_NUMBER:
		return store_number(p, row, field, value);
	case CONF_CHOICE:
		return store_choice(p, row, field, value);
	}
	assert(!"a key of no type");
	return ERR_CONFIG;
}

/* "id, shards, user" of the section: what the user could have meant. */
static void list_keys(const struct parse *p, const char *kind, char *ret_text, size_t size)
{
	size_t at = 0;

	ret_text[0] = 0;
	for (size_t i = 0; i < p->rows_n; i++) {
		if (strcmp(p->rows[i].section, kind) != 0)
			continue;
		int n = snprintf(ret_text + at, size - at, "%s%s", at ? ", " : "", p->rows[i].key);
		if (n < 0 || (size_t)n >= size - at)
			return;
		at += (size_t)n;
	}
}

static void list_sections(const struct parse *p, char *ret_text, size_t size)
{
	size_t at = 0;

	ret_text[0] = 0;
	for (size_t i = 0; i < p->rows_n; i++) {
		const char *kind = p->rows[i].section;
		if (i && strcmp(kind, p->rows[i - 1].section) == 0)
			continue;
		size_t word = strcspn(kind, " ");
		const char *star = !kind[word]			   ? ""
				   : strncmp(kind, "user", 4) == 0 ? " NAME"
								   : " N";
		int n = snprintf(ret_text + at, size - at, "%s[%.*s%s]", at ? ", " : "", (int)word,
				 kind, star);
		if (n < 0 || (size_t)n >= size - at)
			return;
		at += (size_t)n;
	}
}

/* "peer 2" is of the kind "peer *". */
static const char *find_kind(const struct parse *p, const char *text, const char **ret_word)
{
	for (size_t i = 0; i < p->rows_n; i++) {
		const char *kind = p->rows[i].section;
		size_t n = strcspn(kind, " ");
		if (!kind[n] && strcmp(text, kind) == 0) {
			*ret_word = "";
			return kind;
		}
		if (kind[n] && strncmp(text, kind, n) == 0 && text[n] == ' ') {
			*ret_word = text + n + 1 + strspn(text + n + 1, " \t");
			return kind;
		}
	}
	return NULL;
}

static void open_section(struct parse *p, const char *text)
{
	char allowed[200];
	const char *word, *kind;

	snprintf(p->section_text, sizeof p->section_text, "%s", text);
	p->now = NULL;
	kind = find_kind(p, text, &word);
	if (!kind) {
		list_sections(p, allowed, sizeof allowed);
		parse_error(p, "there is no section [%.60s]; allowed are %s", text, allowed);
		return;
	}
	for (size_t i = 0; i < p->instances_n; i++) {
		const struct parse_instance *at = &p->instances[i];
		uint64_t a, b;
		bool same = strcmp(at->word, word) == 0 ||
			    (parse_unsigned(at->word, &a) && parse_unsigned(word, &b) && a == b);
		if (at->kind == kind && same) {
			parse_error(p, "[%.60s] is there already, in line %d", text, at->line);
			return;
		}
	}
	if (p->instances_n == PARSE_INSTANCES_MAX) {
		parse_error(p, "too many sections");
		return;
	}
	struct parse_instance *at = &p->instances[p->instances_n];
	*at = (struct parse_instance){.kind = kind, .line = p->line};
	if (p->section(p, kind, word, &at->base))
		return;
	snprintf(at->word, sizeof at->word, "%.63s", word);
	p->instances_n++;
	p->now = at;
}

/* inih asks for the next line. NULL also ends the reading after an error: the first is enough. */
static char *next_line(char *to, int room, void *ctx)
{
	struct parse *p = ctx;
	int n = 0, c;

	if (p->rc)
		return NULL;
	p->line++;
	while ((c = getc(p->f)) != EOF && c != '\n') {
		if (n == 0 && (c == ' ' || c == '\t'))
			continue;
		if (c == 0) {
			parse_error(p, "this is no text: there is a NUL byte");
			return NULL;
		}
		if (n == room - 2 || n == CONF_LINE_MAX) {
			parse_error(
				p, "a line is at most %d bytes; paths may be relative to this file",
				CONF_LINE_MAX);
			return NULL;
		}
		to[n++] = (char)c;
	}
	if (c == EOF && n == 0)
		return NULL;
	to[n] = 0;
	if (to[0] == '[' && strchr(to, ']')) {
		char text[CONF_LINE_MAX + 2];
		snprintf(text, sizeof text, "%.*s", (int)strcspn(to + 1, "]"), to + 1);
		open_section(p, text);
		const char *rest = strchr(to, ']') + 1;
		rest += strspn(rest, " \t\r");
		if (*rest && *rest != ';' && *rest != '#')
			parse_error(p, "text behind [%.60s]: a section stands alone on its line",
				    text);
	}
	to[n] = '\n';
	to[n + 1] = 0;
	return to;
}

static int on_key(void *ctx, const char *section, const char *name, const char *value)
{
	struct parse *p = ctx;
	struct parse_instance *at = p->now;
	char allowed[300];

	(void)section;
	if (p->rc)
		return 0;
	if (!at) {
		parse_error(p, "'%.60s' stands before any [section]", name);
		return 0;
	}
	for (size_t i = 0; i < p->rows_n; i++) {
		const struct conf_key *row = &p->rows[i];
		if (strcmp(row->section, at->kind) != 0 || strcmp(row->key, name) != 0)
			continue;
		if (at->seen & UINT64_C(1) << i) {
			parse_error(p, "%s is given twice in [%s]", name, p->section_text);
			return 0;
		}
		at->seen |= UINT64_C(1) << i;
		return store(p, row, field_of(at, row), value) == 0;
	}
	list_keys(p, at->kind, allowed, sizeof allowed);
	parse_error(p, "there is no key '%.60s' in [%s]; allowed are %s", name, p->section_text,
		    allowed);
	return 0;
}

void parse_defaults(const char *kind, void *conf)
{
	size_t n;
	const struct conf_key *rows = parse_rows(kind, &n);

	for (size_t i = 0; i < n; i++) {
		void *field = (char *)conf + rows[i].offset;
		uint64_t number;
		if (!rows[i].fallback || strchr(rows[i].section, '*'))
			continue;
		if (rows[i].type == CONF_NUMBER && parse_unsigned(rows[i].fallback, &number))
			conf_store_number(field, rows[i].size, number * rows[i].unit);
		if (rows[i].type == CONF_CHOICE)
			conf_store_number(field, rows[i].size,
					  rows[i].least +
						  (uint64_t)conf_choice_index(rows[i].allowed,
									      rows[i].fallback));
	}
}

/* The fallbacks of what one section left out; complains of what has none. */
static int finish_instance(struct parse *p, struct parse_instance *at)
{
	char text[CONF_PATH_MAX];

	for (size_t i = 0; i < p->rows_n; i++) {
		const struct conf_key *row = &p->rows[i];
		if (strcmp(row->section, at->kind) != 0 || at->seen & UINT64_C(1) << i)
			continue;
		p->line = at->line;
		if (!row->fallback)
			return parse_error(p, "[%s%s%s] lacks the key '%s' (%s)",
					   strndupa(at->kind, strcspn(at->kind, " ")),
					   at->word[0] ? " " : "", at->word, row->key,
					   row->allowed);
		/* Ids come first in the structs that have one: see conf_node; agent.ini's is a key.
		 */
		uint32_t id = 0;
		if (strchr(at->kind, '*') && strncmp(at->kind, "user", 4) != 0)
			id = ((const struct conf_node *)at->base)->id;
		else if (strcmp(p->kind, "agent.ini") == 0)
			id = ((const struct agent_conf *)p->conf)->id;
		conf_expand_id(row->fallback, id, text, sizeof text);
		int rc = store(p, row, field_of(at, row), text);
		if (rc)
			return rc;
	}
	return 0;
}

/* Plain sections that are not in the file at all have their defaults too. */
static int open_missing(struct parse *p)
{
	for (size_t i = 0; i < p->rows_n; i++) {
		const char *kind = p->rows[i].section;
		bool there = strchr(kind, '*') != NULL;
		for (size_t j = 0; j < p->instances_n; j++)
			there = there || strcmp(p->instances[j].kind, kind) == 0;
		if (there)
			continue;
		p->line = 0;
		for (size_t j = i; j < p->rows_n; j++) {
			if (strcmp(p->rows[j].section, kind) == 0 && !p->rows[j].fallback)
				return parse_error(p, "there is no [%s] section", kind);
		}
		if (p->instances_n == PARSE_INSTANCES_MAX)
			return parse_error(p, "too many sections");
		p->instances[p->instances_n++] =
			(struct parse_instance){.kind = kind, .base = p->conf};
	}
	return 0;
}

int parse_file(FILE *f, const char *kind, const char *path, const char *dir, void *conf,
	       parse_section *section, parse_check *check, struct err *e)
{
	struct parse *p = calloc(1, sizeof *p);
	int rc;

	if (!p)
		return err_set(e, ERR_NOMEM, "no memory to read %s", path);
	p->f = f;
	p->kind = kind;
	p->path = path;
	p->dir = dir;
	p->conf = conf;
	p->section = section;
	p->e = e;
	p->rows = parse_rows(kind, &p->rows_n);

	int bad_line = ini_parse_stream(next_line, p, on_key, p);
	if (bad_line > 0 && !p->rc) {
		p->line = bad_line;
		parse_error(p, "neither 'key = value' nor '[section]' nor a '#' comment");
	}
	if (!p->rc && ferror(f))
		p->rc = err_set(e, ERR_IO, "%s cannot be read", path);
	if (!p->rc)
		open_missing(p);
	for (size_t i = 0; !p->rc && i < p->instances_n; i++)
		finish_instance(p, &p->instances[i]);
	if (!p->rc)
		check(p);
	rc = p->rc;
	free(p);
	return rc;
}
