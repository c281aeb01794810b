#!/bin/bash
# What measures RDMA still does: one short round of rows that use all of it. No figure is
# looked at.
# timeout: 300, alone
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
"$top/tests/bench/run.sh" --vm --smoke --build "${SHMNET_BIN:-$top/build}" \
	--json "$out/vm.json"
