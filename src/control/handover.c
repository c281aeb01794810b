/* See handover.h. */
#include "control/handover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct handover_tap *handover_find(struct handover *handover, const char *name)
{
	for (unsigned i = 0; i < handover->num_taps; i++) {
		if (strcmp(handover->taps[i].name, name) == 0)
			return &handover->taps[i];
	}
	return NULL;
}

void handover_release(struct handover_tap *tap)
{
	for (unsigned i = 0; i < TAP_QUEUES_MAX; i++)
		tap->queues[i] = -1;
}

static struct handover_tap *add_tap(struct handover *handover, const char *name)
{
	struct handover_tap *tap;

	if (handover->num_taps == CONFIG_NETWORKS_MAX || strlen(name) >= IF_NAMESIZE)
		return NULL;
	tap = &handover->taps[handover->num_taps++];
	snprintf(tap->name, sizeof(tap->name), "%s", name);
	handover_release(tap);
	return tap;
}

int handover_add(struct handover *handover, const char *name, unsigned queue, int fd)
{
	struct handover_tap *tap = handover_find(handover, name);
	int ret = -EINVAL;

	if (!tap && queue < TAP_QUEUES_MAX)
		tap = add_tap(handover, name);
	if (tap && queue < TAP_QUEUES_MAX)
		ret = tap->queues[queue] < 0 ? 0 : -EEXIST;
	if (ret < 0)
		close(fd);
	else
		tap->queues[queue] = fd;
	return ret;
}

unsigned handover_count(const struct handover_tap *tap)
{
	unsigned num = 0, last = 0;

	for (unsigned i = 0; tap && i < TAP_QUEUES_MAX; i++) {
		if (tap->queues[i] < 0)
			continue;
		num++;
		last = i + 1;
	}
	return num == last ? num : 0;
}

void handover_drop(struct handover_tap *tap)
{
	for (unsigned i = 0; i < TAP_QUEUES_MAX; i++) {
		if (tap->queues[i] >= 0)
			close(tap->queues[i]);
	}
	handover_release(tap);
}

void handover_close(struct handover *handover)
{
	for (unsigned i = 0; i < handover->num_taps; i++)
		handover_drop(&handover->taps[i]);
	handover->num_taps = 0;
}
