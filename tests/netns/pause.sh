#!/bin/bash
# Networks that are paused, and go on: connections wait and live, new ones come to others,
# another border announces, and every frame is counted.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"

GLOBAL_KEYS="announce: nic0"

# A server at an address of its own network.
streams_serve() { # host, address
	start "streams-$1" "$1" python3 "$global_here/global_conns.py" \
		serve "$1" "$HOLD_PORT" "$2" && wait_for 10 log_has "streams-$1" ready
}

# All that it was told to check has come back.
hold_lived() { # name
	hold_hear "$1" && answered '.broken == {} and .silent == {} and .alive > 0'
}

# Who of the others has paused what, as the node sees it.
knows_paused() { # node, other, network...
	ctl "$1" nodes "$2" --json | tee "$LAB/nodes" |
		jq -e '.nodes[0].state == "up" and .nodes[0].paused == $ARGS.positional' \
			--args "${@:3}" && return
	cat "$LAB/nodes"
	return 1
}

# Exit status and state of the node, state of a network.
status_is() { # node, exit status, state, network, state
	local status
	ctl "$1" status --json >"$LAB/said"
	status=$?
	jq -c '[.state, .reasons, (.networks[] | [.name, .state, .paused_ms])]' "$LAB/said"
	[ "$status" -eq "$2" ] && jq -e --arg state "$3" --arg name "$4" --arg of "$5" '
		.state == $state and
		any(.networks[]; .name == $name and .state == $of and .paused == ($of == "paused"))
		' "$LAB/said" >"$LAB/true"
}

link_is() { # node, other, network, state
	ctl "$1" topology --json | tee "$LAB/topology" |
		jq -e --arg to "$2" --arg network "$3" --arg state "$4" '
			[.links[] | select(.to == $to and .network == $network).state] == [$state]'
}

# What the node dropped as paused at one end of its links there, since the last time.
declare -A paused_before=()
paused_frames() { # node, network, sent_drops or received_drops
	ctl "$1" stats --json | jq --arg network "$2" --arg at "$3" '
		[.links[] | select(.network == $network) | .[$at][]
		| select(.reason == "paused").frames] | add // 0'
}

paused_mark() { # node, network, end
	paused_before[$1$2$3]=$(paused_frames "$@")
}

drops_paused() { # node, network, end, at least
	local now
	now=$(paused_frames "$1" "$2" "$3")
	echo "was ${paused_before[$1$2$3]}, is $now"
	[ "$now" -ge $((paused_before[$1$2$3] + $4)) ]
}

lab_begin "$@"
check "a client on a LAN" lan_make || lab_end
check "three members on it" lan_members_up n1:1 n2:2 n3:3 || lab_end
check "each serves" holds_serve n1 n2 n3
check "n2 on the local network, too" streams_serve n2 10.77.0.2
check "the client reaches the address" wait_for 5 in_ns client ping -q -c 1 -W 2 "$G"
check "by n1" wait_for 5 entry_is n1 "$G"
hold_start lan n1 10.77.0.2 && hold_start held client "$G" && hold_start more client "$G"
check "20 streams on the local network" wait_for 5 hold_opens lan 20
check "60 connections to the global address" wait_for 5 hold_opens held 60
check "each node serves some" answered '.by | length == 3'

check "no other network" not ctl n2 pause lan1
check "n2 pauses lan0" ctl n2 pause lan0
check "its host sees no carrier" not has_carrier n2 shm0
check "and one on the other network" has_carrier n2 shmg0
check "it is paused, which is no fault" status_is n2 0 paused lan0 paused
check "twice is once" eval 'ctl n2 pause lan0 | grep "paused already"'
check "n1 knows" wait_for 5 knows_paused n1 n2 lan0
check "and is ready" status_is n1 0 ready lan0 up
check "the link is paused" link_is n1 n2 lan0 paused
check "that of the other network is not" link_is n1 n2 web up
check "n2 sees its own the same" link_is n2 n1 lan0 paused
check "the rings are there" ctl n1 ping n2 lan0 -c 1
check "n1 reaches n3" pings n1 -c 1 10.77.0.3
paused_mark n1 lan0 sent_drops
hold_tell lan check
check "what n1 sends to n2 is dropped as paused" \
	wait_for 5 drops_paused n1 lan0 sent_drops 20
check "the global network goes on" hold_lives held
check "its books balance" conserved n1 n2 n3
check "n2 resumes it" ctl n2 resume lan0
check "there is a carrier" has_carrier n2 shm0
check "the streams went on" hold_lived lan
check "and there are more" hold_opens lan 5
check "n2 is ready" status_is n2 0 ready lan0 up
check "n1 knows" wait_for 5 knows_paused n1 n2

check "n2 pauses the global network" ctl n2 pause web
check "n1 knows" wait_for 5 knows_paused n1 n2 web
check "all is well with n2 but that" status_is n2 0 paused web paused
check "no new connection goes there" hold_spares more n2
check "though 16 more come" hold_spares more n2
check "the local network goes on" hold_lives lan
paused_mark n1 web sent_drops
hold_tell held check
check "packets of its connections are dropped as paused, not reset" \
	wait_for 5 drops_paused n1 web sent_drops 1
check "n2 resumes it" ctl n2 resume web
check "they live" hold_lived held
check "new ones come" wait_for 5 hold_reaches more n2

check "n1, the border, pauses all" ctl n1 pause
check "n2 announces" wait_for 10 entry_is n2 "$G"
check "one node answers ARP" answer_arp 1 10.99.0.19
check "no new connection goes to n1" hold_spares more n1
paused_mark n2 web sent_drops
hold_tell held check
check "its own wait" wait_for 5 drops_paused n2 web sent_drops 1
check "n1 resumes all" ctl n1 resume
check "its connections live" hold_lived held
check "n1 announces" wait_for 10 entry_is n1 "$G"
check "and they go on" hold_lives held
check "new ones come" wait_for 5 hold_reaches more n1

check "n2 pauses lan0 under casts" ctl n2 pause lan0
check "n1 knows" wait_for 5 knows_paused n1 n2 lan0
paused_mark n1 lan0 sent_drops
paused_mark n2 lan0 received_drops
check "which n3 gets" delivers n3 shm0 100 "ether proto 0x88b5" \
	send n1 shm0 ff:ff:ff:ff:ff:ff "$(mac_of lan0 1)" 88b5 100 100
stats_take n1 n2
figure "paused: $(dropped n1 lan0 paused) frames at n1, $(dropped n2 lan0 paused) at n2"
check "all frames are counted" conserved n1 n2 n3
check "at n2, which takes them from the ring, or at n1" \
	eval 'drops_paused n2 lan0 received_drops 1 || drops_paused n1 lan0 sent_drops 100'

stop n1 KILL
check "n1 starts again" mesh_up n2:2 n3:3 n1:1
check "and is told" wait_for 5 knows_paused n1 n2 lan0
check "n2 is paused still" status_is n2 0 paused lan0 paused
stop n2 KILL
check "n2 starts again" mesh_up n1:1 n3:3 n2:2
check "and is not paused" wait_for 5 status_is n2 0 ready lan0 up
check "there is a carrier" has_carrier n2 shm0
check "n1 knows" wait_for 5 knows_paused n1 n2
check "n1 reaches n2" wait_for 5 pings n1 -c 1 10.77.0.2
lab_end
