/*
 * Names of nodes and clusters, and how a certificate says whose it is.
 *
 * A node's certificate has one subject alternative name of this scheme, the URI
 * shmnet://CLUSTER/NODE. A URI and not a DNS name, as names may hold dots: node "a.b" of
 * cluster "c" must not look like node "a" of cluster "b.c". The certificate of a
 * cluster's CA has shmnet://CLUSTER.
 */
#ifndef BASE_NAME_H
#define BASE_NAME_H

#include <stdbool.h>
#include <string.h>

#define NAME_SIZE  32 /* with the terminating 0 */
#define NAME_BYTES "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

#define NAME_SCHEME   "shmnet://"
#define NAME_URI_SIZE (sizeof(NAME_SCHEME) + 2 * NAME_SIZE)

static inline bool name_is_valid(const char *name)
{
	size_t length = strspn(name, NAME_BYTES);

	return length > 0 && length < NAME_SIZE && name[length] == '\0';
}

#endif
