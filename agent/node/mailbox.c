#include "agent/node/mailbox.h"

#include <time.h>

void mailbox_init(struct mailbox *b, size_t offered_max)
{
	pthread_condattr_t attr;

	*b = (struct mailbox){.offered_max = offered_max};
	b->last = &b->first;
	pthread_mutex_init(&b->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->filled, &attr);
	pthread_condattr_destroy(&attr);
}

void mailbox_done(struct mailbox *b)
{
	pthread_cond_destroy(&b->filled);
	pthread_mutex_destroy(&b->lock);
}

static void append(struct mailbox *b, struct mail *m)
{
	m->next = NULL;
	*b->last = m;
	b->last = &m->next;
}

static void unlock_and_wake(struct mailbox *b)
{
	bool wake = b->taker_waits;

	b->taker_waits = false;
	pthread_mutex_unlock(&b->lock);
	if (wake)
		pthread_cond_signal(&b->filled);
}

void mailbox_post(struct mailbox *b, struct mail *m)
{
	pthread_mutex_lock(&b->lock);
	append(b, m);
	unlock_and_wake(b);
}

bool mailbox_offer(struct mailbox *b, struct mail *m)
{
	pthread_mutex_lock(&b->lock);
	if (b->offered >= b->offered_max) {
		pthread_mutex_unlock(&b->lock);
		return false;
	}
	b->offered++;
	append(b, m);
	unlock_and_wake(b);
	return true;
}

void mailbox_taken(struct mailbox *b, size_t n)
{
	pthread_mutex_lock(&b->lock);
	b->offered -= n;
	pthread_mutex_unlock(&b->lock);
}

struct mail *mailbox_take(struct mailbox *b, uint64_t wake_us)
{
	struct timespec until = {(time_t)(wake_us / 1000000u), (long)(wake_us % 1000000u) * 1000};
	int rc = 0;

	pthread_mutex_lock(&b->lock);
	while (!b->first && wake_us != 0 && rc == 0) {
		b->taker_waits = true;
		if (wake_us == UINT64_MAX)
			rc = pthread_cond_wait(&b->filled, &b->lock);
		else
			rc = pthread_cond_timedwait(&b->filled, &b->lock, &until);
	}
	b->taker_waits = false;
	struct mail *list = b->first;
	b->first = NULL;
	b->last = &b->first;
	pthread_mutex_unlock(&b->lock);
	return list;
}
