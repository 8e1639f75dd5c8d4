/* Walking a segment's frames from the file, for recovery: reads ahead in one buffer that is used
 * again and again, so memory does not grow with the log. */
#ifndef DROVER_AGENT_WAL_SCAN_H
#define DROVER_AGENT_WAL_SCAN_H

#include "agent/wal/segment.h"

#define SCAN_BUFFER_BYTES_MIN (128u << 10) /* more than any frame but an entry takes */

struct scan {
	const struct disk *disk;
	struct disk_file *file;
	uint64_t bytes; /* of the segment */
	uint32_t seed;
	uint32_t offset; /* of the next frame */
	uint32_t chain;	 /* checksum of the last one */
	uint32_t synced; /* that the last one (or the header) recorded */

	uint8_t *buf;	/* the caller's */
	size_t buf_cap; /* at least SCAN_BUFFER_BYTES_MIN */
	uint64_t buf_at;
	size_t buf_n;
};

enum scan_result {
	SCAN_FRAME,
	SCAN_ZERO, /* a zero header: nothing written, unless something lies behind */
	SCAN_BAD,  /* what is there does not count */
};

/* Starts behind the header page, whose checksum is `crc`. */
void scan_begin(struct scan *s, const struct disk *disk, struct disk_file *file,
		const struct segment_header *h, uint32_t crc);

/* The frame at s->offset; moves on only with SCAN_FRAME. *ret_payload lasts until the next call
 * and is empty (p NULL) for an entry. ERR_IO. */
int scan_next(struct scan *s, struct frame *ret_frame, struct slice *ret_payload,
	      enum scan_result *ret_result, struct err *e);

/* What lies behind the end of the walk. */
struct scan_tail {
	uint64_t dirty_end; /* behind the last byte that is not zero; s->offset when all are */
	uint32_t proof;	    /* a sound frame that says that the end was once whole; 0: none */
	uint32_t proof_synced;
};
int scan_tail(struct scan *s, struct scan_tail *ret_tail, struct err *e);

#endif
