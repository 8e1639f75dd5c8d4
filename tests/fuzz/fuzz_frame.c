/* Frames cut into reads of any size, and what RPC makes of their bodies. The first two bytes say
 * how the rest is cut and what the largest body is. */
#include "common/link/frame.h"
#include "common/rpc/frames.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode_all(struct slice body)
{
	struct rpc_request_frame request;
	struct rpc_reply_frame reply;
	struct rpc_item_frame item;
	char topic[RPC_TOPIC_MAX];

	if (rpc_request_decode(body, &request))
		assert(request.body.n + 14 == body.n);
	if (rpc_reply_decode(body, &reply))
		assert(reply.status <= 0 && reply.body.n < body.n);
	if (rpc_item_decode(body, &item))
		assert(strlen(item.topic) < RPC_TOPIC_MAX && item.item.n < body.n);
	if (rpc_subscribe_decode(body, topic))
		assert(topic[0] && strlen(topic) < RPC_TOPIC_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frame_in f;
	size_t taken = 0, framed = 0;
	int rc = 0;

	if (size < 2)
		return 0;
	size_t cut = data[0] + 1u;
	uint32_t body_max = data[1] * 400u;
	data += 2;
	size -= 2;
	frame_in_init(&f, body_max);
	while (taken < size && rc >= 0) {
		struct slice body;
		uint8_t type;
		size_t n;
		uint8_t *room = frame_in_room(&f, &n);
		n = n < cut ? n : cut;
		n = n < size - taken ? n : size - taken;
		memcpy(room, data + taken, n);
		frame_in_add(&f, n);
		taken += n;
		while ((rc = frame_in_next(&f, &type, &body, NULL)) > 0) {
			assert(body.n <= body_max);
			/* The body is the input's bytes, in their place. */
			assert(type == data[framed + 4]);
			assert(body.n == 0 || memcmp(body.p, data + framed + 5, body.n) == 0);
			framed += FRAME_HEAD_BYTES + body.n;
			decode_all(body);
		}
		assert(framed + frame_in_peek(&f).n == taken);
		/* Memory follows what came, not what was claimed. */
		assert(f.cap <= FRAME_IN_BUSY_BYTES || f.cap <= 2 * taken + 4);
	}
	frame_in_done(&f);
	return 0;
}
