#!/bin/bash
# Several global networks: of all nodes and of some, each with a policy of its own. And what
# is not for one of their addresses: broadcasts and multicasts reach every node, questions
# for the MAC address of a global address reach none.
# timeout: 180
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"

PAIR=10.98.0.1 # of n1 and n3
PAIR6=fd98::1
LEAST=10.97.0.1
NUMBER=$((400 / SLOW))
NUMBERS=$((2000 / SLOW))
NODES=(n1 n2 n3)
COUNT_ON=shmg0

GLOBALS=("web shmg0 $G $G6" "least shmg1 $LEAST")
GLOBAL_KEYS='balance: least-connections'

# The pair's network besides, on those that are members; n3 takes three times as much.
sets_config() { # node, id
	node_config "$1" "$2"
	[ "$1" != n2 ] && echo "  - {name: pair, kind: global, tap: shmg2," \
		"addresses: [$PAIR, \"$PAIR6\"], members: [n1, n3]," \
		"balance: consistent-hash, weight: $2}"
	return 0
}

nodes_up() {
	local node id
	for node in "${NODES[@]}"; do
		id=${node#n}
		site_host "$node" && site_join "$node" "$id" || return
		sets_config "$node" "$id" >"$LAB/$node.yaml" && node_start "$node" "$node" || return
	done
	mesh_is_whole "${NODES[@]}"
}

# n1 is the border for the other networks, too.
ways_add() {
	ip -n "$(host_ns router)" route add "$PAIR" via 10.1.1.2 &&
		ip -n "$(host_ns router)" -6 route add "$PAIR6" via 2001:db8:1::2 &&
		ip -n "$(host_ns router)" route add "$LEAST" via 10.1.1.2
}

serve() { # node, address...
	start "serve-$1" "$1" python3 "$global_here/global_conns.py" serve "$1" "$HOLD_PORT" "${@:2}" &&
		wait_for 10 log_has "serve-$1" ready
}

has_members() { # node, network, "n1 n3"
	[ "$(ctl "$1" status --json | jq -r --arg name "$2" \
		'[.networks[] | select(.name == $name) | .members[].name] | join(" ")')" = "$3" ]
}

no_failed_dad() {
	local node
	for node in "${NODES[@]}"; do
		in_ns "$node" ip -6 addr | tee "$LAB/addresses"
		not grep -E "dadfailed|tentative" "$LAB/addresses" || return
	done
}

# A question of ARP and one of neighbour discovery for the address, then frames for all.
questions() {
	in_ns n1 python3 "$global_here/global_who.py" shmg0 10.77.0.1 "$G"
	in_ns n1 python3 - shmg0 "$G6" <<-'PYTHON' || return
		import socket, sys
		out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
		to = ("ff02::1:ff00:1", 0, 0, socket.if_nametoindex(sys.argv[1]))
		out.sendto(bytes([135]) + bytes(7) + socket.inet_pton(socket.AF_INET6, sys.argv[2]), to)
	PYTHON
	send n1 shmg0 ff:ff:ff:ff:ff:ff "$(link_mac n1 shmg0)" 88b5 64 5
}

counted() { # reason, least
	stats_take "${NODES[@]}" && [ "$(dropped n1 web "$1")" -ge "$2" ]
}

lab_begin "$@"
check "a client and a router" site_make || lab_end
check "three nodes, three global addresses" nodes_up || lab_end
check "n1 is the border" borders_are n1
check "of all addresses" ways_add
check "one set is of all" wait_for 5 has_members n1 web "n1 n2 n3"
check "another one of two" has_members n3 pair "n1 n3"
check "n2 has no part in it" has_members n2 pair ""
check "n3's slices of ports have nothing in common: it says which one counts" \
	grep "WARN.*pair: connections from its addresses get ports" "$LAB/n3.log"
check "no node's IPv6 address was a duplicate" wait_for 10 no_failed_dad

check "servers" serve n1 "$G" "$G6" "$PAIR" "$PAIR6" "$LEAST"
check "on all members" serve n2 "$G" "$G6" "$LEAST"
check "of all sets" serve n3 "$G" "$G6" "$PAIR" "$PAIR6" "$LEAST"
check "all know" all_know "$LEAST:$HOLD_PORT" n1 n2 n3
check "n1 knows of the two" wait_for 5 node_knows n1 "$PAIR:$HOLD_PORT" n1 n3
check "and by IPv6" wait_for 5 node_knows n1 "[$PAIR6]:$HOLD_PORT" n1 n3

hold_start pair client "$PAIR" && hold_start pair6 client "$PAIR6"
for name in pair pair6; do
	check "$NUMBER connections to the two" wait_for 5 hold_opens $name "$NUMBER"
	check "both serve, n3 the more" answered '.by | keys == ["n1", "n3"] and .n3 > .n1 * 1.6'
done
hold_start outsider n2 "$PAIR"
check "the one that is no member is their client" wait_for 5 hold_opens outsider 20
check "served by both" answered '.by | keys == ["n1", "n3"]'

hold_start least client "$LEAST"
for node in n2 n3; do
	check "$node is drained" ctl $node drain --network least
done
check "n1 gets 30" wait_for 5 hold_opens least 30
check "alone" answered '.by == {n1: 30}'
for node in n2 n3; do
	check "$node is undrained" ctl $node undrain --network least
done
check "the next 40" wait_for 5 hold_opens least 40
check "go to those that have the fewest" answered '.by.n1 == null and .by.n2 >= 15 and .by.n3 >= 15'
check "all live" hold_lives least
check "of the two, too" hold_lives pair

check "questions for the address reach nobody, frames for all do" \
	delivers n2 shmg0 5 "ether proto 0x88b5 or arp or (icmp6 and ip6[48:4] = 0xfd990000)" questions
check "the questions are counted" counted global-neigh 2
for to in broadcast 01:00:5e:00:00:4d; do
	check "$NUMBERS numbered frames of each node to $to" count_numbers 500 $to "${NODES[@]}"
	check "reach each other node once, and their sender never" each_once
done
for node in "${NODES[@]}"; do
	check "$node ends with 0" ends "$node"
done
lab_end
