#!/bin/bash
# Faults of many kinds, mixed at random, while frames, casts and connections go on. After
# each round: nobody ended who was not made to, all see each other, no frame came twice,
# every frame between nodes that lived is delivered or counted, no connection broke, new
# ones are served, and what the nodes hold is what they held before.
# timeout: 7200, alone
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"
# shellcheck source=tests/netns/rounds.sh
. "$(dirname "$0")/rounds.sh"

NODES=(n1 n2 n3 n4)
NETWORK_NAMES='lan0 web'
LOADS=(unicast broadcast connections)
HELD=200
# Deep enough for a worker that the scheduler forgets for a while.
NETWORK_KEYS='cast_depth: 8192'
BASELINE_OF='^n[0-9]+$'
NUMBERS=$((2000 / SLOW))

# --- faults ----------------------------------------------------------------------------

# A node that ends takes its interfaces along, and who counts frames on them.
faults_for() { # load
	FAULTS=(killed stopped starved drained cut paused reloaded upgraded)
	[ "$1" != connections ] || FAULTS+=(ended ended)
}

begin_killed() {
	dead[$1]=1
	stop "$1" KILL
	[ $? -eq 137 ]
}

end_killed() {
	node_start "$1"
}

begin_ended() {
	dead[$1]=1
	stop "$1"
}

end_ended() {
	node_start "$1"
}

begin_stopped() {
	late_to[$1]=1
	kill -STOP "$(pid_of "$1")"
}

end_stopped() {
	kill -CONT "$(pid_of "$1")"
}

begin_starved() {
	local i
	for i in 1 2 3 4; do
		start "hog-$1-$i" "$1" sh -c 'while :; do :; done' || return
	done
}

end_starved() {
	local i
	for i in 1 2 3 4; do
		stop "hog-$1-$i" KILL
	done
	return 0
}

begin_drained() {
	ctl "$1" drain
}

end_drained() {
	ctl "$1" undrain
}

begin_paused() {
	ctl "$1" pause
}

end_paused() {
	ctl "$1" resume
}

# Another address, weight and policy, and back; in both ways to say so.
begin_reloaded() {
	cp "$LAB/$1.yaml" "$LAB/$1.kept"
	sed -i -e "s|10.77.0.${1#n}/24|&\", \"10.77.1.${1#n}/24|" \
		-e '/name: web/s/}$/, weight: 3, balance: consistent-hash}/' "$LAB/$1.yaml"
	ctl "$1" reload
}

end_reloaded() {
	mv "$LAB/$1.kept" "$LAB/$1.yaml"
	kill -HUP "$(pid_of "$1")"
}

# A newer process takes over.
begin_upgraded() {
	local old=${lab_pids[$1]}
	dead[$1]=1
	start "$1" "$1" "$(program shmnet-node)" --takeover --config "$LAB/$1.yaml"
	lab_pids[older-$1]=$old
	finish "older-$1" 20
}

end_upgraded() {
	:
}

# Its link to the world passes nothing, in either direction.
begin_cut() {
	in_ns "$1" nft -f - <<-NFT
		table inet chaos {
			chain in { type filter hook prerouting priority -300; iifname nic0 drop; }
			chain out { type filter hook postrouting priority 300; oifname nic0 drop; }
		}
	NFT
}

end_cut() {
	in_ns "$1" nft delete table inet chaos
}

# --- connections -----------------------------------------------------------------------

load_connections() {
	hold_tell probe open 400 200
}

# Some may fail: a node that is cut off, or stands still, is a border all the same.
done_connections() {
	hold_hear probe || return
	figure "opened meanwhile: $(jq -r '"\(.opened), failed: \(.failed) \(.errors)"' \
		"$LAB/answer")" >"$LAB/figures"
}

# A server at n3's own address, and who is connected to it at n2.
local_serve() {
	# shellcheck disable=SC2154 # site.sh has it
	start serve-local n3 python3 "$global_here/global_conns.py" serve n3 "$HOLD_PORT" 10.77.0.3
	wait_for 10 log_has serve-local ready && hold_start local1 n2 10.77.0.3
}

all_live() {
	hold_lives global1 && hold_lives local1
}

served_again() {
	hold probe open 20 && answered '.failed == 0'
}

round_more() {
	check "  no connection broke" all_live
	check "  new ones are served" wait_for 5 served_again
	check "  the nodes hold what they held" baseline_is running 10
}

# What is made by the first frame is there afterwards.
quiet_round() {
	local to
	for to in each broadcast; do
		count_numbers 2000 "$to" "${NODES[@]}" && each_once || return
	done
	conserved "${NODES[@]}" && all_live && served_again
}

rounds_of() {
	[ -n "${SHMNET_TEST_LONG-}" ] && echo 300 || echo 4
}

lab_begin "$@"
rounds_begin "$(rounds_of)"
check "a client and a router" site_make || lab_end
check "four members" members_up n1:1 n2:2 n3:3 n4:4 || lab_end
check "two of them are borders" borders_are n1 n2
check "each serves" holds_serve "${NODES[@]}" || lab_end
check "n3 serves at its own address, too" local_serve || lab_end
hold_start global1 client "$G"
hold_start probe client "$G"
check "$HELD connections through both borders" hold_opens global1 $HELD || lab_end
check "$HELD between two nodes" hold_opens local1 $HELD || lab_end
check "all is well without faults" quiet_round
baseline_take running
rounds_run
for node in "${NODES[@]}"; do
	check "$node ends with 0 on SIGTERM" ends "$node"
done
lab_end
