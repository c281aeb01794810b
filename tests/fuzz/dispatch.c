/*
 * Fuzz target: a message between members of a global network. What is accepted must come
 * back the same after it was written and read again, in as many bytes; and a dispatcher
 * that hears it, twice from the same peer, survives it and stays within its bounds.
 */
#include "control/dispatch.h"
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOWS 1024
#define PEER  2

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "dispatch fuzz: %s\n", what);
	abort();
}

/* ---- a world where nothing happens ---- */

static uint64_t on_now(void *arg)
{
	(void)arg;
	return 1000000000000;
}

static void on_random(void *arg, void *bytes, size_t length)
{
	(void)arg;
	memset(bytes, 7, length);
}

static int on_send(void *arg, uint16_t peer_id, const uint8_t *bytes, size_t length)
{
	struct dispatch_message message;
	const char *why;

	(void)arg;
	need(peer_id == PEER, "sends to nobody");
	need(codec_dispatch_decode(bytes, length, &message, &why) == 0,
	     "sends what it would not take");
	return 0;
}

static int on_answer(void *arg, const struct flow_key *key,
		     const struct dispatch_verdict *verdict)
{
	(void)arg;
	(void)key;
	need(verdict->owner <= PEER, "an owner that is nobody");
	return 0;
}

static int on_exact(void *arg, const struct flow_key *key, struct socket_match *ret_match)
{
	(void)arg;
	ret_match->is_over = false;
	return key->foreign_port & 1;
}

static int on_listen(void *arg, struct listener **ret_listeners, unsigned *ret_num)
{
	(void)arg;
	*ret_listeners = NULL;
	*ret_num = 0;
	return 0;
}

static void on_event(void *arg)
{
	(void)arg;
}

static void on_set_timer(void *arg, uint64_t delay_ns)
{
	(void)arg;
	(void)delay_ns;
}

static void on_announce(void *arg, bool on)
{
	(void)arg;
	(void)on;
}

static const struct dispatch_ops ops = {
	.now = on_now,
	.random = on_random,
	.send = on_send,
	.answer = on_answer,
	.renew_datagrams = on_event,
	.exact = on_exact,
	.listen = on_listen,
	.set_timer = on_set_timer,
	.announce = on_announce,
};

static bool check_service(void *arg, const struct dispatch_service *service)
{
	(void)arg;
	need(service->num_nodes > 0, "a listener of nobody");
	return true;
}

static void hear(const uint8_t *data, size_t size)
{
	const struct config_network config = {
		.name = (char *)"web0",
		.weight = 1,
		.flows = FLOWS,
		.num_addresses = 1,
		.addresses = {{.family = AF_INET, .bytes = {10, 99, 0, 1}}},
	};
	struct dispatch *dispatch;
	uint32_t count, cap;

	need(dispatch_new(&config, 1, "n1", &ops, NULL, &dispatch) == 0, "out of memory");
	dispatch_message(dispatch, PEER, data, size);
	dispatch_peer_up(dispatch, PEER, "n2");
	for (unsigned i = 0; i < 2; i++) {
		dispatch_message(dispatch, PEER, data, size);
		dispatch_timer(dispatch);
	}
	dispatch_read_table(dispatch, &count, &cap);
	need(count <= DISPATCH_PINS_MAX, "a table without bounds");
	dispatch_each_listener(dispatch, check_service, NULL);
	dispatch_free(dispatch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dispatch_message message, again;
	uint8_t bytes[DISPATCH_BYTES_MAX];
	const char *why = NULL;
	size_t length;

	if (codec_dispatch_decode(data, size, &message, &why) < 0) {
		need(why && *why, "refused without a word");
		return 0;
	}
	need(codec_dispatch_encode(&message, bytes, sizeof(bytes), &length) == 0,
	     "can't be written");
	need(length == size, "is written in another length");
	need(codec_dispatch_decode(bytes, length, &again, &why) == 0,
	     "can't be read again");
	/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): both start as zeroes */
	need(memcmp(&message, &again, sizeof(message)) == 0, "reads differently");
	hear(data, size);
	return 0;
}
