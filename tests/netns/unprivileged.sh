#!/bin/bash
# Without root: nodes in a user namespace of an ordinary user. The kernel refuses TAP
# steering there, so there is one queue and frames are copied; all the rest works.
#
# As root it becomes nobody first, in a mount namespace where /dev/net/tun is open to
# all, as udev has it on a Debian system, and what it needs lies within reach.
set -u
here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/netns/lib.sh
. "$here/lib.sh"

# In the mount namespace of its own, still root.
become_nobody() {
	local inside=/mnt binary
	if ! mount -t tmpfs -o mode=755 tmpfs $inside ||
		! mount -t tmpfs -o mode=755 tmpfs /dev/net ||
		! mknod -m 666 /dev/net/tun c 10 200; then
		skip "no /dev/net/tun can be made here"
	fi
	mkdir $inside/tests $inside/bin && install -d -o nobody $inside/tmp
	cp "$here"/*.sh $inside/tests/
	for binary in shmnet-node shmnetctl; do
		cp "$(program $binary)" $inside/bin/ || exit 1
	done
	cd $inside/tmp && exec setpriv --reuid=nobody --regid=nogroup --clear-groups \
		env TMPDIR=$inside/tmp HOME=$inside/tmp SHMNET_BIN=$inside/bin \
		$inside/tests/unprivileged.sh
}

case "$(id -u) ${1-}" in
"0 as-root") become_nobody ;;
"0 ")
	# Whether it is our own root, or that of the user namespace lib.sh began.
	[ "$(awk 'NR == 1 { print $3 }' /proc/self/uid_map)" -eq 1 ] ||
		exec unshare -m "$0" as-root
	;;
esac

# shellcheck source=tests/netns/traffic.sh
. "$here/traffic.sh"
NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64" "lan1 shm1 9000 10.78.0.%/24 fd78::%/64")

queues_are() { # node, number
	ctl "$1" status --json | jq -e --argjson n "$2" '.networks | all(.queues == $n)'
}

lab_begin "$@"
host_add n1 && host_add n2 && host_add n3
baseline_take empty
[ -w /dev/net/tun ] || skip "/dev/net/tun can't be opened by uid $(id -u)"
check "it runs in a user namespace" not grep -q ' 4294967295$' /proc/self/uid_map
check "three nodes see each other" mesh_up n1:1 n2:2 n3:3 || lab_end
check "their TAPs have one queue" queues_are n1 1
check "the log says why" grep -q 'works with one queue.*steering was refused' "$LAB/n1.log"
check "no error is logged" not grep '^ERROR' "$LAB"/n?.log
for address in 10.77.0.2 10.77.0.3 10.78.0.2; do
	check "n1 pings $address" pings n1 $address
done
check "n1 pings fd77::3" wait_for 5 pings n1 -6 fd77::3
check "a jumbo frame passes on one network" pings n1 -M "do" -s 8972 10.78.0.2
check "and is refused on the other" not pings n1 -M "do" -s 8972 10.77.0.2
check "a server runs" iperf_serve n2
check "one stream" iperf_run n1 10.77.0.2 && iperf_figure "one stream"
check "8 streams" iperf_run n3 10.77.0.2 -P 8 && iperf_figure "8 streams"
check "a stream back, MTU 9000" iperf_run n1 10.78.0.2 -R
check "UDP" iperf_run n1 10.77.0.2 -u -b 100M
check "every frame was delivered or counted" conserved n1 n2 n3
stop n2 KILL
check "after SIGKILL" wait_for 5 node_sees n1 1
check "a node comes back" node_up n2 2
check "and is reached" wait_for 5 pings n1 10.77.0.2
stop iperf-n2
for node in n1 n2 n3; do
	check "$node ends when told to" ends $node
done
check "nothing is left" baseline_is empty
lab_end
