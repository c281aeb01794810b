#!/bin/bash
# Eight nodes, every one linked to every other, in both IP versions; what such a mesh
# holds when nothing is sent; networks with other members and another MTU beside it.
# timeout: 180
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

NODES=8

# The first answer may take a neighbour's discovery; a pair has 10 s.
reaches() { # from, to: numbers
	in_ns "n$1" ping -q -c 1 -w 10 "10.77.0.$2" &&
		in_ns "n$1" ping -q -c 1 -w 10 "fd77::$2"
}

# One process per sender, each through its receivers in another order.
all_reach_all() {
	local from pids=() status=0
	for ((from = 1; from <= NODES; from++)); do
		(
			for ((i = 1; i < NODES; i++)); do
				to=$(((from + i - 1) % NODES + 1))
				reaches "$from" "$to" || { echo "n$from does not reach n$to" && exit 1; }
			done
		) &
		pids+=($!)
	done
	for from in "${pids[@]}"; do
		wait "$from" || status=1
	done
	return "$status"
}

links_up() { # node, network
	ctl "$1" status --json | jq --arg name "$2" \
		'[.networks[] | select(.name == $name).links_up] | add // 0'
}

has_links() { # node, network, number
	[ "$(links_up "$1" "$2")" = "$3" ]
}

members_are() { # network, the numbers of its members
	local node count
	count=$(wc -w <<<"$2")
	for node in $2; do
		wait_for 5 has_links "n$node" "$1" $((count - 1)) && continue
		echo "n$node has $(links_up "n$node" "$1") links"
		return 1
	done
}

# Of all nodes: descriptors, and pages of memfds that were ever written. A ring is mapped
# by two nodes; each counts its proportional share.
memory_of_rings() {
	local id pid descriptors=0 kib=0 more
	for ((id = 1; id <= NODES; id++)); do
		pid=$(pid_of n$id)
		more=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
		descriptors=$((descriptors + more))
		more=$(awk '/^[0-9a-f]+-[0-9a-f]+ / { ours = /memfd:/ }
			ours && /^Pss:/ { sum += $2 } END { print sum + 0 }' "/proc/$pid/smaps")
		kib=$((kib + more))
	done
	echo "$kib KiB of rings in use, $descriptors descriptors in $NODES nodes"
}

no_drops() { # node...
	local node
	for node in "$@"; do
		ctl "$node" status --json | jq -e '.drops == 0' >/dev/null && continue
		ctl "$node" stats --drops
		return 1
	done
}

lab_begin "$@"
names=()
for ((id = 1; id <= NODES; id++)); do
	host_add n$id
	NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
	# jumbo: the even ones; pair: two of them, with the largest frames.
	((id % 2)) || NETWORKS+=("jumbo shm1 9000 10.78.0.%/24")
	((id != 2 && id != 5)) || NETWORKS+=("pair shm2 65521 10.79.0.%/24")
	node_config n$id $id >"$LAB/n$id.yaml"
	node_start n$id
	names+=("n$id")
done
check "$NODES nodes see each other" mesh_is_whole "${names[@]}" || lab_end
check "lan0 has all of them" members_are lan0 "1 2 3 4 5 6 7 8"
check "jumbo the even ones" members_are jumbo "2 4 6 8"
check "pair its two" members_are pair "2 5"
figure "idle: $(memory_of_rings)"

started=${EPOCHREALTIME/./}
check "each reaches each, by IPv4 and IPv6" all_reach_all
figure "$((NODES * (NODES - 1))) ordered pairs in $(((${EPOCHREALTIME/./} - started) / 1000)) ms"
figure "afterwards: $(memory_of_rings)"
check "frames of 9,000 bytes pass in jumbo" pings n2 -M "do" -s 8972 10.78.0.8
check "of 65,521 in pair" pings n5 -M "do" -s 65493 10.79.0.2
check "not in lan0" not pings n2 -M "do" -s 8972 10.77.0.8
check "whoever is no member of jumbo has no part of it" not pings n1 10.78.0.2
check "the books balance" conserved "${names[@]}"
check "and no frame was dropped" no_drops "${names[@]}"
for name in "${names[@]}"; do
	check "$name ends well" ends "$name"
done
lab_end
