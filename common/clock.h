/* Time. Intervals and deadlines use the monotonic clock, whose zero means nothing; only what a
 * person reads, and the hybrid logical clock, use the wall clock. Any thread. */
#ifndef DROVER_COMMON_CLOCK_H
#define DROVER_COMMON_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_us(void);
uint64_t clock_mono_ms(void);
uint64_t clock_wall_us(void); /* since 1970-01-01 UTC */

/* "2026-01-31T23:59:59.123Z" into ret_text (at least 25 bytes). */
void clock_format(uint64_t wall_us, char *ret_text);

#endif
