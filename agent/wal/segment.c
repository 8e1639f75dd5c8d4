/* The format of a segment file, and why recovery is right
 *
 * A segment has its full size from the start: it is filled with zeros and
 * synced as spare.seg, and gets its name (its sequence in 16 hex digits, .seg)
 * only when its header page, the state of all groups and the first frames in it
 * are synced. So later syncs change no metadata of the file, and a named
 * segment without a sound header is never the work of a crash.
 *
 *   header page (4096 bytes, little-endian)
 *	 0   8  magic "drvrlog\n"
 *	 8   4  version, 1
 *	12   4  CRC32C of the whole page, this field taken as zero
 *	16   8  sequence, 1 and up
 *	24   8  size of the file
 *	32  16  id, random
 *	48  16  id of the segment before
 *	64   4  offset behind that one's seal
 *	68   4  checksum of that seal
 *	72   4  synced: all below this offset was synced before the file got its name
 *	76      zeros
 *
 *   frame, at each multiple of 8 from 4096 on
 *	 0   4  CRC32C of bytes 4.., payload and padding included, begun with a value made of the
 *		segment's id and the frame's offset
 *	 4   2  check: 16 bits of the same kind over bytes 6..39
 *	 6   1  kind
 *	 7   1  the entry's kind
 *	 8   4  length of the payload
 *	12   4  prev: bytes 0..3 of the frame before (of the header page: its CRC)
 *	16   4  synced: all of the segment below this offset was synced when this was written
 *	20   4  group
 *	24   8  index
 *	32   8  term
 *	40      payload, then zeros up to a multiple of 8
 *
 * Reading walks the chain: a frame counts when its fields are possible, its
 * checksum is right and its prev is the checksum of the one before. Bytes of
 * another segment, or of this one at another place, have the wrong beginning
 * and never count, nor does a frame that followed something else.
 *
 * The walk ends at the seal, at a zero header, or at bytes that do not count.
 * The writer starts a batch only after the sync of all before, and every frame
 * says in `synced` how far that was. So let the walk of the newest segment end
 * at offset B without a seal:
 *
 *   - If a frame further on has a right checksum and synced > B, then B was
 *     once whole, synced and perhaps acknowledged: corruption, refused. The
 *     same when B lies below the header's synced.
 *   - Else nothing shows that a sync behind B ever returned, so no frame from B
 *     on was acknowledged: what lies there are pieces of the last batch, which
 *     a power cut may have written in any order. They are cut off: set to zero
 *     and synced before anything is appended, so that they cannot be mistaken
 *     for part of a later batch, and the zero end stays the rule.
 *
 * What counts is the right prefix: frames before B are what was written, in
 * order and without a gap. Those above the last `synced` may be in the system's
 * cache only (the process was killed, or its last sync failed): recovery writes
 * them again and syncs before it reports them as durable.
 *
 * A power cut never damages bytes that a batch does not change, though the
 * batch may share a sector with them: both the old and the new sector hold
 * them. When the log is idle or closed a SYNCED frame vouches for the last
 * batch, which without it could not be told from a torn one if it rotted.
 *
 * In any segment but the newest, the walk must end at the seal that the next
 * header names (id, offset, checksum), so no segment can be missing, doubled,
 * old or short unnoticed. A crash while rolling leaves a sealed segment without
 * a next one; then spare.seg is still there (it may be partly written, and is
 * filled with zeros anew). If it is not, the newest segment was lost: refused.
 * The oldest segments are deleted one by one, with a sync of the folder after
 * each. The STATE frames at a segment's start say how far each group's log had
 * come, so what was deleted is known, and compaction marks must cover it.
 */
#include "agent/wal/segment.h"

#include "agent/wal/wal.h"
#include "common/crc32c.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define MAGIC "drvrlog\n"
#define VERSION 1u

static void put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof v);
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof v);
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof v);
}

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return le64toh(v);
}

uint32_t segment_header_encode(const struct segment_header *h, uint8_t *page)
{
	memset(page, 0, SEGMENT_HEADER_BYTES);
	memcpy(page, MAGIC, 8);
	put32(page + 8, VERSION);
	put64(page + 16, h->sequence);
	put64(page + 24, h->bytes);
	memcpy(page + 32, h->id, SEGMENT_ID_BYTES);
	memcpy(page + 48, h->prev_id, SEGMENT_ID_BYTES);
	put32(page + 64, h->prev_end);
	put32(page + 68, h->prev_crc);
	put32(page + 72, h->synced);
	uint32_t crc = crc32c(0, page, SEGMENT_HEADER_BYTES);
	put32(page + 12, crc);
	return crc;
}

int segment_header_decode(const uint8_t *page, struct segment_header *ret_header, uint32_t *ret_crc,
			  struct err *e)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(0, page, 12);

	crc = crc32c(crc, zero, 4);
	crc = crc32c(crc, page + 16, SEGMENT_HEADER_BYTES - 16);
	if (memcmp(page, MAGIC, 8) != 0)
		return err_set(e, ERR_CORRUPT, "it does not begin like a segment of drover's log");
	if (crc != get32(page + 12))
		return err_set(e, ERR_CORRUPT, "the checksum of its header page is wrong");
	if (get32(page + 8) != VERSION)
		return err_set(e, ERR_UNSUPPORTED, "it is of log format %u, this drover reads %u",
			       get32(page + 8), VERSION);
	struct segment_header h = {
		.sequence = get64(page + 16),
		.bytes = get64(page + 24),
		.prev_end = get32(page + 64),
		.prev_crc = get32(page + 68),
		.synced = get32(page + 72),
	};
	memcpy(h.id, page + 32, SEGMENT_ID_BYTES);
	memcpy(h.prev_id, page + 48, SEGMENT_ID_BYTES);
	if (h.bytes < SEGMENT_BYTES_MIN || h.bytes > SEGMENT_BYTES_MAX ||
	    h.synced < SEGMENT_HEADER_BYTES || h.synced > h.bytes)
		return err_set(e, ERR_CORRUPT, "its header page says impossible things");
	*ret_header = h;
	*ret_crc = crc;
	return 0;
}

uint32_t segment_seed(const uint8_t id[SEGMENT_ID_BYTES])
{
	return crc32c(0, id, SEGMENT_ID_BYTES);
}

/* Different beginnings give different checksums of the same bytes, always. */
static uint32_t begin(uint32_t seed, uint32_t offset)
{
	return seed ^ (offset / FRAME_ALIGN * 2654435761u);
}

static uint16_t check_of(const uint8_t *header, uint32_t seed, uint32_t offset)
{
	uint32_t c = crc32c(~begin(seed, offset), header + 8, FRAME_HEADER_BYTES - 8);

	c = crc32c(c, header + 6, 2);
	return (uint16_t)(c ^ c >> 16);
}

bool frame_check(const uint8_t header[FRAME_HEADER_BYTES], uint32_t seed, uint32_t offset)
{
	return get16(header + 4) == check_of(header, seed, offset);
}

uint32_t frame_crc_begin(const uint8_t header[FRAME_HEADER_BYTES], uint32_t seed, uint32_t offset)
{
	return crc32c(begin(seed, offset), header + 4, FRAME_HEADER_BYTES - 4);
}

bool frame_is_zero(const uint8_t header[FRAME_HEADER_BYTES])
{
	uint64_t any = 0;

	for (size_t i = 0; i < FRAME_HEADER_BYTES; i += 8)
		any |= get64(header + i);
	return any == 0;
}

void frame_encode(struct frame *f, uint32_t seed, uint32_t offset, const struct slice *payload,
		  int payload_n, uint8_t header[FRAME_HEADER_BYTES])
{
	static const uint8_t zeros[FRAME_ALIGN];
	size_t length = 0;

	for (int i = 0; i < payload_n; i++)
		length += payload[i].n;
	assert(length <= WAL_ENTRY_BYTES_MAX && offset % FRAME_ALIGN == 0);
	f->length = (uint32_t)length;
	header[6] = f->kind;
	header[7] = f->entry_kind;
	put32(header + 8, f->length);
	put32(header + 12, f->prev);
	put32(header + 16, f->synced);
	put32(header + 20, f->group);
	put64(header + 24, f->index);
	put64(header + 32, f->term);
	put16(header + 4, check_of(header, seed, offset));
	uint32_t crc = frame_crc_begin(header, seed, offset);
	for (int i = 0; i < payload_n; i++)
		crc = crc32c(crc, payload[i].p, payload[i].n);
	f->crc = crc32c(crc, zeros, frame_bytes(f->length) - FRAME_HEADER_BYTES - f->length);
	put32(header, f->crc);
}

bool frame_decode(const uint8_t header[FRAME_HEADER_BYTES], uint32_t offset, uint64_t room,
		  struct frame *ret_frame)
{
	uint8_t kind = header[6];
	uint32_t length = get32(header + 8), synced = get32(header + 16);
	uint32_t least = 0, most = 0;

	if (kind == FRAME_ENTRY)
		most = WAL_ENTRY_BYTES_MAX;
	else if (kind == FRAME_META)
		most = WAL_META_BYTES_MAX;
	else if (kind == FRAME_STATE) {
		least = FRAME_STATE_BYTES;
		most = FRAME_STATE_BYTES + 1 + WAL_META_BYTES_MAX;
	}
	if (kind == 0 || kind >= FRAME_KINDS || length < least || length > most ||
	    frame_bytes(length) > room || synced > offset)
		return false;
	*ret_frame = (struct frame){
		.kind = kind,
		.entry_kind = header[7],
		.length = length,
		.prev = get32(header + 12),
		.synced = synced,
		.group = get32(header + 20),
		.index = get64(header + 24),
		.term = get64(header + 32),
		.crc = get32(header),
	};
	return true;
}

void frame_state_encode(const struct frame_state *s, uint8_t to[FRAME_STATE_BYTES])
{
	put64(to, s->term);
	put64(to + 8, s->compact_index);
	put64(to + 16, s->compact_term);
	put32(to + 24, s->vote);
}

bool frame_state_decode(struct slice payload, struct frame_state *ret_state)
{
	if (payload.n < FRAME_STATE_BYTES)
		return false;
	*ret_state = (struct frame_state){
		.term = get64(payload.p),
		.compact_index = get64(payload.p + 8),
		.compact_term = get64(payload.p + 16),
		.vote = get32(payload.p + 24),
	};
	/* A byte in front of the meta record tells an empty one from none. */
	if (payload.n > FRAME_STATE_BYTES) {
		if (payload.p[FRAME_STATE_BYTES] != 1)
			return false;
		ret_state->meta = slice_of(payload.p + FRAME_STATE_BYTES + 1,
					   payload.n - FRAME_STATE_BYTES - 1);
	}
	return true;
}

void segment_out_at(struct segment_out *o, struct disk_file *file, uint32_t seed, uint32_t offset,
		    uint32_t chain, uint32_t synced)
{
	assert(o->iov_n == 0);
	o->file = file;
	o->seed = seed;
	o->chain = chain;
	o->synced = synced;
	o->offset = o->flushed = offset;
}

int segment_flush(struct segment_out *o, struct err *e)
{
	if (o->iov_n == 0)
		return 0;
	int rc = o->disk->pwritev(o->file, o->iov, o->iov_n, o->flushed, e);
	o->written_bytes += o->offset - o->flushed;
	o->flushed = o->offset;
	o->iov_n = 0;
	o->buf_n = 0;
	return rc;
}

/* Adds n bytes of the buffer that the caller has filled behind buf_n. */
static void gather_copied(struct segment_out *o, size_t n)
{
	struct iovec *last = o->iov_n ? &o->iov[o->iov_n - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == o->buf + o->buf_n)
		last->iov_len += n;
	else
		o->iov[o->iov_n++] = (struct iovec){o->buf + o->buf_n, n};
	o->buf_n += n;
}

static void gather(struct segment_out *o, const uint8_t *p, size_t n)
{
	o->iov[o->iov_n++] = (struct iovec){(void *)(uintptr_t)p, n};
}

int segment_put_raw(struct segment_out *o, const uint8_t *p, uint32_t n, struct err *e)
{
	if (o->iov_n == DISK_IOV_MAX) {
		int rc = segment_flush(o, e);
		if (rc)
			return rc;
	}
	gather(o, p, n);
	o->offset += n;
	return 0;
}

int segment_put(struct segment_out *o, struct frame *f, const struct slice *payload, int payload_n,
		struct err *e)
{
	size_t copied = FRAME_HEADER_BYTES + FRAME_ALIGN;
	uint8_t header[FRAME_HEADER_BYTES];

	for (int i = 0; i < payload_n; i++)
		copied += payload[i].n <= SEGMENT_COPY_MAX ? payload[i].n : 0;
	if (copied > o->buf_cap - o->buf_n || o->iov_n + 2 * payload_n + 2 > DISK_IOV_MAX) {
		int rc = segment_flush(o, e);
		if (rc)
			return rc;
	}
	f->prev = o->chain;
	f->synced = o->synced;
	frame_encode(f, o->seed, o->offset, payload, payload_n, header);
	memcpy(o->buf + o->buf_n, header, FRAME_HEADER_BYTES);
	gather_copied(o, FRAME_HEADER_BYTES);
	for (int i = 0; i < payload_n; i++) {
		if (payload[i].n > SEGMENT_COPY_MAX) {
			gather(o, payload[i].p, payload[i].n);
		} else if (payload[i].n > 0) {
			memcpy(o->buf + o->buf_n, payload[i].p, payload[i].n);
			gather_copied(o, payload[i].n);
		}
	}
	size_t pad = frame_bytes(f->length) - FRAME_HEADER_BYTES - f->length;
	if (pad > 0) {
		memset(o->buf + o->buf_n, 0, pad);
		gather_copied(o, pad);
	}
	o->chain = f->crc;
	o->offset += frame_bytes(f->length);
	return 0;
}
