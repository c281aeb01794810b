#!/bin/bash
# Three nodes on two networks: neighbours, addresses, carrier, and what shmnetctl says.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64" "lan1 shm1 9000 10.78.0.%/24 fd78::%/64")

exits_with() { # status, command...
	local want=$1 status
	shift
	"$@"
	status=$?
	[ "$status" -eq "$want" ] && return
	echo "exit status $status, expected $want"
	return 1
}

json_has() { # node, verb, jq expression
	ctl "$1" "$2" --json >"$LAB/json"
	jq -e "$3" "$LAB/json" >/dev/null || {
		cat "$LAB/json"
		return 1
	}
}

text_has() { # node, verb, pattern...
	local node=$1 verb=$2 pattern
	shift 2
	ctl "$node" "$verb" >"$LAB/text"
	cat "$LAB/text"
	for pattern in "$@"; do
		grep -qE "$pattern" "$LAB/text" || return
	done
}

neighbour_is() { # host, interface, address, MAC
	ip -n "$(host_ns "$1")" neigh show "$3" dev "$2" | tee "$LAB/neigh"
	grep -q "lladdr $4 " "$LAB/neigh"
}

mac_is() { # host, interface, MAC
	ip -n "$(host_ns "$1")" -o link show "$2" | tee "$LAB/link"
	grep -q "link/ether $3 " "$LAB/link"
}

lab_begin "$@"

# --- alone ---------------------------------------------------------------------

check "without a daemon shmnetctl exits with 3" exits_with 3 ctl n1 status
check "a node comes up" node_up n1 1 || lab_end
check "alone it has no carrier on lan0" not has_carrier n1 shm0
check "nor on lan1" not has_carrier n1 shm1
check "and its status is degraded, exit 4" exits_with 4 ctl n1 status
check "which --json says in words" json_has n1 status \
	'.schema == 1 and .state == "degraded" and (.reasons | length == 2)
	 and (.reasons | all(test("^network lan[01]: no node is linked")))'
check "an address is there all the same" in_ns n1 ip -4 addr show shm0 to 10.77.0.1/24

# --- together --------------------------------------------------------------------

check "three nodes see each other" mesh_up n1:1 n2:2 n3:3 || lab_end
for tap in shm0 shm1; do
	check "with peers there is carrier on $tap" wait_for 5 has_carrier n1 $tap
done
for address in 10.77.0.2 10.77.0.3 10.78.0.2 10.78.0.3; do
	check "n1 pings $address" pings n1 $address
done
for address in fd77::2 fd77::3 fd78::2 fd78::3; do
	check "n1 pings $address" wait_for 5 pings n1 -6 $address
done
check "n3 pings n2" pings n3 10.77.0.2
for id in 2 3; do
	for network in lan0 lan1; do
		tap=shm${network#lan} mac=$(mac_of $network $id)
		link_local=$(link_local_of "$mac")
		check "n$id has MAC address $mac on $network" mac_is n$id "$tap" "$mac"
		check "n1 has learnt it by ARP" \
			neighbour_is n1 "$tap" 10.7$((7 + ${network#lan})).0.$id "$mac"
		check "and by neighbour discovery" \
			neighbour_is n1 "$tap" fd7$((7 + ${network#lan}))::$id "$mac"
		check "n1 pings $link_local%$tap" wait_for 5 pings n1 "$link_local%$tap"
	done
done
check "all nodes answer a ping to all" pings n1 ff02::1%shm0

# --- shmnetctl -------------------------------------------------------------------

check "status exits with 0" exits_with 0 ctl n1 status
check "status --wait ready does" exits_with 0 ctl n1 status --wait ready
check "status in words" text_has n1 status '^n1 READY  2/2 networks up, 2/2 nodes up' \
	'^lan0 +local +shm0 +1500 +.*10\.77\.0\.1/24' "^n2 +2 +.*up +$(fabric_shown)"
check "status as JSON" json_has n1 status \
	'.schema == 1 and .node == "n1" and .id == 1 and .cluster == "default"
	 and .state == "ready" and .reasons == [] and .nodes_up == 2 and .nodes_known == 2
	 and (.networks | map(.name) == ["lan0", "lan1"])
	 and (.networks | all(.state == "up" and .links_up == 2 and .queues > 0))
	 and (.networks[0].addresses == ["10.77.0.1/24", "fd77::1/64"])
	 and (.nodes | map(.name) | sort == ["n2", "n3"])
	 and (.nodes | all(.state == "up" and .fabric == "'"$(fabric_shown)"'" and .incarnation > 0))'
[ "$FABRIC" != shm ] || check "it names the pids" json_has n1 status \
	"[.nodes[].pid] | sort == ([$(pid_of n2), $(pid_of n3)] | sort)"
check "topology as JSON" json_has n2 topology \
	'.node == "n2" and (.networks | length == 2) and (.nodes | length == 3)
	 and (.nodes | map(.name) | sort == ["n1", "n2", "n3"])
	 and (.nodes | all(.state == "up"))
	 and ([.links[] | select(.from == "n2" and .state == "up") | .network + .to] | sort
	      == ["lan0n1", "lan0n3", "lan1n1", "lan1n3"])'
check "topology in words" text_has n2 topology lan0 lan1 n1 n3
check "stats as JSON" json_has n3 stats \
	'.node == "n3" and (.networks | length == 2) and (.links | length == 4)
	 and (.links | all(.sent_frames > 0 and .delivered_frames > 0 and .ring_size > 0))'
check "stats in words" text_has n3 stats lan0 lan1 n1 n2
check "version in words" text_has n1 version '^shmnetctl [0-9]'
check "version as JSON" json_has n1 version '.node.name == "n1" and .node.wire_version == .wire_version'
check "an unknown command exits with 2" exits_with 2 ctl n1 stauts

# --- and alone again ---------------------------------------------------------------

check "n2 ends when told to" ends n2
check "n3 ends when told to" ends n3
check "n1 has no carrier then" wait_for 5 not has_carrier n1 shm0
check "and sees nobody" wait_for 5 node_sees n1 0
check "n1 ends, too" ends n1
check "without a daemon shmnetctl exits with 3 again" exits_with 3 ctl n1 status --json
lab_end
