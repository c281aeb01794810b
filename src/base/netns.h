/*
 * A network namespace beside the one that the node was started in: what depends on the
 * caller's namespace is done between netns_enter() and netns_leave().
 *
 * That is opening netlink sockets and TAPs, which belong to a namespace from then on
 * whoever uses them, and starting programs. Nothing else goes in between, above all no
 * thread is created there: it would stay in the namespace that its creator was in.
 *
 * The handle keeps the namespace, not its name: where the name stands for another one
 * later (`ip netns delete`, `ip netns add`), the node's parts stay together. Namespaces
 * are a thread's: control opens the handle and enters, no other thread ever does.
 * Never logs. All accept NULL: the namespace of the start, where nothing is to be done.
 */
#ifndef BASE_NETNS_H
#define BASE_NETNS_H

#include <stdbool.h>
#include <stddef.h>

/* Where `ip netns` keeps those that have a name. */
#define NETNS_DIR "/run/netns"

#define NETNS_ERROR_MAX 512

struct netns;

/*
 * `name` is one of `ip netns`, or an absolute path. Goes in and back once, so that what
 * would fail later fails now. On failure there are words for the user:
 *
 *     -ENOENT          no such name or path      -EINVAL  it is no network namespace
 *     -EPERM, -EACCES  not by this process       and what open(2) says otherwise
 */
int netns_open(const char *name, struct netns **ret_netns, char *ret_error,
	       size_t error_size);
void netns_close(struct netns *netns);

/* 0, or -errno (memory is short) with the thread where it was. Not nested. */
int netns_enter(const struct netns *netns);

/* There is no way to go on in the wrong namespace: a failure ends the process. */
void netns_leave(const struct netns *netns);

/*
 * Waits for the one lock that the namespace has, among all nodes in it; NULL: that of the
 * thread. Returns a descriptor whose closing ends it, or -errno. Held for moments only.
 */
int netns_lock(const struct netns *netns);

/* False once the name stands for another namespace, or for none. */
bool netns_is_current(const struct netns *netns);

/* " in namespace blue", to follow the name of an interface in a sentence; NULL: "". */
const char *netns_place(const struct netns *netns);

#endif
