#!/bin/bash
# Rounds of faults as in tests/netns/chaos.sh, of nodes in three machines and the wire
# between them: kills, power, cables, ports, RDMA devices, partitions, hogs. After each
# the machines hold as many RDMA objects as before.
# timeout: 7200, alone
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/nodes.sh
. "$(dirname "$0")/nodes.sh"
# shellcheck source=tests/netns/rounds.sh
. "$(dirname "$0")/../netns/rounds.sh"

MACHINE=([n1]=1 [n2]=2 [n3]=3)
SEEDS=([n1]="2 3" [n2]="1 3" [n3]="1 2")
NODES=(n1 n2 n3)
NETWORKS=("lan0 shm0 1500 10.77.0.%/24")
NODE_KEYS='liveness: {interval_ms: 500, misses: 4}'
NUMBERS=1000
RATE_EACH=200
RATE_CAST=200
LAST_WITHIN=8000
END_WITHIN=1000

faults_for() { # load
	FAULTS=(killed powered cable port device partition starved)
	# Who counts frames does not live on without power.
	[ "$1" = none ] || FAULTS=(killed cable port device partition starved)
}
LOADS=(unicast broadcast none)

# What the wire had taken and was not acknowledged is counted as lost, and may arrive.
is_late() { # node
	late_to[$1]=1 late_from[$1]=1
}

begin_killed() {
	dead[$1]=1
	is_late "$1"
	stop "$1" KILL
	[ $? -eq 137 ]
}

end_killed() {
	node_start "$1"
}

begin_powered() {
	dead[$1]=1
	is_late "$1"
	vm_lab power "${MACHINE[$1]}" off
}

end_powered() {
	finish "$1"
	unset "lab_hosts[$1]"
	vm_lab power "${MACHINE[$1]}" on && node_up "$1" "${1#n}" && queues_deepen shm0 "$1"
}

begin_cable() {
	is_late "$1"
	vm_lab link "${MACHINE[$1]}" down
}

end_cable() {
	vm_lab link "${MACHINE[$1]}" up
}

begin_port() {
	is_late "$1"
	vm "${MACHINE[$1]}" ip link set eth0 down </dev/null
}

end_port() {
	vm "${MACHINE[$1]}" ip link set eth0 up </dev/null
}

begin_device() {
	is_late "$1"
	vm "${MACHINE[$1]}" rdma link delete rxe0 </dev/null
}

end_device() {
	vm "${MACHINE[$1]}" rdma link add rxe0 type rxe netdev eth0 </dev/null
}

# From all others, in one direction: TCP and RDMA.
begin_partition() {
	is_late "$1"
	vm_drop "${MACHINE[$1]}" 1000 ip saddr 192.0.2.0/24
}

end_partition() {
	vm_drop "${MACHINE[$1]}" 0 ip saddr 192.0.2.0/24
}

begin_starved() {
	local i
	for i in 1 2 3 4 5 6 7 8; do
		start "hog-$1-$i" "$1" sh -c 'while :; do :; done' || return
	done
}

end_starved() {
	local i
	for i in 1 2 3 4 5 6 7 8; do
		stop "hog-$1-$i" KILL
	done
	return 0
}

load_none() {
	:
}

done_none() {
	: >"$LAB/figures"
}

objects_are() {
	local node
	for node in "${NODES[@]}"; do
		wait_for 10 rdma_objects_are "${MACHINE[$node]}" "${objects[$node]}" || return
	done
}

# Not of a wire or a peer that was taken away.
no_errors() {
	! grep -h '^ERROR' "$LAB"/n?.log | grep -vE 'rxe0|it is tried again'
}

round_more() {
	check "  each reaches each" wait_for 10 all_reach_all
	check "  the machines hold as many queue pairs, regions and so on" objects_are
}

all_reach_all() {
	local from to
	for from in "${NODES[@]}"; do
		for to in "${NODES[@]}"; do
			[ "$from" = "$to" ] || pings "$from" "10.77.0.${to#n}" || return
		done
	done
}

rounds_of() {
	[ -n "${SHMNET_TEST_LONG-}" ] && echo 60 || echo 2
}

vm_begin "$@"
rounds_begin "$(rounds_of)"
vm_up 3 --mem 384
cluster_make
check "three nodes see each other" mesh_up n1:1 n2:2 n3:3 || lab_end
check "and reach each other" all_reach_all
check "there is room in front of them" queues_deepen shm0 "${NODES[@]}"
declare -A objects=()
for node in "${NODES[@]}"; do
	objects[$node]=$(rdma_objects "${MACHINE[$node]}")
done
rounds_run
for node in "${NODES[@]}"; do
	check "$node ends with 0" ends "$node"
done
lab_end
