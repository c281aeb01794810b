#!/bin/bash
# One address for two nodes: a client behind n1 is served by n2, which has no other way to
# it than through n1; the nodes' own programs are served, too; and another node serves when
# that one ends.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/echo.sh
. "$(dirname "$0")/echo.sh"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
GLOBALS=("web shmg0 10.99.0.1 fd99::1")

# client - n1 = n2
make_hosts() {
	local client node
	host_add client && host_add n1 && host_add n2 || return 1
	client=$(host_ns client)
	ip link add v0 netns "$client" type veth peer name v0 netns "$(host_ns n1)" || return 1
	for node in client:7 n1:1; do
		ip -n "$(host_ns "${node%:*}")" link set v0 up
		ip -n "$(host_ns "${node%:*}")" address add "198.51.100.${node#*:}/24" dev v0
		ip -n "$(host_ns "${node%:*}")" address add "2001:db8::${node#*:}/64" dev v0 nodad
	done
	ip -n "$client" route add default via 198.51.100.1
	ip -n "$client" -6 route add default via 2001:db8::1
	in_ns n1 sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

# What n2 answers leaves by n1.
route_back() {
	ip -n "$(host_ns n2)" route add default via 10.77.0.1 &&
		ip -n "$(host_ns n2)" -6 route add default via fd77::1
}

# Segments that the client has sent once more, an opener that was dropped among them.
sent_again() {
	in_ns client nstat -asz TcpRetransSegs | awk '/TcpRetransSegs/ { print $2 }'
}

# Who has just begun to listen takes the first opener, not one a second later.
begins() { # server's name
	local before
	before=$(sent_again)
	serve "$1" n2 10.99.0.1 && asked client "n2 198.51.100.7" tcp 10.99.0.1 &&
		[ "$(sent_again)" -eq "$before" ]
}

lab_begin "$@"

check "a client and two hosts" make_hosts || lab_end
check "two nodes with one address" mesh_up n1:1 n2:2 || lab_end
check "n2's way to the client is n1" route_back
check "the client pings a node" wait_for 5 in_ns client ping -qc 1 -W 1 10.77.0.2
check "and the address" in_ns client ping -qc 1 -W 1 10.99.0.1
check "by IPv6, too" wait_for 5 in_ns client ping -6 -qc 1 -W 1 fd99::1

check "nobody serves: no answer" not asked client "" tcp 10.99.0.1 --timeout 0.5
for name in a b c d e; do
	check "a server that has just begun serves" begins "s4$name"
	stop "s4$name" KILL
done
check "a server on n2" serve s4 n2 10.99.0.1
check "and by IPv6" serve s6 n2 fd99::1
for protocol in tcp udp; do
	check "the client is served by $protocol" wait_for 5 \
		asked client "n2 198.51.100.7" $protocol 10.99.0.1 --timeout 1
	check "by IPv6" wait_for 5 asked client "n2 2001:db8::7" $protocol fd99::1 --timeout 1
	for id in 1 2; do
		check "n$id is, from its own address" \
			asked n$id "n2 10.77.0.$id" $protocol 10.99.0.1
		check "by IPv6" asked n$id "n2 fd77::$id" $protocol fd99::1
	done
done
check "30 KB in segments" asked client "n2 198.51.100.7" tcp 10.99.0.1 --size 30000
# A datagram may be lost, and a fragment of it.
check "8 KB in fragments" wait_for 10 \
	asked client "n2 198.51.100.7" udp 10.99.0.1 --size 8000 --timeout 1
check "by IPv6" wait_for 10 \
	asked client "n2 2001:db8::7" udp fd99::1 --size 8000 --timeout 1

check "a server on n1, too" serve t4 n1 10.99.0.1
check "n2 ends" ends n2
check "and n1 serves" wait_for 5 asked client "n1 198.51.100.7" tcp 10.99.0.1 --timeout 1
check "by UDP, too" wait_for 5 asked client "n1 198.51.100.7" udp 10.99.0.1 --timeout 1
check "n1 ends" ends n1
lab_end
