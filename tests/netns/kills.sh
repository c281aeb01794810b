#!/bin/bash
# Four nodes under traffic; one after the other is killed at a random moment and started
# again at once, in the middle of handshakes, too. Now and then all have to find each
# other again, with nothing left behind. The seed is printed; SHMNET_SEED=N replays it.
# timeout: 1800
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64" "lan1 shm1 9000 10.78.0.%/24")
NODES=(n1 n2 n3 n4)
KILLS=40 LOOKS=20
[ -z "${SHMNET_TEST_LONG-}" ] || KILLS=1000 LOOKS=50
RANDOM=$((${SHMNET_SEED:=$$} & 32767))

# Bash's $RANDOM is below 32768.
sleep_below() { # milliseconds
	sleep "0.$(printf %03d $((RANDOM % $1)))"
}

kill_one() {
	local victim=${NODES[RANDOM % 4]}
	sleep_below 150
	stop "$victim" KILL
	echo "$victim"
	sleep_below 20
	node_start "$victim"
}

some_kills() { # number
	local i
	for ((i = 0; i < $1; i++)); do
		kill_one || return
	done
	all_alive "${NODES[@]}"
}

reaches_all() {
	local from to
	for from in 1 2 3 4; do
		for to in 1 2 3 4; do
			[ "$from" = "$to" ] || in_ns "n$from" ping -q -c 1 -W 1 "10.77.0.$to" || return
		done
	done
}

# Frames of all kinds go on whoever is there to answer.
traffic_begin() {
	local i
	for i in 1 2 3 4; do
		start ping-$i n$i ping -q -i 0.01 10.77.0.$((i % 4 + 1))
		start cast-$i n$i ping -q -b -i 0.02 10.78.0.255
	done
}

traffic_end() {
	local i
	for i in 1 2 3 4; do
		stop ping-$i INT
		stop cast-$i INT
	done
	return 0
}

# Within their first moments processes of the same kind hold the same.
is_as_before() {
	traffic_end
	baseline_is running 10 || return
	traffic_begin
}

lab_begin "$@"
figure "seed $SHMNET_SEED"
host_add n1 && host_add n2 && host_add n3 && host_add n4
for i in 1 2 3 4; do
	in_ns n$i sysctl -qw net.ipv4.icmp_echo_ignore_broadcasts=0
done
baseline_take empty
check "four nodes see each other" mesh_up n1:1 n2:2 n3:3 n4:4 || lab_end
check "and reach each other" wait_for 10 reaches_all
sleep 1
baseline_take running
traffic_begin
for ((done = LOOKS; done <= KILLS; done += LOOKS)); do
	check "$done kills: no other node ends" some_kills $LOOKS
	check "  all find each other" mesh_is_whole "${NODES[@]}"
	check "  and reach each other" wait_for 10 reaches_all
	check "  what they hold is as it was before" is_as_before
done
traffic_end
check "nothing was out of order" not grep -h '^ERROR' "$LAB"/n?.log
for node in "${NODES[@]}"; do
	check "$node ends with 0 on SIGTERM" ends "$node"
done
check "interfaces, sockets, files: all is as it was before the first start" baseline_is empty
lab_end
