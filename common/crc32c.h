/* CRC32C (Castagnoli, RFC 3720 section 12.1 and appendix B.4): the checksum of the log's frames.
 *
 * crc32c(crc32c(0, a), b) is the checksum of a followed by b. 0 is the checksum of nothing. Uses
 * the processor's own instruction where there is one, and tables otherwise; both give the same.
 * Threads: any. */
#ifndef DROVER_COMMON_CRC32C_H
#define DROVER_COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *p, size_t n);

/* The way by tables, on every processor; for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n);

#endif
