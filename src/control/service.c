/* See service.h. */
#include "control/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef SHMNET_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#define NAME_PREFIX    "tap-"
#define QUEUE_NAME_MAX (sizeof(NAME_PREFIX) + IF_NAMESIZE + 11)

bool service_has_store(void)
{
#ifdef SHMNET_SYSTEMD
	const char *room = getenv("FDSTORE");

	return getenv("NOTIFY_SOCKET") && room && atoi(room) > 0;
#else
	return false;
#endif
}

#ifdef SHMNET_SYSTEMD

static void name_queue(const char *tap, unsigned queue, char name[QUEUE_NAME_MAX])
{
	snprintf(name, QUEUE_NAME_MAX, NAME_PREFIX "%s.%u", tap, queue);
}

/* "tap-shm0.3"; the name of an interface may have dots. */
static bool parse_name(const char *name, char tap[IF_NAMESIZE], unsigned *ret_queue)
{
	const char *dot = strrchr(name, '.');
	char again[QUEUE_NAME_MAX];
	size_t length;

	if (!dot || strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0)
		return false;
	name += strlen(NAME_PREFIX);
	length = (size_t)(dot - name);
	if (dot < name || length == 0 || length >= IF_NAMESIZE ||
	    sscanf(dot, ".%2u", ret_queue) != 1)
		return false;
	memcpy(tap, name, length);
	tap[length] = '\0';
	name_queue(tap, *ret_queue, again);
	return strcmp(again + strlen(NAME_PREFIX), name) == 0;
}

int service_take(struct handover *handover)
{
	char **names = NULL;
	int num = sd_listen_fds_with_names(1, &names), strangers = 0;

	if (num < 0)
		return num;

	for (int i = 0; i < num; i++) {
		int fd = SD_LISTEN_FDS_START + i;
		char tap[IF_NAMESIZE];
		unsigned queue;

		if (!parse_name(names[i], tap, &queue)) {
			close(fd);
			strangers++;
		} else if (handover_add(handover, tap, queue, fd) < 0) {
			strangers++;
		} else {
			handover_find(handover, tap)->is_kept = true;
		}
		free(names[i]);
	}
	free(names);
	return strangers;
}

int service_keep(const struct tap *tap, unsigned first)
{
	char text[sizeof("FDSTORE=1\nFDNAME=") + QUEUE_NAME_MAX], name[QUEUE_NAME_MAX];
	int ret = 1;

	for (unsigned i = first; i < tap->num_queues && ret > 0; i++) {
		name_queue(tap->name, i, name);
		snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
		ret = sd_pid_notify_with_fds(0, 0, text, &tap->queues[i], 1);
	}
	return ret > 0 ? 0 : ret < 0 ? ret : -ENOTCONN;
}

/* Whichever queues there were: who has none of the name has nothing to do. */
void service_forget(const char *tap_name)
{
	char name[QUEUE_NAME_MAX];

	for (unsigned i = 0; i < TAP_QUEUES_MAX; i++) {
		name_queue(tap_name, i, name);
		sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
	}
}

void service_tell_ready(void)
{
	sd_notify(0, "READY=1");
}

void service_tell_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

uint64_t service_watchdog_us(void)
{
	uint64_t interval = 0;

	return sd_watchdog_enabled(0, &interval) > 0 ? interval : 0;
}

void service_tell_alive(void)
{
	sd_notify(0, "WATCHDOG=1");
}

#else

int service_take(struct handover *handover)
{
	(void)handover;
	return 0;
}

int service_keep(const struct tap *tap, unsigned first)
{
	(void)tap;
	(void)first;
	return -ENOTCONN;
}

void service_forget(const char *tap_name)
{
	(void)tap_name;
}

void service_tell_ready(void)
{
}

void service_tell_stopping(void)
{
}

uint64_t service_watchdog_us(void)
{
	return 0;
}

void service_tell_alive(void)
{
}

#endif
