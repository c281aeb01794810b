#!/bin/bash
# What may happen to a wire and to who is at its other end: it is named, others don't
# notice, and when it is over the nodes find each other again, with nothing left behind.
# timeout: 900, alone
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/nodes.sh
. "$(dirname "$0")/nodes.sh"

MACHINE=([n1]=1 [n2]=2 [n3]=3)
SEEDS=([n1]="2 3" [n2]=3)
NETWORKS=("lan0 shm0 1500 10.77.0.%/24")
NODE_KEYS='liveness: {interval_ms: 500, misses: 4}'
NUMBERS=2000
RATE=200

# While something happens to n1, what n2 and n3 send each other arrives; both say what
# became of n1.
happens() { # what, pattern of what is said of n1, command...
	local what=$1 pattern=$2 node before2 before3
	shift 2
	before2=$(last_event n2) before3=$(last_event n3)
	count_start $RATE broadcast n2 n3
	check "$what" "$@"
	check "n2 says why n1 is down" wait_for 20 has_said n2 n1 "$before2" "^down .*($pattern)"
	figure "n2: $(said_of n2 n1 "$before2" | grep -m 1 '^down')"
	check "so does n3" wait_for 20 has_said n3 n1 "$before3" "^down .*($pattern)"
	figure "n3: $(said_of n3 n1 "$before3" | grep -m 1 '^down')"
	check "n2 and n3 send on" counts_take n2 n3
	check "without a loss" each_once
	check "and have nothing to say of each other" not grep . \
		<(said_of n2 n3 "$before2" && said_of n3 n2 "$before3")
}

is_over() { # command...
	check "it is over" "$@"
	check "all see each other again" mesh_is_whole n1 n2 n3
	check "and reach each other" wait_for 5 pings n2 10.77.0.1
	check "both ways" wait_for 5 pings n1 10.77.0.3
	check "machine 2 has as many queue pairs, regions and so on as before" \
		wait_for 10 rdma_objects_are 2 "$objects2"
	check "so has machine 3" wait_for 10 rdma_objects_are 3 "$objects3"
	check "so has machine 1" wait_for 10 rdma_objects_are 1 "$objects1"
}

killed() {
	stop n1 KILL
	[ $? -eq 137 ]
}

power_on() {
	finish n1
	unset "lab_hosts[n1]"
	vm_lab power 1 on && node_up n1 1
}

status_says() { # node, pattern
	ctl "$1" status --json >"$LAB/status"
	jq -r '.reasons[]' "$LAB/status" | grep -E -- "$2"
}

port_down() {
	vm 1 ip link set eth0 down </dev/null &&
		wait_for 5 status_says n1 'port 1 of rxe0 is down: ip link set eth0 up'
}

device_removed() {
	vm 1 rdma link delete rxe0 </dev/null && wait_for 5 status_says n1 'fabric roce: .*no RDMA device'
}

# Connections wait for a port to be ended properly, which then there is none of.
device_removed_with_port() {
	port_down && vm 1 rdma link delete rxe0 </dev/null
}

device_added_with_port() {
	vm 1 ip link set eth0 up </dev/null && vm 1 rdma link add rxe0 type rxe netdev eth0 </dev/null
}

reason_is() { # node, other, pattern
	ctl "$1" nodes --json | jq -r --arg name "$2" \
		'.nodes[] | select(.name == $name and .state != "up").reason // empty' >"$LAB/reason"
	grep -E -- "$3" "$LAB/reason"
}

# What n1 sends to n2 by RDMA is lost, and with it what it acknowledges.
pair_cut() {
	vm_drop 2 1000 ip saddr 192.0.2.1 udp dport 4791
}

vm_begin "$@"
vm_up 3 --mem 384
cluster_make
check "three nodes see each other" mesh_up n1:1 n2:2 n3:3 || lab_end
check "and reach each other" pings n1 10.77.0.2
check "there is room in front of them" queues_deepen shm0 n1 n2 n3
objects1=$(rdma_objects 1) objects2=$(rdma_objects 2) objects3=$(rdma_objects 3)
figure "each machine has $objects1"

happens "n1 is killed" . killed
is_over node_up n1 1

happens "machine 1 loses its power" . vm_lab power 1 off
is_over power_on

happens "the cable of machine 1 is pulled" . vm_lab link 1 down
is_over vm_lab link 1 up

happens "the port of machine 1 goes down" . port_down
figure "n1: $(status_says n1 'fabric roce')"
is_over vm 1 ip link set eth0 up

happens "the RDMA device of machine 1 is removed" . device_removed
figure "n1: $(status_says n1 'fabric roce')"
is_over vm 1 rdma link add rxe0 type rxe netdev eth0

happens "the port of machine 1 goes down, and the device is removed" . device_removed_with_port
is_over device_added_with_port

before1=$(last_event n1) before2=$(last_event n2) before3=$(last_event n3)
count_start $RATE broadcast n1 n3
check "the queue pair of n1 and n2 gets no answer" pair_cut
check "n2 says what the device says" wait_for 20 has_said n2 n1 "$before2" \
	'^down .*rxe0.*retry counter exceeded'
figure "n2: $(head -n 1 "$LAB/said")"
check "n1 says that it is down, too" wait_for 20 has_said n1 n2 "$before1" '^down .'
figure "n1: $(head -n 1 "$LAB/said")"
check "n1 and n3 send on" counts_take n1 n3
check "without a loss" each_once
check "and n3 has nothing to say of them" not grep . \
	<(said_of n3 n1 "$before3" && said_of n3 n2 "$before3")
check "n2 says why it does not come back" wait_for 20 reason_is n2 n1 .
figure "n2: $(cat "$LAB/reason")"
is_over vm_drop 2 0

for node in n1 n2 n3; do
	check "$node ends with 0" ends "$node"
done
lab_end
