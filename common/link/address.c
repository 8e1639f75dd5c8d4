#include "common/link/impl.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* "host:port", "[v6]:port"; listening also takes "*:port" and port 0. */
int address_url(const char *address, bool listening, char *ret_url, size_t size, struct err *e)
{
	const char *colon = strrchr(address, ':');
	size_t host_n = colon ? (size_t)(colon - address) : 0;
	bool bracketed = host_n > 2 && address[0] == '[' && address[host_n - 1] == ']';
	unsigned long port = 0;

	if (host_n == 0 || host_n > 255)
		goto bad;
	for (size_t i = 0; i < host_n; i++) {
		unsigned char c = (unsigned char)address[i];
		bool word = isalnum(c) || c == '.' || c == '-' || c == '_';
		bool v6 = bracketed && (c == ':' || c == '%' || c == '[' || c == ']');
		bool any = listening && c == '*' && host_n == 1;
		if (!word && !v6 && !any)
			goto bad;
	}
	for (const char *p = colon + 1; *p; p++) {
		if (!isdigit((unsigned char)*p) || p - colon > 5)
			goto bad;
		port = port * 10 + (unsigned long)(*p - '0');
	}
	if (!colon[1] || port > 65535 || (port == 0 && !listening))
		goto bad;
	if ((size_t)snprintf(ret_url, size, "tcp://%s", address) >= size)
		goto bad;
	return 0;
bad:
	return err_set(e, ERR_INVALID, "'%.100s' is not an address of the form host:port", address);
}

void address_of(const nng_sockaddr *sa, char *ret_text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "?";

	switch (sa->s_family) {
	case NNG_AF_INET:
		inet_ntop(AF_INET, &sa->s_in.sa_addr, host, sizeof host);
		snprintf(ret_text, size, "%s:%u", host, ntohs(sa->s_in.sa_port));
		break;
	case NNG_AF_INET6:
		inet_ntop(AF_INET6, sa->s_in6.sa_addr, host, sizeof host);
		snprintf(ret_text, size, "[%s]:%u", host, ntohs(sa->s_in6.sa_port));
		break;
	default:
		snprintf(ret_text, size, "?");
	}
}
