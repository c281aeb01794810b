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
	meson compile -C "$build" >"$build.log" 2>&1
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

leftovers() {
	local name
	for name in n1 n2 n3; do
		ip -n "$(host_ns "$name")" -o link show type tun
	done
	find "$LAB/run" "$LAB/fabric" -mindepth 1
}

stop_all() {
	local name
	title "Nothing stays behind"
	for name in n1 n2 n3; do
		claim "$name stops on SIGTERM" stop "$name"
	done
	claim "no interface, socket or file is left" [ -z "$(leftovers)" ]
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
	show_failure
	[ -z "$interactive" ] || open_shell
	stop_all
}

main() {
	local began=${EPOCHREALTIME/./}
	NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64" "lan1 shm1 9000 10.78.0.%/24")
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
