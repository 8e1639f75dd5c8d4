#include "agent/store/run.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Readers, and requests that promise to only read, have nothing to take back: for them pairs are
 * only counted. */
static bool for_real(const struct run *run)
{
	return run->ns && run->r->sql->mode != SQL_READ;
}

/* Savepoints make full-text tables write out what they hold: with rows captured. */
static int exec_captured(struct run *run, const char *sql, struct err *e)
{
	run->ns->capture.mode = CAPTURE_ROWS;
	int code = connection_exec(run->c, sql, e);
	run->ns->capture.mode = CAPTURE_OFF;
	return code ? code : capture_settle(&run->ns->capture, e);
}

static int open_block(struct run *run, bool implicit, struct err *e)
{
	if (for_real(run)) {
		int code = run_write_ready(run, e);
		if (!code)
			code = sequences_after(&run->ns->sequences, &run->ns->capture, e);
		if (!code)
			code = exec_captured(run, "SAVEPOINT drover_block", e);
		if (code)
			return code;
		run->block_mark = capture_mark(&run->ns->capture);
	}
	run->block = true;
	run->implicit = implicit;
	return 0;
}

static void forget_savepoints(struct run *run, uint32_t keep)
{
	while (run->savepoints_n > keep)
		free(run->savepoints[--run->savepoints_n].name);
}

static int close_block(struct run *run, struct err *e)
{
	forget_savepoints(run, 0);
	run->block = false;
	return for_real(run) ? exec_captured(run, "RELEASE drover_block", e) : 0;
}

/* What the request did since the mark is gone from SQLite: also from the records. */
static void taken_back(struct run *run, struct capture_mark mark)
{
	capture_cut(&run->ns->capture, mark);
	run->ns->capture.request++;
	sequences_forget(&run->ns->sequences);
	if (run->schema_changed)
		run_schema_changed(run);
}

static int roll_back(struct run *run, struct err *e)
{
	int code = 0;

	forget_savepoints(run, 0);
	run->block = false;
	if (for_real(run)) {
		code = connection_exec(run->c, "ROLLBACK TO drover_block", e);
		if (!code)
			code = connection_exec(run->c, "RELEASE drover_block", e);
		if (!code)
			taken_back(run, run->block_mark);
	}
	return code;
}

static int savepoint(struct run *run, struct statement *st, struct err *e)
{
	struct run_savepoint *p = &run->savepoints[run->savepoints_n];
	int code = run->block ? 0 : open_block(run, true, e);

	if (code)
		return code;
	if (run->savepoints_n == RUN_SAVEPOINTS_MAX)
		return err_set(e, ERR_LIMIT, "more than %d savepoints", RUN_SAVEPOINTS_MAX);
	/* What sqlite_sequence owes followers comes before the mark: a cut must not lose it. */
	if (for_real(run)) {
		code = sequences_after(&run->ns->sequences, &run->ns->capture, e);
		if (!code)
			code = run_step_all(run, st->stmt, CAPTURE_ROWS, e);
		if (code)
			return code;
	}
	p->name = strdup(st->object ? st->object : "");
	if (!p->name)
		return err_set(e, ERR_NOMEM, "no memory for a savepoint");
	if (for_real(run))
		p->mark = capture_mark(&run->ns->capture);
	run->savepoints_n++;
	return 0;
}

/* The newest savepoint of this name. */
static int find_savepoint(struct run *run, struct statement *st, uint32_t *ret_at, struct err *e)
{
	const char *name = st->object ? st->object : "";

	for (uint32_t i = run->savepoints_n; i-- > 0;) {
		if (strcasecmp(run->savepoints[i].name, name) == 0) {
			*ret_at = i;
			return 0;
		}
	}
	return err_set(e, ERR_SQL, "no such savepoint: %s", name);
}

static int release(struct run *run, struct statement *st, struct err *e)
{
	uint32_t at = 0;
	int code = find_savepoint(run, st, &at, e);

	if (!code && for_real(run))
		code = run_step_all(run, st->stmt, CAPTURE_ROWS, e);
	if (code)
		return code;
	forget_savepoints(run, at);
	return at == 0 && run->implicit ? close_block(run, e) : 0;
}

static int roll_back_to(struct run *run, struct statement *st, struct err *e)
{
	uint32_t at = 0;
	int code = find_savepoint(run, st, &at, e);

	if (!code && for_real(run)) {
		code = run_step_all(run, st->stmt, CAPTURE_OFF, e);
		if (!code)
			taken_back(run, run->savepoints[at].mark);
	}
	if (!code)
		forget_savepoints(run, at + 1);
	return code;
}

int run_control(struct run *run, struct statement *st, struct err *e)
{
	switch (st->kind) {
	case STATEMENT_BEGIN:
		if (run->block)
			return err_set(e, ERR_SQL,
				       "cannot start a transaction within a transaction");
		return open_block(run, false, e);
	case STATEMENT_COMMIT:
		if (!run->block)
			return err_set(e, ERR_SQL, "cannot commit - no transaction is active");
		return close_block(run, e);
	case STATEMENT_ROLLBACK:
		if (!run->block)
			return err_set(e, ERR_SQL, "cannot rollback - no transaction is active");
		return roll_back(run, e);
	case STATEMENT_SAVEPOINT:
		return savepoint(run, st, e);
	case STATEMENT_RELEASE:
		return release(run, st, e);
	default:
		return roll_back_to(run, st, e);
	}
}
