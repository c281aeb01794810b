#!/bin/bash
#
# Measures shmnet beside its peers: the rows of rows.py, as a table, JSON and SVG.
#
#     tests/bench/run.sh [--rows H1,H3] [-r ROUNDS] [-t SECONDS] [--json FILE]
#     tests/bench/run.sh --vm [--long] [...]      rows V, in virtual machines
#     tests/bench/run.sh [--vm] --smoke --build DIR    what the tests run
#
# Everything happens inside mount, network and process namespaces of its own: when
# this script ends, however it ends, the kernel ends and removes what was started
# in there. Without --build it installs what is missing (as root) and builds first.

set -eu

here=$(cd "$(dirname "$0")" && pwd)
commands="curl ethtool haproxy iperf3 ip nginx ss sysctl wrk ping python3 socat setpriv unshare vde_switch vde_plug2tap"
vm_commands="curl iperf3 ip ipvsadm nginx ss sysctl wrk ping ib_write_bw ib_write_lat ib_send_lat python3 socat setpriv unshare"
vm_lab=$here/../../deploy/lab/vm-lab.sh

BENCH_COMMAND="tests/bench/run.sh $*"
BENCH_ROOT=$([ "$(id -u)" = 0 ] && echo yes || echo no)
export BENCH_COMMAND BENCH_ROOT

has_option() {
	local option=$1 argument
	shift
	for argument; do
		case $argument in "$option" | "$option="*) return 0 ;; esac
	done
	return 1
}

skip() {
	echo "SKIP: $*"
	exit 77
}

check_commands() {
	local command missing=
	for command in $commands; do
		command -v "$command" >/dev/null || missing="$missing $command"
	done
	[ -z "$missing" ] || skip "no$missing; try as root: tests/install.sh bench"
}

build() {
	cd "$here/../.."
	[ -d build ] || meson setup build
	meson compile -C build
}

# Replaces the (sub)shell. /run is where `ip netns` keeps its names; scratch files
# stand beside them.
exec_in_namespaces() {
	local user=
	[ "$BENCH_ROOT" = yes ] || user="--user --map-root-user"
	# shellcheck disable=SC2086,SC2016 # no word or two; "$@" is for the inner shell
	exec setpriv --pdeathsig KILL \
		unshare $user --mount --net --pid --fork --mount-proc --kill-child=KILL \
		sh -c 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@"' sh "$@"
}

if has_option -h "$@" || has_option --help "$@"; then
	exec python3 -B "$here/bench.py" "$@"
fi
if has_option --vm "$@"; then
	[ "$BENCH_ROOT" = yes ] || skip "not root: the machines need TAPs and a bridge"
	commands=$vm_commands
fi
if ! has_option --build "$@"; then
	if [ "$BENCH_ROOT" = yes ]; then
		"$here/../install.sh" build bench
		! has_option --vm "$@" || "$here/../install.sh" lab
	fi
	build
fi
check_commands
# There is no way out of the namespaces, later.
! has_option --vm "$@" || "$vm_lab" kernel
if [ ! -r /dev/net/tun ] || [ ! -w /dev/net/tun ]; then
	skip "no access to /dev/net/tun"
fi
(exec_in_namespaces true) || skip "no right to make namespaces"

exec_in_namespaces python3 -B "$here/bench.py" "$@" &
child=$!
trap 'kill -KILL $child 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
wait $child
