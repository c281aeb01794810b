#!/bin/bash
# A client in the address's own subnet, without a route to it: one member answers ARP and
# neighbour discovery, and another takes over when it is gone.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"

GLOBAL_KEYS="announce: nic0"

forgets() {
	ip -n "$(host_ns client)" neigh flush dev nic0
	ip -n "$(host_ns client)" -6 neigh flush dev nic0
}

reaches() {
	in_ns client ping -q -c 1 -W 2 "$G" && in_ns client ping -q -c 1 -W 2 "$G6"
}

lab_begin "$@"
check "a client on a LAN" lan_make || lab_end
check "three members on it" lan_members_up n1:1 n2:2 n3:3 || lab_end
check "each serves" holds_serve n1 n2 n3

check "the client reaches the address without a route" wait_for 5 reaches
check "n1, the first of the members, answered" entries_are n1
check "one node answers ARP" answer_arp 1 10.99.0.19
check "and the client's probes" answer_arp 1 0.0.0.0
hold_start held client "$G" && hold_start held6 client "$G6"
check "100 connections" wait_for 5 hold_opens held 100
check "100 by IPv6" hold_opens held6 100
check "all nodes serve some" answered '.by | length == 3'
check "the answers of the others did not move the address" entries_are n1

stop n1 KILL
check "n1 is killed: the client is told that n2 has the addresses" wait_for 10 entries_are n2
check "the connections to the others live" hold_lives held n2 n3
check "and by IPv6" hold_lives held6 n2 n3
check "one node answers ARP" answer_arp 1 10.99.0.19
forgets
check "a client that knew nothing reaches it" reaches
check "by n2" entries_are n2

ip -n "$(host_ns n2)" link set nic0 down
check "n2's link is cut: n3 has them" wait_for 10 entries_are n3
check "the connections to n3 live" hold_lives held n3
ip -n "$(host_ns n2)" link set nic0 up
address n2 nic0 fd99::12/64 # which IPv6 forgets
check "it is back" wait_for 10 entries_are n2
check "the connections live" hold_lives held n2 n3

check "n1 is back" mesh_up n2:2 n3:3 n1:1
check "and has the addresses" wait_for 10 entries_are n1
check "its connections live, too" hold_lives held
check "and by IPv6" hold_lives held6
check "n1 ends" ends n1
check "n2 has them" wait_for 10 entries_are n2
check "one node answers ARP" answer_arp 1 10.99.0.19
lab_end
