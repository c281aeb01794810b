# shellcheck shell=bash
# Nodes in the machines of a lab, joined by RDMA. Sourced after lib.sh.
#
#	MACHINE=([n1]=1 [n2]=2 [n3]=2) SEEDS=([n2]=1 [n3]=2)
#	NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
#	vm_begin "$@"
#	vm_up 2 --mem 384
#	cluster_make
#	check "all see each other" mesh_up n1:1 n2:2 n3:3
#
# What netns/lib.sh and netns/traffic.sh do with hosts of this machine, they do with those
# of the machines: a host is a namespace there, with the TAPs of the node of its name. The
# node itself is in the machine's first namespace, where its rxe0 is. Nodes of one machine
# have a rendezvous directory besides. A file in $LAB/share is in /lab there.

# What the libraries below it, or the scripts, look at:
# shellcheck disable=SC2034
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "${BASH_SOURCE[0]}")/../netns/traffic.sh"

# Waits are longer, with and without KVM; amounts are what the scripts say.
SLOW=3
COMMAND_DEADLINE=120

declare -A MACHINE=() # by node
declare -A SEEDS=()   # by node: the ids of others, "1 2"

# Another word for the fabric of a node that is elsewhere.
RDMA=rdma/rxe0

# Makes the certificates of all nodes.
cluster_make() {
	local ctl dir=$LAB/share/keys node
	ctl=$(program shmnetctl) || exit 1
	check "a CA is made" "$ctl" keygen ca --dir "$dir"
	for node in "${!MACHINE[@]}"; do
		check "and a certificate for $node" "$ctl" keygen node "$node" --dir "$dir"
	done
	MEET=$LAB/share/meet MEET_AS=/lab/meet
}

# Where a node is dialled.
node_address() { # id
	echo "192.0.2.${MACHINE[n$1]}:$((7471 + $1))"
}

node_config() { # node, id: prints the config
	local seed seeds=''
	for seed in ${SEEDS[$1]-}; do
		seeds+="${seeds:+, }\"$(node_address "$seed")\""
	done
	cat <<-END
		node: {name: $1, id: $2, netns: $1${NODE_KEYS:+, $NODE_KEYS}}
		fabrics:
		  - {name: local, kind: shm}
		  - {name: roce, kind: rdma, device: rxe0, listen: "$(node_address "$2")",
		     seeds: [$seeds],
		     ca: /lab/keys/ca.crt, certificate: /lab/keys/$1.crt, key: /lab/keys/$1.key}
		networks:
	END
	node_networks "$2"
}

host_add() { # host
	vm "${MACHINE[$1]}" sh -c "ip netns add $1 && ip -n $1 link set lo up" </dev/null || return
	lab_hosts[$1]=1
}

in_ns() { # host, command...
	vm "${MACHINE[$1]}" ip netns exec "$@"
}

start() { # name, host, command...
	vm_start "$1" "${MACHINE[$2]}" ip netns exec "${@:2}"
}

node_start() { # node
	local binary
	binary=$(program shmnet-node) || return 1
	cp "$LAB/$1.yaml" "$LAB/share/$1.yaml"
	vm_start "$1" "${MACHINE[$1]}" "$binary" --config "/lab/$1.yaml"
}

ctl() { # node, command...
	local node=$1 binary
	shift
	binary=$(program shmnetctl) || return 1
	vm "${MACHINE[$node]}" "$binary" -s "/run/shmnet/$node.sock" "$@" </dev/null
}

# Frames that wait in front of a node until the machine has its turn are not dropped.
queues_deepen() { # interface, node...
	local interface=$1 node
	shift
	for node in "$@"; do
		in_ns "$node" ip link set "$interface" txqueuelen 10000 </dev/null || return
	done
}

# --- what is said ----------------------------------------------------------------------

# "n1 rdma/rxe0, n4 shm": by what it reaches the others.
ways_of() { # node
	ctl "$1" nodes --json | jq -r '[.nodes[] | select(.state == "up" and .fabric != "self") | .name + " " + .fabric]
		| sort | join(", ")'
}

has_ways() { # node, those
	[ "$(ways_of "$1")" = "$2" ] && return
	ctl "$1" nodes
	return 1
}

last_event() { # node: the number of its last event
	ctl "$1" events --json | jq '[.events[].sequence] | max // 0'
}

# What it said of another node since then: lines of "down WORDS", "up WORDS".
said_of() { # node, other, event
	ctl "$1" events --json | jq -r --arg name "$2" --argjson after "$3" '.events[]
		| select(.sequence > $after and .name == $name) | .state + " " + .cause'
}

has_said() { # node, other, event, pattern
	said_of "$1" "$2" "$3" | tee "$LAB/said" | grep -E -- "$4"
}

# --- what a machine holds --------------------------------------------------------------

# Numbers of queue pairs, regions and the like.
rdma_objects() { # machine
	vm "$1" rdma -j resource show rxe0 </dev/null | jq -c '.[0] | {pd, cq, qp, cm_id, mr}'
}

rdma_objects_are() { # machine, those
	local now
	now=$(rdma_objects "$1")
	[ "$now" = "$2" ] && return
	echo "was $2, is $now"
	return 1
} 
