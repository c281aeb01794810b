#!/bin/bash
# Three machines, and a network that mixes ways: two nodes in one machine, by shared
# memory, others by RDMA. Who is there spreads along a chain of seeds.
# timeout: 900, alone
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/nodes.sh
. "$(dirname "$0")/nodes.sh"

MACHINE=([n1]=1 [n2]=2 [n3]=3 [n4]=3)
# n4 finds n3 in the rendezvous directory.
SEEDS=([n2]=1 [n3]=2 [n4]=3)
NODES=(n1 n2 n3 n4)
NETWORKS=(
	"lan0 shm0 1500 10.77.0.%/24 fd77::%/64"
	"lan1 shm1 9000 10.78.0.%/24"
	"lan2 shm2 65521 10.79.0.%/24"
)
# A machine may have to wait for its turn, longer than the defaults have patience or room.
NODE_KEYS='liveness: {interval_ms: 500, misses: 6}'
FILE_MIB=16
NUMBERS=10000
RATE=500 # of each of the four

pings_all() { # address without its end, ping's arguments
	local from to
	for from in "${NODES[@]}"; do
		for to in "${NODES[@]}"; do
			[ "$from" = "$to" ] || pings "$from" "${@:2}" "$1.${to#n}" || return
		done
	done
}

answers_all() { # network
	local from to
	for from in "${NODES[@]}"; do
		for to in "${NODES[@]}"; do
			[ "$from" = "$to" ] || ctl "$from" ping "$to" "$1" -c 10 -i 0.01 || return
		done
	done
}

file_is_copied() { # from, to
	local got
	: >"$LAB/hash.log"
	start hash "$2" bash -c "socat -u -b 262144 TCP-LISTEN:7000 - | sha256sum"
	wait_for 5 listens "$2" t 7000 || return
	in_ns "$1" socat -u -b 262144 OPEN:/lab/file "TCP:10.78.0.${2#n}:7000" </dev/null || return
	finish hash 20 || return
	got=$(tail -n 1 "$LAB/hash.log")
	echo "sent $(sha256sum <"$LAB/share/file"), received $got"
	[ "$got" = "$(sha256sum <"$LAB/share/file")" ]
}

numbers() { # to, words
	check "$NUMBERS $2 of each node" count_numbers "$RATE" "$1" "${NODES[@]}"
	check "reach each other node once, and their sender never" each_once
}

iperf() { # what, from, address, more of iperf3's arguments
	check "$1" iperf_run "${@:2}" && iperf_figure "$1"
}

# Each of a run of pings; the last one may have been on its way when it was ended.
all_answered() { # log of ping
	tail -n 3 "$1"
	sed -n 's/.*icmp_seq=\([0-9]*\) .*/\1/p' "$1" | awk '$1 != NR { lost = 1 } END { exit lost || NR < 10 }'
}

vm_begin "$@"
vm_up 3 --mem 512
cluster_make
for node in "${NODES[@]}"; do
	node_config "$node" "${node#n}" |
		sed '/name: lan0/s/}$/, cast_depth: 4096}/' >"$LAB/$node.yaml"
done
check "four nodes see each other, though each knows one other" mesh_up n1:1 n2:2 n3:3 n4:4 ||
	lab_end
check "n1 reaches all by RDMA" has_ways n1 "n2 $RDMA, n3 $RDMA, n4 $RDMA"
check "n2 does" has_ways n2 "n1 $RDMA, n3 $RDMA, n4 $RDMA"
check "n3 has n4 in its own memory" has_ways n3 "n1 $RDMA, n2 $RDMA, n4 shm"
check "so has n4" has_ways n4 "n1 $RDMA, n2 $RDMA, n3 shm"
check "there is room in front of the nodes, too" queues_deepen shm0 "${NODES[@]}"
objects1=$(rdma_objects 1) objects2=$(rdma_objects 2) objects3=$(rdma_objects 3)
figure "a machine with one node: $objects1; with two: $objects3"

check "each pings each" pings_all 10.77.0
check "with jumbo frames" pings_all 10.78.0 -M "do" -s 8972
check "and with the longest" pings_all 10.79.0 -M "do" -s 65493
check "IPv6" wait_for 5 pings n1 -6 fd77::3
check "shmnetctl ping is answered by all" answers_all lan0

numbers each unicasts
numbers broadcast broadcasts
numbers 01:00:5e:00:00:4d multicasts
check "every frame was delivered or counted" conserved "${NODES[@]}"

head -c "${FILE_MIB}M" /dev/urandom >"$LAB/share/file"
for pair in "n1 n2" "n3 n1" "n4 n3"; do
	read -r from to <<<"$pair"
	check "a file of $FILE_MIB MiB from $from to $to arrives as it was" file_is_copied "$from" "$to"
done
check "a server runs" iperf_serve n2
iperf "TCP, MTU 1500" n1 10.77.0.2
iperf "TCP back" n1 10.77.0.2 -R
iperf "TCP, MTU 9000" n1 10.78.0.2
iperf "TCP, MTU 65521" n3 10.79.0.2
iperf "UDP" n4 10.77.0.2 -u -b 50M -l 1400
check "every frame was delivered or counted" conserved "${NODES[@]}"

before=$(last_event n1)
start pinger n2 ping -i 0.1 10.77.0.1
stop n3 KILL
check "n1 sees that n3 was killed" wait_for 10 has_said n1 n3 "$before" '^down '
figure "n1 says of n3: $(head -n 1 "$LAB/said")"
check "so do n2, and n4 in its own machine" wait_for 10 node_sees n4 2
figure "n4 says of n3: $(said_of n4 n3 0 | grep ^down)"
check "n4 is still reached" pings n1 10.77.0.4
check "n3 starts again" node_up n3 3
check "and all see each other" mesh_is_whole "${NODES[@]}"
check "by the same ways" has_ways n3 "n1 $RDMA, n2 $RDMA, n4 shm"
check "each pings each" pings_all 10.77.0
stop pinger INT
check "n1 and n2 noticed nothing" all_answered "$LAB/pinger.log"
check "queue pairs and memory of machine 1 are as many as before" \
	wait_for 5 rdma_objects_are 1 "$objects1"
check "of machine 2, too" wait_for 5 rdma_objects_are 2 "$objects2"
check "of machine 3, too" wait_for 5 rdma_objects_are 3 "$objects3"

for node in "${NODES[@]}"; do
	check "$node ends with 0" ends "$node"
done
lab_end
