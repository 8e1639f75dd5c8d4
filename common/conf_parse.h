/* The engine below conf.c: one ini file, read line by line through inih, against the rows of
 * conf_keys. Used by conf.c, conf_write.c and their tests only.
 *
 * inih tells neither line numbers to its handler nor of sections without keys, cuts lines longer
 * than its buffer in two, and takes an indented line for a continuation; so the reader that feeds
 * it counts lines, opens sections, refuses what is too long and takes indentation away. */
#ifndef DROVER_COMMON_CONF_PARSE_H
#define DROVER_COMMON_CONF_PARSE_H

#include "common/conf.h"

struct parse;

/* A section was opened: where do its keys' offsets count from? kind is the table's section ("peer
 * *"), word what stands for the star. */
typedef int parse_section(struct parse *p, const char *kind, const char *word, void **ret_base);
typedef int parse_check(struct parse *p);

struct parse_instance {
	const char *kind; /* the table's section */
	char word[LINK_NAME_MAX];
	void *base;
	int line;
	uint64_t seen; /* a bit for each row of the file */
};

#define PARSE_INSTANCES_MAX (CONF_NODES_MAX + CONF_USERS_MAX + 8)

struct parse {
	FILE *f;
	const char *kind; /* "agent.ini" */
	const char *path; /* for messages */
	const char *dir;
	void *conf;
	int line;		     /* 0: of the whole file */
	const struct conf_key *rows; /* this kind's */
	size_t rows_n;
	char section_text[CONF_LINE_MAX + 2];
	parse_section *section;
	struct parse_instance *now; /* NULL before the first section */
	size_t instances_n;
	struct parse_instance instances[PARSE_INSTANCES_MAX];
	int rc; /* of the first error */
	struct err *e;
};

int parse_file(FILE *f, const char *kind, const char *path, const char *dir, void *conf,
	       parse_section *section, parse_check *check, struct err *e);

/* "path:line: text". The first error wins. Returns ERR_CONFIG. */
int parse_error(struct parse *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Where [kind id] (or [kind] with id 0) begins; 0: nowhere. */
int parse_section_line(const struct parse *p, const char *kind, uint32_t id);

/* Fallbacks of the plain sections' numbers and choices. */
void parse_defaults(const char *kind, void *conf);
/* This kind's rows. */
const struct conf_key *parse_rows(const char *kind, size_t *ret_n);

/* Values. */
bool parse_unsigned(const char *text, uint64_t *ret_number);
bool conf_word_is_name(const char *text);
/* The word's place in "a|b|c"; -1: none. */
int conf_choice_index(const char *words, const char *text);
void conf_store_number(void *field, size_t size, uint64_t number);
uint64_t conf_fetch_number(const void *field, size_t size);
/* "n<ID>" with id 2 -> "n2" */
void conf_expand_id(const char *text, uint32_t id, char *ret_text, size_t size);
/* ERR_LIMIT when dir/value does not fit. */
int conf_join(const char *dir, const char *value, char *ret_path, size_t size);

#endif
