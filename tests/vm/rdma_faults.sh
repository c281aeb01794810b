#!/bin/bash
# Three nodes on three machines, joined by RDMA: what becomes of them when a process, a
# machine, a cable, a port or an RDMA device goes, and comes back. The two others reach
# each other all the time, what is wrong is said in words, nobody is started again who
# didn't die, and no queue pair, memory region or protection domain is left.
#
#	 machine 1        machine 2        machine 3
#	 n1 10.9.0.1      n2 10.9.0.2      n3 10.9.0.3
#	 rxe0 on eth0     rxe0 on eth0     rxe0 on eth0
#	   |                |                |
#	   +---- bridge ----+----------------+
# timeout: 600
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"

write_config() { # node
	cat >"$LAB/share/n$1.yaml" <<-END
		node: {name: n$1, id: $1, cluster: faults}
		fabrics:
		  - {name: roce, kind: rdma, listen: "192.0.2.$1:7471",
		     seeds: ["192.0.2.1:7471", "192.0.2.2:7471", "192.0.2.3:7471"], security: none}
		networks:
		  - {name: blue, tap: blue0, addresses: [10.9.0.$1/24]}
	END
}

node_run() { # node
	vm_start "n$1" "$1" "$(program shmnet-node)" --config "/lab/n$1.yaml"
}

vm_ctl() { # node, command...
	vm "$1" "$(program shmnetctl)" "${@:2}" </dev/null
}

# The node has these others up, by RDMA, and no more.
has_up() { # node, others...
	local node=$1
	shift
	[ "$(vm_ctl "$node" nodes --json | jq -r '[.nodes[] |
		select(.state == "up" and .fabric == "rdma/rxe0").name] | sort | join(" ")')" = "$*" ]
}

reaches() { # from, to
	vm "$1" ping -c 3 -i 0.2 -W 5 "10.9.0.$2" </dev/null
}

# So many connections in the machine as the device knows: a queue pair and a protection
# domain each, and two memory regions. One of the first two is the kernel's.
has_connections() { # machine, number
	local show
	show=$(vm "$1" rdma resource show </dev/null)
	echo "$show"
	[[ $show == *" pd $(($2 + 1)) "*" qp $(($2 + 1)) "*" mr $((2 * $2)) "* ]]
}

all_is_well() {
	wait_for 30 has_up 1 n2 n3 && wait_for 30 has_up 2 n1 n3 && wait_for 30 has_up 3 n1 n2 &&
		reaches 1 2 && reaches 2 3 && has_connections 1 2 && has_connections 2 2
}

# Between those that nothing happens to.
watch_begin() {
	touch "$LAB/watch.log"
	vm_start watch 1 ping -i 0.2 -W 10 10.9.0.3
	wait_for 10 grep -q "bytes from" "$LAB/watch.log"
}

nothing_lost() {
	vm 1 pkill -INT -x ping </dev/null
	finish watch
	tail -3 "$LAB/watch.log"
	grep -q " 0% packet loss" "$LAB/watch.log"
}

says() { # node, words
	grep -n "$2" "$LAB/n$1.log"
}

vm_begin "$@"
program shmnet-node >/dev/null || exit 1
for node in 1 2 3; do
	write_config $node
done
vm_up 3 --mem 384
for node in 1 2 3; do
	node_run $node
done
check "three nodes find each other, by RDMA" all_is_well
watch_begin || exit 1

check "n2 is killed" vm 2 pkill -KILL -x shmnet-node </dev/null
finish n2
check "nothing of it is left in its machine" wait_for 10 has_connections 2 0
check "nor in its peers'" wait_for 20 has_connections 1 1
check "they say so" wait_for 5 says 1 "n2: down: "
node_run 2
check "it comes back" all_is_well

check "the cable of n2 is pulled" vm_lab link 2 down
check "its peers notice" wait_for 20 has_up 1 n3
check "and it does" wait_for 20 has_up 2
check "the cable is plugged in" vm_lab link 2 up
check "they find each other" all_is_well

check "the port of n2 goes down" vm 2 ip link set eth0 down </dev/null
check "it says so" wait_for 10 says 2 "port 1 of rxe0 is down: ip link set eth0 up"
check "and shows it" wait_for 10 eval "vm_ctl 2 status | grep 'port 1 of rxe0 is down'"
check "its connections are gone" wait_for 10 has_connections 2 0
check "the port comes back" vm 2 ip link set eth0 up </dev/null
check "they find each other" all_is_well

check "the device of n2 is removed" vm 2 timeout 20 rdma link delete rxe0 </dev/null
check "it says so" wait_for 10 says 2 "rdma/rxe0: .*removed"
check "its peers notice" wait_for 20 has_connections 1 1
check "a device is added" vm 2 rdma link add rxe0 type rxe netdev eth0 </dev/null
check "they find each other" all_is_well
check "by the same processes" is_alive n2

check "the machine of n2 loses its power" vm_lab power 2 off
finish n2
check "its peers notice" wait_for 20 has_connections 1 1
check "it has power again" vm_lab power 2 on
node_run 2
check "they find each other" all_is_well

check "meanwhile n1 and n3 lost no frame" nothing_lost
for node in 1 2 3; do
	check "n$node ends well" stop n$node
	check "and leaves nothing" wait_for 10 has_connections $node 0
done
lab_end
