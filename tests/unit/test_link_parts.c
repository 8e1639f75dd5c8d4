/* The parts of a link that need no network: the receive buffer, the out queue, timers, RPC frames.
 */
#include "tests/unit/link_fixture.h"

#include "common/clock.h"
#include "common/link/frame.h"
#include "common/link/out.h"
#include "common/link/timer.h"
#include "common/rpc/frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void frames_are_found_however_reads_cut_them(void **state)
{
	uint64_t seed = fixture_seed();
	struct buf stream;
	size_t sizes[300];

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		struct frame_in f;
		size_t fed = 0;
		unsigned found = 0;
		uint8_t head[FRAME_HEAD_BYTES];
		buf_init(&stream, 64u << 20);
		for (unsigned i = 0; i < 300; i++) {
			uint32_t most = i % 50 == 7 ? 200000 : i % 5 == 0 ? 3000 : 50;
			sizes[i] = fixture_random(&seed) % most;
			frame_head(head, (uint8_t)i, (uint32_t)sizes[i]);
			buf_append(&stream, head, sizeof head);
			uint8_t *to = buf_reserve(&stream, sizes[i]);
			memset(to, (int)i, sizes[i]);
			stream.len += sizes[i];
		}
		frame_in_init(&f, 200000);
		while (fed < stream.len) {
			uint8_t type;
			struct slice body;
			size_t n;
			uint8_t *room = frame_in_room(&f, &n);
			size_t most = round % 4 == 0 ? 7 : round % 4 == 1 ? 1500 : SIZE_MAX;
			n = n < most ? n : most;
			n = 1 + fixture_random(&seed) % n;
			n = n < stream.len - fed ? n : stream.len - fed;
			memcpy(room, stream.data + fed, n);
			frame_in_add(&f, n);
			fed += n;
			while (frame_in_next(&f, &type, &body, NULL) == 1) {
				assert_int_equal(type, (uint8_t)found);
				assert_int_equal(body.n, sizes[found]);
				for (size_t i = 0; i < body.n; i++)
					assert_true(body.p[i] == (uint8_t)found);
				found++;
			}
		}
		assert_int_equal(found, 300);
		frame_in_done(&f);
		buf_done(&stream);
	}
}

static void lengths_that_cannot_be_are_refused_before_any_memory(void **state)
{
	static const uint8_t zero[4] = {0}, huge[4] = {0xff, 0xff, 0xff, 0xff};
	static const uint8_t over[4] = {0xea, 3, 0, 0}; /* 1002: a body of 1001 */
	const uint8_t *bad[] = {zero, huge, over};
	struct err e;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct frame_in f;
		struct slice body;
		uint8_t type;
		size_t n;
		frame_in_init(&f, 1000);
		memcpy(frame_in_room(&f, &n), bad[i], 4);
		frame_in_add(&f, 4);
		assert_int_equal(frame_in_next(&f, &type, &body, &e), ERR_PROTOCOL);
		assert_int_equal(f.cap, FRAME_IN_START_BYTES);
		frame_in_done(&f);
	}
}

static void the_receive_buffer_grows_with_what_came_and_shrinks_again(void **state)
{
	struct frame_in f;
	struct slice body;
	uint8_t type;
	size_t n, fed = 0;
	const uint32_t size = 10u << 20;

	(void)state;
	frame_in_init(&f, size);
	/* 10 MiB are claimed; at no time is more than twice the received kept. */
	uint8_t *room = frame_in_room(&f, &n);
	frame_head(room, 1, size);
	frame_in_add(&f, FRAME_HEAD_BYTES);
	while (frame_in_next(&f, &type, &body, NULL) == 0) {
		room = frame_in_room(&f, &n);
		assert_true(f.cap <= FRAME_IN_START_BYTES || f.cap <= 2 * (fed + FRAME_HEAD_BYTES));
		n = n < 5000 ? n : 5000;
		memset(room, 'x', n);
		frame_in_add(&f, n);
		fed += n;
	}
	assert_int_equal(body.n, size);
	for (unsigned i = 0; i < 200; i++) {
		room = frame_in_room(&f, &n);
		frame_head(room, 1, 0);
		frame_in_add(&f, FRAME_HEAD_BYTES);
		assert_int_equal(frame_in_next(&f, &type, &body, NULL), 1);
	}
	assert_int_equal(f.cap, FRAME_IN_START_BYTES);
	frame_in_done(&f);
}

static void what_is_queued_is_written_whole_whatever_each_write_takes(void **state)
{
	uint64_t seed = fixture_seed();

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		struct out o;
		struct buf expect, got;
		buf_init(&expect, 1 << 24);
		buf_init(&got, 1 << 24);
		out_init(&o, 1 << 24);
		unsigned parts = fixture_random(&seed) % 40;
		for (unsigned i = 0; i < parts; i++) {
			uint8_t data[300];
			uint32_t n = fixture_random(&seed) % sizeof data;
			struct out_mark mark = out_mark(&o);
			memset(data, (int)i, sizeof data);
			if (fixture_random(&seed) % 2) {
				assert_true(out_append(&o, data, n));
			} else {
				struct blob *b = blob_new(data, n);
				assert_true(out_append_blob(&o, b));
				blob_unref(b);
			}
			if (fixture_random(&seed) % 5 == 0)
				out_cancel(&o, mark);
			else
				buf_append(&expect, data, n);
		}
		assert_int_equal(out_left(&o), expect.len);
		while (out_left(&o) > 0) {
			nng_iov iov[OUT_IOV_MAX];
			unsigned n = out_iov(&o, iov);
			size_t offered = 0;
			assert_in_range(n, 1, OUT_IOV_MAX);
			for (unsigned i = 0; i < n; i++)
				offered += iov[i].iov_len;
			size_t taken = 1 + fixture_random(&seed) % offered, left = taken;
			for (unsigned i = 0; i < n && left > 0; i++) {
				size_t step = iov[i].iov_len < left ? iov[i].iov_len : left;
				buf_append(&got, iov[i].iov_buf, step);
				left -= step;
			}
			out_advance(&o, taken);
		}
		assert_int_equal(got.len, expect.len);
		if (expect.len)
			assert_memory_equal(got.data, expect.data, expect.len);
		out_clear(&o);
		assert_int_equal(out_left(&o), 0);
		out_shrink(&o, 0);
		assert_null(o.bytes.data);
		out_done(&o);
		buf_done(&expect);
		buf_done(&got);
	}
}

#define TIMERS 500

struct alarm {
	struct hub_timers *ts;
	struct hub_timer t;
	uint64_t due_us;
	unsigned fired;
	bool early;
	unsigned again;
};

static struct {
	pthread_mutex_t lock;
	unsigned fired, out_of_order;
	uint64_t last_due_us;
} alarms = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void ring(void *ctx)
{
	struct alarm *a = ctx;

	pthread_mutex_lock(&alarms.lock);
	a->early = a->early || clock_mono_us() < a->due_us;
	alarms.out_of_order += a->due_us < alarms.last_due_us;
	alarms.last_due_us = a->due_us;
	alarms.fired++;
	a->fired++;
	pthread_mutex_unlock(&alarms.lock);
	if (a->again > 0) {
		a->again--;
		a->due_us = clock_mono_us() + 100;
		hub_timer_set(a->ts, &a->t, a->due_us);
	}
}

static unsigned alarms_fired(void)
{
	pthread_mutex_lock(&alarms.lock);
	unsigned n = alarms.fired;
	pthread_mutex_unlock(&alarms.lock);
	return n;
}

static void timers_fire_in_order_never_early_and_not_after_their_end(void **state)
{
	static struct alarm all[TIMERS];
	struct hub_timers ts;
	uint64_t seed = fixture_seed(), base_us;
	unsigned expect = 0;

	(void)state;
	assert_int_equal(hub_timers_start(&ts, NULL), 0);
	for (unsigned i = 0; i < TIMERS; i++) {
		all[i].ts = &ts;
		assert_int_equal(hub_timer_init(&ts, &all[i].t, ring, &all[i], NULL), 0);
	}
	/* Far enough away that all are set before the first is due. */
	base_us = clock_mono_us() + 500000;
	for (unsigned i = 0; i < TIMERS; i++) {
		hub_timer_set(&ts, &all[i].t, base_us + 10000000);
		all[i].due_us = base_us + fixture_random(&seed) % 100000;
		if (i % 7 == 3) {
			hub_timer_clear(&ts, &all[i].t);
			continue;
		}
		hub_timer_set(&ts, &all[i].t, all[i].due_us);
		if (i % 11 == 5)
			hub_timer_done(&ts, &all[i].t);
		else
			expect++;
	}
	for (unsigned ms = 0; ms < FIXTURE_WAIT_MS && alarms_fired() < expect; ms++)
		fixture_sleep_ms(1);
	fixture_sleep_ms(20);
	assert_int_equal(alarms_fired(), expect);
	assert_int_equal(alarms.out_of_order, 0);
	for (unsigned i = 0; i < TIMERS; i++) {
		assert_false(all[i].early);
		assert_true(all[i].fired == (i % 7 != 3 && i % 11 != 5));
		hub_timer_done(&ts, &all[i].t);
	}
	/* One that sets itself anew, and a far one that is hastened. */
	all[0] = (struct alarm){.ts = &ts, .again = 20};
	all[1] = (struct alarm){.ts = &ts};
	hub_timer_init(&ts, &all[0].t, ring, &all[0], NULL);
	hub_timer_init(&ts, &all[1].t, ring, &all[1], NULL);
	hub_timer_set(&ts, &all[0].t, 0);
	hub_timer_set(&ts, &all[1].t, clock_mono_us() + 3600000000u);
	hub_timer_hasten(&ts, &all[1].t);
	for (unsigned ms = 0; ms < FIXTURE_WAIT_MS && alarms_fired() < expect + 22; ms++)
		fixture_sleep_ms(1);
	assert_int_equal(alarms_fired(), expect + 22);
	hub_timer_done(&ts, &all[0].t);
	hub_timer_done(&ts, &all[1].t);
	hub_timers_stop(&ts);
}

static void rpc_frames_survive_the_wire(void **state)
{
	struct rpc_request_frame request;
	struct rpc_reply_frame reply;
	struct rpc_item_frame item;
	char topic[RPC_TOPIC_MAX];
	struct rpc_head h = rpc_request_head(UINT64_MAX, 65535, UINT32_MAX);

	(void)state;
	assert_true(rpc_request_decode(slice_of(h.data, h.n), &request));
	assert_true(request.id == UINT64_MAX && request.timeout_ms == UINT32_MAX);
	assert_int_equal(request.method, 65535);
	assert_int_equal(request.body.n, 0);
	for (size_t n = 0; n < h.n; n++)
		assert_false(rpc_request_decode(slice_of(h.data, n), &request));
	h = rpc_reply_head(7, ERR_UNREACHABLE);
	assert_true(rpc_reply_decode(slice_of(h.data, h.n), &reply));
	assert_int_equal(reply.status, ERR_UNREACHABLE);
	h = rpc_reply_head(7, 1);
	assert_false(rpc_reply_decode(slice_of(h.data, h.n), &reply));
	h = rpc_item_head("a-topic-of-15-b", UINT64_MAX);
	assert_true(rpc_item_decode(slice_of(h.data, h.n), &item));
	assert_string_equal(item.topic, "a-topic-of-15-b");
	h = rpc_subscribe_head("log");
	assert_true(rpc_subscribe_decode(slice_of(h.data, h.n), topic));
	h = rpc_subscribe_head("");
	assert_false(rpc_subscribe_decode(slice_of(h.data, h.n), topic));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_are_found_however_reads_cut_them),
		cmocka_unit_test(lengths_that_cannot_be_are_refused_before_any_memory),
		cmocka_unit_test(the_receive_buffer_grows_with_what_came_and_shrinks_again),
		cmocka_unit_test(what_is_queued_is_written_whole_whatever_each_write_takes),
		cmocka_unit_test(timers_fire_in_order_never_early_and_not_after_their_end),
		cmocka_unit_test(rpc_frames_survive_the_wire),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
