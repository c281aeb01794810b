#!/bin/bash
# The probes of verbs: what the rdma fabric relies on holds for the Soft-RoCE of the lab's
# kernel and for the libraries of this machine.
# timeout: 300, alone
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"

probe() { # name, arguments...
	vm 1 "$(probe_path "$1")" "${@:2}" </dev/null
}

# program() of lib.sh has directories of its own.
probe_path() { # name
	SHMNET_BIN=${SHMNET_BIN:-$lab_top/build/gcc}/tests/probe program "verbs_$1"
}

vm_begin "$@"
probe_path order >/dev/null || exit 1
vm_up 1 --mem 384
check "data is in place when its immediate is seen" probe order
check "memory that is mapped twice takes a write across the seam" probe wrap
check "the key of another PD is refused" probe refused rkey
check "an immediate without a receive ends the sender" probe refused rnr
check "rdma_cm connects queue pairs that are not its own" probe cm
check "a device can be removed and come back" probe removal
check "an interface that goes down takes rdma_cm with it" probe down
lab_end
