#include "common/crc32c.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

/* The polynomial, bit-reversed. */
#define POLY 0x82f63b78u

/* slices[k][b]: the effect of byte b followed by k zero bytes. With eight of them, eight bytes
 * are taken a step. */
static uint32_t slices[8][256];

static void make_slices(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t c = b;
		for (int bit = 0; bit < 8; bit++)
			c = (c >> 1) ^ (c & 1 ? POLY : 0);
		slices[0][b] = c;
	}
	for (int k = 1; k < 8; k++)
		for (uint32_t b = 0; b < 256; b++)
			slices[k][b] = (slices[k - 1][b] >> 8) ^ slices[0][slices[k - 1][b] & 0xff];
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return le64toh(v);
}

uint32_t crc32c_portable(uint32_t crc, const void *from, size_t n)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const uint8_t *p = from;
	uint32_t c = ~crc;

	pthread_once(&once, make_slices);
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t v = load64(p) ^ c;
		c = slices[7][v & 0xff] ^ slices[6][v >> 8 & 0xff] ^ slices[5][v >> 16 & 0xff] ^
		    slices[4][v >> 24 & 0xff] ^ slices[3][v >> 32 & 0xff] ^
		    slices[2][v >> 40 & 0xff] ^ slices[1][v >> 48 & 0xff] ^ slices[0][v >> 56];
	}
	for (; n > 0; p++, n--)
		c = (c >> 8) ^ slices[0][(c ^ *p) & 0xff];
	return ~c;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

/* The instruction takes eight bytes and answers after three cycles, but one can be begun every
 * cycle: three stretches side by side run three times as fast. Their results are joined by
 * shifting the first ones over the zeros that stand for the stretches behind them. */
#define LONG 4096
#define SHORT 256

/* shift_*[k][b]: the checksum register with byte b at place k, after that many zero bytes. */
static uint32_t shift_long[4][256];
static uint32_t shift_short[4][256];

static void make_shift(uint32_t table[4][256], size_t zeros)
{
	uint32_t bit[32];

	/* A register is the sum of its bits, so shifting each of them once gives the tables. */
	for (int i = 0; i < 32; i++) {
		uint32_t c = 1u << i;
		for (size_t n = 0; n < zeros; n++)
			c = (c >> 8) ^ slices[0][c & 0xff];
		bit[i] = c;
	}
	for (int k = 0; k < 4; k++) {
		for (uint32_t b = 0; b < 256; b++) {
			uint32_t c = 0;
			for (int i = 0; i < 8; i++)
				c ^= b >> i & 1 ? bit[8 * k + i] : 0;
			table[k][b] = c;
		}
	}
}

static void make_shifts(void)
{
	crc32c_portable(0, "", 0);
	make_shift(shift_long, LONG);
	make_shift(shift_short, SHORT);
}

static uint32_t shifted(uint32_t table[4][256], uint32_t c)
{
	return table[0][c & 0xff] ^ table[1][c >> 8 & 0xff] ^ table[2][c >> 16 & 0xff] ^
	       table[3][c >> 24];
}

/* As many threes of `stretch` bytes as fit; moves *p and *n on. */
__attribute__((target("sse4.2"))) static inline uint64_t
by_threes(uint64_t c0, const uint8_t **p, size_t *n, size_t stretch, uint32_t table[4][256])
{
	for (; *n >= 3 * stretch; *p += 3 * stretch, *n -= 3 * stretch) {
		const uint8_t *at = *p;
		uint64_t c1 = 0, c2 = 0;
		for (const uint8_t *end = at + stretch; at < end; at += 8) {
			c0 = _mm_crc32_u64(c0, load64(at));
			c1 = _mm_crc32_u64(c1, load64(at + stretch));
			c2 = _mm_crc32_u64(c2, load64(at + 2 * stretch));
		}
		c0 = shifted(table, (uint32_t)c0) ^ c1;
		c0 = shifted(table, (uint32_t)c0) ^ c2;
	}
	return c0;
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *p,
								 size_t n)
{
	uint64_t c = ~crc;

	if (n >= 3 * SHORT) {
		static pthread_once_t once = PTHREAD_ONCE_INIT;
		pthread_once(&once, make_shifts);
		c = by_threes(c, &p, &n, LONG, shift_long);
		c = by_threes(c, &p, &n, SHORT, shift_short);
	}
	for (; n >= 8; p += 8, n -= 8)
		c = _mm_crc32_u64(c, load64(p));
	for (; n > 0; p++, n--)
		c = _mm_crc32_u8((uint32_t)c, *p);
	return ~(uint32_t)c;
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	if (__builtin_cpu_supports("sse4.2"))
		return by_instruction(crc, p, n);
	return crc32c_portable(crc, p, n);
}

#else

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	return crc32c_portable(crc, p, n);
}

#endif
