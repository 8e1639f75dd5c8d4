/* The log alone: what a sync costs, what it takes in, how fast it opens.
 *
 *   wal_bench [FOLDER [MEBIBYTES]]     a folder on the disk to measure (.), bytes to recover (1024)
 */
#include "agent/wal/writer.h"

#include "common/clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD_BYTES 100
#define ROUND_TRIPS 2000

static char dir[512];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t durable;

static void stop(const struct err *e)
{
	fprintf(stderr, "wal_bench: %s\n", e->text);
	exit(1);
}

static uint64_t draw(void *ctx)
{
	(void)ctx;
	return clock_mono_us() * 0x9e3779b97f4a7c15u;
}

static struct wal *open_log(void)
{
	struct wal_options o = {.dir = dir, .disk = disk_real(), .random = draw};
	struct wal *w;
	struct err e;

	if (wal_open(&w, &o, &e))
		stop(&e);
	return w;
}

static void on_synced(void *ctx, const struct wal_synced *rows, size_t n)
{
	(void)ctx;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n; i++)
		durable = rows[i].last_index;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static void on_failed(void *ctx, const struct err *e)
{
	(void)ctx;
	stop(e);
}

static void wait_durable(uint64_t index)
{
	pthread_mutex_lock(&lock);
	while (durable < index)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static uint64_t stage(struct wal *w, uint64_t last, unsigned n, struct blob *payload)
{
	static struct wal_entry entries[10000];
	static uint64_t persist_id;
	struct err e;

	for (unsigned i = 0; i < n; i++)
		entries[i] = (struct wal_entry){last + 1 + i, 1, 2, payload};
	struct wal_job job = {
		.group = 1, .persist_id = ++persist_id, .entries = entries, .entries_n = n};
	if (wal_stage(w, &job, &e))
		stop(&e);
	return last + n;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t round_trips(struct wal *w, struct wal_writer *wr, uint64_t last, unsigned n,
			    struct blob *payload)
{
	static uint64_t us[ROUND_TRIPS];
	struct wal_stats stats;
	uint64_t began = clock_mono_us();

	for (int i = 0; i < ROUND_TRIPS; i++) {
		uint64_t at = clock_mono_us();
		last = stage(w, last, n, payload);
		wal_writer_kick(wr);
		wait_durable(last);
		us[i] = clock_mono_us() - at;
	}
	double s = (double)(clock_mono_us() - began) / 1e6;
	qsort(us, ROUND_TRIPS, sizeof *us, by_size);
	wal_stats(w, &stats);
	printf("%5u entries a sync: stage to told durable p50 %" PRIu64 " us, p99 %" PRIu64
	       " us (of it fdatasync p50 %" PRIu64 " us); %.0f entries/s\n",
	       n, us[ROUND_TRIPS / 2], us[ROUND_TRIPS * 99 / 100], stats.sync_us_p50,
	       (double)ROUND_TRIPS * n / s);
	return last;
}

static long resident_kib(const char *key)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	long kib = -1;

	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, key, strlen(key)) == 0)
			kib = strtol(line + strlen(key) + 1, NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

static void fill(struct wal *w, struct wal_writer *wr, uint64_t last, uint64_t bytes,
		 struct blob *payload)
{
	struct wal_stats stats;
	uint64_t began = clock_mono_us(), first = last;

	do {
		last = stage(w, last, 8000, payload);
		wal_writer_kick(wr);
		while (wal_staged_bytes(w) > 8 << 20)
			usleep(100);
		wal_stats(w, &stats);
	} while (stats.written_bytes < bytes);
	wait_durable(last);
	double s = (double)(clock_mono_us() - began) / 1e6;
	printf("filling: %" PRIu64 " entries of %d bytes in %.2f s, %.0f entries/s, %.0f MB/s\n",
	       last - first, PAYLOAD_BYTES, s, (double)(last - first) / s,
	       (double)stats.written_bytes / 1e6 / s);
}

static int remove_found(void *ctx, const char *name, struct err *e)
{
	char path[1024];

	snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
	return disk_real()->unlink(NULL, path, e);
}

static int drop_cache(void *ctx, const char *name, struct err *e)
{
	char path[1024];

	(void)e;
	snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
	return 0;
}

static void recover(const char *how)
{
	uint64_t began = clock_mono_us();
	clock_t cpu = clock();
	struct wal *w = open_log();
	double ms = (double)(clock_mono_us() - began) / 1e3;
	double cpu_ms = (double)(clock() - cpu) * 1e3 / CLOCKS_PER_SEC;
	struct wal_stats stats;

	wal_stats(w, &stats);
	printf("opening %" PRIu64 " MiB, %" PRIu64 " entries, %s: %.0f ms (%.0f ms of processor); "
	       "resident now %ld KiB\n",
	       stats.bytes >> 20, stats.entries, how, ms, cpu_ms, resident_kib("VmRSS:"));
	wal_free(w);
}

static void read_back(void)
{
	static struct wal_entry out[8000];
	struct wal *w = open_log();
	uint64_t began = clock_mono_us(), from = 1;
	struct err e;
	size_t n;

	do {
		if (wal_read(w, 1, from, 8000, 1 << 20, out, &n, &e))
			stop(&e);
		from += n;
		wal_entries_unref(out, n);
	} while (n > 0 && from < 1000000);
	double s = (double)(clock_mono_us() - began) / 1e6;
	printf("reading back in order: %.0f entries/s, %.0f MB/s of payload\n", (double)from / s,
	       (double)from * PAYLOAD_BYTES / 1e6 / s);
	wal_free(w);
}

int main(int argc, char **argv)
{
	uint64_t bytes = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1024) << 20;
	char zeros[PAYLOAD_BYTES] = {0};
	struct blob *payload = blob_new(zeros, sizeof zeros);
	struct wal_writer *wr;
	struct err e;

	snprintf(dir, sizeof dir, "%s/wal-bench-XXXXXX", argc > 1 ? argv[1] : ".");
	if (!payload || !mkdtemp(dir)) {
		perror("wal_bench");
		return 1;
	}
	struct wal *w = open_log();
	if (wal_writer_start(&wr, w, on_synced, on_failed, NULL, &e))
		stop(&e);
	uint64_t last = round_trips(w, wr, 0, 1, payload);
	last = round_trips(w, wr, last, 100, payload);
	fill(w, wr, last, bytes, payload);
	wal_writer_stop(wr);
	wal_free(w);
	blob_unref(payload);
	printf("most resident so far %ld KiB\n", resident_kib("VmHWM:"));
	recover("cached");
	recover("cached");
	disk_real()->list(NULL, dir, drop_cache, dir, NULL);
	recover("cold");
	read_back();
	disk_real()->list(NULL, dir, remove_found, dir, NULL);
	return rmdir(dir) != 0;
}
