/* Frames as they come in: a receive buffer that finds them (drover-protocol(7), "Frames").
 *
 * A frame is u32 length, u8 type, body; the length counts type and body, so it
 * is at least 1. No I/O here: the owner asks where the next bytes may go
 * (frame_in_room), says how many came (frame_in_add) and takes out complete
 * frames (frame_in_next) until there are none.
 *
 * The buffer starts small, doubles while reads fill it or a frame needs it, and
 * shrinks again after some small reads. A frame's length is only a claim: the
 * buffer grows with the bytes that came, never at once to what was claimed.
 *
 * Threads: one at a time.
 */
#ifndef DROVER_COMMON_LINK_FRAME_H
#define DROVER_COMMON_LINK_FRAME_H

#include "common/buf.h"
#include "common/err.h"

#define FRAME_HEAD_BYTES 5
#define FRAME_IN_START_BYTES (16u << 10)
#define FRAME_IN_BUSY_BYTES (256u << 10) /* doubling for throughput stops here */

#define FRAME_TYPE_OWN 0xf0 /* from here on types belong to the link itself */
#define FRAME_HEARTBEAT 0xf0

/* to: FRAME_HEAD_BYTES */
void frame_head(uint8_t *to, uint8_t type, uint32_t body_bytes);

struct frame_in {
	uint8_t *data;
	size_t cap, start, end; /* what came and is not taken: data[start, end) */
	uint32_t body_bytes_max;
	unsigned small_reads; /* in a row */
	bool filled;	      /* the last read took all the room */
};

void frame_in_init(struct frame_in *f, uint32_t body_bytes_max);
void frame_in_done(struct frame_in *f);

/* Where the next bytes may go; *ret_n > 0. Slices from frame_in_next are void afterwards.
 * NULL: no memory. */
uint8_t *frame_in_room(struct frame_in *f, size_t *ret_n);
void frame_in_add(struct frame_in *f, size_t n); /* n bytes were put there */

/* What is there, and taking from its front: the hello comes before any frame. */
struct slice frame_in_peek(const struct frame_in *f);
void frame_in_skip(struct frame_in *f, size_t n);

/* 1: a frame, its body valid until the next frame_in_room; 0: none complete; ERR_PROTOCOL: a
 * length of 0 or beyond the maximum. */
int frame_in_next(struct frame_in *f, uint8_t *ret_type, struct slice *ret_body, struct err *e);

#endif
