#!/bin/bash
# The rdma fabric without nodes (tests/bench/qp_pair.c): numbered records with a checked
# payload arrive, all of them, in order, in one machine and between two, also when packets
# are lost on the way; and no immediate ever finds its receiver without a receive.
# timeout: 400, alone
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"

pair_path() {
	SHMNET_BIN=${SHMNET_BIN:-$lab_top/build/gcc}/tests/bench program qp_pair
}

# Runs server and client; what they print is in $LAB/client and $LAB/server.log.
pair() { # machine of the client, options...
	local machine=$1 status
	shift
	rm -f "$LAB/server.log"
	vm_start server 1 "$(pair_path)" server 5000
	wait_for 20 grep -q listening "$LAB/server.log" || return 1
	vm "$machine" "$(pair_path)" client 192.0.2.1 5000 --check "$@" >"$LAB/client" </dev/null
	status=$?
	cat "$LAB/client" "$LAB/server.log"
	finish server && [ "$status" -eq 0 ]
}

# Of both sides: how often a receive was missing.
rnr() {
	grep -h '^{' "$LAB/client" "$LAB/server.log" | jq -s 'map(.rnr) | add'
}

pair_without_rnr() { # machine, options...
	pair "$@" && [ "$(rnr)" = 0 ]
}

vm_begin "$@"
pair_path >/dev/null || exit 1
vm_up 2 --mem 384
check "one machine: small records" pair_without_rnr 1 --frame 64 --count 300000 --burst 256
check "one machine: both ways" pair_without_rnr 1 --mode both --count 30000
check "one machine: the largest records, the smallest ring" \
	pair_without_rnr 1 --mode both --frame 65549 --count 1000 --burst 8 --ring 262144
check "one machine: one record at a time" pair_without_rnr 1 --mode pingpong --count 3000
check "two machines: small records" pair_without_rnr 2 --frame 64 --count 100000 --burst 256
check "two machines: both ways" pair_without_rnr 2 --mode both --count 10000
check "two machines: one record at a time" pair_without_rnr 2 --mode pingpong --count 300
for machine in 1 2; do
	vm_drop "$machine" 3 udp dport 4791
done
check "packets lost both ways: all arrives once, in order, unchanged" \
	pair_without_rnr 2 --mode both --count 20000
check "packets were lost" test "$(vm_dropped 1)" -gt 0 -a "$(vm_dropped 2)" -gt 0
lab_end
