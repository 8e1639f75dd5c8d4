/* Links between hubs of one process: opening, frames, order, bounds, ends. */
#include "tests/unit/link_fixture.h"

#include "common/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define ALL_PURPOSES (1u << LINK_FAST | 1u << LINK_BULK | 1u << LINK_RPC | 1u << LINK_STREAM)

/* A listening and a dialing end, linked. */
struct pair {
	struct hub *server, *client;
	struct recorder at_server, at_client;
	struct listener *listener;
	struct link *dialed, *accepted;
	char address[64];
};

static void pair_open_with(struct pair *p, const struct hub_options *server,
			   const struct hub_options *client)
{
	struct err e = {0};

	recorder_init(&p->at_server);
	recorder_init(&p->at_client);
	assert_int_equal(hub_new(&p->server, server, &e), 0);
	assert_int_equal(hub_new(&p->client, client, &e), 0);
	struct link_events es = recorder_events(&p->at_server);
	struct link_events ec = recorder_events(&p->at_client);
	assert_int_equal(link_listen(p->server, "127.0.0.1:0", ALL_PURPOSES, &es, &p->listener, &e),
			 0);
	fixture_address(listener_port(p->listener), p->address, sizeof p->address);
	assert_int_equal(link_dial(p->client, p->address, LINK_BULK, NULL, &ec, &p->dialed, &e), 0);
	assert_true(recorder_wait(&p->at_client, &p->at_client.opened, 1));
	assert_true(recorder_wait(&p->at_server, &p->at_server.opened, 1));
	p->accepted = recorder_link(&p->at_server);
}

static void pair_open(struct pair *p)
{
	struct hub_options server, client;

	fixture_options(&server, LINK_NODE, 1);
	fixture_options(&client, LINK_NODE, 2);
	pair_open_with(p, &server, &client);
}

static void pair_close(struct pair *p)
{
	link_unref(p->accepted);
	link_unref(p->dialed);
	hub_free(p->client);
	hub_free(p->server);
	recorder_done(&p->at_client);
	recorder_done(&p->at_server);
}

static void each_end_learns_who_the_other_is(void **state)
{
	struct pair p = {0};

	(void)state;
	pair_open(&p);
	assert_int_equal(link_peer(p.dialed)->node_id, 1);
	assert_string_equal(link_peer(p.dialed)->name, "n1");
	assert_int_equal(link_peer(p.accepted)->node_id, 2);
	assert_int_equal(link_peer(p.accepted)->role, LINK_ROLE_NODE);
	assert_int_equal(link_purpose_of(p.accepted), LINK_BULK);
	assert_string_equal(link_address(p.dialed), p.address);
	assert_non_null(strstr(link_address(p.accepted), "127.0.0.1:"));
	link_set_user(p.dialed, &p);
	assert_ptr_equal(link_user(p.dialed), &p);
	pair_close(&p);
	assert_int_equal(p.at_client.closed, 1);
	assert_int_equal(p.at_server.closed, 1);
}

static void frames_of_all_sizes_come_back_unchanged(void **state)
{
	static const size_t sizes[] = {
		0,	 1,	   2,  100, 4095,    16379,    16380, 65536,	       65537,
		1000000, 5u << 20, 17, 0,   9999999, 30000000, 3,     (256u << 10) - 5};
	struct pair p = {0};
	uint8_t *data = malloc(30000000);

	(void)state;
	pair_open(&p);
	p.at_server.echo = true;
	for (size_t i = 0; i < 30000000; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		/* Any split into parts makes the same frame. */
		struct slice parts[3] = {slice_of(data, sizes[i] / 3),
					 slice_of(data + sizes[i] / 3, sizes[i] / 2),
					 slice_of(NULL, 0)};
		size_t done = sizes[i] / 3 + sizes[i] / 2;
		parts[2] = slice_of(data + done, sizes[i] - done);
		assert_int_equal(link_send(p.dialed, (uint8_t)(i + 1), parts, 3), 0);
		assert_true(recorder_wait(&p.at_client, &p.at_client.frames, i + 1));
		assert_int_equal(p.at_client.last_type, i + 1);
		assert_int_equal(p.at_client.last.len, sizes[i]);
		assert_memory_equal(p.at_client.last.data, data, sizes[i]);
	}
	free(data);
	pair_close(&p);
}

static void blobs_arrive_in_their_place_and_are_let_go(void **state)
{
	struct pair p = {0};
	struct blob *blobs[40];
	struct buf expect;
	uint64_t seed = fixture_seed();

	(void)state;
	pair_open(&p);
	buf_init(&expect, 64u << 20);
	for (unsigned round = 0; round < 30; round++) {
		unsigned n = fixture_random(&seed) % 40 + 1;
		uint8_t head[7];
		memset(head, (int)round, sizeof head);
		buf_clear(&expect);
		buf_append(&expect, head, sizeof head);
		for (unsigned i = 0; i < n; i++) {
			uint32_t big = i % 3 == 0 ? 100000 : i % 3 == 1 ? 3000 : 10;
			blobs[i] = blob_new(NULL, fixture_random(&seed) % big);
			memset(blobs[i]->data, (int)(i + round), blobs[i]->size_bytes);
			buf_append(&expect, blobs[i]->data, blobs[i]->size_bytes);
		}
		/* Small frames before and behind must keep their places. */
		struct slice small = slice_of("before", 6);
		assert_int_equal(link_send(p.dialed, 1, &small, 1), 0);
		assert_int_equal(
			link_send_blobs(p.dialed, 2, slice_of(head, sizeof head), blobs, n), 0);
		assert_true(recorder_wait(&p.at_server, &p.at_server.frames, round * 2 + 2));
		assert_int_equal(p.at_server.last_type, 2);
		assert_int_equal(p.at_server.last.len, expect.len);
		assert_memory_equal(p.at_server.last.data, expect.data, expect.len);
		for (unsigned i = 0; i < n; i++) {
			/* The link's own reference goes when the write's end is noticed. */
			for (unsigned ms = 0; ms < FIXTURE_WAIT_MS; ms++) {
				if (atomic_load(&blobs[i]->refs) == 1)
					break;
				fixture_sleep_ms(1);
			}
			assert_int_equal(atomic_load(&blobs[i]->refs), 1);
			blob_unref(blobs[i]);
		}
	}
	buf_done(&expect);
	pair_close(&p);
}

#define ORDER_FRAMES 200000u

static void *send_numbers(void *arg)
{
	struct pair *p = arg;
	uint8_t pad[200] = {0};
	uint64_t seed = 7;

	for (uint32_t i = 0; i < ORDER_FRAMES;) {
		struct slice parts[2] = {slice_of(&i, sizeof i),
					 slice_of(pad, fixture_random(&seed) % sizeof pad)};
		int rc = link_send(p->dialed, 9, parts, 2);
		if (rc == 0)
			i++;
		else if (rc == ERR_BUSY)
			sched_yield();
		else
			break;
	}
	return NULL;
}

static void frames_keep_their_order_and_share_writes(void **state)
{
	struct hub_options server, client;
	struct pair p = {0};
	struct link_stats st;
	pthread_t t;

	(void)state;
	fixture_options(&server, LINK_NODE, 1);
	fixture_options(&client, LINK_NODE, 2);
	client.queue_bytes_max = 100000;
	pair_open_with(&p, &server, &client);
	p.at_server.refuse_out_of_order = true;
	pthread_create(&t, NULL, send_numbers, &p);
	assert_true(recorder_wait(&p.at_server, &p.at_server.frames, ORDER_FRAMES));
	pthread_join(t, NULL);
	assert_int_equal(p.at_server.out_of_order, 0);
	link_stats(p.dialed, &st);
	assert_true(st.sent_frames >= ORDER_FRAMES);
	assert_true(st.writes < ORDER_FRAMES / 2);
	assert_true(recorder_count(&p.at_server, &p.at_server.batches) < ORDER_FRAMES / 2);
	pair_close(&p);
}

static void what_one_thread_holds_leaves_in_one_write(void **state)
{
	struct pair p = {0};
	struct link_stats before, after;

	(void)state;
	pair_open(&p);
	assert_true(hub_flush(p.client, FIXTURE_WAIT_MS));
	link_stats(p.dialed, &before);
	link_hold();
	link_hold();
	for (uint32_t i = 0; i < 100; i++) {
		struct slice part = slice_of(&i, sizeof i);
		assert_int_equal(link_send(p.dialed, 1, &part, 1), 0);
	}
	link_release();
	link_stats(p.dialed, &after);
	assert_int_equal(after.writes, before.writes);
	assert_int_equal(after.queued_bytes - before.queued_bytes, 100 * (4 + 5));
	link_release();
	assert_true(recorder_wait(&p.at_server, &p.at_server.frames, 100));
	link_stats(p.dialed, &after);
	assert_int_equal(after.writes, before.writes + 1);
	pair_close(&p);
}

/* Reads nothing until told to. */
static void stuck_frame(void *ctx, struct link *l, uint8_t type, struct slice body)
{
	pthread_mutex_t *gate = ctx;

	(void)l;
	(void)type;
	(void)body;
	pthread_mutex_lock(gate);
	pthread_mutex_unlock(gate);
}

static void a_full_queue_is_busy_and_drains(void **state)
{
	struct hub_options so, co;
	struct hub *server, *client;
	struct recorder at_client;
	struct listener *ln;
	struct link *l;
	struct link_stats st;
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	struct link_events es = {.frame = stuck_frame, .ctx = &gate};
	char address[64];
	uint8_t *data = calloc(1, 200000);
	struct slice body = slice_of(data, 200000), too_large = slice_of(data, 200000);
	unsigned sent = 0;
	int rc;

	(void)state;
	fixture_options(&so, LINK_NODE, 1);
	fixture_options(&co, LINK_NODE, 2);
	co.queue_bytes_max = 1000000;
	co.frame_bytes_max = 300000;
	assert_int_equal(hub_new(&server, &so, NULL), 0);
	assert_int_equal(hub_new(&client, &co, NULL), 0);
	recorder_init(&at_client);
	struct link_events ec = recorder_events(&at_client);
	assert_int_equal(link_listen(server, "127.0.0.1:0", ALL_PURPOSES, &es, &ln, NULL), 0);
	fixture_address(listener_port(ln), address, sizeof address);
	pthread_mutex_lock(&gate);
	assert_int_equal(link_dial(client, address, LINK_BULK, NULL, &ec, &l, NULL), 0);
	/* Not open yet, or just so; either way nothing is taken before it is. */
	rc = link_send(l, 1, &body, 1);
	assert_true(rc == 0 || rc == ERR_CLOSED);
	assert_true(recorder_wait(&at_client, &at_client.opened, 1));
	/* First the kernel's buffers fill, then the queue: until nothing moves any more. */
	for (unsigned still = 0; still < 20; still++) {
		while ((rc = link_send(l, 1, &body, 1)) == 0) {
			still = 0;
			assert_true(sent++ < 10000);
		}
		assert_int_equal(rc, ERR_BUSY);
		link_stats(l, &st);
		assert_true(st.queued_bytes <= 1000000);
		fixture_sleep_ms(10);
	}
	assert_true(st.dropped >= 1);
	too_large.n = 300001;
	data = realloc(data, 300001);
	too_large.p = data;
	assert_int_equal(link_send(l, 1, &too_large, 1), ERR_LIMIT);
	assert_false(hub_flush(client, 1));
	pthread_mutex_unlock(&gate);
	assert_true(hub_flush(client, FIXTURE_WAIT_MS));
	body.p = data;
	assert_int_equal(link_send(l, 1, &body, 1), 0);
	link_unref(l);
	hub_free(client);
	hub_free(server);
	recorder_done(&at_client);
	free(data);
}

static void a_closed_link_takes_nothing_and_says_why(void **state)
{
	struct pair p = {0};
	struct slice body = slice_of("x", 1);

	(void)state;
	pair_open(&p);
	link_close(p.dialed);
	link_close(p.dialed);
	assert_int_equal(link_send(p.dialed, 1, &body, 1), ERR_CLOSED);
	assert_true(recorder_wait(&p.at_client, &p.at_client.closed, 1));
	assert_true(recorder_wait(&p.at_server, &p.at_server.closed, 1));
	assert_int_equal(p.at_client.why.code, ERR_CLOSED);
	assert_int_equal(p.at_server.why.code, ERR_CLOSED);
	assert_non_null(strstr(p.at_server.why.text, "n2"));
	hub_free(p.client);
	/* A reference outlives the hub. */
	assert_int_equal(link_send(p.dialed, 1, &body, 1), ERR_CLOSED);
	link_close(p.dialed);
	p.client = NULL;
	pair_close(&p);
}

static void a_frame_larger_than_allowed_closes_the_link(void **state)
{
	struct hub_options server, client;
	struct pair p = {0};
	struct hub_stats st;
	uint8_t data[2000] = {0};

	(void)state;
	fixture_options(&server, LINK_NODE, 1);
	fixture_options(&client, LINK_NODE, 2);
	server.frame_bytes_max = 1000;
	pair_open_with(&p, &server, &client);
	struct slice body = slice_of(data, 1000);
	assert_int_equal(link_send(p.dialed, 1, &body, 1), 0);
	assert_true(recorder_wait(&p.at_server, &p.at_server.frames, 1));
	body.n = 1001;
	assert_int_equal(link_send(p.dialed, 1, &body, 1), 0);
	assert_true(recorder_wait(&p.at_server, &p.at_server.closed, 1));
	assert_int_equal(p.at_server.why.code, ERR_PROTOCOL);
	assert_int_equal(p.at_server.frames, 1);
	assert_true(recorder_wait(&p.at_client, &p.at_client.closed, 1));
	hub_stats(p.server, &st);
	assert_int_equal(st.bad_frames, 1);
	pair_close(&p);
}

static void a_dial_that_nobody_answers_closes_without_opening(void **state)
{
	struct hub *h = fixture_hub(LINK_NODE, 1);
	struct recorder r;
	struct link *l;
	char address[64];
	struct err e;

	(void)state;
	recorder_init(&r);
	struct link_events ev = recorder_events(&r);
	fixture_address(fixture_free_port(), address, sizeof address);
	assert_int_equal(link_dial(h, address, LINK_RPC, NULL, &ev, &l, &e), 0);
	assert_true(recorder_wait(&r, &r.closed, 1));
	assert_int_equal(r.opened, 0);
	assert_int_equal(r.why.code, ERR_UNREACHABLE);
	assert_non_null(strstr(r.why.text, address));
	link_unref(l);
	hub_free(h);
	recorder_done(&r);
}

static void a_dial_into_the_void_ends_in_time(void **state)
{
	struct hub_options o;
	struct hub *h;
	struct recorder r;
	struct link *l;
	char address[64];
	struct sockaddr_storage sa;
	socklen_t sa_n = sizeof sa;
	int full[64], n = 0;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	/* A listening socket whose backlog is full never answers another SYN. */
	(void)state;
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &sa_n), 0);
	uint16_t port;
	memcpy(&port, (char *)&sa + 2, 2);
	port = (uint16_t)(port >> 8 | port << 8);
	for (; n < 8; n++) {
		full[n] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		int rc = connect(full[n], (struct sockaddr *)&sa, sa_n);
		assert_int_equal(rc, -1);
	}
	fixture_sleep_ms(50);
	fixture_options(&o, LINK_NODE, 1);
	o.dial_ms = 100;
	assert_int_equal(hub_new(&h, &o, NULL), 0);
	recorder_init(&r);
	struct link_events ev = recorder_events(&r);
	fixture_address(port, address, sizeof address);
	assert_int_equal(link_dial(h, address, LINK_RPC, NULL, &ev, &l, NULL), 0);
	assert_true(recorder_wait(&r, &r.closed, 1));
	assert_int_equal(r.why.code, ERR_TIMEOUT);
	link_unref(l);
	hub_free(h);
	recorder_done(&r);
	while (n > 0)
		close(full[--n]);
	close(fd);
}

static void links_over_the_limit_are_refused_until_one_goes(void **state)
{
	struct hub_options so, co;
	struct hub *server, *client;
	struct recorder rs, rc;
	struct listener *ln;
	struct link *l[4];
	char address[64];

	(void)state;
	fixture_options(&so, LINK_NODE, 1);
	fixture_options(&co, LINK_NODE, 2);
	so.links_max = 2;
	assert_int_equal(hub_new(&server, &so, NULL), 0);
	assert_int_equal(hub_new(&client, &co, NULL), 0);
	recorder_init(&rs);
	recorder_init(&rc);
	struct link_events es = recorder_events(&rs), ec = recorder_events(&rc);
	assert_int_equal(link_listen(server, "127.0.0.1:0", ALL_PURPOSES, &es, &ln, NULL), 0);
	fixture_address(listener_port(ln), address, sizeof address);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(link_dial(client, address, LINK_RPC, NULL, &ec, &l[i], NULL), 0);
		assert_true(recorder_wait(&rc, &rc.opened, i + 1));
	}
	assert_int_equal(link_dial(client, address, LINK_RPC, NULL, &ec, &l[2], NULL), 0);
	assert_true(recorder_wait(&rc, &rc.closed, 1));
	assert_int_equal(rc.opened, 2);
	link_close(l[0]);
	assert_true(recorder_wait(&rs, &rs.closed, 1));
	/* The place is free when the server has seen the end; try until it has. */
	for (unsigned i = 0; i < 1000 && recorder_count(&rc, &rc.opened) == 2; i++) {
		unsigned closed = recorder_count(&rc, &rc.closed);
		assert_int_equal(link_dial(client, address, LINK_RPC, NULL, &ec, &l[3], NULL), 0);
		while (recorder_count(&rc, &rc.opened) == 2 &&
		       recorder_count(&rc, &rc.closed) == closed)
			fixture_sleep_ms(1);
		link_unref(l[3]);
	}
	assert_int_equal(recorder_count(&rc, &rc.opened), 3);
	for (unsigned i = 0; i < 3; i++)
		link_unref(l[i]);
	hub_free(client);
	hub_free(server);
	recorder_done(&rs);
	recorder_done(&rc);
}

/* A link that is idle is kept alive by heartbeats alone. */
static void heartbeats_keep_an_idle_link_open(void **state)
{
	struct hub_options server, client;
	struct pair p = {0};
	struct link_stats st = {0};

	(void)state;
	fixture_options(&server, LINK_NODE, 1);
	fixture_options(&client, LINK_NODE, 2);
	server.silence_ms = client.silence_ms = 2000;
	pair_open_with(&p, &server, &client);
	for (unsigned ms = 0; ms < FIXTURE_WAIT_MS && st.received_frames < 4; ms += 10) {
		fixture_sleep_ms(10);
		link_stats(p.dialed, &st);
	}
	assert_true(st.received_frames >= 4);
	assert_int_equal(recorder_count(&p.at_client, &p.at_client.frames), 0);
	assert_int_equal(recorder_count(&p.at_client, &p.at_client.closed), 0);
	assert_int_equal(recorder_count(&p.at_server, &p.at_server.closed), 0);
	pair_close(&p);
}

#define STORM_THREADS 4
#define STORM_ROUNDS 60

struct storm {
	struct hub *hub;
	const char *address;
	uint64_t seed;
	struct recorder r;
};

static void *storm_thread(void *arg)
{
	struct storm *s = arg;
	struct link_events ev = recorder_events(&s->r);
	uint8_t data[3000] = {0};

	for (unsigned i = 0; i < STORM_ROUNDS; i++) {
		struct link *l;
		struct slice body = slice_of(data, fixture_random(&s->seed) % sizeof data);
		unsigned kind = fixture_random(&s->seed) % 4;
		unsigned opened = recorder_count(&s->r, &s->r.opened);
		if (link_dial(s->hub, s->address, LINK_BULK, NULL, &ev, &l, NULL) != 0)
			continue;
		/* Closed at once, during the hello, after it, or under traffic. */
		if (kind == 1)
			fixture_sleep_ms(fixture_random(&s->seed) % 3);
		if (kind >= 2)
			recorder_wait(&s->r, &s->r.opened, opened + 1);
		for (unsigned n = 0; kind == 3 && n < 200; n++)
			link_send(l, 1, &body, 1);
		link_close(l);
		link_unref(l);
	}
	recorder_wait(&s->r, &s->r.closed, STORM_ROUNDS);
	return NULL;
}

static void many_links_come_and_go_at_once_without_leak(void **state)
{
	struct hub *server = fixture_hub(LINK_NODE, 1);
	struct hub *client = fixture_hub(LINK_NODE, 2);
	struct recorder rs;
	struct listener *ln;
	struct storm storms[STORM_THREADS];
	pthread_t threads[STORM_THREADS];
	struct hub_stats st;
	char address[64];
	unsigned fds;
	uint64_t seed = fixture_seed();

	(void)state;
	recorder_init(&rs);
	rs.echo = true;
	struct link_events es = recorder_events(&rs);
	assert_int_equal(link_listen(server, "127.0.0.1:0", ALL_PURPOSES, &es, &ln, NULL), 0);
	fixture_address(listener_port(ln), address, sizeof address);
	fds = fixture_fds();
	for (unsigned i = 0; i < STORM_THREADS; i++) {
		storms[i].hub = client;
		storms[i].address = address;
		storms[i].seed = seed + i;
		recorder_init(&storms[i].r);
		pthread_create(&threads[i], NULL, storm_thread, &storms[i]);
	}
	for (unsigned i = 0; i < STORM_THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(storms[i].r.closed, STORM_ROUNDS);
		recorder_done(&storms[i].r);
	}
	hub_stats(server, &st);
	assert_true(fixture_fds_settle(fds));
	for (unsigned ms = 0; ms < FIXTURE_WAIT_MS && st.links; ms++) {
		fixture_sleep_ms(1);
		hub_stats(server, &st);
	}
	assert_int_equal(st.links, 0);
	assert_int_equal(rs.opened, rs.closed);
	hub_free(client);
	hub_free(server);
	recorder_done(&rs);
}

static void a_hub_ends_with_dials_and_traffic_under_way(void **state)
{
	struct pair p = {0};
	struct recorder r;
	struct link *l[20];
	uint8_t data[50000] = {0};
	struct slice body = slice_of(data, sizeof data);

	(void)state;
	pair_open(&p);
	p.at_server.echo = true;
	recorder_init(&r);
	struct link_events ev = recorder_events(&r);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(link_dial(p.client, p.address, LINK_FAST, NULL, &ev, &l[i], NULL),
				 0);
	for (unsigned i = 0; i < 100; i++)
		link_send(p.dialed, 1, &body, 1);
	hub_free(p.client);
	p.client = NULL;
	assert_int_equal(r.closed, 20);
	assert_int_equal(p.at_client.closed, 1);
	for (unsigned i = 0; i < 20; i++)
		link_unref(l[i]);
	pair_close(&p);
	recorder_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_end_learns_who_the_other_is),
		cmocka_unit_test(frames_of_all_sizes_come_back_unchanged),
		cmocka_unit_test(blobs_arrive_in_their_place_and_are_let_go),
		cmocka_unit_test(frames_keep_their_order_and_share_writes),
		cmocka_unit_test(what_one_thread_holds_leaves_in_one_write),
		cmocka_unit_test(a_full_queue_is_busy_and_drains),
		cmocka_unit_test(a_closed_link_takes_nothing_and_says_why),
		cmocka_unit_test(a_frame_larger_than_allowed_closes_the_link),
		cmocka_unit_test(a_dial_that_nobody_answers_closes_without_opening),
		cmocka_unit_test(a_dial_into_the_void_ends_in_time),
		cmocka_unit_test(links_over_the_limit_are_refused_until_one_goes),
		cmocka_unit_test(heartbeats_keep_an_idle_link_open),
		cmocka_unit_test(many_links_come_and_go_at_once_without_leak),
		cmocka_unit_test(a_hub_ends_with_dials_and_traffic_under_way),
	};
	link_exit(cmocka_run_group_tests(tests, NULL, NULL));
}
