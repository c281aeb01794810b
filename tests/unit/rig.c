/* See rig.h. */
#include "rig.h"

#include "base/frame.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IPV4_HLEN 20
#define TCP_HLEN  20

static bool open_queue(int *ret_node, int *ret_host)
{
	int size = 1 << 20; /* cut to what net.core.wmem_max allows */
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return false;
	for (int i = 0; i < 2; i++)
		setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	*ret_node = ends[0];
	*ret_host = ends[1];
	return true;
}

bool rig_tap_open(struct rig_tap *tap, unsigned num_queues)
{
	tap_init(&tap->tap);
	tap->tap.offloads = SHMNET_OFFLOADS;
	for (unsigned q = 0; q < num_queues; q++) {
		if (!open_queue(&tap->tap.queues[q], &tap->host[q])) {
			rig_tap_close(tap);
			return false;
		}
		tap->tap.num_queues++;
	}
	return true;
}

void rig_tap_close(struct rig_tap *tap)
{
	for (unsigned q = 0; q < tap->tap.num_queues; q++) {
		if (tap->host[q] >= 0)
			close(tap->host[q]);
	}
	tap_close(&tap->tap);
}

bool rig_ring_open(uint64_t size, struct ring_map *ret_tx, struct ring_map *ret_rx)
{
	int fd;

	if (memfd_ring_create(size, &fd) < 0)
		return false;
	if (ring_map_open(fd, size, ret_tx) < 0)
		goto err_fd;
	if (ring_map_open(fd, size, ret_rx) < 0)
		goto err_tx;
	close(fd);
	return true;

err_tx:
	ring_map_close(ret_tx);
err_fd:
	close(fd);
	return false;
}

uint64_t rig_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The virtio-net header, empty, and the Ethernet header; returns what follows. */
static uint8_t *put_headers(uint8_t *buffer, unsigned from, unsigned to,
			    unsigned ethertype)
{
	static const uint8_t foreign[SHMNET_ETH_ALEN] = {0x00, 0x11, 0x22, 1, 2, 3};
	uint8_t *frame = buffer + SHMNET_VNET_HLEN;

	memset(buffer, 0, SHMNET_VNET_HLEN);
	if (to == RIG_TO_ALL)
		memset(frame, 0xff, SHMNET_ETH_ALEN);
	else if (to == RIG_TO_FOREIGN)
		memcpy(frame, foreign, sizeof(foreign));
	else
		shmnet_mac_make(frame, RIG_TAG, (uint16_t)to);
	shmnet_mac_make(frame + SHMNET_ETH_ALEN, RIG_TAG, (uint16_t)from);
	frame[12] = (uint8_t)(ethertype >> 8);
	frame[13] = (uint8_t)ethertype;
	return frame + SHMNET_ETH_HLEN;
}

size_t rig_frame(uint8_t *buffer, unsigned from, unsigned to, uint64_t number,
		 size_t length)
{
	uint8_t *body = put_headers(buffer, from, to, RIG_ETHERTYPE);
	size_t rest = length - (size_t)(body - buffer);

	memcpy(body, &number, sizeof(number));
	for (size_t i = sizeof(number); i < rest; i++)
		body[i] = (uint8_t)(number * 31 + i * 7 + (i >> 8));
	return length;
}

uint64_t rig_frame_number(const uint8_t *buffer)
{
	uint64_t number;

	memcpy(&number, buffer + SHMNET_VNET_HLEN + SHMNET_ETH_HLEN, sizeof(number));
	return number;
}

bool rig_frame_is(const uint8_t *buffer, size_t length, unsigned from, unsigned to,
		  uint64_t number)
{
	uint8_t expected[RIG_FRAME_MAX];

	if (length < RIG_FRAME_MIN || length > sizeof(expected))
		return false;
	rig_frame(expected, from, to, number, length);
	return memcmp(buffer, expected, length) == 0;
}

static void put_be16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put_ipv4(uint8_t *ip, uint8_t protocol, size_t payload)
{
	memset(ip, 0, IPV4_HLEN);
	ip[0] = 0x45;
	put_be16(ip + 2, IPV4_HLEN + payload);
	ip[8] = 64;
	ip[9] = protocol;
}

static size_t put_vnet(uint8_t *buffer, const struct frame_vnet *vnet,
		       const uint8_t *frame_end)
{
	memcpy(buffer, vnet, sizeof(*vnet));
	return (size_t)(frame_end - buffer);
}

size_t rig_frame_tcp(uint8_t *buffer, unsigned from, unsigned to, size_t data,
		     uint16_t gso_size)
{
	uint8_t *ip = put_headers(buffer, from, to, 0x0800);
	uint8_t *tcp = ip + IPV4_HLEN;
	struct frame_vnet vnet = {
		.flags = 1,
		.gso_type = gso_size ? 1 : 0,
		.header_length = SHMNET_ETH_HLEN + IPV4_HLEN + TCP_HLEN,
		.gso_size = gso_size,
		.csum_start = SHMNET_ETH_HLEN + IPV4_HLEN,
		.csum_offset = 16,
	};

	put_ipv4(ip, IPPROTO_TCP, TCP_HLEN + data);
	memset(tcp, 0, TCP_HLEN);
	tcp[12] = TCP_HLEN / 4 << 4;
	for (size_t i = 0; i < data; i++)
		tcp[TCP_HLEN + i] = (uint8_t)(i * 13 + (i >> 8));
	return put_vnet(buffer, &vnet, tcp + TCP_HLEN + data);
}

size_t rig_frame_odd_checksum(uint8_t *buffer, unsigned from, unsigned to, size_t data)
{
	uint8_t *ip = put_headers(buffer, from, to, 0x0800);
	uint8_t *body = ip + IPV4_HLEN;
	struct frame_vnet vnet = {
		.flags = 1,
		.csum_start = SHMNET_ETH_HLEN + IPV4_HLEN,
		.csum_offset = 4,
	};

	put_ipv4(ip, 253, data);
	for (size_t i = 0; i < data; i++)
		body[i] = (uint8_t)(i * 5 + 1);
	put_be16(body + 4, 0);
	return put_vnet(buffer, &vnet, body + data);
}
