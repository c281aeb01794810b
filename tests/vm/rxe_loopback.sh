#!/bin/bash
# Nodes that are joined by one RDMA device, which sends to itself: the scripts of the
# network namespaces, with rxe0 in a machine. If this machine has an RDMA device that is
# up, with that one. A machine of the lab has SCTP, too, as this one may not.
# timeout: 1200, alone
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"

scripts=(basic check streams kill_restart global_basic)
[ -z "${SHMNET_TEST_LONG-}" ] || scripts+=(ping offloads casts conservation members)

# Sets $device and $address: of the first RDMA device here that has an IPv4 address.
device_find() {
	local netdev
	while read -r device netdev; do
		address=$(ip -j -4 address show dev "$netdev" |
			jq -r '[.[].addr_info[] | select(.scope == "global")][0].local // empty')
		[ -z "$address" ] || return 0
	done < <(rdma -j link 2>/dev/null |
		jq -r '.[] | select(.state == "ACTIVE" and .netdev) | .ifname + " " + .netdev')
	return 1
}

script_run() { # script
	if [ -n "${device-}" ]; then
		echo "--- $1 over $device"
		SHMNET_RDMA_DEVICE=$device SHMNET_RDMA_ADDRESS=$address "$lab_top/$1"
		check "$1 over $device" test $? -eq 0
	else
		vm_script 1 "$1"
	fi
}

# What knows a socket of SCTP, and a global address that is served by it.
try_sctp() {
	vm 1 "$(program sockets-test)" </dev/null >"$LAB/sockets"
	check "sockets are found, those of SCTP too" sctp_passed $?
	vm_script 1 tests/netns/global_sctp.sh
}

sctp_passed() { # status
	cat "$LAB/sockets"
	[ "$1" -eq 0 ] && grep -q 'OK.*listeners\.of_sctp' "$LAB/sockets"
}

export SHMNET_FABRIC=rdma
vm_begin "$@"
device_find || { device='' && vm_up 1 --mem 1024; }
for script in "${scripts[@]}"; do
	script_run "tests/netns/$script.sh"
done
[ -n "$device" ] || try_sctp
lab_end
