/* See listeners.h. */
#include "control/listeners.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* By all but the families, which stand last. */
static int compare(const void *a, const void *b)
{
	return memcmp(a, b, offsetof(struct listener, families));
}

unsigned listeners_sort(struct listener *listeners, unsigned num)
{
	unsigned kept = 0;

	if (num)
		qsort(listeners, num, sizeof(*listeners), compare);
	for (unsigned i = 0; i < num; i++) {
		if (kept && compare(&listeners[kept - 1], &listeners[i]) == 0)
			listeners[kept - 1].families |= listeners[i].families;
		else
			listeners[kept++] = listeners[i];
	}
	return kept;
}

int listeners_read(struct sockets *sockets, const struct sockets_scope *scope,
		   struct listener **ret_listeners, unsigned *ret_num)
{
	int ret = sockets_read_listeners(sockets, scope, ret_listeners, ret_num);

	if (ret == 0)
		*ret_num = listeners_sort(*ret_listeners, *ret_num);
	return ret;
}
