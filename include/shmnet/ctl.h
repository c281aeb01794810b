/*
 * Asking a node: the client's side of the control socket. Needs no protobuf;
 * replies come as jansson values with the names of proto/ctl.proto.
 *
 * A message on the socket is a 32-bit little-endian length and that many bytes.
 * Plain C and C++. One struct shmnet_ctl per thread; calls block up to the
 * time-out that shmnet_ctl_open() was given. Functions return 0 or -errno.
 */
#ifndef SHMNET_CTL_H
#define SHMNET_CTL_H

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a field changes its meaning; added fields don't. */
#define SHMNET_CTL_SCHEMA 1

/* The longest messages, in bytes without the length. */
#define SHMNET_CTL_REQUEST_MAX (64u << 10)
#define SHMNET_CTL_REPLY_MAX   (4u << 20)

struct json_t; /* <jansson.h> */
struct shmnet_ctl;

/*
 * Connects. -ENOENT, -ECONNREFUSED: no daemon at that path. -EACCES: the file or
 * a directory on the way to it may not be used. -ENAMETOOLONG: too long for a
 * Unix socket. -ETIMEDOUT: it listens and doesn't accept.
 */
int shmnet_ctl_open(const char *path, unsigned timeout_ms, struct shmnet_ctl **ret_ctl);

void shmnet_ctl_close(struct shmnet_ctl *ctl); /* accepts NULL */

/*
 * Asks for a verb ("status", "topology", "stats", "version", "events") and waits for the
 * reply: an object, "schema" its first key, the caller's to json_decref().
 *
 * -EINVAL: no such verb. -EREMOTEIO: the node answered with an error, see below.
 * -ETIMEDOUT. -ECONNRESET: the node hung up. -EPROTO: the reply can't be
 * understood. After an error other than -EINVAL and -EREMOTEIO the connection is
 * of no further use.
 */
int shmnet_ctl_call(struct shmnet_ctl *ctl, const char *verb, struct json_t **ret_reply);

/*
 * The same for a verb with parameters ("ping"): an object with the keys of the
 * verb's message, or NULL. -EINVAL: one of them is no such key, or of another type.
 */
int shmnet_ctl_ask(struct shmnet_ctl *ctl, const char *verb, const struct json_t *request,
		   struct json_t **ret_reply);

/* The node's words after -EREMOTEIO, valid until the next call; otherwise "". */
const char *shmnet_ctl_error_code(const struct shmnet_ctl *ctl);
const char *shmnet_ctl_error_message(const struct shmnet_ctl *ctl);

#ifdef __cplusplus
}
#endif

#endif
