#!/bin/bash
# What a node says when the RDMA device, its limits, its certificate or a peer is not as
# it must be: the words are in tests/golden/rdma/CASE; netns/golden.sh says how. All of it
# happens in one machine, where this script runs again.
# timeout: 900, alone
set -u
here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/vm/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$here/../netns/traffic.sh"
# shellcheck source=tests/netns/golden.sh
. "$here/../netns/golden.sh"

golden=$here/../golden/rdma
NETWORKS=("lan0 shm0 1500 10.77.0.%/24")
# The whole of a LOOK or a HELLO of another version: field 12 or 1, in it field 1.
look77=000000046202084d hello77=000000040a02084d

# --- the machine ---------------------------------------------------------------------

in_machine() {
	local update=''
	[ -z "${GOLDEN_UPDATE-}" ] || { update=/lab/golden && mkdir "$LAB/share/golden"; }
	vm_script 1 tests/vm/rdma_errors.sh SHMNET_FABRIC=rdma LAB_INSIDE=1 \
		GOLDEN_UPDATE="${GOLDEN_UPDATE-}" LAB_GOLDEN="$update"
	[ -z "$update" ] || cp "$LAB/share/golden/"* "$golden"
}

# --- comparing -----------------------------------------------------------------------

# A config that differs from n1's.
node_with() { # sed expression
	sed "$1" "$LAB/n1.yaml" >"$LAB/case.yaml"
}

# The node does not start, and leaves nothing behind.
start_refused() { # case, sed expression, how it is run...
	node_with "$2"
	refuses "$1" "${@:3}" "$daemon" --config "$LAB/case.yaml"
}

# What a node says now of itself and its seeds, as far as it is about this.
said_by() { # node, pattern
	ctl "$1" status --json >"$LAB/status"
	jq -r '.reasons[], (.seeds[].reason // empty)' "$LAB/status" | sort -u | grep -E -- "$2" >"$LAB/words"
}

status_like() { # case, node, pattern
	wait_for 10 said_by "$2" "$3" || {
		cat "$LAB/status"
		tail -n 5 "$LAB/$2.log"
		return 1
	}
	head -n 3 "$LAB/words" | like_golden "$1"
}

log_like() { # case, node, pattern
	wait_for 10 grep -qE -- "$3" "$LAB/$2.log" || {
		tail -n 5 "$LAB/$2.log"
		return 1
	}
	grep -E -- "$3" "$LAB/$2.log" | sort -u | normalise | uniq | head -n 3 | like_golden "$1"
}

# --- device --------------------------------------------------------------------------

without_device() {
	rdma link delete rxe0
	start_refused no-device 's/device: rxe0, //'
	start_refused no-device-by-name ''
	rdma link add rxe0 type rxe netdev eth0
	start_refused other-device 's/device: rxe0/device: mlx5_0/'
}

bad_port() {
	ip link set eth0 down
	start_refused port-down ''
	start_refused port-down-any 's/device: rxe0, //'
	ip link set eth0 up
	wait_for 5 rdma_is_up
}

rdma_is_up() {
	rdma link | grep -q 'rxe0/1 state ACTIVE'
}

rdma_listens() { # port
	rdma resource show cm_id | grep -q "$1"
}

bad_address() {
	ip address add 203.0.113.1/32 dev lo
	start_refused no-gid 's/192\.0\.2\.1:/203.0.113.1:/g'
	ip address delete 203.0.113.1/32 dev lo
	start_refused address-foreign 's/192\.0\.2\.1:/203.0.113.1:/g'
	: >"$LAB/taken.log"
	start taken self socat TCP-LISTEN:7472,bind=192.0.2.1 -
	wait_for 5 listens self t 7472
	baseline_take before
	start_refused address-taken ''
	stop taken
	start taken self rping -s -a 192.0.2.1 -p 7472
	wait_for 5 rdma_listens 7472
	baseline_take before
	start_refused address-taken-rdma ''
	stop taken
	baseline_take before
}

# Of a user who may do what a node does, and not open a file of root's.
no_access() {
	local caps='+net_admin,+sys_admin' user
	user=(setpriv --reuid 1234 --regid 1234 --clear-groups --inh-caps "$caps"
		--ambient-caps "$caps")
	start_refused no-device-files '' unshare -m sh -c \
		'mount -t tmpfs tmpfs /dev/infiniband && exec "$@"' -
	chmod 711 "$LAB" && chmod 644 "$LAB/case.yaml" && mkdir -m 700 "$LAB/run/user" &&
		chmod 711 "$LAB/run" && chown 1234 "$LAB/run/user"
	baseline_take before
	chmod 600 /dev/infiniband/uverbs0
	start_refused device-no-access "s|runtime_dir: [^,}]*|&/user|" "${user[@]}"
	chmod 666 /dev/infiniband/uverbs0
	chmod 600 /dev/infiniband/rdma_cm
	start_refused manager-no-access "s|runtime_dir: [^,}]*|&/user|" "${user[@]}"
	chmod 666 /dev/infiniband/rdma_cm
	rmdir "$LAB/run/user" && chmod 700 "$LAB" "$LAB/run"
	baseline_take before
}

# A kernel without iWARP in software has nothing that could be refused.
iwarp() {
	modprobe siw 2>/dev/null || { echo "      this kernel has no siw" && return; }
	rdma link add siw0 type siw netdev eth0
	start_refused iwarp 's/device: rxe0/device: siw0/'
	rdma link delete siw0
}

# --- certificates --------------------------------------------------------------------

tls_lines() { # node, whose certificate it has, directory (keys)
	echo "s|, security: none|, ca: $LAB/${3-keys}/ca.crt, certificate: $LAB/${3-keys}/$2.crt, key: $LAB/${3-keys}/$2.key|"
}

make_keys() {
	local dir node
	for dir in keys foreign; do
		"$client" keygen ca --dir "$LAB/$dir" >/dev/null || return
		for node in n1 n2; do
			"$client" keygen node "$node" --dir "$LAB/$dir" >/dev/null || return
		done
	done
	"$client" keygen ca --dir "$LAB/other" --cluster other >/dev/null &&
		"$client" keygen node n1 --dir "$LAB/other" >/dev/null &&
		mkdir "$LAB/short" && cp "$LAB/keys/"ca.* "$LAB/short" &&
		"$client" keygen node n1 --dir "$LAB/short" --days 1 >/dev/null
}

bad_own_certificate() {
	start_refused tls-missing "$(tls_lines n1 n7)"
	start_refused tls-other-node "$(tls_lines n1 n2)"
	start_refused tls-other-cluster "$(tls_lines n1 n1 other)"
	start_refused tls-foreign-ca "$(tls_lines n1 n1); s|ca: $LAB/keys|ca: $LAB/foreign|"
	start_refused tls-other-key "$(tls_lines n1 n1); s|key: $LAB/keys/n1|key: $LAB/keys/n2|"
	chmod 644 "$LAB/keys/n1.key"
	start_refused tls-key-readable "$(tls_lines n1 n1)"
	chmod 600 "$LAB/keys/n1.key"
	date -s '+10 days' >/dev/null
	start_refused tls-expired "$(tls_lines n1 n1 short)"
	hwclock -s
}

bad_peer_certificate() {
	local node=n2
	node_config n1 1 | sed "$(tls_lines n1 n1)" >"$LAB/n1.yaml"
	node_config n2 2 | sed "$(tls_lines n2 n2 foreign)" >"$LAB/n2.yaml"
	rm -f "$LAB/n1.log"
	node_up n1 1 && node_up n2 2 || return
	check "peer-foreign-ca" status_like peer-foreign-ca n2 'certificate|TLS'
	check "peer-foreign-ca, in the other one's log" \
		log_like peer-foreign-ca-log n1 'WARN.*(certificate|TLS)'
	stop n2
	node_config n2 2 >"$LAB/n2.yaml"
	node_up n2 2
	check "peer-plain" status_like peer-plain n2 '192.0.2.1:7472'
	stop n2
	rm "$LAB/n2.yaml"
	stop n1
	node_config n1 1 >"$LAB/n1.yaml"
}

# --- seeds and peers -----------------------------------------------------------------

# Says these bytes to the node and prints the words of its answer.
say_bytes() { # hexadecimal digits
	python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))' "$1" |
		timeout 10 socat -t 8 - TCP:192.0.2.1:7472 | strings -n 8 | sed 's/.*wire version 77/wire version 77/' || true
}

bad_seed() {
	node_with 's/seeds: \[[^]]*\]/seeds: ["192.0.2.99:7472", "192.0.2.1:7999"]/'
	cp "$LAB/case.yaml" "$LAB/n1.yaml"
	check "a node starts whose seeds don't answer" node_up n1 1
	check "seed-refused" status_like seed-refused n1 '7999'
	check "seed-unreachable" status_like seed-unreachable n1 '192.0.2.99'
	stop n1
	node_config n1 1 >"$LAB/n1.yaml"
}

bad_peers() {
	rm -f "$LAB/n1.log"
	check "n1 and n2 see each other" mesh_up n1:1 n2:2 || return
	baseline_take before
	say_bytes $look77 >"$LAB/answer"
	check "version-look" like_golden version-look <"$LAB/answer"
	check "version-look, in the log" log_like version-look-log n1 'WARN.*version'
	say_bytes $hello77 >"$LAB/answer"
	check "version-hello" like_golden version-hello <"$LAB/answer"
	say_bytes ffffffff00 >/dev/null
	say_bytes 00000000 >/dev/null
	say_bytes "00000040$(printf 'ff%.0s' {1..64})" >/dev/null
	say_bytes "$(printf '47%.0s' {1..4000})" >/dev/null
	say_bytes 00 >/dev/null
	check "garbage on the port is told" log_like garbage n1 'WARN.*malformed'
	check "it leaves nothing behind" baseline_is before 10
	check "n1 and n2 go on" pings n1 10.77.0.2

	node_config n3 1 | sed 's/7472/7479/' >"$LAB/n3.yaml"
	check "another node with the id of n1 starts" node_up n3 1
	check "twins" status_like twins n3 'id 1'
	check "twins, as the other one says it" status_like twins-other n1 'id 1'
	check "n1 and n2 go on" pings n1 10.77.0.2
	stop n3
	NETWORKS=("lan0 shm0 4000 10.77.0.%/24")
	check "a node with another MTU starts" node_up n4 4
	check "other-mtu" status_like other-mtu n4 'MTU'
	check "n1 and n2 go on" pings n1 10.77.0.2
	stop n4
}

# The device goes away while they run, and comes back.
device_goes() {
	check "n1 and n2 see each other" mesh_is_whole n1 n2
	check "the device is removed" timeout 20 rdma link delete rxe0
	check "removed" log_like removed n1 'WARN.*rxe0.*removed'
	# While it goes, its file is gone before it is.
	check "removed, in the status" status_like removed-status n1 '^fabric roce: this host'
	rdma link add rxe0 type rxe netdev eth0
	check "it is back, and they see each other" mesh_is_whole n1 n2
	check "n1 and n2 go on" wait_for 5 pings n1 10.77.0.2
	stop n1
	stop n2
}

# Enough to start, not enough for a peer's rings.
little_memory() {
	local limited=(prlimit --memlock=$((1 << 20)) setpriv --bounding-set=-ipc_lock
		--inh-caps=-ipc_lock)
	node_up n2 2
	: >"$LAB/n1.log"
	start n1 self "${limited[@]}" "$daemon" --config "$LAB/n1.yaml"
	check "a node starts that may lock 1 MiB" wait_for 10 node_answers n1
	check "memlock" status_like memlock n1 'RLIMIT_MEMLOCK'
	stop n1
	stop n2
}

inside() {
	[ -z "${LAB_GOLDEN-}" ] || golden=$LAB_GOLDEN
	lab_begin
	daemon=$(program shmnet-node) && client=$(program shmnetctl) || exit 1
	host_add n1 && host_add n2 && host_add n3 && host_add n4
	node_config n1 1 >"$LAB/n1.yaml"
	baseline_take before
	without_device
	bad_port
	bad_address
	no_access
	iwarp
	check "certificates are made" make_keys
	baseline_take before
	bad_own_certificate
	bad_peer_certificate
	bad_seed
	bad_peers
	device_goes
	little_memory
	lab_end
}

[ -z "${LAB_INSIDE-}" ] || inside
vm_begin "$@"
vm_up 1 --mem 512
in_machine
lab_end
