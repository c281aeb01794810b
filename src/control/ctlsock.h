/*
 * The control socket: a Unix stream socket at <runtime_dir>/<node>.sock, on
 * which shmnetctl asks and the node answers. A message is a 32-bit
 * little-endian length and that many bytes (proto/ctl.proto, limits in <shmnet/ctl.h>).
 *
 * Owns the socket file, the clients and their time; knows nothing of the node:
 * a handler fills the reports. Control thread only; evbuffers write with
 * writev(2), which has no MSG_NOSIGNAL, so ctlsock_new() sets SIGPIPE to be
 * ignored if nobody handles it.
 *
 * Theory of operation
 *
 * One request at a time per client: the next one is not looked at before the
 * reply to the last has left, so a client that asks and never reads costs one
 * reply. Each request, from its first wish to the last byte of its reply, has
 * one deadline: a client that trickles bytes doesn't extend it. Verbs that ask other
 * nodes are answered later: their client waits without a deadline, because the handler
 * has one, and gets a new one for the reply; it holds its slot of the client table
 * meanwhile, so there are no more of them under way than clients. What can't be
 * framed is answered with an Error and the connection closed; an unknown verb
 * or schema is answered and the connection kept.
 *
 * Who may ask: root, the daemon's own uid and members of the group that owns
 * the socket file, told by SO_PEERCRED and SO_PEERGROUPS at accept. Its mode
 * 0660 says the same; the check stands for those whom file modes don't stop.
 * They may drain a node, pause networks and have it load its config again, too; all
 * other verbs only read. For root and the daemon's own uid alone are a takeover, and the
 * last one of the connections that there can be at a time.
 *
 * Taking the path: a socket file that refuses connections belongs to a dead
 * daemon and is replaced, one that accepts them is left alone (-EADDRINUSE). A
 * flock on the directory keeps two starting daemons from replacing each other;
 * group members could hold that lock, so it is waited for no longer than a
 * second.
 */
#ifndef CONTROL_CTLSOCK_H
#define CONTROL_CTLSOCK_H

#include "control/codec_ctl.h"
#include "control/report.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CTLSOCK_CLIENTS_MAX 16
#define CTLSOCK_TIMEOUT_MS  10000

struct event_base;
struct ctlsock;
struct client; /* who asked, where an answer comes later */

/*
 * Each fills the zeroed report and returns 0 or -errno; ctlsock frees the lists
 * in both cases. Where there is a refusal, and it has a code, it is what the client
 * gets. Called on the control thread, must not free the ctlsock.
 */
struct ctlsock_handler {
	int (*status)(void *arg, struct report_status *report);
	int (*topology)(void *arg, struct report_topology *report);
	int (*stats)(void *arg, struct report_stats *report);
	int (*version)(void *arg, struct report_version *report);
	int (*events)(void *arg, struct report_events *report);
	int (*flows)(void *arg, const struct ctl_flows_request *request,
		     struct report_flows *report, struct report_refusal *ret_refusal);
	int (*listeners)(void *arg, const struct ctl_listeners_request *request,
			 struct report_listeners *report,
			 struct report_refusal *ret_refusal);
	int (*drain)(void *arg, const struct ctl_drain_request *request,
		     struct report_drain *report, struct report_refusal *ret_refusal);
	int (*reload)(void *arg, struct report_reload *report);
	int (*pause)(void *arg, const struct ctl_pause_request *request,
		     struct report_pause *report, struct report_refusal *ret_refusal);
	/*
	 * 0: ctlsock_answer_ping() or ctlsock_answer_explain() is called for this
	 * client, once, now or later, and in bounded time.
	 */
	int (*ping)(void *arg, const struct ctl_ping_request *request,
		    struct client *client, struct report_refusal *ret_refusal);
	int (*explain)(void *arg, const struct ctl_explain_request *request,
		       struct client *client, struct report_refusal *ret_refusal);
	/*
	 * 0: to a client that has no TAPs yet ctlsock_hand_over() was called; one that
	 * says that it goes on with them waits for the end of the node.
	 */
	int (*takeover)(void *arg, const struct ctl_takeover_request *request,
			struct client *client, struct report_refusal *ret_refusal);
	/* No answer to this client any more: it left, or the ctlsock ends. */
	void (*cancel)(void *arg, struct client *client);
};

struct ctlsock_options {
	const char *path;
	const struct ctlsock_handler *handler; /* outlives the ctlsock */
	void *arg;
	unsigned timeout_ms; /* per request; 0: CTLSOCK_TIMEOUT_MS */
};

/*
 * -EADDRINUSE: a live daemon holds the path; *ret_pid is its pid, 0 if it can't
 * be told. -EEXIST: the path is there and no socket. -ENAMETOOLONG: longer than
 * a Unix socket's path may be. Others as bind(2) has them. *ret_pid is set to 0
 * in every other case.
 */
int ctlsock_new(struct event_base *base, const struct ctlsock_options *options,
		pid_t *ret_pid, struct ctlsock **ret_ctlsock);

void ctlsock_answer_ping(struct client *client, const struct report_ping *report);
void ctlsock_answer_explain(struct client *client, const struct report_explain *report);

/* Is it root's, or of the daemon's own user? */
bool ctlsock_is_owner(const struct client *client);

/*
 * Answers with the queues of these TAPs, as many as the report has. What can't be sent at
 * once, to a client that reads nothing, ends it; the queues stay the caller's.
 */
struct tap;
void ctlsock_hand_over(struct client *client, const struct report_takeover *report,
		       const struct tap *const taps[]);
bool ctlsock_has_taps(const struct client *client);

/* A duplicate of its connection, which outlives the ctlsock. -errno. */
int ctlsock_keep_open(const struct client *client);

/* Drops the clients; unlinks the path if it still is this socket. Accepts NULL. */
void ctlsock_free(struct ctlsock *ctlsock);

#endif
