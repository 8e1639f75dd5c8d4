#include "common/conf.h"

#include "common/conf_parse.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct writer {
	FILE *f;
	const struct conf_key *rows;
	size_t rows_n;
	const char *dir;
	bool explain; /* a comment a key: in the first section of a kind only */
	struct err *e;
	int rc;
};

/* Below dir as "a/b"; otherwise as it is. */
static const char *relative(const char *dir, const char *path)
{
	size_t n = strlen(dir);

	if (n > 1 && strncmp(path, dir, n) == 0 && path[n] == '/' && path[n + 1])
		return path + n + 1;
	return path;
}

static bool can_be_read_back(const char *text)
{
	size_t n = strlen(text);

	if (n == 0 || text[0] == ' ' || text[n - 1] == ' ')
		return false;
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
		if (text[i] == ';' && (i == 0 || text[i - 1] == ' '))
			return false;
	}
	return true;
}

/* The field as text; false: leave it to the default. */
static bool value_text(struct writer *w, const struct conf_key *row, const void *field,
		       char *ret_text, size_t size)
{
	uint64_t number;

	ret_text[0] = 0;
	switch (row->type) {
	case CONF_NAME:
	case CONF_ADDRESS:
		snprintf(ret_text, size, "%s", (const char *)field);
		return ret_text[0] != 0;
	case CONF_PATH:
		snprintf(ret_text, size, "%s", relative(w->dir, field));
		return ret_text[0] != 0;
	case CONF_KEY:
		key_to_hex(field, ret_text);
		return true;
	case CONF_NUMBER:
		number = conf_fetch_number(field, row->size);
		snprintf(ret_text, size, "%llu", (unsigned long long)(number / row->unit));
		if (number % row->unit || number / row->unit < row->least ||
		    number / row->unit > row->most)
			w->rc = err_set(w->e, ERR_INVALID, "%s is %llu, which %s cannot say",
					row->key, (unsigned long long)number, row->allowed);
		return true;
	case CONF_CHOICE:
		number = conf_fetch_number(field, row->size) - row->least;
		const char *at = row->allowed;
		while (number-- && *at)
			at += strcspn(at, "|") + (at[strcspn(at, "|")] == '|');
		snprintf(ret_text, size, "%.*s", (int)strcspn(at, "|"), at);
		return ret_text[0] != 0;
	}
	assert(!"a key of no type");
	return false;
}

static void write_key(struct writer *w, const struct conf_key *row, const void *base, uint32_t id)
{
	char text[CONF_PATH_MAX], fallback[CONF_PATH_MAX] = "";
	bool set = value_text(w, row, (const char *)base + row->offset, text, sizeof text);

	if (w->rc)
		return;
	if (row->fallback)
		conf_expand_id(row->fallback, id, fallback, sizeof fallback);
	bool is_default = row->fallback && (!set || strcmp(text, fallback) == 0);
	if (!is_default && (!can_be_read_back(text) ||
			    strlen(row->key) + strlen(" = ") + strlen(text) > CONF_LINE_MAX)) {
		w->rc = err_set(w->e, ERR_INVALID, "%s = %.80s cannot be written to an ini file",
				row->key, text);
		return;
	}
	if (!w->explain)
		;
	else if (row->type == CONF_NUMBER || row->type == CONF_CHOICE)
		fprintf(w->f, "# %s (%s)\n", row->help, row->allowed);
	else
		fprintf(w->f, "# %s\n", row->help);
	fprintf(w->f, "%s%s = %s\n", is_default ? "#" : "", row->key, is_default ? fallback : text);
}

/* [kind] or [kind WORD]. */
static void write_section(struct writer *w, const char *kind, const char *word, const void *base,
			  uint32_t id)
{
	fprintf(w->f, "\n[%.*s%s%s]\n", (int)strcspn(kind, " "), kind, word[0] ? " " : "", word);
	for (size_t i = 0; i < w->rows_n && !w->rc; i++) {
		if (strcmp(w->rows[i].section, kind) == 0)
			write_key(w, &w->rows[i], base, id);
	}
}

static void write_nodes(struct writer *w, const char *kind, const struct conf_node *nodes,
			uint32_t n)
{
	char word[16];

	for (uint32_t i = 0; i < n && !w->rc; i++) {
		snprintf(word, sizeof word, "%u", nodes[i].id);
		w->explain = i == 0;
		write_section(w, kind, word, &nodes[i], nodes[i].id);
	}
}

static int finish(struct writer *w)
{
	if (!w->rc && (fflush(w->f) || ferror(w->f)))
		w->rc = err_sys(w->e, ERR_IO, errno, "the file cannot be written");
	return w->rc;
}

int cluster_conf_write(FILE *f, const struct cluster_conf *c, struct err *e)
{
	struct writer w = {.f = f, .dir = c->dir, .explain = true, .e = e};

	w.rows = parse_rows("cluster.ini", &w.rows_n);
	fprintf(f, "# A drover cluster, as the command line 'drover' sees it; drover.ini(5).\n"
		   "# Paths are relative to this file. Keys behind # show their default.\n");
	write_section(&w, "cluster", "", c, 0);
	write_nodes(&w, "node *", c->nodes, c->nodes_n);
	return finish(&w);
}

int agent_conf_write(FILE *f, const struct agent_conf *c, struct err *e)
{
	static const char *const plain[] = {"node", "listen", "log",   "raft",
					    "wal",  "store",  "limits"};
	struct writer w = {.f = f, .dir = c->dir, .explain = true, .e = e};

	w.rows = parse_rows("agent.ini", &w.rows_n);
	fprintf(f,
		"# Node %u of cluster %s, as its agent 'droverd' reads it; drover.ini(5).\n"
		"# Paths are relative to this file. Keys behind # show their default.\n",
		c->id, c->cluster_id);
	for (size_t i = 0; i < sizeof plain / sizeof plain[0] && !w.rc; i++)
		write_section(&w, plain[i], "", c, c->id);
	write_nodes(&w, "peer *", c->peers, c->peers_n);
	for (uint32_t i = 0; i < c->users_n && !w.rc; i++) {
		w.explain = i == 0;
		write_section(&w, "user *", c->users[i].name, &c->users[i], 0);
	}
	return finish(&w);
}
