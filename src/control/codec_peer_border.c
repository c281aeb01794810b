/* BORDER as bytes, and what is read of it. See codec_peer.h. */
#include "control/codec_peer_internal.h"

#include "base/name.h"

#include <errno.h>
#include <string.h>

Shmnet__Peer__Border *codec_peer_fill_border(struct codec_peer_border *to,
					     const struct peer_border *from)
{
	shmnet__peer__border__init(&to->body);
	to->body.n_nics = from->num_nics;
	to->body.nics = to->nic_list;
	for (unsigned i = 0; i < from->num_nics; i++) {
		shmnet__peer__nic__init(&to->nics[i]);
		to->nics[i].name = (char *)from->nics[i].name;
		to->nics[i].mtu = from->nics[i].mtu;
		to->nics[i].up = from->nics[i].is_up;
		to->nic_list[i] = &to->nics[i];
	}
	to->body.n_announces = from->num_announces;
	to->body.announces = to->announces;
	for (unsigned i = 0; i < from->num_announces; i++)
		to->announces[i] = (char *)from->announces[i];
	return &to->body;
}

_Static_assert(NAME_SIZE == CONFIG_NAME_MAX, "a name fits");

static int refuse(const char *why, const char **ret_why)
{
	*ret_why = why;
	return -EBADMSG;
}

/* What a config takes for the name of an interface; it is logged and shown, too. */
static bool take_nic_name(const char *from, char to[PEER_NIC_MAX])
{
	size_t length = strlen(from);

	if (length >= PEER_NIC_MAX || !config_is_interface(from))
		return false;
	memcpy(to, from, length + 1);
	return true;
}

static bool has_nic(const struct peer_border *border, const char *name)
{
	for (unsigned i = 0; i < border->num_nics; i++) {
		if (strcmp(border->nics[i].name, name) == 0)
			return true;
	}
	return false;
}

static int take_nic(const Shmnet__Peer__Nic *from, struct peer_border *to,
		    const char **ret_why)
{
	struct peer_nic *nic = &to->nics[to->num_nics];

	if (!take_nic_name(from->name, nic->name))
		return refuse("has an interface name that is none", ret_why);
	if (has_nic(to, nic->name))
		return refuse("names an interface twice", ret_why);
	if (from->up && from->mtu == 0)
		return refuse("has an interface that is up and not there", ret_why);
	nic->mtu = from->mtu;
	nic->is_up = from->up != 0;
	to->num_nics++;
	return 0;
}

static int take_network(const char *from, struct peer_border *to, const char **ret_why)
{
	char *name = to->announces[to->num_announces];

	if (!name_is_valid(from))
		return refuse("has a network name that is none", ret_why);
	memcpy(name, from, strlen(from) + 1);
	if (peer_border_announces(to, name))
		return refuse("names a network twice", ret_why);
	to->num_announces++;
	return 0;
}

int codec_peer_take_border(const Shmnet__Peer__Border *from, struct peer_border *to,
			   const char **ret_why)
{
	int ret = 0;

	if (from->n_nics > CONFIG_NICS_MAX)
		return refuse("has too many interfaces", ret_why);
	if (from->n_announces > CONFIG_NETWORKS_MAX)
		return refuse("has too many networks", ret_why);
	for (size_t i = 0; i < from->n_nics && ret == 0; i++)
		ret = take_nic(from->nics[i], to, ret_why);
	for (size_t i = 0; i < from->n_announces && ret == 0; i++)
		ret = take_network(from->announces[i], to, ret_why);
	return ret;
}

unsigned codec_peer_unknown_of_border(const Shmnet__Peer__Border *border)
{
	unsigned count = 0;

	for (size_t i = 0; i < border->n_nics; i++)
		count += border->nics[i]->base.n_unknown_fields;
	return count;
}
