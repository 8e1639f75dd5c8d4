/* RPC's frames (drover-protocol(7), "Requests and answers", "Feeds"), encoded and decoded.
 *
 *   request    u64 id, u16 method, u32 timeout_ms, body to the end
 *   reply      u64 id, svarint status, body or text to the end
 *   subscribe  string topic
 *   item       string topic, varint number, item to the end
 *
 * Pure; nothing is allocated; decoded slices point into the frame. */
#ifndef DROVER_COMMON_RPC_FRAMES_H
#define DROVER_COMMON_RPC_FRAMES_H

#include "common/wire.h"

#define RPC_FRAME_REQUEST 0x10
#define RPC_FRAME_REPLY 0x11
#define RPC_FRAME_SUBSCRIBE 0x12
#define RPC_FRAME_ITEM 0x13

#define RPC_TOPIC_MAX 16 /* bytes, NUL included */

/* The fixed parts in front of a body, made in a small array of the caller's. */
#define RPC_HEAD_BYTES_MAX 48
struct rpc_head {
	uint8_t data[RPC_HEAD_BYTES_MAX];
	size_t n;
};

struct rpc_request_frame {
	uint64_t id;
	uint16_t method;
	uint32_t timeout_ms;
	struct slice body;
};
struct rpc_head rpc_request_head(uint64_t id, unsigned method, uint32_t timeout_ms);
bool rpc_request_decode(struct slice in, struct rpc_request_frame *ret);

struct rpc_reply_frame {
	uint64_t id;
	int status;
	struct slice body;
};
struct rpc_head rpc_reply_head(uint64_t id, int status);
bool rpc_reply_decode(struct slice in, struct rpc_reply_frame *ret);

struct rpc_item_frame {
	char topic[RPC_TOPIC_MAX];
	uint64_t number;
	struct slice item;
};
struct rpc_head rpc_item_head(const char *topic, uint64_t number);
bool rpc_item_decode(struct slice in, struct rpc_item_frame *ret);

struct rpc_head rpc_subscribe_head(const char *topic);
bool rpc_subscribe_decode(struct slice in, char *ret_topic); /* RPC_TOPIC_MAX bytes */

#endif
