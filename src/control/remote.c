/* See remote.h. */
#include "control/remote.h"

#include "base/log.h"
#include "control/channel_tls.h"
#include "control/seeds.h"
#include "control/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct remote {
	struct remote_options options;
	struct tls_context *context; /* NULL: security is none */
	struct channel_tls *channels;
	struct seeds *seeds;
};

static void on_accepted(void *arg, struct world_channel *channel)
{
	struct remote *remote = arg;

	seeds_accept(remote->seeds, channel);
}

static int on_dial(void *arg, const struct config_endpoint *address,
		   struct world_channel **ret_channel)
{
	struct remote *remote = arg;

	return channel_tls_dial(remote->channels,
				(const struct sockaddr *)&address->address,
				address->length, ret_channel);
}

static void on_appeared(void *arg, uint16_t node_id)
{
	const struct remote_options *options = &((struct remote *)arg)->options;

	options->appeared(options->arg, node_id);
}

static void on_disappeared(void *arg, uint16_t node_id)
{
	const struct remote_options *options = &((struct remote *)arg)->options;

	options->disappeared(options->arg, node_id);
}

static void on_stranger(void *arg, struct world_channel *channel, const uint8_t *bytes,
			size_t length, struct world_parcel *parcel)
{
	const struct remote_options *options = &((struct remote *)arg)->options;

	options->stranger(options->arg, channel, bytes, length, parcel);
}

/* ---- the parts ---- */

static int open_tls(struct remote *remote, char *ret_error, size_t error_size)
{
	const struct config_fabric *fabric = remote->options.fabric;
	const struct tls_options options = {
		.ca = fabric->ca,
		.certificate = fabric->certificate,
		.key = fabric->key,
		.cluster = remote->options.cluster,
		.node = remote->options.name,
	};

	if (fabric->security == FABRIC_SECURITY_NONE)
		return 0;
	return tls_context_new(&options, &remote->context, ret_error, error_size);
}

static int open_channels(struct remote *remote, struct event_base *base, char *ret_error,
			 size_t error_size)
{
	const struct config_fabric *fabric = remote->options.fabric;
	const struct channel_tls_options options = {
		.name = fabric->name,
		.context = remote->context,
		.accepted = on_accepted,
		.arg = remote,
	};
	int ret = channel_tls_new(base, &options, &remote->channels);

	if (ret < 0)
		return ret;
	return channel_tls_listen(remote->channels,
				  (const struct sockaddr *)&fabric->listen.address,
				  fabric->listen.length, ret_error, error_size);
}

static int open_seeds(struct remote *remote, struct event_base *base)
{
	const struct remote_options *from = &remote->options;
	struct seeds_options options = {
		.cluster = from->cluster,
		.self = {.id = from->node_id, .address = from->fabric->listen},
		.seeds = from->fabric->seeds,
		.num_seeds = from->fabric->num_seeds,
		.dial = on_dial,
		.appeared = on_appeared,
		.disappeared = on_disappeared,
		.stranger = on_stranger,
		.arg = remote,
	};

	snprintf(options.self.name, sizeof(options.self.name), "%s", from->name);
	while (getrandom(&options.self.nonce, sizeof(options.self.nonce), 0) !=
	       sizeof(options.self.nonce))
		; /* interrupted before the pool was ready: only at boot */
	return seeds_new(base, &options, &remote->seeds);
}

int remote_new(struct event_base *base, const struct remote_options *options,
	       struct remote **ret_remote, char *ret_error, size_t error_size)
{
	struct remote *remote = calloc(1, sizeof(*remote));
	char words[TLS_WORDS_MAX] = "out of memory";
	int ret = -ENOMEM;

	if (remote) {
		remote->options = *options;
		ret = open_tls(remote, words, sizeof(words));
	}
	if (ret == 0)
		ret = open_seeds(remote, base);
	if (ret == 0)
		ret = open_channels(remote, base, words, sizeof(words));
	if (ret < 0) {
		snprintf(ret_error, error_size, "fabric %s: %s", options->fabric->name,
			 words);
		remote_free(remote);
		return ret;
	}
	*ret_remote = remote;
	return 0;
}

int remote_start(struct remote *remote)
{
	const struct config_fabric *fabric = remote->options.fabric;

	if (fabric->security == FABRIC_SECURITY_NONE)
		log_warn(fabric->name,
			 "security is none: nobody on this network has to prove who it "
			 "is, and all that nodes say to each other can be read and "
			 "changed on the way");
	return seeds_start(remote->seeds);
}

int remote_set_seeds(struct remote *remote)
{
	const struct config_fabric *fabric = remote->options.fabric;

	return seeds_set(remote->seeds, fabric->seeds, fabric->num_seeds);
}

void remote_free(struct remote *remote)
{
	if (!remote)
		return;
	seeds_free(remote->seeds);
	channel_tls_free(remote->channels);
	tls_context_free(remote->context);
	free(remote);
}

/* ---- who is there ---- */

int remote_dial(struct remote *remote, uint16_t node_id,
		struct world_channel **ret_channel)
{
	const struct config_endpoint *address = seeds_find(remote->seeds, node_id);

	return address ? on_dial(remote, address, ret_channel) : -ENOENT;
}

bool remote_has(const struct remote *remote, uint16_t node_id)
{
	return seeds_find(remote->seeds, node_id);
}

const struct seeds *remote_seeds(const struct remote *remote)
{
	return remote->seeds;
}
