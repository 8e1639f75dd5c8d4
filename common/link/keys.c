#include "common/link.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEED_HEX_CHARS (2 * crypto_sign_SEEDBYTES)

static_assert(LINK_KEY_BYTES == crypto_sign_PUBLICKEYBYTES, "libsodium's public key");
static_assert(LINK_SECRET_BYTES == crypto_sign_SECRETKEYBYTES, "libsodium's secret key");

static int crypto_start(struct err *e)
{
	if (sodium_init() < 0)
		return err_set(e, ERR_IO, "libsodium finds no source of random numbers");
	return 0;
}

int key_generate(uint8_t *ret_secret, uint8_t *ret_public, struct err *e)
{
	int rc = crypto_start(e);

	if (!rc)
		crypto_sign_keypair(ret_public, ret_secret);
	return rc;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);
		if (done < 0) {
			if (errno == EINTR)
				continue;
			return errno;
		}
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

int key_save(const char *path, const uint8_t *secret, struct err *e)
{
	uint8_t seed[crypto_sign_SEEDBYTES];
	char text[SEED_HEX_CHARS + 2];
	int rc = crypto_start(e);

	if (rc)
		return rc;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST
			       ? err_set(e, ERR_EXISTS, "%s exists; a key is never overwritten",
					 path)
			       : err_sys(e, ERR_IO, errno, "cannot create the key file %s", path);
	crypto_sign_ed25519_sk_to_seed(seed, secret);
	sodium_bin2hex(text, SEED_HEX_CHARS + 1, seed, sizeof seed);
	text[SEED_HEX_CHARS] = '\n';
	int sys = write_all(fd, text, SEED_HEX_CHARS + 1);
	if (!sys && fsync(fd) != 0)
		sys = errno;
	if (close(fd) != 0 && !sys)
		sys = errno;
	sodium_memzero(seed, sizeof seed);
	sodium_memzero(text, sizeof text);
	if (sys) {
		unlink(path);
		return err_sys(e, ERR_IO, sys, "cannot write the key file %s", path);
	}
	return 0;
}

static int key_read(const char *path, char *text, size_t size, size_t *ret_n, struct err *e)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return err_sys(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno,
			       "cannot open the key file %s", path);
	if (fstat(fd, &st) != 0) {
		rc = err_sys(e, ERR_IO, errno, "cannot look at the key file %s", path);
		goto out;
	}
	if (st.st_mode & 077) {
		rc = err_set(e, ERR_AUTH, "%s may be read by others; run: chmod 600 %s", path,
			     path);
		goto out;
	}
	ssize_t n = read(fd, text, size);
	if (n < 0)
		rc = err_sys(e, ERR_IO, errno, "cannot read the key file %s", path);
	else
		*ret_n = (size_t)n;
out:
	close(fd);
	return rc;
}

int key_load(const char *path, uint8_t *ret_secret, uint8_t *ret_public, struct err *e)
{
	uint8_t seed[crypto_sign_SEEDBYTES];
	char text[SEED_HEX_CHARS + 2];
	size_t n = 0, got = 0;
	const char *end = NULL;
	int rc = crypto_start(e);

	if (!rc)
		rc = key_read(path, text, sizeof text, &n, e);
	if (rc)
		return rc;
	bool sound =
		(n == SEED_HEX_CHARS || (n == SEED_HEX_CHARS + 1 && text[n - 1] == '\n')) &&
		sodium_hex2bin(seed, sizeof seed, text, SEED_HEX_CHARS, NULL, &got, &end) == 0 &&
		got == sizeof seed;
	if (sound)
		crypto_sign_seed_keypair(ret_public, ret_secret, seed);
	sodium_memzero(seed, sizeof seed);
	sodium_memzero(text, sizeof text);
	if (!sound)
		return err_set(e, ERR_INVALID, "%s is not a key file: %d hex digits are wanted",
			       path, (int)SEED_HEX_CHARS);
	return 0;
}

void key_to_hex(const uint8_t *public_key, char *ret_hex)
{
	sodium_bin2hex(ret_hex, 2 * LINK_KEY_BYTES + 1, public_key, LINK_KEY_BYTES);
}

int key_from_hex(const char *hex, uint8_t *ret_public, struct err *e)
{
	uint8_t key[LINK_KEY_BYTES];
	size_t got = 0;

	if (strlen(hex) != 2 * LINK_KEY_BYTES ||
	    sodium_hex2bin(key, sizeof key, hex, strlen(hex), NULL, &got, NULL) != 0 ||
	    got != sizeof key)
		return err_set(e, ERR_INVALID, "'%.80s' is not a public key of %d hex digits", hex,
			       2 * LINK_KEY_BYTES);
	memcpy(ret_public, key, sizeof key);
	return 0;
}
