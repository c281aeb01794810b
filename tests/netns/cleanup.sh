#!/bin/bash
# What a killed node left is taken over by the next one, or removed by --cleanup; of a
# live one nothing is touched.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64" "lan1 shm1 9000 10.78.0.%/24")

node_program() { # host, arguments of shmnet-node
	local host=$1 binary
	shift
	binary=$(program shmnet-node) || return
	in_ns "$host" "$binary" "$@"
}

# Exit status 1 and these words, one after the other on a line.
refused() { # host, words, arguments
	local host=$1 words=$2 status
	shift 2
	node_program "$host" "$@" >"$LAB/refused" 2>&1
	status=$?
	cat "$LAB/refused"
	[ "$status" -eq 1 ] && grep -qE "^ERROR .*$words" "$LAB/refused"
}

ifindex() { # host, interface
	ip -n "$(host_ns "$1")" -j link show "$2" | jq '.[0].ifindex'
}

has_address() { # host, interface, address
	ip -n "$(host_ns "$1")" -o addr show dev "$2" to "$3" | grep .
}

has_mtu() { # host, interface, MTU
	ip -n "$(host_ns "$1")" -j link show "$2" | jq -e --argjson mtu "$3" '.[0].mtu == $mtu'
}

no_daemon() { # node
	ctl "$1" status
	[ $? -eq 3 ]
}

same_interface() { # host, interface, index
	[ "$(ifindex "$1" "$2")" -eq "$3" ]
}

lab_begin "$@"
host_add n1 && host_add n2
baseline_take empty
check "two nodes see each other" mesh_up n1:1 n2:2 || lab_end
check "and reach each other" pings n1 10.77.0.2
baseline_take running

# --- against a live one ----------------------------------------------------------------

pid=$(pid_of n1)
check "a second instance is refused, the pid is named" \
	refused n1 "pid $pid\b" --config "$LAB/n1.yaml"
check "in another namespace, too" refused n2 "pid $pid\b" --config "$LAB/n1.yaml"
sed "s|runtime_dir: [^,}]*|runtime_dir: $LAB/other|" "$LAB/n1.yaml" >"$LAB/same-id.yaml"
check "with another runtime_dir, too" refused n2 "pid $pid\b" --config "$LAB/same-id.yaml"
sed "s|id: 1,|id: 7,|" "$LAB/n1.yaml" >"$LAB/same-name.yaml"
check "one with the same name and another id, too" \
	refused n2 "pid $pid\b" --config "$LAB/same-name.yaml"
check "--cleanup is refused, the pid is named" \
	refused n1 "pid $pid\b" --cleanup --config "$LAB/n1.yaml"
check "nothing has changed by that" baseline_is running
check "both still reach each other" pings n1 10.77.0.2

# --- after SIGKILL ---------------------------------------------------------------------

index=$(ifindex n1 shm0)
stop n1 KILL
check "after SIGKILL the interface stays" ip -n "$(host_ns n1)" link show shm0
check "without carrier" not has_carrier n1 shm0
check "with its address" has_address n1 shm0 10.77.0.1
check "the socket's file stays" test -e "$LAB/run/n1.sock"
check "shmnetctl exits with 3" no_daemon n1
check "the next start takes all over" node_up n1 1
check "it is the same interface" same_interface n1 shm0 "$index"
check "the other one has it back" wait_for 5 node_sees n2 1
check "they reach each other" pings n1 10.77.0.2
check "all is as it was" baseline_is running

stop n1 KILL
NETWORKS=("lan0 shm0 4000 10.77.1.%/24") && node_config n1 1 >"$LAB/n1.yaml"
check "with another config it starts as well" node_up n1 1
check "a network it has not any more is gone" not ip -n "$(host_ns n1)" link show shm1
check "an address it has not any more, too" \
	not has_address n1 shm0 10.77.0.1
check "the new address is there" has_address n1 shm0 10.77.1.1
check "so is the new MTU" has_mtu n1 shm0 4000

stop n1 KILL
stop n2 KILL
check "after SIGKILL of both --cleanup removes what n1 left" \
	node_program n1 --cleanup --config "$LAB/n1.yaml"
check "what n2 left is still there" ip -n "$(host_ns n2)" link show shm1
check "until its turn comes" node_program n2 --cleanup --config "$LAB/n2.yaml"
check "then nothing is left" baseline_is empty
check "once more does no harm" node_program n1 --cleanup --config "$LAB/n1.yaml"
check "and still nothing is left" baseline_is empty

# --- the ordinary ends -----------------------------------------------------------------

for signal in TERM INT; do
	check "it starts afresh" node_up n1 1
	check "and ends with 0 on SIG$signal" ends n1 $signal
	check "leaving nothing" baseline_is empty
done
lab_end
