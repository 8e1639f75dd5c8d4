#include "common/link/impl.h"

#include <assert.h>
#include <string.h>

#define BLOB_COPY_BYTES (16u << 10) /* less is cheaper to copy than to spend iovs on: 8 a write */
#define HOLD_LINKS_MAX 16	    /* of one thread; the next one's frames leave at once */
#define HOLD_BYTES_MAX (128u << 10) /* with so much waiting a write is started all the same */
#define OUT_KEEP_BYTES (1u << 20)   /* of an out buffer between two writes */

/* Links that this thread has sent to and not written yet. */
static _Thread_local struct {
	unsigned depth, n;
	struct link *links[HOLD_LINKS_MAX];
} hold;

/* Submits what is left of the buffer being written. The lock is held, and given back. */
static void write_submit(struct link *l)
{
	nng_iov iov[OUT_IOV_MAX];
	unsigned n = out_iov(&l->out[l->fill ^ 1], iov);
	int rv = nng_aio_set_iov(l->send_aio, n, iov);

	assert(rv == 0); /* link_new has made room */
	l->submitting++;
	l->writes++;
	pthread_mutex_unlock(&l->lock);
	nng_stream_send(l->stream, l->send_aio);
	link_submit_end(l);
}

/* Starts a write if there is something to write and none is in flight. The lock is held, and given
 * back. */
static void write_start(struct link *l)
{
	int state = atomic_load(&l->state);

	if (l->writing || l->out[l->fill].size == 0 || state < LINK_HELLO || state > LINK_OPEN) {
		pthread_mutex_unlock(&l->lock);
		return;
	}
	l->writing = true;
	l->fill ^= 1;
	write_submit(l);
}

void link_send_done(void *arg)
{
	struct link *l = arg;
	int rv = nng_aio_result(l->send_aio);
	size_t n = nng_aio_count(l->send_aio);

	if (rv) {
		link_fail(l, ERR_CLOSED, "cannot send: %s", nng_strerror(rv));
		return;
	}
	pthread_mutex_lock(&l->lock);
	struct out *o = &l->out[l->fill ^ 1];
	out_advance(o, n);
	l->queued_bytes -= n;
	l->sent_bytes += n;
	if (atomic_load(&l->state) >= LINK_CLOSING) {
		pthread_mutex_unlock(&l->lock);
		return;
	}
	if (out_left(o) > 0) {
		write_submit(l);
		return;
	}
	out_clear(o);
	if (o->bytes.cap > OUT_KEEP_BYTES)
		out_shrink(o, OUT_KEEP_BYTES);
	l->writing = false;
	write_start(l);
}

void link_send_raw(struct link *l, const void *p, size_t n, enum link_state state)
{
	pthread_mutex_lock(&l->lock);
	if (atomic_load(&l->state) >= LINK_OPEN) {
		pthread_mutex_unlock(&l->lock);
		return;
	}
	atomic_store(&l->state, (int)state);
	if (!out_append(&l->out[l->fill], p, n)) {
		pthread_mutex_unlock(&l->lock);
		link_fail(l, ERR_NOMEM, "no memory for the hello");
		return;
	}
	l->queued_bytes += n;
	write_start(l);
}

/* Room in the queue for a body of that size? The lock is held. */
static int admit(struct link *l, uint8_t type, size_t body, uint64_t queue_max)
{
	assert(type < FRAME_TYPE_OWN);
	if (atomic_load(&l->state) != LINK_OPEN)
		return ERR_CLOSED;
	if (body > l->in.body_bytes_max)
		return ERR_LIMIT;
	if (l->queued_bytes > 0 && l->queued_bytes + body + FRAME_HEAD_BYTES > queue_max) {
		l->dropped++;
		return ERR_BUSY;
	}
	return 0;
}

static void count_frame(struct link *l, size_t body)
{
	l->queued_bytes += body + FRAME_HEAD_BYTES;
	l->sent_frames++;
	l->unsent_ticks = 0;
}

/* The lock is held. */
static int append_parts(struct link *l, uint8_t type, struct slice prefix,
			const struct slice *parts, size_t n, uint64_t queue_max)
{
	struct out *o = &l->out[l->fill];
	size_t body = prefix.n;

	for (size_t i = 0; i < n; i++)
		body += parts[i].n;
	int rc = admit(l, type, body, queue_max);
	if (rc)
		return rc;
	uint8_t *to = buf_reserve(&o->bytes, FRAME_HEAD_BYTES + body);
	if (!to) {
		o->bytes.failed = false;
		l->dropped++;
		return ERR_BUSY;
	}
	frame_head(to, type, (uint32_t)body);
	to += FRAME_HEAD_BYTES;
	if (prefix.n) {
		memcpy(to, prefix.p, prefix.n);
		to += prefix.n;
	}
	for (size_t i = 0; i < n; i++) {
		if (parts[i].n)
			memcpy(to, parts[i].p, parts[i].n);
		to += parts[i].n;
	}
	o->bytes.len += FRAME_HEAD_BYTES + body;
	o->size += FRAME_HEAD_BYTES + body;
	count_frame(l, body);
	return 0;
}

/* true: this thread holds its writes back, and link_release will start this one. */
static bool held_back(struct link *l)
{
	if (hold.depth == 0)
		return false;
	for (unsigned i = 0; i < hold.n; i++) {
		if (hold.links[i] == l)
			return true;
	}
	if (hold.n == HOLD_LINKS_MAX)
		return false;
	hold.links[hold.n++] = link_ref(l);
	return true;
}

/* After an append. The lock is held, and given back. */
static void write_soon(struct link *l)
{
	if (!l->writing && (l->out[l->fill].size >= HOLD_BYTES_MAX || !held_back(l)))
		write_start(l);
	else
		pthread_mutex_unlock(&l->lock);
}

void link_hold(void)
{
	hold.depth++;
}

void link_release(void)
{
	assert(hold.depth > 0);
	if (--hold.depth > 0)
		return;
	while (hold.n > 0) {
		struct link *l = hold.links[--hold.n];
		pthread_mutex_lock(&l->lock);
		write_start(l);
		link_unref(l);
	}
}

int link_send(struct link *l, uint8_t type, const struct slice *parts, size_t n)
{
	pthread_mutex_lock(&l->lock);
	int rc = append_parts(l, type, slice_of(NULL, 0), parts, n, l->queue_bytes_max);
	if (rc)
		pthread_mutex_unlock(&l->lock);
	else
		write_soon(l);
	return rc;
}

int link_enqueue(struct link *l, uint8_t type, struct slice prefix, const struct slice *parts,
		 size_t n, uint64_t queue_max)
{
	pthread_mutex_lock(&l->lock);
	int rc = append_parts(l, type, prefix, parts, n, queue_max);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

void link_kick(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	write_soon(l);
}

void link_heartbeat(struct link *l)
{
	uint8_t head[FRAME_HEAD_BYTES];

	frame_head(head, FRAME_HEARTBEAT, 0);
	/* Without memory there is no heartbeat this time. */
	if (out_append(&l->out[l->fill], head, sizeof head))
		count_frame(l, 0);
	else
		l->out[l->fill].bytes.failed = false;
}

static bool append_blobs(struct out *o, const uint8_t *frame, struct slice head,
			 struct blob *const *blobs, size_t n)
{
	bool ok = out_append(o, frame, FRAME_HEAD_BYTES) && out_append(o, head.p, head.n);

	for (size_t i = 0; i < n && ok; i++) {
		if (blobs[i]->size_bytes < BLOB_COPY_BYTES)
			ok = out_append(o, blobs[i]->data, blobs[i]->size_bytes);
		else
			ok = out_append_blob(o, blobs[i]);
	}
	return ok;
}

int link_send_blobs(struct link *l, uint8_t type, struct slice head, struct blob *const *blobs,
		    size_t n)
{
	uint8_t frame[FRAME_HEAD_BYTES];
	size_t body = head.n;

	for (size_t i = 0; i < n; i++)
		body += blobs[i]->size_bytes;
	pthread_mutex_lock(&l->lock);
	int rc = admit(l, type, body, l->queue_bytes_max);
	if (!rc) {
		struct out *o = &l->out[l->fill];
		struct out_mark mark = out_mark(o);
		frame_head(frame, type, (uint32_t)body);
		if (append_blobs(o, frame, head, blobs, n)) {
			count_frame(l, body);
		} else {
			out_cancel(o, mark);
			l->dropped++;
			rc = ERR_BUSY;
		}
	}
	if (rc)
		pthread_mutex_unlock(&l->lock);
	else
		write_soon(l);
	return rc;
}
