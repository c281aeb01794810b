#!/bin/bash
# OSPF between two machines: n1 is a border in one, n2 another in the second one, where n3 is,
# which has no NIC. A client behind a router asks n3 and the address of all without a pause
# while n1's shmnet-node is killed, its NIC is cut, and its machine is switched off: the
# connections survive. FRRouting is configured by deploy/frr/render.
# timeout: 900, alone
# The machines' shells expand what is in single quotes:
# shellcheck disable=SC2016
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/nodes.sh
. "$(dirname "$0")/nodes.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/../netns/site.sh"
# shellcheck source=tests/netns/recipes.sh
. "$(dirname "$0")/../netns/recipes.sh"
# shellcheck source=tests/netns/frr.sh
. "$(dirname "$0")/../netns/frr.sh"

MACHINE=([n1]=1 [n2]=2 [n3]=2)
SEEDS=([n2]=1 [n3]=2)
NETWORKS=("lan0 shm0 1500 10.77.0.%/24")
GLOBALS=("web shmg0 $G")
GLOBAL_KEYS='announce: routing'
NODE_KEYS='liveness: {interval_ms: 500, misses: 6}'
WAYS=(in global)

in_sh() { # host, script, arguments...
	in_ns "$1" sh -ec "$2" sh "${@:3}" </dev/null
}

# --- the outside -------------------------------------------------------------------------

# One LAN through both machines, beside what carries RDMA.
lan_join() { # host, id
	local machine=${MACHINE[$1]}
	[ -n "${lab_hosts[$1]-}" ] || host_add "$1" || return
	vm "$machine" ip link add "lan$2" link eth0 mtu 1500 netns "$1" type macvlan mode bridge \
		</dev/null &&
		in_sh "$1" 'ip link set "$1" name eth0; ip link set eth0 up
			ip address add "203.0.113.$2/24" dev eth0
			sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0' "lan$2" "$2"
}

client_make() {
	host_add client &&
		vm 2 ip link add nic0 netns client type veth peer name to-client netns router \
			</dev/null &&
		in_sh router 'ip link set to-client up
			ip address add 198.51.100.1/24 dev to-client' &&
		in_sh client 'ip link set nic0 up; ip address add "$1/24" dev nic0
			ip route add default via 198.51.100.1' "$CLIENT"
}

# --- routers ---------------------------------------------------------------------------------

# What frr.sh has for namespaces, in machines: as Debian's service does, with all files in
# a directory of the machine.
frr_script='dir=/run/frr-$1 daemons=/usr/lib/frr
	install -d -m 755 -o frr -g frr "$dir"
	touch "$dir/empty" "$dir/vtysh.conf"
	cp "/lab/$1.frr" "$dir/frr.conf"
	for daemon in zebra ospfd; do
		"$daemons/$daemon" -d -P 0 --vty_socket "$dir" -z "$dir/zserv.api" \
			-i "$dir/$daemon.pid" -f "$dir/empty"
		until [ -S "$dir/$daemon.vty" ]; do sleep 0.1; done
	done
	vtysh --vty_socket "$dir" --config_dir "$dir" -b'

frr_up() { # host, configuration
	cp "$2" "$LAB/share/$1.frr" && in_sh "$1" "$frr_script" "$1"
}

# shmnet-node has looked at the file when it started. Routers that wait for their turn are
# not to be taken for dead after a second.
frr_render() { # node
	SHMNET_NODE='' "$lab_top/deploy/frr/render" --nic-timers 2/10 -o "$LAB/rendered" \
		"$LAB/$1.yaml" || return
	sed 's/dead-interval minimal .*/hello-interval 2\n ip ospf dead-interval 10/' \
		"$LAB/rendered/$1/frr.conf" >"$LAB/$1.frr" && frr_up "$1" "$LAB/$1.frr"
}

frr_says() { # host
	in_ns "$1" vtysh --vty_socket "/run/frr-$1" --config_dir "/run/frr-$1" \
		-c 'show ip ospf neighbor' -c 'show ip ospf route' </dev/null
}

# By OSPF the host sends what is for it to these, sorted.
goes_by() { # host, destination, gateways...
	in_ns "$1" ip -j route show "$2" proto ospf </dev/null >"$LAB/route" &&
		[ "$(jq -r '.[] | .gateway // .nexthops[].gateway' "$LAB/route" | sort | xargs)" = \
			"${*:3}" ]
}

# The ways of the router, and that of n3.
borders_are() { # ends of the addresses of borders...
	wait_for 30 goes_by router 10.77.0.0/24 "${@/#/203.0.113.}" &&
		wait_for 30 goes_by router "$G" "${@/#/203.0.113.}" &&
		wait_for 30 goes_by n3 default "${@/#/10.77.0.}" && return
	cat "$LAB/route"
	frr_says router
	frr_says n3
	return 1
}

# --- what goes on meanwhile --------------------------------------------------------------------

# The commands go through a pipe in the machine.
hold_tell() { # name, command
	hold_lines[$1]=$(wc -l <"$LAB/$1.log")
	vm 2 sh -c 'echo "$1" >"/run/$2.fifo"' sh "$2" "$1" </dev/null
}

way_open() { # name, address
	vm 2 mkfifo "/run/$1.fifo" </dev/null || return
	start "serve-$1" n3 python3 "$lab_top/tests/netns/gap.py" serve "$GAP_PORT" "$2"
	wait_for 10 log_has "serve-$1" ready || return
	start "$1" client python3 "$lab_top/tests/netns/gap.py" ask --tick 20 "/run/$1.fifo" \
		"$2" "$GAP_PORT"
	wait_for 20 log_has "$1" ready
}

# A border that starts anew asks the others whose a connection to the address of all is, and
# waits for 60 ms, which may not be enough in emulated machines: there the connection may
# wait as well.
way_flows() { # name
	hold "$1" gap || return
	if [ "$1" = global ] && [ "$ACCEL" = tcg ]; then
		answered '.udp_now < 1000 and (.broken | not)'
	else
		answered '.udp_now < 1000 and .tcp_now < 1000 and (.broken | not)'
	fi >"$LAB/flows"
}

# What was done to n1 leaves these borders, and the connections live.
leaves() { # what, ends of the addresses of borders, command...
	local borders
	read -ra borders <<<"$2"
	ways_mark "${WAYS[@]}" && check "$1" "${@:3}" || return
	check "the ways go by ${borders[*]/#/n}" borders_are "${borders[@]}"
	check "the connections survive" ways_live "$1" "${WAYS[@]}"
}

killed() {
	stop n1 KILL
	[ $? -eq 137 ]
}

nic() { # up or down
	in_ns n1 ip link set eth0 "$1" </dev/null
}

[ -n "${SHMNET_TEST_LONG-}" ] || skip "takes some minutes without KVM; --long runs it"
command -v vtysh >/dev/null || skip "FRRouting is not installed (package frr)"
vm_begin "$@"
vm_up 2 --mem 384
ACCEL=$(sed -n 's/^2 machines, .* MB, \([a-z]*\), .*/\1/p' "$LAB/up.out")
cluster_make
MACHINE+=([router]=2 [client]=2)
for host in n1:1 n2:2 router:254; do
	check "${host%:*} is on the LAN outside" lan_join "${host%:*}" "${host#*:}" || lab_end
done
check "a client behind the router" client_make || lab_end
for node in n1 n2 n3; do
	{ node_config $node ${node#n} && echo 'routing: {nics: [eth0]}'; } >"$LAB/$node.yaml"
done
sed -i 's/\[eth0\]/[]/' "$LAB/n3.yaml"
check "nodes of two machines see each other" mesh_up n1:1 n2:2 n3:3 || lab_end
check "n3 has n2 in its memory, n1 by RDMA" has_ways n3 "n1 $RDMA, n2 shm"
frr_router 203.0.113.254 eth0 2/10 >"$LAB/router.conf"
check "OSPF on the router" frr_up router "$LAB/router.conf"
for node in n1 n2 n3; do
	check "on $node" frr_render $node
done
check "the ways by both borders are learned" borders_are 1 2 || lab_end
check "the client asks n3" way_open in 10.77.0.3
check "and at the address of all" way_open global "$G"

leaves "n1's shmnet-node is killed" "2" killed
leaves "it is started again" "1 2" node_up n1 1
leaves "n1's NIC is cut" "2" nic down
leaves "it is plugged in" "1 2" nic up
leaves "n1's machine is switched off" "2" vm_lab power 1 off
ways_figures
lab_end
