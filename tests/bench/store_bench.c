/* The store's own speed, without consensus, log and network: rows a second of the leader's execute
 * and of the follower's apply, and point reads a second.
 *
 *   store_bench [DIR]     DIR: where to put the files (default: $TMPDIR or /tmp)
 */
#include "agent/store/reader.h"
#include "agent/store/store.h"
#include "common/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NS 1
#define FLUSH_US 200000
#define VALUE_BYTES 100

struct bench {
	char root[200], dirs[2][256];
	struct store *leader, *follower;
	struct buf message, payload, results;
	uint64_t index;
	/* Elapsed, and the same of this thread's processor time: on a busy machine the latter tells
	 * more. */
	struct spent {
		uint64_t us, cpu_us;
	} execute, apply, flush;
	uint64_t flushed_at, rows;
	uint64_t payload_bytes;
	uint64_t random;
};

static void check(int code, const struct err *e)
{
	if (code) {
		fprintf(stderr, "store_bench: %s\n", e->text);
		exit(1);
	}
}

static uint64_t next_random(struct bench *b)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return b->random;
}

static uint64_t cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void begin(struct spent *s)
{
	s->us -= clock_mono_us();
	s->cpu_us -= cpu_us();
}

static void end(struct spent *s)
{
	s->us += clock_mono_us();
	s->cpu_us += cpu_us();
}

static void open_stores(struct bench *b, const char *where)
{
	struct err e = {0};
	struct store_options o = {.group = 1,
				  .cache_kib = 512 << 10,
				  .statements_max = 256,
				  .sessions_max = 1000,
				  .rows_max = 10000,
				  .statement_ms_max = 10000,
				  .entry_bytes_max = 64 << 20};
	struct store **stores[] = {&b->leader, &b->follower};

	snprintf(b->root, sizeof b->root, "%s/store-bench-XXXXXX", where);
	if (!mkdtemp(b->root)) {
		perror(b->root);
		exit(1);
	}
	for (int i = 0; i < 2; i++) {
		snprintf(b->dirs[i], sizeof b->dirs[i], "%s/%d", b->root, i);
		mkdir(b->dirs[i], 0700);
		o.dir = b->dirs[i];
		check(store_open(stores[i], &o, &e), &e);
	}
	buf_init(&b->message, 64 << 20);
	buf_init(&b->payload, 128 << 20);
	buf_init(&b->results, 64 << 20);
	b->random = 88172645463325252ull;
}

static void flush(struct bench *b, bool now)
{
	struct err e = {0};
	uint64_t at = clock_mono_us();

	if (!now && at - b->flushed_at < FLUSH_US)
		return;
	begin(&b->flush);
	check(store_flush(b->leader, 0, &e), &e);
	end(&b->flush);
	check(store_flush(b->follower, 0, &e), &e);
	b->flushed_at = clock_mono_us();
}

static void commit(struct bench *b)
{
	struct err e = {0};

	b->index++;
	b->payload_bytes += b->payload.len;
	store_proposed(b->leader, b->index, 1);
	store_committed(b->leader, b->index);
	begin(&b->apply);
	check(store_apply(b->follower, b->index, 1, buf_slice(&b->payload), &e), &e);
	end(&b->apply);
	flush(b, false);
}

/* Executes requests_n requests, each with what `add` writes. */
static void batch(struct bench *b, uint32_t requests_n, uint32_t rows_n,
		  void (*add)(struct bench *b, struct sql_writer *w))
{
	struct err e = {0};
	struct sql_request *sql = calloc(requests_n, sizeof *sql);
	struct store_request *r = calloc(requests_n, sizeof *r);
	struct store_request **list = calloc(requests_n, sizeof *list);
	size_t *ends = calloc(requests_n + 1, sizeof *ends);

	buf_clear(&b->message);
	buf_clear(&b->payload);
	for (uint32_t i = 0; i < requests_n; i++) {
		struct sql_writer w;
		struct sql_request head = {.flags = SQL_BRIEF, .mode = SQL_WRITE};
		sql_request_begin(&w, &b->message, &head, rows_n);
		for (uint32_t k = 0; k < rows_n; k++)
			add(b, &w);
		ends[i + 1] = b->message.len;
	}
	for (uint32_t i = 0; i < requests_n; i++) {
		sql_request_decode(slice_of(b->message.data + ends[i], ends[i + 1] - ends[i]),
				   &sql[i]);
		r[i].sql = &sql[i];
		buf_init(&r[i].results, 1 << 20);
		list[i] = &r[i];
	}
	begin(&b->execute);
	check(store_execute(b->leader, NS, list, requests_n, clock_wall_us(), &b->payload, &e), &e);
	end(&b->execute);
	b->rows += (uint64_t)requests_n * rows_n;
	for (uint32_t i = 0; i < requests_n; i++) {
		check(r[i].status, &r[i].err);
		buf_done(&r[i].results);
	}
	if (b->payload.len)
		commit(b);
	free(ends);
	free(list);
	free(r);
	free(sql);
}

static void forget(struct bench *b)
{
	b->execute = b->apply = b->flush = (struct spent){0};
	b->rows = b->payload_bytes = 0;
}

static void report(struct bench *b, const char *what)
{
	double n = (double)b->rows;

	flush(b, true);
	printf("%-43s execute %7.0f rows/s %5.2f us (cpu %5.2f)  apply %7.0f rows/s %5.2f us (cpu "
	       "%5.2f)  flush %5.2f us (cpu %5.2f)  %3.0f B\n",
	       what, 1e6 * n / (double)b->execute.us, (double)b->execute.us / n,
	       (double)b->execute.cpu_us / n, 1e6 * n / (double)b->apply.us,
	       (double)b->apply.us / n, (double)b->apply.cpu_us / n, (double)b->flush.us / n,
	       (double)b->flush.cpu_us / n, (double)b->payload_bytes / n);
	fflush(stdout);
	forget(b);
}

static char value_bytes[VALUE_BYTES];

static void add_schema(struct bench *b, struct sql_writer *w)
{
	(void)b;
	sql_request_add(
		w,
		slice_str("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE "
			  "kv(k TEXT PRIMARY KEY, v TEXT); CREATE TABLE h(id INTEGER PRIMARY "
			  "KEY, n INT, v TEXT)"),
		NULL, 0);
}

static void add_insert(struct bench *b, struct sql_writer *w)
{
	static int64_t id;
	const struct value params[] = {value_int(++id),
				       value_text(slice_of(value_bytes, VALUE_BYTES))};

	(void)b;
	sql_request_add(w, slice_str("INSERT INTO t VALUES(?,?)"), params, 2);
}

static void add_upsert(struct bench *b, struct sql_writer *w, uint64_t key)
{
	char text[32];

	(void)b;
	snprintf(text, sizeof text, "key-%012llu", (unsigned long long)key);
	const struct value params[] = {value_text(slice_str(text)),
				       value_text(slice_of(value_bytes, VALUE_BYTES))};
	sql_request_add(w,
			slice_str("INSERT INTO kv VALUES(?,?) ON CONFLICT(k) DO UPDATE SET "
				  "v=excluded.v"),
			params, 2);
}

static void add_next_key(struct bench *b, struct sql_writer *w)
{
	static uint64_t key;

	add_upsert(b, w, key++ * 7919 % 1000000);
}

static void add_random_key(struct bench *b, struct sql_writer *w)
{
	value_bytes[next_random(b) % VALUE_BYTES] = (char)('a' + next_random(b) % 26);
	add_upsert(b, w, next_random(b) % 1000000);
}

static void add_hot_update(struct bench *b, struct sql_writer *w)
{
	const struct value params[] = {value_int((int64_t)(next_random(b) % 1000) + 1)};

	sql_request_add(w, slice_str("UPDATE t SET v=v+1 WHERE id=?"), params, 1);
}

struct background {
	struct store *stores[2];
	bool _Atomic stop;
};

static void *checkpoint(void *ctx)
{
	struct background *g = ctx;
	struct store_checkpointer *c[2];
	struct err e = {0};

	for (int i = 0; i < 2; i++)
		check(store_checkpointer_new(&c[i], g->stores[i], &e), &e);
	while (!g->stop) {
		for (int i = 0; i < 2; i++)
			check(store_checkpoint(c[i], 256 << 20, &e), &e);
		usleep(500000);
	}
	for (int i = 0; i < 2; i++)
		store_checkpointer_free(c[i]);
	return NULL;
}

static void reads(struct bench *b, uint32_t together, uint64_t mmap_bytes)
{
	struct err e = {0};
	struct reader_options o = {.cache_kib = 64 << 10,
				   .mmap_bytes = mmap_bytes,
				   .statements_max = 64,
				   .connections_max = 4,
				   .rows_max = 1000,
				   .statement_ms_max = 1000};
	struct reader *r;
	enum { N = 200000 };
	struct sql_request sql[64];
	struct store_request requests[64], *list[64];
	struct buf messages[64];
	bool writes[64];
	uint64_t applied;
	struct spent spent = {0};

	check(reader_new(&r, &o, &e), &e);
	memset(requests, 0, sizeof requests);
	for (uint32_t i = 0; i < together; i++) {
		buf_init(&messages[i], 1 << 16);
		buf_init(&requests[i].results, 1 << 20);
		requests[i].sql = &sql[i];
		list[i] = &requests[i];
	}
	for (uint32_t n = 0; n < N; n += together) {
		for (uint32_t i = 0; i < together; i++) {
			struct sql_writer w;
			struct sql_request head = {0};
			char key[32];
			snprintf(key, sizeof key, "key-%012llu",
				 (unsigned long long)(next_random(b) % 1000000));
			struct value v = value_text(slice_str(key));
			buf_clear(&messages[i]);
			sql_request_begin(&w, &messages[i], &head, 1);
			sql_request_add(&w, slice_str("SELECT v FROM kv WHERE k=?"), &v, 1);
			sql_request_decode(buf_slice(&messages[i]), &sql[i]);
		}
		begin(&spent);
		check(together == 1
			      ? reader_execute(r, b->dirs[0], NS, list[0], writes, &applied, &e)
			      : reader_execute_many(r, b->dirs[0], NS, list, together, writes,
						    &applied, &e),
		      &e);
		end(&spent);
		check(requests[0].status, &requests[0].err);
	}
	printf("point reads, %2u a transaction%-13s %7.0f reads/s %5.2f us (cpu %5.2f)\n", together,
	       mmap_bytes ? ", mapped" : "", 1e6 * N / (double)spent.us, (double)spent.us / N,
	       (double)spent.cpu_us / N);
	for (uint32_t i = 0; i < together; i++) {
		buf_done(&messages[i]);
		buf_done(&requests[i].results);
	}
	reader_free(r);
}

int main(int argc, char **argv)
{
	struct bench b = {0};
	const char *tmp = getenv("TMPDIR");
	pthread_t thread;
	char command[256];

	memset(value_bytes, 'v', sizeof value_bytes);
	open_stores(&b, argc > 1 ? argv[1] : tmp ? tmp : "/tmp");
	struct background background = {.stores = {b.leader, b.follower}};
	pthread_create(&thread, NULL, checkpoint, &background);
	batch(&b, 1, 1, add_schema);
	forget(&b);
	for (int i = 0; i < 50; i++)
		batch(&b, 1, 8000, add_insert);
	report(&b, "sequential inserts, 8,000 a request");
	for (int i = 0; i < 500; i++)
		batch(&b, 256, 1, add_insert);
	report(&b, "sequential inserts, 256 requests of one");
	for (int i = 0; i < 50; i++)
		batch(&b, 1, 4000, add_hot_update);
	report(&b, "updates of 1,000 hot rows, 4,000 a request");
	for (int i = 0; i < 125; i++)
		batch(&b, 1, 8000, add_next_key);
	report(&b, "loading 1,000,000 text keys");
	for (int i = 0; i < 600; i++)
		batch(&b, 1, 1000, add_random_key);
	report(&b, "random upserts over them, 1,000 a request");
	for (int i = 0; i < 1000; i++)
		batch(&b, 256, 1, add_random_key);
	report(&b, "random upserts, 256 requests of one");
	background.stop = true;
	pthread_join(thread, NULL);
	for (uint64_t mapped = 0; mapped <= 1 << 30; mapped += 1 << 30) {
		reads(&b, 1, mapped);
		reads(&b, 64, mapped);
	}
	store_free(b.leader);
	store_free(b.follower);
	snprintf(command, sizeof command, "rm -rf '%s'", b.root);
	return system(command) != 0;
}
