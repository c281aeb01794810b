# shellcheck shell=bash
# shmnet-node in the machines of a lab: `vm-lab.sh up N --nodes-per-vm K --fabric rdma`.
# Sourced by vm-lab.sh, which has the lab's settings.
# shellcheck disable=SC2154 # they are: machines, nodes_per_vm, share, name, lab_top
#
# Node number (machine - 1) * K + k is nK in a namespace of that name, where its TAPs are,
# so each is a host of its own. Its process and RDMA are in the machine's first namespace.
# The nodes of a machine meet by shm, all others by rdma. Configs and logs are in /lab.

nodes_first_port=7471

node_numbers() { # machine
	seq $((($1 - 1) * nodes_per_vm + 1)) $(($1 * nodes_per_vm))
}

node_address() { # node: where it listens
	echo "192.0.2.$((($1 - 1) / nodes_per_vm + 1)):$((nodes_first_port + ($1 - 1) % nodes_per_vm))"
}

# The first nodes of the first two machines: one is enough, the other may be off.
node_seeds() {
	printf '"%s"' "$(node_address 1)"
	[ "$machines" -eq 1 ] || printf ', "%s"' "$(node_address $((nodes_per_vm + 1)))"
}

node_config() { # node
	cat <<-END
		node: {name: n$1, id: $1, netns: n$1, runtime_dir: /run/shmnet}
		fabrics:
		  - {name: local, kind: shm, path: /run/shmnet-fabric}
		  - {name: roce, kind: rdma, device: rxe0, listen: "$(node_address "$1")",
		     seeds: [$(node_seeds)], security: none}
		networks:
		  - {name: lan0, tap: shm0, mtu: 1500, addresses: [10.77.0.$1/24, "fd77::$1/64"]}
		  - {name: big0, tap: shm1, mtu: 9000, addresses: [10.78.0.$1/24, "fd78::$1/64"]}
	END
}

# The directory of the programs: $SHMNET_BIN, or the build of this tree.
nodes_find_programs() {
	local dir
	for dir in ${SHMNET_BIN:+"$SHMNET_BIN"} "$lab_top"/../../build/{gcc,}; do
		[ -x "$dir/src/shmnet-node" ] && [ -x "$dir/cli/shmnetctl" ] &&
			programs=$(realpath "$dir") && return
	done
	die "no shmnet-node in ${SHMNET_BIN:-build/gcc or build}: build first, or set SHMNET_BIN"
}

# What a machine does for its nodes; returns when they answer.
nodes_script() { # machine
	local n
	echo "mkdir -p -m 700 /run/shmnet /run/shmnet-fabric"
	for n in $(node_numbers "$1"); do
		cat <<-END
			ip netns add n$n && ip -n n$n link set lo up
			setsid "$programs/src/shmnet-node" --config /lab/n$n.yaml >/lab/n$n.log 2>&1 &
		END
	done
	for n in $(node_numbers "$1"); do
		cat <<-END
			until "$programs/cli/shmnetctl" -n n$n status >/lab/n$n.status 2>&1 || [ \$? -eq 4 ]; do
				pgrep -fx ".*shmnet-node --config /lab/n$n.yaml" >/dev/null || {
					echo "node n$n ended; its last lines:" && tail -n 10 /lab/n$n.log
					exit 1
				}
				sleep 0.2
			done
		END
	done
}

nodes_start() {
	local i n
	for ((n = 1; n <= machines * nodes_per_vm; n++)); do
		node_config $n >"$share/n$n.yaml"
	done
	for ((i = 1; i <= machines; i++)); do
		nodes_script "$i" | (machine_exec "$i" sh) >&2 || return
		echo "machine $i: nodes $(node_numbers "$i" | sed 's/^/n/' | xargs)"
	done
	cat <<-END
		programs: $programs
		try: vm-lab.sh --name $name exec 1 $programs/cli/shmnetctl -n n1 nodes
		     vm-lab.sh --name $name exec 1 ip netns exec n1 ping -c 3 10.77.0.$((machines * nodes_per_vm))
	END
}
