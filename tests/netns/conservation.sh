#!/bin/bash
# Every frame is delivered or counted: per (sender, receiver, network) the totals are
# equal to the frame, whatever hosts and programs put on the networks.
# timeout: 180
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

command -v python3 >/dev/null || skip "python3 is not installed"

LAN0="lan0 shm0 1500 10.77.0.%/24 fd77::%/64"
LAN1="lan1 shm1 9000 10.78.0.%/24 fd78::%/64"
NETWORK_KEYS="ring_size: 256K"
# A node that stands still for a while stays up.
NODE_KEYS="liveness: {interval_ms: 1000, misses: 10}"

# After the command, exactly so many frames more are dropped on lan0 for the reason.
drops_by() { # count, node, reason, command...
	local count=$1 node=$2 reason=$3 before
	shift 3
	stats_take "$node" || return
	before=$(dropped "$node" lan0 "$reason")
	"$@" || return
	wait_for 5 dropped_is "$node" "$reason" $((before + count)) && return
	echo "$reason was $before and is $(dropped "$node" lan0 "$reason")"
	return 1
}

dropped_is() { # node, reason, count
	stats_take "$1" && [ "$(dropped "$1" lan0 "$2")" -eq "$3" ]
}

# Linux does not let a program send them; a hook that did would have them counted.
sends_runts() {
	send n1 shm0 "$mac2" "$mac1" 88b5 13 5 || true
}

at_least() { # number, command that prints one
	[ "$("${@:2}")" -ge "$1" ]
}

kernel_count() { # host, interface, jq path
	ip -n "$(host_ns "$1")" -j -s link show "$2" | jq ".[0].stats64$3"
}

# What n1's kernel gave to the TAP of lan1 is what the node had from it, and what n2
# delivered is what its kernel got. lan1 has two members: no cast is counted twice.
kernel_agrees() {
	local given read delivered got
	stats_take n1 n2
	given=$(kernel_count n1 shm1 .tx.packets) got=$(kernel_count n2 shm1 .rx.packets)
	read=$(jq '.n1 | ([.networks[] | select(.network == "lan1").unrouted_frames]
		+ [.links[] | select(.network == "lan1").sent_frames]) | add' "$LAB/stats")
	delivered=$(jq '[.n2.links[] | select(.network == "lan1").delivered_frames] | add' \
		"$LAB/stats")
	echo "given $given, read $read, delivered $delivered, got $got"
	[ "$given" -eq "$read" ] && [ "$delivered" -eq "$got" ]
}

# While n2 stands still its ring fills up; others get their frames all the same.
floods_a_ring() {
	local before status
	before=$(kernel_count n3 shm0 .rx.packets)
	kill -STOP "$(pid_of n2)"
	send n1 shm0 ff:ff:ff:ff:ff:ff "$mac1" 88b5 1514 1000
	wait_for 5 at_least $((before + 1000)) kernel_count n3 shm0 .rx.packets
	status=$?
	kill -CONT "$(pid_of n2)"
	return "$status"
}

lab_begin "$@"
host_add n1 && host_add n2 && host_add n3
NETWORKS=("$LAN0" "$LAN1")
node_config n1 1 >"$LAB/n1.yaml"
node_config n2 2 >"$LAB/n2.yaml"
NETWORKS=("$LAN0")
node_config n3 3 >"$LAB/n3.yaml"
check "three nodes see each other" mesh_up n1:1 n2:2 n3:3 || lab_end
check "a server runs on n2" iperf_serve n2
check "and on n3" iperf_serve n3
mac1=$(mac_of lan0 1) mac2=$(mac_of lan0 2)

check "the books balance at rest" conserved n1 n2 n3
check "TCP" iperf_run n1 10.77.0.2
check "TCP to the other one, back" iperf_run n1 10.77.0.3 -R
check "8 TCP streams on the other network" iperf_run n1 10.78.0.2 -P 8
check "more UDP than fits" iperf_run n1 10.77.0.3 -u -b 0 -l 64
check "large UDP" iperf_run n3 10.77.0.2 -u -b 0 -l 32000
check "they balance after streams" conserved n1 n2 n3

for length in 14 15 20 59 60 1514; do
	check "a frame of $length bytes passes" \
		delivers n2 shm0 50 "ether proto 0x88b5 and len == $length" \
		send n1 shm0 "$mac2" "$mac1" 88b5 "$length" 50
done
check "a VLAN tag passes" delivers n2 shm0 50 "vlan and greater 1514" \
	send n1 shm0 "$mac2" "$mac1" 8100 1518 50
check "a frame shorter than its header does not leave the kernel, or is made longer" \
	drops_by 0 n1 runt sends_runts
check "a foreign source is refused" \
	drops_by 200 n1 foreign-source send n1 shm0 "$mac2" 02:00:00:00:00:01 88b5 60 200
check "another node's address as source, too" \
	drops_by 200 n1 foreign-source send n1 shm0 "$mac2" "$(mac_of lan0 3)" 88b5 60 200
check "a foreign source of casts, too" \
	drops_by 200 n1 foreign-source send n1 shm0 ff:ff:ff:ff:ff:ff 02:00:00:00:00:01 88b5 60 200
check "the command bit in the destination is refused" \
	drops_by 200 n1 tap-command send n1 shm0 "06${mac2#02}" "$mac1" 88b5 60 200
check "the command bit in the source is refused" \
	drops_by 200 n1 tap-command send n1 shm0 "$mac2" "06${mac1#02}" 88b5 60 200
check "an address of no node is counted" \
	drops_by 200 n1 unknown-unicast send n1 shm0 02:00:00:00:00:01 "$mac1" 88b5 60 200
check "an address of another network is counted" \
	drops_by 200 n1 unknown-unicast send n1 shm0 "$(mac_of lan1 99)" "$mac1" 88b5 60 200
check "also if the kernel steers it to a peer" \
	drops_by 200 n1 "misrouted|unknown-unicast" \
	send n1 shm0 "$(mac_of lan1 2)" "$mac1" 88b5 60 200
check "a node that is not there is counted" \
	drops_by 200 n1 no-peer send n1 shm0 "$(mac_of lan0 99)" "$mac1" 88b5 60 200
check "its own address is counted" \
	drops_by 200 n1 no-peer send n1 shm0 "$mac1" "$mac1" 88b5 60 200
check "they balance after that" conserved n1 n2 n3

check "a receiver that stands still holds up nobody else" floods_a_ring
check "they balance after it went on" conserved n1 n2 n3
# Casts are lost in the cast ring, or as copies if n2 has not said that it reads it.
lost=$(($(dropped n1 lan0 ring-full) + $(dropped n2 lan0 cast-lost)))
figure "ring-full or cast-lost: $lost frames of n1"
check "what its ring had no room for is counted" test "$lost" -gt 0

check "the kernels count the same" wait_for 5 kernel_agrees
stats_take n1 n2 n3
books | jq -r '"      \(.network) \(.from) > \(.to): \(.sent) sent, \(.delivered) delivered, \(
	.sent_drops) + \(.received_drops) dropped"'
lab_end
