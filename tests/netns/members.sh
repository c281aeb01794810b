#!/bin/bash
# Nodes that are members of different networks, and nodes that can't be: another MTU
# under the same name, another cluster, a name or an id that is taken.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

LAN0="lan0 shm0 1500 10.77.0.%/24 fd77::%/64"
LAN1="lan1 shm1 9000 10.78.0.%/24 fd78::%/64"
OTHER="lan0 shm0 4000 10.77.0.%/24 fd77::%/64"

status_says() { # node, pattern for one of its reasons
	ctl "$1" status --json >"$LAB/status"
	jq -e --arg pattern "$2" '.reasons | any(test($pattern))' "$LAB/status" >/dev/null && return
	jq -c '.reasons, .nodes' "$LAB/status"
	return 1
}

links_of() { # node: "lan0>n2 ..." that are up
	ctl "$1" topology --json | jq -r --arg node "$1" \
		'[.links[] | select(.from == $node and .state == "up") | .network + ">" + .to]
		 | sort | join(" ")'
}

has_links() { # node, those
	wait_for 5 has_links_now "$@" && return
	links_of "$1"
	return 1
}

has_links_now() {
	[ "$(links_of "$1")" = "$2" ]
}

lab_begin "$@"
host_add n1 && host_add n2 && host_add n3 && host_add n4 && host_add n5
NETWORKS=("$LAN0" "$LAN1") && node_config n1 1 >"$LAB/n1.yaml"
NETWORKS=("$LAN0") && node_config n2 2 >"$LAB/n2.yaml"
NETWORKS=("$LAN1") && node_config n3 3 >"$LAB/n3.yaml"
NETWORKS=("$OTHER" "$LAN1") && node_config n4 4 >"$LAB/n4.yaml"
NETWORKS=("$LAN0") NODE_KEYS="cluster: another" && node_config n5 5 >"$LAB/n5.yaml"
NODE_KEYS=''

NETWORKS=("${LAN0//%/2}") && node_config n6 6 >"$LAB/n6.yaml"

# --- different networks ------------------------------------------------------------

check "three nodes see each other" mesh_up n1:1 n2:2 n3:3 || lab_end
check "n1 has links on both networks" has_links n1 "lan0>n2 lan1>n3"
check "n2 has one" has_links n2 "lan0>n1"
check "n3 has one" has_links n3 "lan1>n1"
check "n1 reaches n2" pings n1 10.77.0.2
check "n1 reaches n3" pings n1 10.78.0.3
check "n1 reaches n3 with IPv6" wait_for 5 pings n1 -6 fd78::3
check "a jumbo frame reaches n3" pings n1 -M "do" -s 8972 10.78.0.3
check "n2 has carrier" has_carrier n2 shm0
check "n3 has carrier" has_carrier n3 shm1

# --- another MTU -------------------------------------------------------------------

check "a node with another MTU for lan0 starts" node_up n4 4
check "it is linked on the other network" has_links n4 "lan1>n1 lan1>n3"
check "n1 says why not on lan0" wait_for 5 status_says n1 \
	'network lan0 has MTU 1500 on n1 and MTU 4000 on n4'
check "so does n4" wait_for 5 status_says n4 \
	'network lan0 has MTU 4000 on n4 and MTU 1500 on n1'
check "so does n1's log" grep -q \
	'WARN .*network lan0 has MTU 1500 on n1 and MTU 4000 on n4: not connected' "$LAB/n1.log"
check "n1 reaches it on lan1" pings n1 10.78.0.4
check "and not on lan0" not in_ns n1 ping -c 1 -W 1 10.77.0.4
check "n4 has no carrier on lan0" not has_carrier n4 shm0
check "n1 and n2 go on" pings n1 10.77.0.2

# --- an address that is taken --------------------------------------------------------

check "a node with n2's address starts" node_up n6 6
check "n2 says whose it is, too" wait_for 5 status_says n2 \
	'address 10.77.0.2 of network lan0 is that of n2 and of n6; give one of them another'
check "so does the one that came" wait_for 5 status_says n6 \
	'address 10.77.0.2 of network lan0 is that of n6 and of n2'
check "its log says it, too" grep -q 'WARN .*address 10.77.0.2 of network lan0' "$LAB/n6.log"
check "n1 has nothing to say of it" not status_says n1 'address 10.77.0.2'
check "it goes" ends n6
check "with it the words" wait_for 5 not status_says n2 'address 10.77.0.2'

# --- another cluster, a name that is taken -----------------------------------------

check "a node of another cluster starts" node_up n5 5
check "n1 says why they don't talk" wait_for 5 status_says n1 \
	'cluster another of n5 \(id 5\) and cluster default of n1 \(id 1\) differ|cluster default of n1 \(id 1\) and cluster another of n5 \(id 5\) differ'
check "n5 says so, too" wait_for 5 status_says n5 'cluster .* differ'
check "n5 has no carrier" not has_carrier n5 shm0
check "n1 and n2 go on" pings n1 10.77.0.2
check "every frame was delivered or counted" conserved n1 n2 n3 n4
for node in n5 n4 n3 n2 n1; do
	check "$node ends when told to" ends $node
done
lab_end
