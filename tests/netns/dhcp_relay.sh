#!/bin/bash
# A local network whose members get their addresses from a DHCP server outside, by a relay
# on each border, and their default route from OSPF alone: by the recipes of the README,
# with FRRouting. One of two borders is killed, and the next member comes by the other. There
# is a network of long packets besides, which is no way out.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"
# shellcheck source=tests/netns/recipes.sh
. "$(dirname "$0")/recipes.sh"
# shellcheck source=tests/netns/frr.sh
. "$(dirname "$0")/frr.sh"

frr_need || skip "$frr_lacks"
command -v dnsmasq >/dev/null || skip "dnsmasq is not installed (package dnsmasq-base)"
lab_become_root "$@"
# What clients write about name servers is not for this machine.
if [ -z "${DHCP_OWN_MOUNTS-}" ]; then
	exec env DHCP_OWN_MOUNTS=1 unshare -m "$0" "$@"
fi

GLOBALS=()

# A node's file, with what the README says of routing there.
file_write() { # node, addresses, what the README says before its part
	NETWORKS=("lan0 shm0 1500 $2" "big0 shm1 65521 10.78.0.%/24")
	{ node_config "$1" "${1#n}" && recipe "$3"; } >"$LAB/$1.yaml"
}

dnsmasq_start() { # name, host, more arguments...
	start "$1" "$2" dnsmasq --keep-in-foreground --user=root --log-facility=- \
		--pid-file="$LAB/$1.pid" --dhcp-leasefile="$LAB/$1.leases" "${@:3}"
	wait_for 5 listens "$2" u 67
}

# n2's relay differs by its own address.
relay_start() { # border
	recipe 'in a file of dnsmasq' | sed "s/10\.77\.0\.1/10.77.0.${1#n}/" \
		>"$LAB/relay-$1.conf" && [ -s "$LAB/relay-$1.conf" ] &&
		dnsmasq_start "relay-$1" "$1" --conf-file="$LAB/relay-$1.conf"
}

has_lease() { # node
	ip -n "$(host_ns "$1")" -4 -o addr show shm0 | grep -q 'inet 10\.77\.0\.1[0-9][0-9]/24 '
}

# Someone's default routes, whoever made them, are these and of OSPF.
ways_out() { # node, gateways...
	frr_route "$1" default "${@:2}" &&
		[ "$(ip -n "$(host_ns "$1")" route show default | grep -vc 'proto ospf\|nexthop')" -eq 0 ]
}

joins() { # node, gateways...
	local node=$1
	shift
	check "$node, which has no address, starts" node_up "$node" "${node#n}"
	check "it gets one from the server outside" wait_for 30 has_lease "$node" || {
		tail -n 5 "$LAB"/{dhcp-server,relay-n1,relay-n2}.log
		lab_end
	}
	check "FRRouting runs there" frr_render "$node"
	check "it learns its way out by OSPF, over the network of short packets" wait_for 30 ways_out "$node" "$@" || lab_end
	check "and goes it" wait_for 10 pings "$node" "$CLIENT"
}

lab_begin "$@"
touch "$LAB/resolv.conf"
mount --bind "$LAB/resolv.conf" /etc/resolv.conf || skip "no mount over resolv.conf"
check "a client and a router" outside_make || lab_end
frr_router 192.0.2.254 lan 1/4 >"$LAB/router.conf"
check "OSPF on the router" frr_up router "$LAB/router.conf"
check "a DHCP server, which names no router" dnsmasq_start dhcp-server router \
	--conf-file=/dev/null --port=0 --interface=lan --bind-interfaces --dhcp-option=3 \
	--dhcp-option=6 --dhcp-range=10.77.0.100,10.77.0.199,255.255.255.0,1h
for id in 1 2; do
	check "n$id is a border" border_join n$id $id
	file_write n$id "10.77.0.$id/24" 'of a border' || lab_end
done
for id in 3 4; do
	site_host n$id
	file_write n$id dhcp 'of the others' || lab_end
done
check "the borders see each other" mesh_up n1:1 n2:2 || lab_end
check "FRRouting on them" frr_render n1 n2
for id in 1 2; do
	check "a relay on n$id" relay_start n$id
done
check "the router learns the way to the network" \
	wait_for 30 frr_route router 10.77.0.0/24 192.0.2.1 192.0.2.2 || lab_end
joins n3 10.77.0.1 10.77.0.2
check "the client reaches it" pings client "$(ip -n "$(host_ns n3)" -4 -j addr show shm0 |
	jq -r '.[0].addr_info[0].local')"

stop n1 KILL
check "n1 is killed: n3 goes by n2" wait_for 30 ways_out n3 10.77.0.2
joins n4 10.77.0.2
lab_end
