#!/bin/bash
# One address for nodes of two machines: n1 and n2 meet by shared memory, n3 is reached by
# RDMA. A client that knows n1 only is served by n2 and n3 in turn, by whole segments and
# by fragments; what they answer leaves by ordinary routing. One machine goes, and the
# other's nodes serve.
# timeout: 300, alone
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/nodes.sh
. "$(dirname "$0")/nodes.sh"
# shellcheck source=tests/netns/echo.sh
. "$(dirname "$0")/../netns/echo.sh"

MACHINE=([n1]=1 [n2]=1 [n3]=2)
SEEDS=([n2]=1 [n3]=1)
NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
GLOBALS=("web shmg0 10.99.0.1 fd99::1")
NODE_KEYS='liveness: {interval_ms: 500, misses: 6}'
ASKS=12

# client - n1 = n2, n1 - n3
client_make() {
	local at
	MACHINE[client]=1
	host_add client || return
	vm 1 ip link add v0 netns client type veth peer name v0 netns n1 </dev/null || return
	for at in client:7 n1:1; do
		vm 1 sh -c "ip -n ${at%:*} link set v0 up &&
			ip -n ${at%:*} address add 198.51.100.${at#*:}/24 dev v0 &&
			ip -n ${at%:*} address add 2001:db8::${at#*:}/64 dev v0 nodad" \
			</dev/null || return
	done
	vm 1 sh -c "ip -n client route add default via 198.51.100.1 &&
		ip -n client -6 route add default via 2001:db8::1" </dev/null &&
		in_ns n1 sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 </dev/null
}

routes_back() { # node...
	local node
	for node in "$@"; do
		in_ns "$node" ip route add default via 10.77.0.1 </dev/null &&
			in_ns "$node" ip -6 route add default via fd77::1 </dev/null || return
	done
}

# What asked() sees, of so many, one after another.
asks() { # host, number, tcp or udp, address, more arguments...
	# shellcheck disable=SC2016 # the machine's shell expands them
	in_ns "$1" sh -c 'num=$1; shift
		while [ $((num -= 1)) -ge 0 ]; do python3 "$@" || exit; done' sh "$2" \
		"$echo_py" ask "$3" "$4" "$PORT" --tries "$SLOW" "${@:5}" </dev/null |
		tee "$LAB/asked"
	[ "$(wc -l <"$LAB/asked")" -eq "$2" ]
}

# A third of the last asks, at the least, each of these served.
each_served() { # "NAME ADDRESS"...
	local one
	for one in "$@"; do
		[ "$(grep -cx "$one" "$LAB/asked")" -ge $((ASKS / 3)) ] || return
	done
}

explains() { # words
	ctl n1 explain tcp 198.51.100.7:4000 "10.99.0.1:$PORT" | tee "$LAB/explained"
	grep -q -- "$1" "$LAB/explained"
}

knows() { # node, how many nodes listen
	[ "$(ctl "$1" listeners --json | jq '[.listeners[].nodes[]] | unique | length')" -eq "$2" ]
}

vm_begin "$@"
vm_up 2 --mem 384
cluster_make
check "nodes of two machines see each other" mesh_up n1:1 n2:2 n3:3 || lab_end
check "n1 has n2 in its memory, n3 by RDMA" has_ways n1 "n2 shm, n3 $RDMA"
check "a client in front of n1" client_make || lab_end
check "what the others answer leaves by n1" routes_back n2 n3
check "the address answers" wait_for 5 in_ns client ping -qc 1 -W 2 10.99.0.1
check "by IPv6, too" wait_for 5 in_ns client ping -6 -qc 1 -W 2 fd99::1

check "a server on n3" serve far n3 10.99.0.1
check "and by IPv6" serve far6 n3 fd99::1
check "n1 knows" wait_for 10 knows n1 1
check "and goes there by RDMA" explains "$RDMA"
for protocol in tcp udp; do
	check "the client is served by $protocol" asked client "n3 198.51.100.7" $protocol 10.99.0.1
	check "by IPv6" asked client "n3 2001:db8::7" $protocol fd99::1
done
check "30 KB in segments" asked client "n3 198.51.100.7" tcp 10.99.0.1 --size 30000
check "8 KB in fragments" asked client "n3 198.51.100.7" udp 10.99.0.1 --size 8000
check "n2's own connection goes from one machine to the other" \
	asked n2 "n3 10.77.0.2" tcp 10.99.0.1

check "a server on n2, too" serve near n2 10.99.0.1
check "n1 knows" wait_for 10 knows n1 2
check "n3 knows" wait_for 10 knows n3 2
check "$ASKS connections are served" asks client $ASKS tcp 10.99.0.1
check "by both machines" each_served "n2 198.51.100.7" "n3 198.51.100.7"
check "n3's own, too" asks n3 $ASKS tcp 10.99.0.1
check "by both" each_served "n2 10.77.0.3" "n3 10.77.0.3"

check "a machine is switched off" vm_lab power 2 off
check "the client is served by the other" wait_for 20 \
	asked client "n2 198.51.100.7" tcp 10.99.0.1 --timeout 1
check "n1 says that n3 is gone" wait_for 20 has_said n1 n3 0 '^down '
check "$ASKS connections are served" asks client $ASKS tcp 10.99.0.1
check "by n2 alone" test "$(sort -u "$LAB/asked")" = "n2 198.51.100.7"
for node in n1 n2; do
	check "$node ends with 0" ends "$node"
done
lab_end
