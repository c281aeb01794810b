/*
 * The service manager, if one started the node: systemd's sd_notify(3) protocol. It is
 * told how the node does, feeds on signs of life, and keeps descriptors for the next life
 * (its store; Type=notify, WatchdogSec= and FileDescriptorStoreMax= in the unit).
 *
 * There is a store if the environment has FDSTORE=NUMBER, which systemd sets from its
 * version 254 on; with an older one the unit sets it (Environment=FDSTORE=...).
 *
 * Without a manager, or built without libsystemd, nothing of this does anything. What the
 * manager makes of what it is told is not known here: sent is sent. Never logs. Control
 * thread.
 */
#ifndef CONTROL_SERVICE_H
#define CONTROL_SERVICE_H

#include "control/handover.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * What the store has for us as queues, which may be anything. Once per process. Returns
 * how many did not have the name of one, or -errno.
 */
int service_take(struct handover *handover);

/* Will it keep descriptors? Then also those of a process that was killed. */
bool service_has_store(void);

/*
 * Its queues from the first-th on. -errno if one of them could not be sent: those before
 * it are kept.
 */
int service_keep(const struct tap *tap, unsigned first);
void service_forget(const char *tap_name);

void service_tell_ready(void);
void service_tell_stopping(void);

/* 0: signs of life are not wanted; else one is due each so many microseconds. */
uint64_t service_watchdog_us(void);
void service_tell_alive(void);

#endif
