#!/bin/bash
# A client that means harm: frames that contradict themselves, fragments that overlap or
# have no end, land packets, a flood of SYNs. Nothing of it reaches established
# connections, or brings a node down; all of it is counted.
# timeout: 420
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"

# Few enough for a flood to reach 80 % of it.
GLOBAL_KEYS="flows: 16384"
NUMBER=$((500 / SLOW))
RATE=$((20000 / SLOW))
FLOOD_SECONDS=8
[ -z "${SHMNET_TEST_LONG-}" ] || FLOOD_SECONDS=180
NODES=(n1 n2 n3)

# From the router, so that nothing is dropped on the way.
attack() { # kind
	in_ns router python3 "$global_here/global_hostile.py" to-n1 "$(link_mac n1 nic0)" \
		"$CLIENT" "$CLIENT6" "$G" "$G6" "$HOLD_PORT" "$1"
}

flood_start() {
	local binary
	binary=$(program flood) || return
	start flood router "$binary" to-n1 "$(link_mac n1 nic0)" 198.18.0.0 15 "$G" \
		"$HOLD_PORT" "$RATE" "$FLOOD_SECONDS"
}

flood_is_whole() {
	finish flood 30 && cat "$LAB/flood.log" &&
		[ "$(tail -n 1 "$LAB/flood.log")" -ge $((RATE * FLOOD_SECONDS * 9 / 10)) ]
}

nodes_live() {
	local node
	for node in "${NODES[@]}"; do
		node_sees "$node" 2 || return
	done
}

counted() { # reason, least
	stats_take "${NODES[@]}" && dropped n1 web "$1" | tee "$LAB/dropped"
	[ "$(cat "$LAB/dropped")" -ge "$2" ]
}

# No node has more flows in its table than it may.
under_cap() {
	local node
	for node in "${NODES[@]}"; do
		ctl "$node" flows --json >"$LAB/flows" || return
		jq -c .tables "$LAB/flows"
		jq -e 'all(.tables[]; .flows <= .room)' "$LAB/flows" >/dev/null || return
	done
}

lives_under_flood() {
	while is_alive flood; do
		hold_lives held && under_cap || return
	done
}

lab_begin "$@"
check "a client and a router" site_make || lab_end
check "three members" members_up n1:1 n2:2 n3:3 || lab_end
check "n1 is the border" borders_are n1
# What a flood is answered with goes nowhere.
ip -n "$(host_ns router)" route add blackhole 198.18.0.0/15
check "each serves" holds_serve "${NODES[@]}"
hold_start held client "$G" && hold_start held6 client "$G6"
check "$NUMBER connections" wait_for 5 hold_opens held "$NUMBER"
check "$NUMBER by IPv6" hold_opens held6 "$NUMBER"

for kind in packets fragments garbage; do
	check "hostile $kind" attack $kind
	check "every node lives" nodes_live
	check "the connections live" hold_lives held
	check "and by IPv6" hold_lives held6
	check "a new one is served" hold_opens held 10
done
check "bad packets are counted" counted bad-packet 100
check "and bad fragments" counted bad-fragment 300

check "a flood of $RATE SYNs a second" flood_start
check "no established connection breaks meanwhile, and no table is above its cap" \
	lives_under_flood
check "nor by IPv6" hold_lives held6
check "the flood was as large as it should be" flood_is_whole
figure "$(ctl n1 flows --json | jq -r '.tables[] | "n1 has \(.flows) flows of \(.room)"')"
check "every node lives" nodes_live
check "the connections live" hold_lives held
check "new ones are served" wait_for 5 hold_opens held 100
lab_end
