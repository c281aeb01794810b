#!/bin/bash
# A newer process takes over from the node that runs: with nobody there it starts; one
# that fails before has no effect; networks may change with it, and so may the version that
# nodes speak. What connections make of it is restart.sh's.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64" "lan1 shm1 9000 10.78.0.%/24")
GLOBALS=("web shmg0 10.99.0.1 fd99::1")

# The newer process is the node from then on; the older one ends by itself.
take_over() { # node
	local old=${lab_pids[$1]-}
	start "$1" "$1" "$binary" --takeover --config "$LAB/$1.yaml"
	[ -z "$old" ] || { lab_pids[older]=$old && finish older 20; }
}

succeeds() { # node, others
	local old=${lab_pids[$1]-}
	take_over "$1" && wait_for 10 node_sees "$1" "$2" || return
	jq -e --argjson pid "$(pid_of "$1")" '.pid == $pid' "$LAB/$1.status"
}

# One that ends with an error, and these words.
fails_to() { # node, words
	local old=${lab_pids[$1]}
	start newer "$1" "$binary" --takeover --config "$LAB/$1.yaml"
	finish newer 20
	[ $? -eq 1 ] && cat "$LAB/newer.log" && grep -q "$2" "$LAB/newer.log" &&
		node_sees "$1" 1 && jq -e --argjson pid "$old" '.pid == $pid' "$LAB/$1.status"
}

# The table of the one that lives, under either name, and the guard.
tables_are() { # node, number
	in_ns "$1" nft list tables >"$LAB/tables"
	cat "$LAB/tables"
	[ "$(wc -l <"$LAB/tables")" -eq "$2" ]
}

# Fabrics of another kind, too: of its certificate it is told before there is a device.
with_certificate_of() { # node
	local key="$LAB/certs/$1"
	sed "/^fabrics:/a\\  - {name: roce, kind: rdma, listen: '127.0.0.1:7471', ca: $LAB/certs/ca.crt, certificate: $key.crt, key: $key.key}" \
		"$LAB/good.yaml" >"$LAB/n1.yaml"
}

make_certificates() {
	local client
	client=$(program shmnetctl) || return
	"$client" keygen ca --cluster default --dir "$LAB/certs" &&
		"$client" keygen node n2 --dir "$LAB/certs"
}

has_interface() { # host, interface
	ip -n "$(host_ns "$1")" link show "$2"
}

addresses_are() { # interface, IPv4 address
	ip -n "$(host_ns n1)" -4 -o addr show dev "$1" | tee "$LAB/addresses"
	[ "$(awk '{ print $4 }' "$LAB/addresses")" = "$2" ]
}

version_of() { # program
	"$1" --version | sed 's/.*(wire version \([0-9]*\)).*/\1/'
}

lab_begin "$@"
binary=$(program shmnet-node) || exit 1
host_add n1 && host_add n2
baseline_take empty
node_config n1 1 >"$LAB/n1.yaml"
check "without a node it starts" succeeds n1 0
check "and says so" grep -q "there is nothing to take over" "$LAB/n1.log"
check "two nodes" mesh_up n1:1 n2:2
check "they reach each other" pings n1 10.77.0.2
index=$(ip -n "$(host_ns n1)" -j link show shm0 | jq '.[0].ifindex')

check "a newer process takes over" succeeds n1 1
check "its tables are there, and no others" wait_for 5 tables_are n1 3
check "another one" succeeds n1 1
check "its tables are there, and no others" wait_for 5 tables_are n1 3
check "the TAP is the same" [ "$index" = \
	"$(ip -n "$(host_ns n1)" -j link show shm0 | jq '.[0].ifindex')" ]
check "the node was told" ctl n1 events

# It fails before it asks, and then when it looks at all that it is going to need.
cp "$LAB/n1.yaml" "$LAB/good.yaml"
sed -i 's/tap: shm1/tap: lo/' "$LAB/n1.yaml"
check "one that may not have its TAPs changes nothing" fails_to n1 "exists and is not a TAP"
check "certificates" make_certificates
with_certificate_of n2
check "nor does one with another node's certificate" fails_to n1 "is of node 'n2' in cluster"
sed 's/name: n1, id: 1/name: n1, id: 2/' "$LAB/good.yaml" >"$LAB/n1.yaml"
check "nor one with another node's id" fails_to n1 "node 2 is running already"
sed "s|path: $LAB/fabric|path: $LAB/good.yaml|" "$LAB/good.yaml" >"$LAB/n1.yaml"
check "nor one whose rendezvous is no directory" fails_to n1 "good.yaml is not a directory"
cp "$LAB/good.yaml" "$LAB/n1.yaml"
in_ns n1 sysctl -qw net.ipv4.conf.all.rp_filter=1
check "nor one whose host drops what is for it" fails_to n1 "all.rp_filter is 1"
in_ns n1 sysctl -qw net.ipv4.conf.all.rp_filter=0
sed 's/name: n1, id: 1/name: n1, id: 0/' "$LAB/good.yaml" >"$LAB/n1.yaml"
check "nor does a config with errors" not in_ns n1 "$binary" --takeover \
	--config "$LAB/n1.yaml"
check "the older one lives" node_sees n1 1
check "they reach each other" pings n1 10.77.0.2

grep -v 'name: lan1' "$LAB/good.yaml" >"$LAB/n1.yaml"
check "one with a network less takes over" succeeds n1 1
check "the interface of that is gone" wait_for 5 not has_interface n1 shm1
cp "$LAB/good.yaml" "$LAB/n1.yaml"
check "one with that network takes over" succeeds n1 1
check "it has its interface" has_interface n1 shm1
check "both are reached" pings n1 10.77.0.2
check "both are reached" pings n1 10.78.0.2

# What one network gives up the other one may have, and so with another TAP.
sed -i 's/10\.77\.0\.1\/24/10.7X.0.1\/24/; s/10\.78\.0\.1\/24/10.77.0.1\/24/; s/10\.7X/10.78/; s/tap: shm0/tap: shm7/' \
	"$LAB/n1.yaml"
check "one with other addresses takes over" succeeds n1 1
check "they are where they should be" addresses_are shm7 10.78.0.1/24
check "they are where they should be" addresses_are shm1 10.77.0.1/24
check "and only there" not has_interface n1 shm0
cp "$LAB/good.yaml" "$LAB/n1.yaml"
check "and back" succeeds n1 1
check "both are reached" pings n1 10.77.0.2
check "both are reached" pings n1 10.78.0.2

# A cluster is upgraded node by node.
older_binary=$binary
binary=$(program shmnet-node-next) || exit 1
check "one of the next wire version takes over" succeeds n1 1
check "the other one says which they use" wait_for 5 grep -q "n1: up: .*, wire version $(version_of "$older_binary")" \
	"$LAB/n2.log"
check "both are reached" pings n1 10.77.0.2
check "so it does on the other node" succeeds n2 1
check "both are reached" pings n1 10.77.0.2
binary=$older_binary
check "and back" succeeds n1 1
check "both are reached" pings n1 10.77.0.2

check "n1 ends" ends n1
check "n2 ends" ends n2
check "all is as it was before the first start" baseline_is empty
lab_end
