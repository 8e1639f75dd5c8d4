#include "agent/node/catalogue.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct catalogue {
	pthread_mutex_t lock;
	uint32_t shards;
	uint64_t index;
	uint64_t highest_id;
	size_t n;
	struct catalogue_row *rows;
};

int catalogue_new(struct catalogue **ret_catalogue, uint32_t shards, struct err *e)
{
	struct catalogue *c = calloc(1, sizeof *c);

	if (!c)
		return err_set(e, ERR_NOMEM, "no memory for the catalogue");
	pthread_mutex_init(&c->lock, NULL);
	c->shards = shards;
	*ret_catalogue = c;
	return 0;
}

void catalogue_free(struct catalogue *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c->rows);
	free(c);
}

uint32_t catalogue_group(const struct catalogue *c, uint64_t id)
{
	return (uint32_t)((id - 1) % c->shards) + 1;
}

static const struct catalogue_row *by_id(const struct catalogue_row *rows, size_t n, uint64_t id)
{
	for (size_t i = 0; i < n; i++) {
		if (rows[i].id == id)
			return &rows[i];
	}
	return NULL;
}

int catalogue_set(struct catalogue *c, const struct catalogue_row *rows, size_t n, uint64_t index,
		  void (*gone)(void *ctx, const struct catalogue_row *row), void *ctx,
		  struct err *e)
{
	struct catalogue_row *copy = calloc(n + 1, sizeof *copy);

	if (!copy)
		return err_set(e, ERR_NOMEM, "no memory for %zu namespaces", n);
	memcpy(copy, rows, n * sizeof *copy);
	pthread_mutex_lock(&c->lock);
	struct catalogue_row *old = c->rows;
	size_t old_n = c->n;
	c->rows = copy;
	c->n = n;
	c->index = index;
	if (n > 0 && copy[n - 1].id > c->highest_id)
		c->highest_id = copy[n - 1].id;
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < old_n; i++) {
		if (!by_id(rows, n, old[i].id))
			gone(ctx, &old[i]);
	}
	free(old);
	return 0;
}

bool catalogue_find(struct catalogue *c, struct slice name, struct catalogue_row *ret_row)
{
	bool found = false;

	if (name.n == 0)
		name = slice_str("main");
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->n && !found; i++) {
		const struct catalogue_row *row = &c->rows[i];
		if (strlen(row->name) == name.n &&
		    strncasecmp(row->name, (const char *)name.p, name.n) == 0) {
			*ret_row = *row;
			found = true;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

bool catalogue_name(struct catalogue *c, uint64_t id, char *ret_name, size_t size)
{
	pthread_mutex_lock(&c->lock);
	const struct catalogue_row *row = by_id(c->rows, c->n, id);
	if (row && strlen(row->name) < size)
		strcpy(ret_name, row->name);
	else
		row = NULL;
	pthread_mutex_unlock(&c->lock);
	return row != NULL;
}

bool catalogue_dropped(struct catalogue *c, uint64_t id)
{
	pthread_mutex_lock(&c->lock);
	bool dropped = id <= c->highest_id && !by_id(c->rows, c->n, id);
	pthread_mutex_unlock(&c->lock);
	return dropped;
}

int catalogue_list(struct catalogue *c, struct catalogue_row **ret_rows, size_t *ret_n)
{
	pthread_mutex_lock(&c->lock);
	struct catalogue_row *copy = calloc(c->n + 1, sizeof *copy);
	if (copy) {
		memcpy(copy, c->rows, c->n * sizeof *copy);
		*ret_rows = copy;
		*ret_n = c->n;
	}
	pthread_mutex_unlock(&c->lock);
	return copy ? 0 : ERR_NOMEM;
}

/* The next word of sql: letters, digits, _ and -, or a quoted name; past white space and comments
 * to the end of the line. */
static struct slice next_word(struct rd *r)
{
	while (r->p < r->end) {
		if (isspace(*r->p)) {
			r->p++;
		} else if (rd_left(r) >= 2 && r->p[0] == '-' && r->p[1] == '-') {
			while (r->p < r->end && *r->p != '\n')
				r->p++;
		} else {
			break;
		}
	}
	const uint8_t *from = r->p;
	if (r->p < r->end && (*r->p == '"' || *r->p == '`')) {
		uint8_t quote = *r->p++;
		while (r->p < r->end && *r->p != quote)
			r->p++;
		struct slice inner = {from + 1, (size_t)(r->p - from - 1)};
		if (r->p < r->end)
			r->p++;
		return inner;
	}
	while (r->p < r->end && (isalnum(*r->p) || *r->p == '_' || *r->p == '-'))
		r->p++;
	return (struct slice){from, (size_t)(r->p - from)};
}

static bool is_word(struct slice s, const char *word)
{
	return s.n == strlen(word) && strncasecmp((const char *)s.p, word, s.n) == 0;
}

static bool at_end(struct rd *r)
{
	while (r->p < r->end && (isspace(*r->p) || *r->p == ';'))
		r->p++;
	return r->p == r->end;
}

static int parse_name(struct rd *r, struct slice name, struct namespace_statement *s, struct err *e)
{
	bool sound = name.n > 0 && name.n < sizeof s->name && isalpha(name.p[0]);

	for (size_t i = 0; sound && i < name.n; i++)
		sound = isalnum(name.p[i]) || name.p[i] == '_' || name.p[i] == '-';
	if (!sound)
		return err_set(e, ERR_INVALID,
			       "a namespace's name is 1 to %zu letters, digits, _ or -, beginning "
			       "with a letter",
			       sizeof s->name - 1);
	if (!at_end(r))
		return err_set(e, ERR_INVALID, "text after the namespace's name");
	memcpy(s->name, name.p, name.n);
	s->name[name.n] = 0;
	return 0;
}

int namespace_parse(struct slice sql, struct namespace_statement *ret_statement, struct err *e)
{
	struct namespace_statement s = {.verb = NAMESPACE_NONE};
	struct rd r = rd_of(sql);
	struct slice verb = next_word(&r), what = next_word(&r), word;
	int rc = 0;

	if (is_word(verb, "show") && is_word(what, "namespaces")) {
		s.verb = NAMESPACE_SHOW;
		if (!at_end(&r))
			return err_set(e, ERR_INVALID, "text after SHOW NAMESPACES");
	} else if ((is_word(verb, "create") || is_word(verb, "drop")) &&
		   is_word(what, "namespace")) {
		s.verb = is_word(verb, "create") ? NAMESPACE_CREATE : NAMESPACE_DROP;
		word = next_word(&r);
		if (is_word(word, "if")) {
			word = next_word(&r);
			if (s.verb == NAMESPACE_CREATE && is_word(word, "not"))
				word = next_word(&r);
			else if (s.verb == NAMESPACE_CREATE)
				return err_set(e, ERR_INVALID, "expected IF NOT EXISTS");
			if (!is_word(word, "exists"))
				return err_set(e, ERR_INVALID, "expected EXISTS after IF");
			s.if_clause = true;
			word = next_word(&r);
		}
		rc = parse_name(&r, word, &s, e);
	}
	if (rc == 0)
		*ret_statement = s;
	return rc;
}
