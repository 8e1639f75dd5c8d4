/* Peers' messages: whatever comes, message_get takes it apart or refuses it. */
#include "agent/net/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message m;
	struct err e;

	if (message_get(&m, slice_of(data, size), &e) == 0)
		message_done(&m);
	return 0;
}
