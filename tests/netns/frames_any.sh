#!/bin/bash
# Every kind of frame, by the programs that make them: VLANs, unknown ethertypes, all
# reserved groups, LLDP, IPv6 router advertisements, mDNS, multicast streams.
# timeout: 180
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

lab_become_root "$@"
# Daemons want places in /run; they get one that nobody else sees.
if [ -z "${FRAMES_OWN_RUN-}" ]; then
	exec env FRAMES_OWN_RUN=1 unshare -m "$0" "$@"
fi
mount -t tmpfs tmpfs /run || skip "no mount over /run"
mkdir /run/netns /run/lldpd /run/avahi-daemon

# In the mount namespace of the one process.
start_with_run() { # name, host, directory, command...
	start "$1" "$2" sh -c "mount -t tmpfs tmpfs $3 && exec \"\$@\"" sh "${@:4}"
}

has_program() { # program, package
	command -v "$1" >/dev/null && return
	echo "SKIP: $1 is not installed (package $2)"
	return 1
}

# --- VLANs -----------------------------------------------------------------------

vlan_add() { # host, id, the node's number
	ip -n "$(host_ns "$1")" link add link shm0 name "vlan$2" type vlan id "$2" &&
		ip -n "$(host_ns "$1")" addr add "10.99.$2.$3/24" dev "vlan$2" &&
		ip -n "$(host_ns "$1")" link set "vlan$2" up
}

# A receiving kernel takes the tag out, so the filter sees 4 bytes less than was sent. The
# kernel here may have no VLAN interfaces; the network carries the tags anyway.
try_tags() {
	local from to
	for from in 1 2; do
		to=n$((3 - from))
		check "n$from's tagged frames of the full MTU pass" \
			delivers $to shm0 20 "vlan and greater 1514" send n$from shm0 \
			"$(mac_of lan0 $((3 - from)))" "$(mac_of lan0 $from)" 8100 1518 20
		check "those with a provider's tag" \
			delivers $to shm0 20 "vlan and greater 190" send n$from \
			shm0 "$(mac_of lan0 $((3 - from)))" "$(mac_of lan0 $from)" 88a8 200 20
		check "and tagged broadcasts" \
			delivers n3 shm0 20 "vlan and ether broadcast" send n$from shm0 \
			ff:ff:ff:ff:ff:ff "$(mac_of lan0 $from)" 8100 100 20
	done
}

try_vlans() {
	local vlan host
	ip -n "$(host_ns n1)" link add link shm0 name probe type vlan id 2 2>/dev/null || {
		echo "SKIP: this kernel has no VLAN interfaces (8021q)"
		return
	}
	ip -n "$(host_ns n1)" link delete probe
	for vlan in 1 100; do
		for host in 1 2 3; do
			check "n$host is in VLAN $vlan" vlan_add n$host $vlan $host
		done
		check "n1 reaches n2 in VLAN $vlan" pings n1 10.99.$vlan.2
		check "and n3, in frames of the full MTU" \
			pings n1 -M "do" -s 1472 10.99.$vlan.3
		check "all answer a broadcast there" pings n1 -b 10.99.$vlan.255
	done
	check "a VLAN's frames stay in it" \
		delivers n2 vlan100 0 icmp pings n1 10.99.1.2
}

# --- ethertypes and groups ---------------------------------------------------------

sends_to_reserved_groups() {
	local last
	for last in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do
		send n1 shm0 "01:80:c2:00:00:0$last" "$mac1" 88b5 60 1 || return
	done
}

try_raw_frames() {
	local type
	mac1=$(mac_of lan0 1) mac2=$(mac_of lan0 2)
	for type in 88b5 0842 9000 8847 0600; do
		check "ethertype 0x$type passes" delivers n2 shm0 20 "ether proto 0x$type" \
			send n1 shm0 "$mac2" "$mac1" $type 100 20
		check "and back" delivers n1 shm0 20 "ether proto 0x$type" \
			send n2 shm0 "$mac1" "$mac2" $type 100 20
	done
	check "a length in place of the type passes (802.3, spanning tree)" \
		delivers n2 shm0 20 "ether[12:2] == 38" send n1 shm0 "$mac2" "$mac1" 0026 52 20
	check "an unknown type passes as broadcast" delivers n3 shm0 20 "ether proto 0x88b5" \
		send n1 shm0 ff:ff:ff:ff:ff:ff "$mac1" 88b5 100 20
	check "the 16 groups that bridges keep to themselves cross" \
		delivers n3 shm0 16 "ether proto 0x88b5" sends_to_reserved_groups
}

# --- LLDP --------------------------------------------------------------------------

neighbours() { # node: the descriptions that its lldpd has learnt
	in_ns "$1" lldpcli -u "/run/lldpd-$1.sock" -f keyvalue show neighbors |
		sed -n 's/.*\.chassis\.descr=lab //p' | sort | xargs
}

has_neighbours() { # node, their names
	[ "$(neighbours "$1")" = "$2" ]
}

try_lldp() {
	local node
	has_program lldpd lldpd || return
	echo "configure lldp tx-interval 1" >/run/lldpd.conf
	for node in n1 n2 n3; do
		start_with_run lldpd-$node $node /run/lldpd lldpd -d -O /run/lldpd.conf \
			-u "/run/lldpd-$node.sock" -I shm0 -C shm0 -S "lab $node"
	done
	check "n1 has its LLDP neighbours" wait_for 20 has_neighbours n1 "n2 n3" ||
		in_ns n1 lldpcli -u "/run/lldpd-n1.sock" show neighbors
	check "n3 has them" wait_for 20 has_neighbours n3 "n1 n2"
	for node in n1 n2 n3; do stop lldpd-$node; done
}

# --- IPv6 --------------------------------------------------------------------------

slaac_of() { # host
	ip -n "$(host_ns "$1")" -6 -j addr show shm0 scope global |
		jq -re '[.[].addr_info[]? | select(.dynamic and .local and (.tentative | not))
			| .local][0] // empty'
}

try_slaac() {
	has_program dnsmasq dnsmasq-base || return
	ip -n "$(host_ns n1)" addr add fd79::1/64 dev shm0
	start dnsmasq n1 dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 \
		--user=root --interface=shm0 --log-facility=- --pid-file="$LAB/dnsmasq.pid" \
		--enable-ra --dhcp-range=fd79::,ra-only,64 --leasefile-ro
	check "n2 makes an address of n1's advertisement" wait_for 20 slaac_of n2
	check "n3 does" wait_for 20 slaac_of n3
	check "with them they reach each other" wait_for 5 pings n2 -6 "$(slaac_of n3)"
	check "and the router" pings n3 -6 fd79::1
	check "n3 reaches n2 by link-local" \
		pings n3 "$(link_local_of "$(mac_of lan0 2)")%shm0"
	stop dnsmasq
}

# --- mDNS --------------------------------------------------------------------------

resolves() { # host, own address, name, address
	local answer
	answer=$(in_ns "$1" python3 "$lab_top/tests/netns/mdns.py" "$2" "$3" 2)
	[ "$answer" = "$4" ]
}

try_mdns() {
	local node
	has_program avahi-daemon avahi-daemon || return
	for node in n1 n2; do
		cat >"$LAB/avahi-$node.conf" <<-END
			[server]
			host-name=$node
			allow-interfaces=shm0
			enable-dbus=no
			[publish]
			publish-workstation=no
		END
		start_with_run avahi-$node $node /run/avahi-daemon avahi-daemon --no-drop-root \
			--no-rlimits --no-chroot --no-proc-title -f "$LAB/avahi-$node.conf"
	done
	check "n3 asks the group and n1 answers" \
		wait_for 15 resolves n3 10.77.0.3 n1.local 10.77.0.1 || cat "$LAB/avahi-n1.log"
	check "n2, too" wait_for 15 resolves n3 10.77.0.3 n2.local 10.77.0.2
	stop avahi-n1
	stop avahi-n2
}

# --- multicast streams -------------------------------------------------------------

joined() { # host, group
	ip -n "$(host_ns "$1")" maddr show dev shm0 | grep -qw "$2"
}

# Datagrams that arrived of those sent, "LOST TOTAL", as the receiver says.
received() { # host
	sed -n 's|.*[[:space:]]\([0-9]*\)/ *\([0-9][0-9]*\) ([^)]*).*|\1 \2|p' \
		"$LAB/iperf-$1.log" | tail -n 1
}

# Datagrams that the host's sockets had no room for: their readers came too late.
refused() { # host
	in_ns "$1" cat /proc/net/snmp | awk '$1 == "Udp:" { n = $6 } END { print n }'
}

# All that were not refused in the end.
got_the_stream() { # host, as many as were refused before
	local lost total
	read -r lost total <<<"$(received "$1")"
	[ "${total:-0}" -gt 100 ] && [ "$lost" -le $(($(refused "$1") - $2)) ]
}

try_multicast() {
	local node
	local -A before
	has_program iperf iperf || return
	for node in n1 n2 n3; do
		ip -n "$(host_ns $node)" route add 224.0.0.0/4 dev shm0
	done
	for node in n2 n3; do
		before[$node]=$(refused $node)
		start iperf-$node $node iperf -s -u -B 239.77.0.1 -f m -w 2M
		check "$node joins the group" wait_for 5 joined $node 239.77.0.1
	done
	check "n1 sends to the group" in_ns n1 iperf -c 239.77.0.1 -u -T 2 -t 1 -b 5m
	for node in n2 n3; do
		check "$node gets every datagram that it has room for" \
			wait_for 5 got_the_stream $node "${before[$node]}" ||
			cat "$LAB/iperf-$node.log"
		figure "$node: lost, sent: $(received $node)"
		stop iperf-$node KILL
	done
}

lab_begin "$@"
NETWORKS=("lan0 shm0 1500 10.77.0.%/24")
check "three nodes see each other" mesh_up n1:1 n2:2 n3:3 || lab_end
try_tags
try_vlans
try_raw_frames
try_lldp
try_slaac
try_mdns
try_multicast
check "the books balance after all that" conserved n1 n2 n3
lab_end
