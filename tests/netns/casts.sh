#!/bin/bash
# Cast rings with four nodes: who makes them, joins them and takes them over; numbered
# broadcasts from all to all; a maker that is killed again and again; more groups than
# rings; lanes; another user.
# timeout: 240, alone
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

# Deep enough for a worker that the scheduler forgets for a while.
NETWORK_KEYS='cast_depth: 8192'
NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
NODES=(n1 n2 n3 n4)
KILLS=$((50 / SLOW))

# --- rings -----------------------------------------------------------------------

cast_rings() { # node: one line per ring: label epoch maker depth readers state
	ctl "$1" rings --json | jq -r '.casts[]
		| "\(.label) \(.epoch // 0) \(.maker) \(.depth) \(.readers) \(.state)"'
}

ring_of() { # node, label: "epoch maker readers state"
	cast_rings "$1" | awk -v label="$2" '$1 == label { print $2, $3, $5, $6 }'
}

# All have one and the same ring of the label, which all the others read.
in_one_ring() { # label, node...
	local label=$1 node
	shift
	for node in "$@"; do
		ring_of "$node" "$label"
	done | sort -u >"$LAB/ring"
	[ "$(wc -l <"$LAB/ring")" -eq 1 ] && grep -q " $(($# - 1)) up$" "$LAB/ring"
}

soon_in_one_ring() { # label, node...
	wait_for 5 in_one_ring "$@" && return
	cat "$LAB/ring"
	local node
	for node in "${@:2}"; do
		echo "$node: $(cast_rings "$node" | tr '\n' ';')"
		tail -n 3 "$LAB/$node.log"
	done
	return 1
}

maker_of() { # node: of the broadcast ring
	ctl "$1" rings --json | jq -r '.casts[] | select(.label == "broadcast") | .maker'
}

broadcast() { # node
	send "$1" shm0 ff:ff:ff:ff:ff:ff "$(mac_of lan0 "${1#n}")" 88b5 100 1 >/dev/null
}

# --- numbers ---------------------------------------------------------------------

none_twice() {
	jq -e 'all(.own == 0 and all(.from[]; .twice == 0))' "$LAB/counts"
}

# What a node has lost on its way to another is in the books; in the kernel's, too.
missing_is_counted() {
	stats_take "${NODES[@]}" || return
	jq -n --argjson n "$NUMBERS" --slurpfile counts "$LAB/counts" \
		--slurpfile stats "$LAB/stats" --slurpfile before "$LAB/stats.before" '
		def drops($all; $from; $to):
			([$all[$from].links[] | select(.peer == $to) | .sent_drops[].frames]
			 + [$all[$to].links[] | select(.peer == $from) | .received_drops[].frames]
			 + [$all[$from, $to].networks[] | .kernel_tx_dropped, .kernel_rx_dropped,
			    .drops[].frames]) | add // 0;
		[$counts[0][] | .node as $to | .from | to_entries[]
		| {from: "n\(.key)", to: "n\($to)", missing: ($n - .value.seen)}
		| .counted = drops($stats[0]; .from; .to) - drops($before[0]; .from; .to)]' \
		>"$LAB/missing"
	jq -e 'all(.missing <= .counted)' "$LAB/missing" && return
	cat "$LAB/missing"
	return 1
}

# --- the maker's death -------------------------------------------------------------

watch_start() { # node
	: >"$LAB/watch-$1.log"
	start "watch-$1" "$1" "$(program casts)" watch shm0 "${1#n}"
	wait_for 5 grep -q ready "$LAB/watch-$1.log" && : >"$LAB/watch-$1.log"
}

# Kills the maker of the broadcast ring; another node prints when it got the first
# broadcast that a third one sent after that.
kill_maker() {
	local victim other
	victim=n$(maker_of "${NODES[0]}")
	other=n$((${victim#n} % 4 + 1))
	kill -USR1 "$(pid_of "watch-$other")"
	kill -KILL "$(pid_of "$victim")"
	finish "$victim"
	wait_for 5 test -s "$LAB/watch-$other.log" || {
		echo "$other got nothing after $victim was killed"
		return 1
	}
	cat "$LAB/watch-$other.log" >>"$LAB/gaps"
	: >"$LAB/watch-$other.log"
	node_up "$victim" "${victim#n}" || return
	mesh_is_whole "${NODES[@]}" && soon_in_one_ring broadcast "${NODES[@]}"
}

kill_makers() {
	local i
	for ((i = 0; i < KILLS; i++)); do
		kill_maker || {
			echo "in round $i"
			return 1
		}
	done
}

gap_figure() {
	sort -n "$LAB/gaps" | awk '{ v[NR] = $1 / 1000 } END {
		printf "      first broadcast after the death of the maker: median %.1f ms, most %.1f ms (%d rounds)\n",
			v[int((NR + 1) / 2)], v[NR], NR }'
}

flood_is_counted() {
	check "reach none twice" none_twice
	check "and the books balance" conserved "${NODES[@]}"
	check "what is missing is counted" missing_is_counted
	figure "$(jq -r --argjson n "$NUMBERS" \
		'"missing: \(map(.missing) | add) of \(length * $n)"' "$LAB/missing")"
}

lab_begin "$@"

# --- making, joining -----------------------------------------------------------------

for node in "${NODES[@]:0:3}"; do
	node_up "$node" "${node#n}" || lab_end
done
check "three nodes are up" mesh_is_whole "${NODES[@]:0:3}"
broadcast n2
[ "$FABRIC" != shm ] ||
	check "a broadcast makes the ring, for all three" soon_in_one_ring broadcast "${NODES[@]:0:3}"
node_up n4 4 || lab_end
check "a fourth one joins" mesh_is_whole "${NODES[@]}"
[ "$FABRIC" != shm ] || check "and is in the ring" soon_in_one_ring broadcast "${NODES[@]}"

# --- numbers -----------------------------------------------------------------------

check "$NUMBERS broadcasts of each node, slowly" count_numbers $((1000 / SLOW)) broadcast "${NODES[@]}"
check "reach each other node once, and their sender never" each_once
check "and the books balance" conserved "${NODES[@]}"
cp "$LAB/stats" "$LAB/stats.before"
check "as many at ten times that rate" count_numbers $((10000 / SLOW)) broadcast "${NODES[@]}"
flood_is_counted
check "as many as fast as they can" count_numbers 1000000 broadcast "${NODES[@]}"
flood_is_counted

[ "$FABRIC" = shm ] || lab_end # all else is about cast rings, which are shared memory

# --- groups ------------------------------------------------------------------------

group_casts() { # number
	send n1 shm0 "33:33:00:00:00:0$1" "$(mac_of lan0 1)" 88b5 100 200
}

groups_have_rings() {
	local group
	for group in 1 2 3 4; do
		group_casts "$group" || return
		soon_in_one_ring "33:33:00:00:00:0$group" "${NODES[@]}" || return
	done
}

fifth_group_has_none() {
	group_casts 5 || return
	delivers n4 shm0 10 "ether dst 33:33:00:00:00:05" \
		send n2 shm0 33:33:00:00:00:05 "$(mac_of lan0 2)" 88b5 100 10 || return
	[ -z "$(ring_of n1 33:33:00:00:00:05)" ]
}

check "groups that are used have rings" groups_have_rings
check "one more than there may be uses the broadcast ring" fifth_group_has_none
check "and the log says so" \
	grep -q "INFO  lan0: no ring for 33:33:00:00:00:05: all 4 are in use" "$LAB/n1.log"

# --- a maker that dies ---------------------------------------------------------------

for node in "${NODES[@]}"; do
	watch_start "$node"
done
check "the maker of the broadcast ring is killed, $KILLS times" kill_makers
gap_figure
for node in "${NODES[@]}"; do
	stop "watch-$node"
done
for node in "${NODES[@]}"; do
	check "$node ends" ends "$node"
	rm "$LAB/$node.yaml"
done

# --- lanes, and another user -----------------------------------------------------------

NETWORK_KEYS='cast: lanes, cast_depth: 8192'
check "nodes with lanes" mesh_up n1:1 n2:2 n3:3 n4:4
broadcast n1
lanes_are_there() {
	local node
	for node in "${NODES[@]}"; do
		broadcast "$node"
	done
	for node in "${NODES[@]}"; do
		wait_for 5 has_lanes "$node" || return
	done
}
has_lanes() { # node
	cast_rings "$1" >"$LAB/lanes"
	[ "$(grep -c ' up$' "$LAB/lanes")" -eq 4 ] &&
		awk -v own="${1#n}" '$3 == own { exit $5 != 3 }' "$LAB/lanes"
}
check "each node has one of its own, which the others read" lanes_are_there
check "$NUMBERS broadcasts of each node" count_numbers $((1000 / SLOW)) broadcast "${NODES[@]}"
check "reach each other node once, and their sender never" each_once
check "and the books balance" conserved "${NODES[@]}"
for node in "${NODES[@]}"; do
	check "$node ends" ends "$node"
	rm "$LAB/$node.yaml"
done
NETWORK_KEYS='cast_depth: 8192'

# --- another user ----------------------------------------------------------------------

# May open /dev/net/tun, whatever its mode.
caps="+net_admin,+dac_override${NODES_IN:+,+sys_admin}"
other_user=(setpriv --reuid 1234 --regid 1234 --clear-groups --inh-caps "$caps"
	--ambient-caps "$caps")

# n1 and n2 are root's, n3 is another user's.
users_up() {
	local node
	for node in n1 n2 n3; do
		node_config "$node" "${node#n}" |
			sed "s|path: .*|&, uids: [1234]}|; s|}, uids|, uids|" >"$LAB/$node.yaml"
	done
	chmod 644 "$LAB"/*.yaml
	node_up n1 1 && node_up n2 2 || return
	: >"$LAB/n3.log"
	start n3 "$(node_in n3)" "${other_user[@]}" "$(program shmnet-node)" --config "$LAB/n3.yaml"
	mesh_is_whole n1 n2 n3
}

says_why() {
	ctl n1 status --json >"$LAB/n1.status"
	jq -r '.reasons[]' "$LAB/n1.status" | tee /dev/stderr |
		grep -q 'n3 is of uid 1234 and n1 of uid 0, and a shared cast ring is for one'
}

users_down() {
	local node
	for node in n1 n2 n3; do
		ends "$node" || return
	done
}

lanes_of_users() {
	local node
	for node in n1 n2 n3; do
		broadcast "$node"
	done
	for node in n1 n2 n3; do
		wait_for 5 has_rings "$node" 3 || return
	done
}

has_rings() { # node, number
	[ "$(cast_rings "$1" | grep -c ' up$')" -eq "$2" ]
}

if "${other_user[@]}" true 2>/dev/null; then
	rm -f "$LAB"/n?.log
	chmod 711 "$LAB" && chgrp 1234 "$LAB/run" "$LAB/fabric" &&
		chmod 2770 "$LAB/run" "$LAB/fabric"
	check "two nodes of root and one of another user" users_up
	broadcast n1
	check "those of root share a ring" wait_for 5 has_rings n1 1
	check "and say why the third does not" says_why
	check "which has none" has_rings n3 0
	check "$NUMBERS broadcasts of each" count_numbers $((1000 / SLOW)) broadcast n1 n2 n3
	check "reach each other node once, and their sender never" each_once
	check "they end" users_down
	NETWORK_KEYS='cast: lanes, cast_depth: 8192'
	check "the same with lanes" users_up
	check "each has one of its own" lanes_of_users
	check "and there is nothing to say" ctl n1 status
	check "$NUMBERS broadcasts of each" count_numbers $((1000 / SLOW)) broadcast n1 n2 n3
	check "reach each other node once, and their sender never" each_once
	check "they end" users_down
else
	echo "SKIP: another user: setpriv can't become one here"
fi

lab_end
