/* The bytes of a segment file: its header page, its frames, and writing them.
 *
 * The format, and why recovery is right, stand at the top of segment.c. Nothing
 * here knows groups or threads; the caller owns all memory.
 */
#ifndef DROVER_AGENT_WAL_SEGMENT_H
#define DROVER_AGENT_WAL_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/disk.h"
#include "common/err.h"

#define SEGMENT_HEADER_BYTES 4096u
#define SEGMENT_ID_BYTES 16u
#define SEGMENT_BYTES_MIN (64u << 10)
#define SEGMENT_BYTES_MAX (1024u << 20)

#define FRAME_HEADER_BYTES 40u
#define FRAME_ALIGN 8u
#define FRAME_STATE_BYTES 28u /* of a STATE's payload, in front of the meta record */

struct segment_header {
	uint64_t sequence;
	uint64_t bytes; /* the file's size */
	uint8_t id[SEGMENT_ID_BYTES];
	/* The end of the segment before this one: its id, the offset behind its seal and the seal's
	 * checksum; zeros in segment 1. */
	uint8_t prev_id[SEGMENT_ID_BYTES];
	uint32_t prev_end;
	uint32_t prev_crc;
	uint32_t synced; /* all below this offset was synced before the file got its name */
};

enum frame_kind {
	FRAME_ENTRY = 1, /* index, term, entry_kind; payload: the entry */
	FRAME_HARD,	 /* term; index: the vote */
	FRAME_TRUNCATE,	 /* entries with index >= this are void */
	FRAME_COMPACT,	 /* entries up to index, whose term is term, are not needed */
	FRAME_META,	 /* payload: the group's meta record */
	FRAME_STATE,	 /* index: the group's last; payload: struct frame_state */
	FRAME_SEAL,	 /* nothing follows: the next segment does */
	FRAME_SYNCED,	 /* carries only `synced` */
	FRAME_KINDS
};

struct frame {
	uint8_t kind; /* enum frame_kind */
	uint8_t entry_kind;
	uint32_t length; /* of the payload */
	uint32_t prev;	 /* checksum of the frame before, of the header page in the first */
	uint32_t synced; /* all below this offset was synced when the frame was written */
	uint32_t group;
	uint64_t index;
	uint64_t term;
	uint32_t crc; /* set by encode and decode */
};

/* A group as it stands where a segment begins, so that older segments can go. */
struct frame_state {
	uint64_t term; /* hard state */
	uint32_t vote;
	uint64_t compact_index;
	uint64_t compact_term;
	struct slice meta; /* p NULL: none */
};

/* Bytes that a frame with such a payload takes, padding included. */
static inline uint32_t frame_bytes(uint32_t length)
{
	return FRAME_HEADER_BYTES + ((length + FRAME_ALIGN - 1) & ~(FRAME_ALIGN - 1));
}

/* page: SEGMENT_HEADER_BYTES. Returns the page's checksum, where the chain of frames begins. */
uint32_t segment_header_encode(const struct segment_header *h, uint8_t *page);
/* ERR_CORRUPT with what is wrong, ERR_UNSUPPORTED for another version's file. */
int segment_header_decode(const uint8_t *page, struct segment_header *ret_header, uint32_t *ret_crc,
			  struct err *e);

/* What binds a segment's frames to it. */
uint32_t segment_seed(const uint8_t id[SEGMENT_ID_BYTES]);

/* Writes the header of a frame at `offset` of a segment with `seed`; `rest` is its payload as
 * `payload_n` pieces, padding not included. Sets f->crc, f->length. */
void frame_encode(struct frame *f, uint32_t seed, uint32_t offset, const struct slice *payload,
		  int payload_n, uint8_t header[FRAME_HEADER_BYTES]);

/* Takes a header's fields apart. False when they cannot be those of a frame at that offset, where
 * `room` bytes are left: what lies behind need not be read then. The checksum is not looked at. */
bool frame_decode(const uint8_t header[FRAME_HEADER_BYTES], uint32_t offset, uint64_t room,
		  struct frame *ret_frame);

/* The 16 bits that make a frame's header believable by itself, without its payload. */
bool frame_check(const uint8_t header[FRAME_HEADER_BYTES], uint32_t seed, uint32_t offset);

/* The checksum in two steps: begin with the header, go on with payload and padding by crc32c(). */
uint32_t frame_crc_begin(const uint8_t header[FRAME_HEADER_BYTES], uint32_t seed, uint32_t offset);

/* All frame headers are not zero; this one is nothing written yet. */
bool frame_is_zero(const uint8_t header[FRAME_HEADER_BYTES]);

void frame_state_encode(const struct frame_state *s, uint8_t to[FRAME_STATE_BYTES]);
/* False when the payload is none. The meta slice points into it. */
bool frame_state_decode(struct slice payload, struct frame_state *ret_state);

/* Writing: frames are gathered and written together. Small payloads are copied, large ones are
 * written from where they lie, so they must stay until the flush. */
struct segment_out {
	const struct disk *disk;
	struct disk_file *file;
	uint32_t seed;
	uint32_t chain;	 /* checksum of the last frame put */
	uint32_t synced; /* goes into each frame */
	uint32_t offset; /* where the next frame goes */
	uint64_t written_bytes;

	uint8_t *buf;	/* the caller's */
	size_t buf_cap; /* at least SEGMENT_OUT_BYTES_MIN */
	size_t buf_n;
	struct iovec iov[DISK_IOV_MAX];
	int iov_n;
	uint32_t flushed; /* where iov goes */
};

#define SEGMENT_OUT_BYTES_MIN (64u << 10)
#define SEGMENT_COPY_MAX (32u << 10) /* payloads up to this are copied */

/* Where writing goes on: behind `offset`, with the last frame's checksum. Nothing may be gathered.
 */
void segment_out_at(struct segment_out *o, struct disk_file *file, uint32_t seed, uint32_t offset,
		    uint32_t chain, uint32_t synced);

/* Raw bytes (the header page) at the offset; they must stay until the flush. */
int segment_put_raw(struct segment_out *o, const uint8_t *p, uint32_t n, struct err *e);
/* Sets f->prev, synced, crc, length. The caller knows that the frame fits into the segment. */
int segment_put(struct segment_out *o, struct frame *f, const struct slice *payload, int payload_n,
		struct err *e);
int segment_flush(struct segment_out *o, struct err *e);

#endif
