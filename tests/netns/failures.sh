#!/bin/bash
# What fails is said, and nothing else: every k-th allocation and every k-th system call of
# a kind of a node fails, at its start and while it runs and another one comes and goes. A
# start that fails leaves the host as it was; a node that runs goes on, and leaks nothing.
#
# Without SHMNET_TEST_LONG=1 only some of them, of each kind of call the first.
# timeout: 3000
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
GLOBALS=("www shmg0 10.99.0.1 fd99::1")
COMMAND_DEADLINE=2500

# How many to try where not all are.
sweep() { # steps, kind, argument...
	echo "      $2:"
	SWEEP_STEPS=$1 in_ns n1 python3 -u "$(dirname "$0")/sweep.py" "$2" "$LAB" n1 "${@:3}" \
		>"$LAB/sweep" 2>&1
	local status=$?
	sed 's/^/      /' "$LAB/sweep" >&3
	return "$status"
}

lab_begin "$@"
SHMNET_NODE=$(program shmnet-node) && SHMNET_CTL=$(program shmnetctl) || exit 1
export SHMNET_NODE SHMNET_CTL
! grep -qc '__[at]san_init' "$SHMNET_NODE" ||
	skip "a sanitizer's run-time library has to be loaded before all others"
library=$(program libfail-alloc.so) || exit 1
command -v python3 >/dev/null || skip "python3 is not installed"
command -v strace >/dev/null || skip "strace is not installed"
host_add n1 && host_add n2
in_ns n1 nft list tables >"$LAB/nft" 2>&1 || skip "no nftables here: $(cat "$LAB/nft")"
in_ns n1 strace -o "$LAB/strace" true || skip "no process may be traced here"
node_config n1 1 >"$LAB/n1.yaml"
node_config n2 2 >"$LAB/n2.yaml"
SWEEP_IN_PEER=$(run_in n2)
export SWEEP_IN_PEER

exec 3>&1
check "an allocation fails at the start" sweep 30 alloc "$library"
check "a system call fails at the start" sweep 1 calls
check "an allocation fails while it runs" sweep 10 running-alloc n2 "$library"
check "a system call fails while it runs" sweep 6 running-calls n2
exec 3>&-
lab_end
