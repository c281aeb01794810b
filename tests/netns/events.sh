#!/bin/bash
# What shmnetctl events says of a killed node, of its return and of a removed interface,
# and that the log says the same.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")

# An event of the node has all of it: node, jq expression
has_event() {
	ctl "$1" events --json >"$LAB/events"
	jq -e ".schema == 1 and any(.events[]; $2)" "$LAB/events" >/dev/null || {
		cat "$LAB/events"
		return 1
	}
}

# Each event's line is in the log, cut where the event is.
log_agrees() { # node
	local cause
	ctl "$1" events --json | jq -r '.events[] | .name + ": " + .state + " " + .cause' |
		sed -E 's/: (ready|up|down) /: \1: /; s/: (on|off) /: carrier \1: /
			s/: (refused|quarantined|removed) /: /; s/: made /: ring made: /
			s/: taken-over /: ring taken over: /; s/: remade /: ring made anew: /' >"$LAB/lines"
	[ -s "$LAB/lines" ] || return
	while read -r cause; do
		grep -qF -- " $cause" "$LAB/$1.log" || {
			echo "not in the log: $cause"
			return 1
		}
	done <"$LAB/lines"
}

follower_has() { # jq expression
	jq -se "any(.[]; $1)" "$LAB/follower.log" >/dev/null
}

lab_begin "$@"

node_up n1 1 && node_up n2 2 || exit 1
wait_for 5 node_sees n1 1 || exit 1
check "n1 tells of its start" \
	has_event n1 '.name == "n1" and .old == "starting" and .state == "ready"'
check "n1 tells that n2 came" has_event n1 '.subject == "node" and .name == "n2" and
	.old == "down" and .state == "up" and (.cause | startswith("id 2,"))'
check "n1 tells of its carrier" has_event n1 '.subject == "network" and .name == "lan0" and
	.old == "off" and .state == "on"'
check "the time is the clock's" has_event n1 '(.wall_ms / 1000 - now | fabs) < 60'

start follower n1 "$(program shmnetctl)" -s "$LAB/run/n1.sock" events --follow --json
kill -KILL "$(pid_of n2)"
finish n2
check "n1 tells that n2 was killed" wait_for 5 has_event n1 '.name == "n2" and
	.old == "up" and .state == "down" and (.cause | test("ended|died")) and .gap_ms < 1000'
check "a follower hears of it" wait_for 5 follower_has '.name == "n2" and .state == "down"'
check "n1 tells that the carrier went" wait_for 5 has_event n1 '.name == "lan0" and
	.old == "on" and .state == "off" and .cause == "no live peer"'
node_up n2 2 || exit 1
check "n1 tells that n2 is back" wait_for 5 has_event n1 '.name == "n2" and
	.state == "up" and .sequence > 4 and .gap_ms >= 0'
check "and how long the carrier was off" wait_for 5 has_event n1 '.name == "lan0" and
	.state == "on" and .gap_ms >= 0'
check "the log of n1 says the same" log_agrees n1

ip -n "$(host_ns n2)" link delete shm0
check "n2 tells that its interface was removed" wait_for 5 has_event n2 '
	.subject == "network" and .state == "removed" and (.cause | test("shm0.* was removed"))'
check "the log of n2 says the same" log_agrees n2

stop n1
finish follower
stop n2
check "the follower ends with its node" grep -q 'no shmnet-node listens' "$LAB/follower.log"
lab_end
