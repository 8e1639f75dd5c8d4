/* What a log should hold: a plain model beside a real one, for the log's tests.
 *
 * The model keeps every change in the order in which it was staged. After a
 * crash the log must be the model after some first part of these changes, and
 * that part must reach at least as far as what was told durable.
 */
#ifndef DROVER_TESTS_UNIT_WAL_MODEL_H
#define DROVER_TESTS_UNIT_WAL_MODEL_H

#include "agent/wal/wal.h"

struct model;

/* Entries' sizes, terms and choices follow from the seed. */
struct model *model_new(uint64_t seed, unsigned groups, uint32_t entry_bytes_max);
struct model *model_copy(const struct model *m);
void model_free(struct model *m);

uint64_t model_dice(struct model *m);

/* Stage into the log and the model alike. Each returns what wal_stage did. */
int model_append(struct model *m, struct wal *w, uint32_t group, unsigned entries, struct err *e);
int model_truncate(struct model *m, struct wal *w, uint32_t group, uint64_t from, unsigned entries,
		   struct err *e);
int model_hard(struct model *m, struct wal *w, uint32_t group, struct err *e);
int model_meta(struct model *m, struct wal *w, uint32_t group, uint32_t bytes, struct err *e);
int model_compact(struct model *m, struct wal *w, uint32_t group, uint64_t index, struct err *e);
/* One of them, by chance. */
int model_act(struct model *m, struct wal *w, struct err *e);
uint64_t model_last(struct model *m, uint32_t group);
uint64_t model_first(struct model *m, uint32_t group);

/* All that was staged until now is durable. */
void model_synced(struct model *m);

/* The log is the model after a first part of the changes that covers what is durable; the model
 * then forgets the rest. Reads every entry. */
bool model_matches(struct model *m, struct wal *w);
/* Changes staged and not known to be durable. */
size_t model_staged(const struct model *m);
/* The model after only its first n changes beyond what is durable. */
void model_cut(struct model *m, size_t n);

/* The payload of an entry, so that any reader can check it. */
bool model_entry_right(struct model *m, uint32_t group, const struct wal_entry *entry);

#endif
