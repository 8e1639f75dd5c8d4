#include "common/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* RFC 3720, appendix B.4, and the customary check value. */
static void known_values_come_out(void **state)
{
	uint8_t zeros[32] = {0}, ones[32], up[32], down[32];

	(void)state;
	for (int i = 0; i < 32; i++) {
		ones[i] = 0xff;
		up[i] = (uint8_t)i;
		down[i] = (uint8_t)(31 - i);
	}
	uint32_t (*const ways[])(uint32_t, const void *, size_t) = {crc32c, crc32c_portable};
	for (int w = 0; w < 2; w++) {
		assert_int_equal(ways[w](0, "", 0), 0);
		assert_int_equal(ways[w](0, "123456789", 9), 0xe3069283);
		assert_int_equal(ways[w](0, zeros, 32), 0x8a9136aa);
		assert_int_equal(ways[w](0, ones, 32), 0x62a8ab43);
		assert_int_equal(ways[w](0, up, 32), 0x46dd794e);
		assert_int_equal(ways[w](0, down, 32), 0x113fdb5c);
	}
}

static void instruction_and_tables_agree_at_every_length_and_place(void **state)
{
	enum { MAX = 40000 };
	uint8_t *bytes = malloc(MAX + 64);

	(void)state;
	assert_non_null(bytes);
	srand(7);
	for (int i = 0; i < MAX + 64; i++)
		bytes[i] = (uint8_t)rand();
	for (size_t n = 0; n < 2000; n++)
		assert_int_equal(crc32c((uint32_t)n, bytes + n % 9, n),
				 crc32c_portable((uint32_t)n, bytes + n % 9, n));
	for (int i = 0; i < 300; i++) {
		size_t at = (size_t)rand() % 64, n = (size_t)rand() % MAX;
		uint32_t seed = (uint32_t)rand();
		assert_int_equal(crc32c(seed, bytes + at, n), crc32c_portable(seed, bytes + at, n));
	}
	free(bytes);
}

static void pieces_give_the_same_as_the_whole(void **state)
{
	uint8_t bytes[30000];

	(void)state;
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	uint32_t whole = crc32c(0, bytes, sizeof bytes);
	for (size_t cut = 0; cut <= sizeof bytes; cut += 997)
		assert_int_equal(crc32c(crc32c(0, bytes, cut), bytes + cut, sizeof bytes - cut),
				 whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values_come_out),
		cmocka_unit_test(instruction_and_tables_agree_at_every_length_and_place),
		cmocka_unit_test(pieces_give_the_same_as_the_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
