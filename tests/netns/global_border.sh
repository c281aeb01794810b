#!/bin/bash
# Two borders: a flow that moves from one to the other goes on, and one of them may die.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"

NUMBER=$((300 / SLOW))

# Packets from the router that a node took in, of both families.
arrived() { # node
	in_ns "$1" cat /sys/class/net/nic0/statistics/rx_packets
}

# The holders' connections live, and all of what they sent came by that border.
live_by() { # border, other
	local one other
	one=$(arrived "$1") other=$(arrived "$2")
	hold_lives held && hold_lives held6 || return
	echo "$1: $(($(arrived "$1") - one)) packets, $2: $(($(arrived "$2") - other))"
	[ $(($(arrived "$1") - one)) -gt $((NUMBER / 2)) ] &&
		[ $(($(arrived "$2") - other)) -lt $((NUMBER / 2)) ]
}

live_by_both() {
	local one two
	one=$(arrived n1) two=$(arrived n2)
	hold_lives held && hold_lives held6 &&
		[ $(($(arrived n1) - one)) -gt $((NUMBER / 4)) ] &&
		[ $(($(arrived n2) - two)) -gt $((NUMBER / 4)) ]
}

# While connections are opened by both; its host goes on, and so do those of others.
stands_still() { # border
	hold_tell held open 400 200
	sleep 0.3
	kill -STOP "$(pid_of "$1")"
	sleep 1.5
	kill -CONT "$(pid_of "$1")"
	hold_hear held && answered '.opened == 400 and .broken == {}'
}

late_answers() { # border
	ctl "$1" stats --json >"$LAB/late.stats" || return
	jq -e '[.networks[].decisions.late // 0] | add > 0' "$LAB/late.stats"
}

# The border knows nobody's connection, and asks while the others stand still for longer
# than it waits, but not for so long that they are suspected.
members_are_late() {
	stop n1 KILL
	node_up n1 1 && mesh_is_whole n1 n2 n3 || return
	kill -STOP "$(pid_of n2)" "$(pid_of n3)"
	hold_tell held check
	sleep 0.15
	kill -CONT "$(pid_of n2)" "$(pid_of n3)"
	hold_hear held && answered '.broken == {} and .silent == {}'
}

# Whether they were is a matter of luck.
lives_by_late_answers() {
	local i
	for ((i = 0; i < 10; i++)); do
		members_are_late || return
		late_answers n1 && return
	done
	return 1
}

lab_begin "$@"
check "a client and a router" site_make || lab_end
check "three members" members_up n1:1 n2:2 n3:3 || lab_end
# What n1 serves would die with it, and is another test's.
check "a service on two of them" holds_serve n2 n3
hold_start held client "$G" && hold_start held6 client "$G6"

check "n1 is the border" borders_are n1
check "$NUMBER connections" wait_for 5 hold_opens held "$NUMBER"
check "$NUMBER by IPv6" hold_opens held6 "$NUMBER"
check "they come by n1" live_by n1 n2
check "n2 is the border: they go on" borders_are n2
check "and come by n2" live_by n2 n1
check "both are: they go on" borders_are n1 n2
check "by both" live_by_both
check "$NUMBER more by both" hold_opens held "$NUMBER"
check "n1 stands still for a while: all are opened, none is reset" stands_still n1
check "all see each other again" mesh_is_whole n1 n2 n3
check "all go on by n1 alone" borders_are n1
check "by n1" live_by n1 n2
check "it starts anew, and the members answer late: all live" lives_by_late_answers

stop n1 KILL
ip -n "$(host_ns n1)" link set nic0 down
check "n1 dies, and the router takes n2" borders_are n2
check "nothing broke" hold_lives held
check "nor by IPv6" hold_lives held6
check "$NUMBER more" hold_opens held "$NUMBER"
check "all live" hold_lives held
lab_end
