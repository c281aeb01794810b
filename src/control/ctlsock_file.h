/*
 * The control socket's file: taking the path, who may use it, giving it back.
 * ctlsock.h tells how; used by ctlsock.c only. Control thread.
 */
#ifndef CONTROL_CTLSOCK_FILE_H
#define CONTROL_CTLSOCK_FILE_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

struct ctlsock_file {
	int fd; /* listening, not blocking; -1: none */
	struct sockaddr_un address;
	dev_t device; /* of the file that bind made */
	ino_t inode;
};

/* Errors and *ret_pid as ctlsock_new() has them. On error, `file` needs no close. */
int ctlsock_file_open(struct ctlsock_file *file, const char *path, pid_t *ret_pid);

/* Unlinks the file if it still is ours. Accepts fd -1. */
void ctlsock_file_close(struct ctlsock_file *file);

/* Is the peer of this connection root, or our own user? */
bool ctlsock_file_owns(int fd);

/* May the peer of this connection ask? The file's group is that of this moment. */
bool ctlsock_file_permits(const struct ctlsock_file *file, int fd);

#endif
