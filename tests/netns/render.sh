#!/bin/bash
# What deploy/frr/render makes of config files: compared with files, read by FRR's own
# parser, and what it says where it can't.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/golden.sh
. "$(dirname "$0")/golden.sh"

here=$(cd "$(dirname "$0")" && pwd)
golden=$here/../golden/frr
NODES_IN=self

# Everybody's networks; the last one can be changed.
config() { # file, id, lines...
	{
		echo "node: {name: n$2, id: $2}"
		echo "fabrics: [{name: local}]"
		echo "networks:"
		echo "  - {name: lan0, tap: shm0, addresses: [10.77.0.$2/24, \"fd77::$2/64\"]}"
		echo "  - {name: big0, tap: shm1, mtu: 65521, address: dhcp}"
		printf '%s\n' "${@:3}"
	} >"$LAB/$1.yaml"
}

web() { # address...
	echo "  - {name: web, kind: global, tap: shmg0, addresses: [$*], announce: routing}"
}

configs() {
	config n1 1 "$(web 10.99.0.1, '"fd99::1"')" "routing: {nics: [eth0], nic_cost: 50}"
	config n2 2 "$(web 10.99.0.1, '"fd99::1"')" "routing: {nics: [eth0, eth1], area: 1}"
	config n3 3 "$(web 10.99.0.1, '"fd99::1"')" "routing: {}"
	config n4 4 "  - {name: lan2, tap: shm2, cost: 0, address: 10.79.0.4/24}" "routing: {}"
	config none 5
	config area0 5 "routing: {area: 0}"
	config area2 5 "routing: {area: 2}"
	config other 5 "$(web 10.99.0.2)" "routing: {nics: [eth0]}"
	config twice 3 "routing: {}"
	sed '/lan0/s/}$/, cost: 0}/; /big0/s/}$/, cost: 0}/' "$LAB/n3.yaml" >"$LAB/nowhere.yaml"
	sed 's/nic_cost: 50/nic_cost: 0/' "$LAB/n1.yaml" >"$LAB/cost.yaml"
}

# An ospfd that says that it is of this version.
make_frr() { # version
	mkdir -p "$LAB/frr-$1" || return
	printf '#!/bin/sh\necho "ospfd version %s"\n' "$1" >"$LAB/frr-$1/ospfd"
	cp "$LAB/frr-$1/ospfd" "$LAB/frr-$1/vtysh"
	chmod +x "$LAB/frr-$1"/*
	echo "ospfd=${2-yes}" >"$LAB/frr-$1/daemons"
}

# As if that one was installed.
can_use() { # case, version, directory of its files
	says "$1" env PATH="$LAB/frr-$2:$PATH" FRR_DAEMONS="$LAB/frr-$2" FRR_ETC="$LAB/$3" \
		"$render" --check-frr
}

frr_reads() { # file
	vtysh -C -f "$1" 2>&1 | tee "$LAB/vtysh"
	[ "${PIPESTATUS[0]}" -eq 0 ] && ! grep -v '^$' "$LAB/vtysh"
}

lab_begin "$@"
python3 -c 'import yaml' 2>"$LAB/yaml" || skip "Python has no module yaml (package python3-yaml)"
render=$(cd "$here/../../deploy/frr" && pwd)/render
SHMNET_NODE=$(program shmnet-node) || exit 1
export SHMNET_NODE
configs
cd "$LAB" || exit 1

for node in n1 n3 n4; do
	check "$node" says $node.conf "$render" $node.yaml
done
check "n2, beside routers with other timers, and IPv6" \
	says n2.conf "$render" --ipv6 --nic-timers 10/40 n2.yaml
check "several, as files, and what FRR starts" says files.txt \
	"$render" --daemons -o frr n1.yaml n4.yaml
"$render" n1.yaml >n1.conf
check "n1's is as before" cmp n1.conf frr/n1/frr.conf
check "the daemons" says daemons.txt cat frr/n1/daemons
if command -v vtysh >/dev/null; then
	for node in n1 n2 n3 n4; do
		"$render" --ipv6 $node.yaml >$node.conf
		check "FRR reads $node's" frr_reads $node.conf
	done
else
	echo "      (FRR is not installed: it has not read them)"
fi

for case in none area0 nowhere cost; do
	check "refused: $case" says $case.err "$render" $case.yaml
done
check "without the node's own check" says cost-alone.err env SHMNET_NODE= "$render" cost.yaml
check "area, too" says area0-alone.err env SHMNET_NODE= "$render" area0.yaml
check "a node that is not there" says node.err env SHMNET_NODE=/nowhere "$render" n1.yaml
check "no file" says missing.err env SHMNET_NODE= "$render" missing.yaml
check "areas differ" says area2.err "$render" -o frr n1.yaml n2.yaml area2.yaml
check "addresses differ" says other.err "$render" -o frr n1.yaml other.yaml
check "a node twice" says twice.err "$render" -o frr n3.yaml twice.yaml
check "nobody has a NIC" says inside.txt "$render" -o frr n3.yaml n4.yaml
check "several files and no directory" says usage.err "$render" n1.yaml n2.yaml
check "timers" says timers.err "$render" --nic-timers 10 n1.yaml

make_frr 8.4.4 && make_frr 7.5.1 && make_frr 9.1 no
check "FRR can be used" can_use frr.txt 8.4.4 frr-8.4.4
check "one that is too old" can_use frr-old.err 7.5.1 frr-7.5.1
check "one that may not start" can_use frr-off.err 9.1 frr-9.1
check "one whose files can't be read" can_use frr-etc.err 8.4.4 none
check "none" says frr-none.err env FRR_DAEMONS="$LAB/none" "$render" --check-frr
lab_end
