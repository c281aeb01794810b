#!/bin/bash
# Shows shmnet at work: three hosts, two networks, nothing but memory between them.
#
#   deploy/demo.sh [--interactive] [--no-build] [-h]
#
#     --interactive   afterwards a shell with the network up
#     --no-build      with the programs in build/demo, or in $SHMNET_BIN, as they are
#
# The hosts are network namespaces of its own; everything is gone when it ends, also
# after Ctrl-C. As root it installs what is missing; without root it runs in a user
# namespace if the packages are there, and otherwise names the command that installs
# them. Exit: 0 if every step passed, 1 if not, 77 if this machine can't run it.
set -u
# timeout: 300, alone
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$top/build/demo
interactive='' no_build=''

usage() {
	sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

for argument in "$@"; do
	case $argument in
	--interactive) interactive=1 ;;
	--no-build) no_build=1 ;;
	-h | --help) usage && exit 0 ;;
	*) echo "demo.sh: unknown option '$argument'" >&2 && usage >&2 && exit 2 ;;
	esac
done

build_programs() {
	"$top/tests/install.sh" build demo || exit 77
	[ -d "$build" ] || meson setup "$build" "$top" >"$build.log" 2>&1 || return
	meson compile -C "$build" shmnet-node shmnetctl >"$build.log" 2>&1
}

# Before a user namespace is entered, in which nothing can be installed. This script
# starts itself again inside, and must not do this twice.
if [ -z "${SHMNET_DEMO_BUILT-}" ] && [ -z "$no_build" ]; then
	mkdir -p "$top/build"
	echo "building (log: build/demo.log)"
	build_programs || {
		tail -n 20 "$build.log"
		exit 1
	}
	export SHMNET_DEMO_BUILT=1
fi
[ -n "$no_build" ] || SHMNET_BIN=$build
export SHMNET_BIN=${SHMNET_BIN:-$build}

# shellcheck source=../tests/netns/lib.sh
. "$top/tests/netns/lib.sh"
# shellcheck source=../tests/netns/traffic.sh
. "$top/tests/netns/traffic.sh"
# shellcheck source=../tests/netns/site.sh
. "$top/tests/netns/site.sh"
# shellcheck source=../tests/netns/recipes.sh
. "$top/tests/netns/recipes.sh"
# shellcheck source=../tests/netns/frr.sh
. "$top/tests/netns/frr.sh"

if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
	bold=$'\033[1m' green=$'\033[32m' red=$'\033[31m' plain=$'\033[0m'
else
	bold='' green='' red='' plain=''
fi

title() { # text
	printf '\n%s%s%s\n' "$bold" "$1" "$plain"
}

passed() { # claim
	checks_passed=$((checks_passed + 1))
	printf '  %sok%s    %s\n' "$green" "$plain" "$1"
}

failed() { # claim
	checks_failed=$((checks_failed + 1))
	printf '  %sFAIL%s  %s\n' "$red" "$plain" "$1"
}

# A condition that has no command to show.
claim() { # claim, command...
	local text=$1
	shift
	if "$@"; then passed "$text"; else failed "$text"; fi
}

# Echoes the command as a user would type it on that host, runs it, shows what it
# says. Its exit status.
run_shown() { # host, command...
	local host=$1
	shift
	printf '  %s# %s\n' "$host" "$*"
	in_ns "$host" "$@" 2>&1 | sed 's/^/    /'
	return "${PIPESTATUS[0]}"
}

run_ctl() { # node, arguments of shmnetctl...
	local node=$1
	shift
	printf '  %s# shmnetctl %s\n' "$node" "$*"
	ctl "$node" "$@" 2>&1 | sed 's/^/    /'
	return "${PIPESTATUS[0]}"
}

# --- the steps -------------------------------------------------------------------

bring_up() {
	title "Three hosts, a node on each: shmnet-node --config n1.yaml"
	node_config n1 1 | sed 's/^/    /'
	for i in 1 2 3; do
		node_up "n$i" "$i" || return 1
	done
	claim "each node sees the two others" wait_for 10 all_see_all
}

all_see_all() {
	node_sees n1 2 && node_sees n2 2 && node_sees n3 2
}

# IPv6 duplicate address detection is over.
addresses_ready() { # host
	[ -z "$(ip -n "$(host_ns "$1")" -6 addr show tentative)" ]
}

show_topology() {
	title "What a node knows"
	claim "topology" run_ctl n1 topology
	claim "status" run_ctl n1 status
}

show_ping() {
	title "Unmodified programs see a network"
	wait_for 10 addresses_ready n1
	wait_for 10 addresses_ready n3
	claim "n1 reaches n3 by IPv4" run_shown n1 ping -c 3 -i 0.2 10.77.0.3
	claim "n1 reaches n3 by IPv6" run_shown n1 ping -c 3 -i 0.2 fd77::3
	claim "n3's MAC address ends in its node id" \
		run_shown n1 ip neigh show to 10.77.0.3
}

show_jumbo() {
	title "Two networks, two MTUs"
	claim "9000 bytes in one frame pass on lan1" \
		run_shown n1 ping -c 2 -i 0.2 -M "do" -s 8972 10.78.0.2
	claim "and are refused on lan0" \
		not run_shown n1 ping -c 1 -W 1 -M "do" -s 8972 10.77.0.2
}

show_copy() {
	title "A file, copied"
	head -c 64M /dev/urandom >"$LAB/file"
	start copy n2 socat -u TCP-LISTEN:4000,reuseaddr "CREATE:$LAB/copy"
	wait_for 5 listens n2 t 4000
	claim "64 MiB from n1 to n2" \
		run_shown n1 socat -u "FILE:$LAB/file" TCP:10.77.0.2:4000
	wait_for 10 not is_alive copy
	(cd "$LAB" && sha256sum file copy) | sed 's/^/    /'
	claim "the hashes are the same" cmp -s "$LAB/file" "$LAB/copy"
	rm -f "$LAB/file" "$LAB/copy"
}

show_stream() {
	title "A TCP stream"
	start iperf n2 iperf3 --server --one-off
	wait_for 5 listens n2 t 5201
	claim "iperf3, n1 to n2, MTU 1500" \
		run_shown n1 iperf3 --client 10.77.0.2 --time 2 --format g --interval 0
	run_ctl n1 stats
	claim "every frame was delivered or counted as dropped" conserved n1 n2 n3
}

# Numbered datagrams from n1 to a group that n2 and n3 have joined.
listen_to_group() { # host, number of datagrams
	start "group-$1" "$1" timeout 10 socat -u -T 3 \
		"UDP4-RECVFROM:5005,fork,ip-add-membership=239.1.2.3:shm0" \
		"OPEN:$LAB/group-$1,creat,append"
	wait_for 5 listens "$1" u 5005
}

heard_group() { # host, number
	[ -f "$LAB/group-$1" ] && [ "$(sort -u "$LAB/group-$1" | wc -l)" -eq "$2" ]
}

send_to_group() { # host, number
	local i
	for ((i = 1; i <= $2; i++)); do
		echo "datagram $i"
		sleep 0.005
	done | in_ns "$1" socat -u STDIN "UDP4-DATAGRAM:239.1.2.3:5005,ip-multicast-if=10.77.0.${1#n}"
}

show_multicast() {
	title "Written once, read by all: broadcast and multicast"
	claim "n2 joins a group" listen_to_group n2
	claim "n3 joins it, too" listen_to_group n3
	printf '  n1# 100 datagrams to 239.1.2.3\n'
	send_to_group n1 100
	claim "n2 has each of them" wait_for 5 heard_group n2 100
	claim "so has n3" wait_for 5 heard_group n3 100
	stop group-n2 TERM
	stop group-n3 TERM
	run_ctl n1 rings
}

has_lease() { # host
	ip -n "$(host_ns "$1")" -4 -o addr show shm0 | grep -q 'inet 10\.77\.0\.1..'
}

show_dhcp() {
	title "An address by DHCP"
	if ! command -v dnsmasq >/dev/null || ! command -v dhclient >/dev/null; then
		echo "  left out: not installed: dnsmasq-base or isc-dhcp-client"
		return
	fi
	start dnsmasq n1 dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 \
		--user=root --interface=shm0 --bind-interfaces --log-facility=- \
		--pid-file="$LAB/dnsmasq.pid" --dhcp-leasefile="$LAB/leases" \
		--dhcp-range=10.77.0.100,10.77.0.199,1h --dhcp-option=3 --dhcp-option=6
	claim "dnsmasq serves on n1" wait_for 5 listens n1 u 67
	NETWORKS=("lan0 shm0 1500 dhcp")
	GLOBALS=()
	node_up n4 4
	claim "n4, whose config says \"address: dhcp\", has one" wait_for 15 has_lease n4
	run_ctl n4 networks
	claim "n4 reaches n1" run_shown n4 ping -c 2 -i 0.2 10.77.0.1
	claim "n4 gives it back and stops" stop n4
	stop dnsmasq
}

show_stopped() {
	title "A node is stopped, as by a debugger, and goes on"
	printf '  # kill -STOP %s (n3)\n' "$(pid_of n3)"
	kill -STOP "$(pid_of n3)"
	claim "n1 takes it for dead when nothing was heard of it" wait_for 5 node_sees n1 1
	claim "n1 and n2 are not disturbed" run_shown n1 ping -c 2 -i 0.2 10.77.0.2
	printf '  # kill -CONT %s\n' "$(pid_of n3)"
	kill -CONT "$(pid_of n3)"
	claim "n3 is taken back" wait_for 10 all_see_all
	claim "and reached again" run_ctl n1 ping n3 lan0 -c 2 -i 0.2
	run_ctl n1 events | grep -E "(# |n3 ).*"
}

show_failure() {
	title "A node dies and comes back"
	printf '  # kill -9 %s (n3)\n' "$(pid_of n3)"
	stop n3 KILL
	claim "n1 noticed" wait_for 5 node_sees n1 1
	claim "n1 and n2 are not disturbed" run_shown n1 ping -c 2 -i 0.2 10.77.0.2
	run_ctl n1 topology
	node_up n3 3
	claim "n3 is taken back" wait_for 10 all_see_all
	claim "and reached again" run_shown n1 ping -c 2 -i 0.2 10.77.0.3
}

# A host that knows nothing of shmnet but a way to n1, which is a router for the others.
join_client() {
	host_add client && veth client nic0 n1 nic0 &&
		address client nic0 192.0.2.2/24 && address n1 nic0 192.0.2.1/24 &&
		ip -n "$(host_ns client)" route add default via 192.0.2.1 &&
		in_ns n1 sysctl -qw net.ipv4.ip_forward=1 &&
		ip -n "$(host_ns n2)" route add default via 10.77.0.1 &&
		ip -n "$(host_ns n3)" route add default via 10.77.0.1
}

ask_webs() { # number
	printf "  client# %s times: curl http://%s/\n" "$1" "$G"
	web_asks client "$G" "$1" | sed 's/^/    /'
	return "${PIPESTATUS[0]}"
}

show_global() {
	title "One address for all nodes"
	if ! command -v nginx >/dev/null && [ ! -x /usr/sbin/nginx ] ||
		! command -v curl >/dev/null; then
		echo "  left out: not installed: nginx-light or curl"
		return
	fi
	claim "a client beside n1" join_client
	claim "nginx on each node, at $G" webs_start n1 n2 n3
	run_ctl n1 listeners
	claim "300 connections to $G" ask_webs 300
	claim "each node served a third" web_spread 100 n1 n2 n3
	claim "why" run_ctl n1 explain tcp "192.0.2.2:40000" "$G:80"
	claim "200 more, held open" hold_200
	show_dead_server
}

hold_200() {
	holds_serve n1 n2 n3 && hold_start held client "$G" && hold_opens held 200
}

show_dead_server() {
	printf '  # kill -9 %s (n2)\n' "$(pid_of n2)"
	stop n2 KILL
	claim "n1 noticed" wait_for 5 node_sees n1 1
	claim "300 connections to $G" ask_webs 300
	claim "its share went to the others" web_spread 100 n1 n3
	claim "of the 200 to them, none broke" hold_lives held n1 n3
	node_up n2 2
	claim "n2 is taken back, and its connections live, too" hold_all_live
	for name in held serve-n1 serve-n2 serve-n3 web-n1 web-n2 web-n3; do
		stop "$name" KILL
	done
}

hold_all_live() {
	wait_for 10 all_see_all && hold_lives held
}

# The client gets a second way, and a router; n1 and n2 are borders.
join_router() {
	local name
	[ -n "${lab_hosts[client]-}" ] || join_client || return
	veth client nic1 n2 nic0 && address client nic1 198.51.100.2/24 &&
		address n2 nic0 198.51.100.1/24 || return
	for name in client n2 n3; do
		ip -n "$(host_ns $name)" route del default || return
	done
	cat >"$LAB/client.conf" <<-CONF
		ip router-id 192.0.2.2
		$(printf 'interface nic%s\n ip ospf area 0\n ip ospf hello-interval 1\n ip ospf dead-interval 2\nexit\n' 0 1)
		router ospf
		exit
	CONF
	frr_up client "$LAB/client.conf"
}

RENDER_OPTIONS=(--nic-timers 1/2)

# The files get the section "routing", and the nodes load them again.
speak_ospf() { # node, section
	printf '  %s# echo "routing: %s" >>%s.yaml; shmnetctl reload; deploy/frr/render\n' \
		"$1" "$2" "$1"
	echo "routing: $2" >>"$LAB/$1.yaml"
	sed -i '/kind: global/s/}$/, announce: routing}/' "$LAB/$1.yaml"
	ctl "$1" reload >"$LAB/reload" 2>&1 || {
		cat "$LAB/reload"
		return 1
	}
	frr_render "$1"
}

client_goes_by() { # gateways...
	frr_route client 10.77.0.0/24 "$@" && frr_route client "$G" "$@"
}

show_routing() {
	title "Two borders, and one dies: OSPF"
	if ! frr_need; then
		echo "  left out: $frr_lacks"
		return
	fi
	claim "the client is a router beside n1 and n2" join_router
	claim "n1 is a border" speak_ospf n1 '{nics: [nic0]}'
	claim "so is n2" speak_ospf n2 '{nics: [nic0]}'
	claim "n3 has no NIC" speak_ospf n3 '{}'
	claim "the client learns the ways by both" \
		wait_for 20 client_goes_by 192.0.2.1 198.51.100.1
	run_shown client ip route show "$G"
	claim "n3 learns its way out" wait_for 20 frr_route n3 default 10.77.0.1 10.77.0.2
	run_shown n3 ip route show default
	claim "the client asks n3, again and again" way_open asked client n3 10.77.0.3
	ways_mark asked
	printf '  # kill -9 %s (n1)\n' "$(pid_of n1)"
	stop n1 KILL
	claim "the ways go by n2" wait_for 20 client_goes_by 198.51.100.1
	claim "n3's way out, too" wait_for 20 frr_route n3 default 10.77.0.2
	claim "the client's connection goes on" ways_live "after kill -9" asked
	ways_figures
	node_up n1 1
	claim "n1 is back, and on the ways" \
		wait_for 20 client_goes_by 192.0.2.1 198.51.100.1
	leave_routing
}

leave_routing() {
	local name
	stop asked KILL
	stop serve-asked KILL
	for name in client n1 n2 n3; do
		frr_down "$name"
	done
	claim "all see each other" wait_for 10 all_see_all
}

leftovers() {
	local name
	for name in n1 n2 n3; do
		ip -n "$(host_ns "$name")" -o link show type tun
	done
	find "$LAB/run" "$LAB/fabric" -mindepth 1
}

is_clean() {
	leftovers >"$LAB/leftovers"
	sed 's/^/    /' "$LAB/leftovers"
	[ ! -s "$LAB/leftovers" ]
}

stop_all() {
	local name
	title "Nothing stays behind"
	for name in n1 n2 n3; do
		claim "$name stops on SIGTERM" stop "$name"
	done
	claim "no interface, socket or file is left" is_clean
}

open_shell() {
	title "The network is up; leave the shell to take it down"
	cat <<-END
		    ip netns exec $(host_ns n1) ping 10.77.0.2
		    $(program shmnetctl) -s $LAB/run/n1.sock topology
		    ($(host_ns n2) and $(host_ns n3) are the other hosts)
	END
	"${SHELL:-/bin/bash}" || true
}

show_all() {
	bring_up || return
	show_topology
	show_ping
	show_jumbo
	show_copy
	show_stream
	show_multicast
	show_dhcp
	show_global
	show_routing
	show_failure
	show_stopped
	[ -z "$interactive" ] || open_shell
	stop_all
}

main() {
	local began=${EPOCHREALTIME/./}
	NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64" "lan1 shm1 9000 10.78.0.%/24")
	GLOBALS=("svc0 shmg0 $G $G6")
	lab_begin "$@"
	[ -e /dev/net/tun ] ||
		skip "there is no /dev/net/tun: modprobe tun, or give it to the container"
	[ -w /dev/net/tun ] ||
		skip "this user can't open /dev/net/tun: run as root, or chmod 666 it"
	show_all
	printf '\n%d/%d passed in %d s\n' "$checks_passed" \
		$((checks_passed + checks_failed)) \
		$(((${EPOCHREALTIME/./} - began) / 1000000))
	[ "$checks_failed" -eq 0 ] && [ "$checks_passed" -gt 0 ]
}

main "$@"
