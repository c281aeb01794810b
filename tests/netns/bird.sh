#!/bin/bash
# OSPF by BIRD, from the README: two borders, a node without a NIC, a router outside. Under
# steady traffic from and to that node, and to the address of all nodes, a border's
# shmnet-node is killed, then its NIC is cut, and each comes back: the connections survive.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"
# shellcheck source=tests/netns/recipes.sh
. "$(dirname "$0")/recipes.sh"

BIRD=$(PATH=$PATH:/usr/sbin command -v bird) || skip "bird is not installed (package bird2)"
NETWORKS=("lan0 shm0 1500 10.77.0.%/24")
WAYS=(in out global)
GLOBALS=("web shmg0 10.99.0.1")

bird_up() { # host
	"$BIRD" -p -c "$LAB/$1.bird" || return
	start "bird-$1" "$1" "$BIRD" -f -c "$LAB/$1.bird" -s "$LAB/$1.ctl" -P "$LAB/$1.pid"
}

# The two borders differ by their router ids.
files_write() {
	recipe 'which is number 3' >"$LAB/n3.bird" &&
		recipe 'whose file differs by the two router ids' >"$LAB/n1.bird" || return
	sed 's/10\.77\.0\.1/other/; s/10\.77\.0\.2/10.77.0.1/; s/other/10.77.0.2/' \
		"$LAB/n1.bird" >"$LAB/n2.bird"
	cat >"$LAB/router.bird" <<-'CONF'
		router id 192.0.2.254;
		protocol device { }
		protocol kernel { ipv4 { export all; }; }
		protocol static { ipv4; route 0.0.0.0/0 via 198.51.100.7; }
		protocol ospf v2 {
			merge external yes;
			ipv4 { export where source = RTS_STATIC; };
			area 0 {
				interface "lan" { hello 1; dead 4; };
				interface "to-client" { stub yes; };
			};
		}
	CONF
}

# The next hops of a route, in order: "10.77.0.1 10.77.0.2".
hops_are() { # host, destination, hops...
	ip -n "$(host_ns "$1")" -j route show "$2" >"$LAB/route" &&
		jq -e '[.[] | select(.protocol == "bird" and .scope != "link")
			| .gateway, .nexthops[]?.gateway | values] | sort == $ARGS.positional' \
			"$LAB/route" --args "${@:3}" >"$LAB/true"
}

# The way out of n3, and those of the router to it and to the address of all.
borders_are() { # ends of the addresses of borders...
	wait_for 30 hops_are n3 default "${@/#/10.77.0.}" &&
		wait_for 30 hops_are router 10.77.0.0/24 "${@/#/192.0.2.}" &&
		wait_for 30 hops_are router "$G" "${@/#/192.0.2.}" && return
	cat "$LAB/route"
	return 1
}

# What was done to n1 leaves these borders, and the connections live.
goes_by() { # what, command, ends of the addresses of borders...
	local borders=("${@:3}")
	ways_mark "${WAYS[@]}" && check "$1" "$2" || return
	check "the ways go by ${borders[*]/#/n}" borders_are "${borders[@]}"
	check "the connections survive" ways_live "$1" "${WAYS[@]}"
}

killed() {
	stop n1 KILL
	[ $? -eq 137 ]
}

started() {
	node_up n1 1
}

nic_cut() {
	ip -n "$(host_ns router)" link set to-n1 down
}

nic_back() {
	ip -n "$(host_ns router)" link set to-n1 up
}

lab_begin "$@"
check "a client and a router" outside_make || lab_end
for id in 1 2; do
	check "n$id is a border" border_join n$id $id
	ip -n "$(host_ns n$id)" route del default
	run_recipe n$id 'On a border' >"$LAB/out"
done
site_host n3
check "the README has files for BIRD" files_write || lab_end
check "three nodes" mesh_up n1:1 n2:2 n3:3 || lab_end
for host in router n1 n2 n3; do
	check "BIRD runs on $host" bird_up $host
done
check "n3 and the router learn the ways by both borders" borders_are 1 2 || lab_end
check "the client asks n3" way_open in client n3 10.77.0.3
check "n3 asks the client" way_open out n3 client "$CLIENT"
check "the client asks at the address of all" way_open global client n3 "$G"

goes_by "n1's shmnet-node is killed" killed 2
goes_by "it is started again" started 1 2
goes_by "n1's NIC is cut" nic_cut 2
check "n1 itself goes out by n2" wait_for 10 pings n1 "$CLIENT"
goes_by "the NIC is back" nic_back 1 2
ways_figures
lab_end
