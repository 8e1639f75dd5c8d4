#include "agent/wal/scan.h"

#include "agent/wal/wal.h"
#include "common/crc32c.h"

#include <string.h>

void scan_begin(struct scan *s, const struct disk *disk, struct disk_file *file,
		const struct segment_header *h, uint32_t crc)
{
	uint8_t *buf = s->buf;
	size_t buf_cap = s->buf_cap;

	*s = (struct scan){
		.disk = disk,
		.file = file,
		.bytes = h->bytes,
		.seed = segment_seed(h->id),
		.offset = SEGMENT_HEADER_BYTES,
		.chain = crc,
		.synced = SEGMENT_HEADER_BYTES,
		.buf = buf,
		.buf_cap = buf_cap,
	};
}

/* Makes n <= buf_cap bytes at `offset` available; *ret_n < n only at the segment's end.
 */
static int have(struct scan *s, uint64_t offset, size_t n, const uint8_t **ret_p, size_t *ret_n,
		struct err *e)
{
	if (offset < s->buf_at || offset + n > s->buf_at + s->buf_n) {
		size_t want = s->buf_cap;
		if (offset + want > s->bytes)
			want = (size_t)(s->bytes - offset);
		/* What is there already is not read again. */
		size_t kept = 0;
		if (offset >= s->buf_at && offset < s->buf_at + s->buf_n) {
			kept = (size_t)(s->buf_at + s->buf_n - offset);
			memmove(s->buf, s->buf + (offset - s->buf_at), kept);
		}
		size_t got = 0;
		s->buf_n = 0;
		if (want > kept) {
			int rc = s->disk->pread(s->file, s->buf + kept, want - kept, offset + kept,
						&got, e);
			if (rc)
				return rc;
		}
		s->buf_at = offset;
		s->buf_n = kept + got;
	}
	size_t left = (size_t)(s->buf_at + s->buf_n - offset);
	*ret_p = s->buf + (offset - s->buf_at);
	*ret_n = left < n ? left : n;
	return 0;
}

/* The checksum of the frame at `offset`, whose header is given, reading it piece by piece.
 * The buffer moves. */
static int crc_of(struct scan *s, uint32_t offset, const uint8_t *header, uint32_t n,
		  uint32_t *ret_crc, struct err *e)
{
	uint32_t crc = frame_crc_begin(header, s->seed, offset);
	uint64_t at = offset + FRAME_HEADER_BYTES, end = (uint64_t)offset + n;

	while (at < end) {
		const uint8_t *p;
		size_t got, want = end - at < s->buf_cap ? (size_t)(end - at) : s->buf_cap;
		int rc = have(s, at, want, &p, &got, e);
		if (rc)
			return rc;
		if (got == 0)
			break;
		crc = crc32c(crc, p, got);
		at += got;
	}
	*ret_crc = at == end ? crc : ~crc;
	return 0;
}

int scan_next(struct scan *s, struct frame *ret_frame, struct slice *ret_payload,
	      enum scan_result *ret_result, struct err *e)
{
	const uint8_t *p;
	size_t got;
	struct frame f;

	*ret_result = SCAN_BAD;
	int rc = have(s, s->offset, FRAME_HEADER_BYTES, &p, &got, e);
	if (rc || got < FRAME_HEADER_BYTES)
		return rc;
	if (frame_is_zero(p)) {
		*ret_result = SCAN_ZERO;
		return 0;
	}
	if (!frame_decode(p, s->offset, s->bytes - s->offset, &f))
		return 0;
	uint32_t n = frame_bytes(f.length), crc;
	/* The writer always leaves room for the seal, and what it says of syncs never falls. */
	if ((f.kind != FRAME_SEAL && s->offset + n + frame_bytes(0) > s->bytes) ||
	    f.prev != s->chain || f.synced < s->synced)
		return 0;
	*ret_payload = slice_of(NULL, 0);
	if (n <= s->buf_cap) {
		rc = have(s, s->offset, n, &p, &got, e);
		if (rc || got < n)
			return rc;
		crc = frame_crc_begin(p, s->seed, s->offset);
		crc = crc32c(crc, p + FRAME_HEADER_BYTES, n - FRAME_HEADER_BYTES);
		if (f.kind != FRAME_ENTRY)
			*ret_payload = slice_of(p + FRAME_HEADER_BYTES, f.length);
	} else {
		uint8_t header[FRAME_HEADER_BYTES];
		memcpy(header, p, sizeof header);
		rc = crc_of(s, s->offset, header, n, &crc, e);
		if (rc)
			return rc;
	}
	if (crc != f.crc)
		return 0;
	s->offset += n;
	s->chain = f.crc;
	s->synced = f.synced;
	*ret_frame = f;
	*ret_result = SCAN_FRAME;
	return 0;
}

/* Whether the 4 KiB (or less) at p are all zero. */
static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Looks at the place `at`, of which `header` is a copy, for a frame that proves the end wrong. */
static int look_for_proof(struct scan *s, uint32_t at, const uint8_t *header,
			  struct scan_tail *tail, struct err *e)
{
	struct frame f;
	uint32_t crc;

	if (!frame_decode(header, at, s->bytes - at, &f) || f.synced <= s->offset ||
	    f.synced <= tail->proof_synced || !frame_check(header, s->seed, at))
		return 0;
	int rc = crc_of(s, at, header, frame_bytes(f.length), &crc, e);
	if (rc == 0 && crc == f.crc) {
		tail->proof = at;
		tail->proof_synced = f.synced;
	}
	return rc;
}

int scan_tail(struct scan *s, struct scan_tail *ret_tail, struct err *e)
{
	struct scan_tail tail = {.dirty_end = s->offset};
	uint64_t at = s->offset;

	while (at < s->bytes) {
		const uint8_t *p;
		size_t got, page = SEGMENT_HEADER_BYTES - at % SEGMENT_HEADER_BYTES;
		/* A page, and the header of a frame that begins at its end. */
		int rc = have(s, at, page + FRAME_HEADER_BYTES, &p, &got, e);
		if (rc)
			return rc;
		if (got == 0)
			break;
		size_t n = got < page ? got : page;
		if (all_zero(p, n)) {
			at += n;
			continue;
		}
		uint8_t copy[SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES];
		memcpy(copy, p, got);
		for (size_t i = 0; i < n; i++)
			if (copy[i])
				tail.dirty_end = at + i + 1;
		for (size_t i = 0; i < n && i + FRAME_HEADER_BYTES <= got; i += FRAME_ALIGN) {
			rc = look_for_proof(s, (uint32_t)(at + i), copy + i, &tail, e);
			if (rc)
				return rc;
		}
		at += n;
	}
	*ret_tail = tail;
	return 0;
}
