#include "common/rpc/frames.h"

#include <assert.h>
#include <string.h>

/* A buf over the head's own array: its ceiling is the array, so it never grows onto the heap. */
static struct buf head_buf(struct rpc_head *h)
{
	return (struct buf){.data = h->data, .cap = sizeof h->data, .max = sizeof h->data};
}

static void head_close(struct rpc_head *h, const struct buf *b)
{
	assert(buf_ok(b));
	h->n = b->len;
}

struct rpc_head rpc_request_head(uint64_t id, unsigned method, uint32_t timeout_ms)
{
	struct rpc_head h;
	struct buf b = head_buf(&h);

	wire_u64(&b, id);
	wire_u16(&b, (uint16_t)method);
	wire_u32(&b, timeout_ms);
	head_close(&h, &b);
	return h;
}

bool rpc_request_decode(struct slice in, struct rpc_request_frame *ret)
{
	struct rd r = rd_of(in);

	ret->id = rd_u64(&r);
	ret->method = rd_u16(&r);
	ret->timeout_ms = rd_u32(&r);
	ret->body = rd_take(&r, rd_left(&r));
	return rd_ok(&r);
}

struct rpc_head rpc_reply_head(uint64_t id, int status)
{
	struct rpc_head h;
	struct buf b = head_buf(&h);

	wire_u64(&b, id);
	wire_svarint(&b, status);
	head_close(&h, &b);
	return h;
}

bool rpc_reply_decode(struct slice in, struct rpc_reply_frame *ret)
{
	struct rd r = rd_of(in);

	ret->id = rd_u64(&r);
	int64_t status = rd_svarint(&r);
	ret->body = rd_take(&r, rd_left(&r));
	if (!rd_ok(&r) || status > 0 || status < -4096)
		return false;
	ret->status = (int)status;
	return true;
}

struct rpc_head rpc_item_head(const char *topic, uint64_t number)
{
	struct rpc_head h;
	struct buf b = head_buf(&h);

	wire_str(&b, topic);
	wire_varint(&b, number);
	head_close(&h, &b);
	return h;
}

bool rpc_item_decode(struct slice in, struct rpc_item_frame *ret)
{
	struct rd r = rd_of(in);

	rd_text(&r, ret->topic, sizeof ret->topic);
	ret->number = rd_varint(&r);
	ret->item = rd_take(&r, rd_left(&r));
	return rd_ok(&r);
}

struct rpc_head rpc_subscribe_head(const char *topic)
{
	struct rpc_head h;
	struct buf b = head_buf(&h);

	wire_str(&b, topic);
	head_close(&h, &b);
	return h;
}

bool rpc_subscribe_decode(struct slice in, char *ret_topic)
{
	struct rd r = rd_of(in);

	rd_text(&r, ret_topic, RPC_TOPIC_MAX);
	return rd_end(&r) && ret_topic[0];
}
