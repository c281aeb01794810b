#!/bin/bash
# What a node says when the machine or a peer is not as it must be: each case's exit
# status and words are in tests/golden/system/CASE, and nothing is left behind.
#
# golden.sh says how they are written.
# timeout: 600
set -u
here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/netns/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$here/traffic.sh"
# shellcheck source=tests/netns/golden.sh
. "$here/golden.sh"

golden=$here/../golden/system
NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")

# --- surroundings ------------------------------------------------------------------

# A config that differs from n1's.
node_with() { # sed expression
	sed "$1" "$LAB/n1.yaml" >"$LAB/case.yaml"
}

# A TAP that is kept open by another program, as "$LAB/tap.py NAME".
write_tap_holder() {
	cat >"$LAB/tap.py" <<-'END_OF_FILE'
		import fcntl, struct, sys, time
		tun = open("/dev/net/tun", "r+b", buffering=0)
		flags = 0x0002 | 0x1000 | 0x4000 | 0x0100  # TAP, NO_PI, VNET_HDR, MULTI_QUEUE
		fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), flags))
		print("ready", flush=True)
		time.sleep(100)
	END_OF_FILE
}

# --- the cases -----------------------------------------------------------------------

bad_use() {
	refuses use-no-config "$daemon"
	refuses use-unknown-option "$daemon" --confg x
	refuses use-extra-argument "$daemon" --config "$LAB/n1.yaml" extra
	refuses use-two-actions "$daemon" --config "$LAB/n1.yaml" --check --cleanup
	refuses use-log-level "$daemon" --config "$LAB/n1.yaml" --log-level loud
	refuses use-missing-file "$daemon" --config "$LAB/missing.yaml"
	refuses use-directory "$daemon" --config "$LAB"
	refuses use-check-good "$daemon" --check --config "$LAB/n1.yaml"
}

bad_device() {
	refuses tun-missing unshare -m sh -c 'mount -t tmpfs tmpfs /dev/net && exec "$@"' \
		- "${run[@]}"
	refuses tun-no-access unshare -m sh -c '
		mount -t tmpfs tmpfs /dev/net && mknod -m 000 /dev/net/tun c 10 200 &&
		exec setpriv --bounding-set=-dac_override,-dac_read_search "$@"' - "${run[@]}"
	refuses no-net-admin setpriv --bounding-set=-net_admin --inh-caps=-net_admin "${run[@]}"
}

# A kernel that says it is an old one.
bad_kernel() {
	{
		node_config n1 1
		echo '  - {name: web, kind: global, tap: shmg0, address: 10.99.0.1}'
	} >"$LAB/case.yaml"
	refuses kernel-too-old setarch --uname-2.6 "${run[@]}"
	refuses kernel-too-old-global setarch --uname-2.6 "$daemon" --config "$LAB/case.yaml"
}

bad_interface() {
	local ns
	ns=$(host_ns n1)
	ip -n "$ns" link add shm0 type bridge
	baseline_take before
	refuses interface-no-tap "${run[@]}"
	ip -n "$ns" link delete shm0
	ip -n "$ns" tuntap add shm0 mode tap
	baseline_take before
	refuses interface-foreign-tap "${run[@]}"
	ip -n "$ns" link set shm0 alias shmnet:n9
	refuses interface-other-node "${run[@]}"
	ip -n "$ns" link delete shm0
	baseline_take before

	: >"$LAB/tap.log"
	start tap n1 python3 "$LAB/tap.py" shm0
	wait_for 5 grep -q ready "$LAB/tap.log"
	ip -n "$ns" link set shm0 alias shmnet:n1
	baseline_take before
	refuses interface-held "${run[@]}"
	refuses interface-held-cleanup "$daemon" --cleanup --config "$LAB/n1.yaml"
	stop tap
	wait_for 5 not ip -n "$ns" link show shm0 >"$LAB/out" 2>&1
	baseline_take before

	ip -n "$ns" address add 10.77.0.1/16 dev lo
	refuses address-taken "${run[@]}"
	ip -n "$ns" address delete 10.77.0.1/16 dev lo
	ip -n "$ns" address add fd77::1/128 dev lo
	refuses address-taken-ipv6 "${run[@]}"
	ip -n "$ns" address delete fd77::1/128 dev lo
}

bad_netns() {
	local stale=${lab_prefix}stale
	node_with "s/id: 1,/id: 1, netns: ${lab_prefix}none,/"
	refuses netns-missing "$daemon" --config "$LAB/case.yaml"
	refuses netns-missing-check "$daemon" --check --config "$LAB/case.yaml"
	node_with "s|id: 1,|id: 1, netns: $LAB/none,|"
	refuses netns-missing-path "$daemon" --config "$LAB/case.yaml"
	node_with "s|id: 1,|id: 1, netns: $LAB/n1.yaml,|"
	refuses netns-is-a-file "$daemon" --config "$LAB/case.yaml"
	node_with "s|id: 1,|id: 1, netns: /proc/self/ns/mnt,|"
	refuses netns-other-kind "$daemon" --config "$LAB/case.yaml"
	: >"/run/netns/$stale"
	node_with "s/id: 1,/id: 1, netns: $stale,/"
	refuses netns-not-mounted "$daemon" --config "$LAB/case.yaml"
	refuses netns-not-mounted-cleanup "$daemon" --cleanup --config "$LAB/case.yaml"
	rm "/run/netns/$stale"
	node_with "s/id: 1,/id: 1, netns: ${lab_prefix}n2,/"
	refuses netns-no-sys-admin setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin \
		"$daemon" --config "$LAB/case.yaml"
	refuses netns-no-net-admin setpriv --bounding-set=-net_admin --inh-caps=-net_admin \
		"$daemon" --config "$LAB/case.yaml"
	ip -n "$(host_ns n2)" link add shm0 type bridge
	baseline_take before
	refuses netns-interface-no-tap "$daemon" --config "$LAB/case.yaml"
	ip -n "$(host_ns n2)" link delete shm0
	baseline_take before
}

fabric_with() { # keys of a fabric of kind rdma, which is n1's only one
	node_with "s|{name: local, .*}|{name: roce, kind: rdma, $1}|"
}

bad_fabric() {
	local certs=$LAB/certs keys
	keys="ca: $certs/ca.crt, certificate: $certs/n2.crt, key: $certs/n2.key"
	fabric_with "listen: '127.0.0.1:7471', $keys"
	refuses rdma-no-certificate "$daemon" --config "$LAB/case.yaml"
	{
		"$client" keygen ca --cluster default --dir "$certs" &&
			"$client" keygen node n2 --dir "$certs"
	} >"$LAB/out" 2>&1 || cat "$LAB/out"
	refuses rdma-certificate-of-another "$daemon" --config "$LAB/case.yaml"
	chmod 644 "$certs/n2.key"
	refuses rdma-key-open-to-others "$daemon" --config "$LAB/case.yaml"
	rm "$certs"/n2.*
	"$client" keygen node n1 --dir "$certs" >"$LAB/out" 2>&1 || cat "$LAB/out"
	keys="ca: $certs/ca.crt, certificate: $certs/n1.crt, key: $certs/n1.key"
	fabric_with "listen: '127.0.0.1:7471', $keys"
	cp "$certs/ca.key" "$certs/n1.key"
	refuses rdma-key-of-another "$daemon" --config "$LAB/case.yaml"
	echo nonsense >"$certs/n1.key"
	refuses rdma-key-garbage "$daemon" --config "$LAB/case.yaml"
	echo nonsense >"$certs/n1.crt"
	refuses rdma-certificate-garbage "$daemon" --config "$LAB/case.yaml"
	rm "$certs/n1.crt" && mkdir "$certs/n1.crt"
	refuses rdma-certificate-is-a-directory "$daemon" --config "$LAB/case.yaml"
	rm -r "$certs"

	fabric_with "listen: '192.0.2.9:7471', security: none"
	refuses rdma-listen-not-here "$daemon" --config "$LAB/case.yaml"
	: >"$LAB/taken.log"
	start taken n1 python3 -uc 'import socket
listener = socket.create_server(("127.0.0.1", 7471))
print("ready")
listener.accept()'
	wait_for 5 grep -q ready "$LAB/taken.log"
	baseline_take before
	fabric_with "listen: '127.0.0.1:7471', security: none"
	refuses rdma-listen-taken "$daemon" --config "$LAB/case.yaml"
	stop taken
	baseline_take before
	# In a namespace there may be none although the host has one, and the other way round.
	if ! in_ns n1 sh -c 'ls -A /sys/class/infiniband 2>/dev/null' | grep -q .; then
		refuses rdma-no-device "$daemon" --config "$LAB/case.yaml"
	fi
}

# Directories: $1 is "rendezvous" or "runtime", $2 the key in the config.
bad_directory() {
	local kind=$1 key=$2 dir=$LAB/$1
	node_with "s|$key: [^,}]*|$key: $dir/deeper|"
	baseline_take before
	refuses "$kind-no-parent" "$daemon" --config "$LAB/case.yaml"
	node_with "s|$key: [^,}]*|$key: $dir|"
	: >"$dir"
	refuses "$kind-is-a-file" "$daemon" --config "$LAB/case.yaml"
	rm "$dir"
	mkdir -m 555 "$dir"
	refuses "$kind-not-writable" setpriv --bounding-set=-dac_override \
		"$daemon" --config "$LAB/case.yaml"
	chmod 755 "$dir" && chown nobody "$dir"
	refuses "$kind-foreign-owner" "$daemon" --config "$LAB/case.yaml"
	chown root "$dir" && chmod 777 "$dir"
	refuses "$kind-writable-by-all" "$daemon" --config "$LAB/case.yaml"
	rmdir "$dir"
	dir=/nowhere/$(printf 'd%.0s' {1..120})
	node_with "s|$key: [^,}]*|$key: $dir|"
	refuses "$kind-too-long" "$daemon" --config "$LAB/case.yaml"
	node_with "s|$key: [^,}]*|$key: ${dir:0:100}|" # room for itself, not for a socket
	refuses "$kind-too-long-with-socket" "$daemon" --config "$LAB/case.yaml"
}

# The directories of n1 on a disk that is full: not a file more, or not a byte.
full_disk() {
	local kind dir
	for kind in rendezvous runtime; do
		[ "$kind" = runtime ] && dir=$LAB/run || dir=$LAB/fabric
		# shellcheck disable=SC2016 # for another shell
		refuses "$kind-disk-full" unshare -m sh -c '
			mount -t tmpfs -o nr_inodes=1,mode=700 tmpfs "$1" && shift && exec "$@"' \
			- "$dir" "${run[@]}"
	done
	# shellcheck disable=SC2016
	refuses lock-disk-full unshare -m sh -c '
		mount -t tmpfs -o size=4k,mode=700 tmpfs "$1" && head -c 4096 /dev/zero >"$1/full" &&
		shift && exec "$@"' - "$LAB/fabric" "${run[@]}"
}

second_instance() {
	node_up n1 1
	baseline_take before
	refuses second-instance "${run[@]}"
	node_with "s|runtime_dir: [^,}]*|runtime_dir: $LAB|; s/name: n1,/name: n8,/"
	refuses second-instance-id "$daemon" --config "$LAB/case.yaml"
	node_with "s/id: 1,/id: 8,/"
	refuses second-instance-name "$daemon" --config "$LAB/case.yaml"
	refuses cleanup-live "$daemon" --cleanup --config "$LAB/n1.yaml"
}

bad_client() { # while n1 runs
	# shellcheck disable=SC2016 # for another shell
	local nobody='mount -t tmpfs -o mode=755 tmpfs /mnt && mkdir /mnt/run &&
		mount --bind "$1/run" /mnt/run && cp "$2" /mnt/ && shift 2 &&
		exec setpriv --reuid=nobody --regid=nogroup --clear-groups /mnt/shmnetctl "$@"'
	refuses ctl-no-daemon "$client" -s "$LAB/run/n9.sock" status
	refuses ctl-no-daemon-json "$client" -s "$LAB/run/n9.sock" --json status
	refuses ctl-no-command "$client"
	refuses ctl-wrong-command "$client" -s "$LAB/run/n1.sock" stauts
	refuses ctl-wrong-command-json "$client" -s "$LAB/run/n1.sock" --json frobnicate
	refuses ctl-wrong-option "$client" -s "$LAB/run/n1.sock" status --jsn
	refuses ctl-ping-unknown "$client" -s "$LAB/run/n1.sock" ping n2
	refuses ctl-ping-self "$client" -s "$LAB/run/n1.sock" ping n1 lan0
	refuses ctl-ping-no-name "$client" -s "$LAB/run/n1.sock" ping
	refuses ctl-no-socket "$client" -s "$LAB/n1.yaml" status
	refuses ctl-directory-closed unshare -m sh -c "$nobody" - "$LAB" "$client" \
		-s /mnt/run/n1.sock status
	chmod 755 "$LAB/run"
	refuses ctl-permission unshare -m sh -c "$nobody" - "$LAB" "$client" \
		-s /mnt/run/n1.sock status
	refuses ctl-permission-json unshare -m sh -c "$nobody" - "$LAB" "$client" \
		-s /mnt/run/n1.sock --json status
	chmod 700 "$LAB/run"
	stop n1 KILL
	baseline_take before
	refuses ctl-dead-daemon "$client" -s "$LAB/run/n1.sock" status
	in_ns n1 "$daemon" --cleanup --config "$LAB/n1.yaml"
}

# --- peers that break the rules ------------------------------------------------------

# What the node answers, and what it says of the peer in its own log.
peer_says() { # case, way, socket, case of fake_peer.py
	local before
	before=$(wc -l <"$LAB/n2.log")
	{
		python3 "$here/fake_peer.py" "$2" "$LAB/fabric/$3" "$4" 2>&1
		wait_for 2 log_warns "$before"
		tail -n +$((before + 1)) "$LAB/n2.log"
	} | like_golden "$1"
}

# Which comes last.
log_warns() { # lines before
	tail -n +$(($1 + 1)) "$LAB/n2.log" | grep -q ^WARN
}

# A new node for each, so that none is in quarantine for the one before.
peer_refused() { # way, socket, case of fake_peer.py
	local name=peer-$1-$3
	rm -f "$LAB/n2.log"
	node_up n2 2 || return
	baseline_take before
	check "$name" peer_says "$name" "$@"
	wait_for 3 baseline_same before || check "$name leaves nothing behind" baseline_is before
	stop n2
}

# The fake one is as good as a real one where it breaks no rule.
good_peer() { # way, socket, its name
	python3 "$here/fake_peer.py" "$1" "$LAB/fabric/$2" good | tee "$LAB/out"
	grep -qx up "$LAB/out" && wait_for 5 grep -q "$3: down" "$LAB/n2.log"
}

# It may be stopped: the call is kept, and nothing is held against it.
silent_peer() {
	local fake
	python3 "$here/fake_peer.py" listen "$LAB/fabric/node-9.sock" silence >"$LAB/out" 2>&1 &
	fake=$!
	wait_for 8 reason_of 9 'it takes the call and does not answer: stopped\?'
	wait "$fake"
	cat "$LAB/out" "$LAB/status" "$LAB/n2.log"
	grep -qx 'no answer' "$LAB/out" && grep -q 'does not answer' "$LAB/status" &&
		! grep -E '^(ERROR|WARN).*(fake9|node-9|id 9)' "$LAB/n2.log"
}

reason_of() { # id, pattern: why n2 says that it is not up
	ctl n2 nodes --json >"$LAB/status"
	jq -e --argjson id "$1" --arg why "$2" \
		'.nodes | any(.id == $id and (.reason // "" | test($why)))' "$LAB/status" >/dev/null
}

foreign_user() {
	# shellcheck disable=SC2016 # for another shell
	unshare -m sh -c 'mount -t tmpfs -o mode=755 tmpfs /mnt && mkdir /mnt/fabric &&
		mount --bind "$1/fabric" /mnt/fabric && cp "$2" /mnt/ &&
		chmod 755 /mnt/fabric && chmod 666 /mnt/fabric/node-2.sock &&
		exec setpriv --reuid=nobody --regid=nogroup --clear-groups \
			/usr/bin/python3 /mnt/fake_peer.py dial /mnt/fabric/node-2.sock good' \
		- "$LAB" "$here/fake_peer.py" 2>&1
	chmod 700 "$LAB/fabric"
	grep caller: "$LAB/n2.log"
}

bad_peers() {
	local case
	node_up n2 2
	check "a peer that breaks no rule is taken" good_peer dial node-2.sock fake1
	check "one that is dialled is, too" good_peer listen node-9.sock fake9
	check "a peer that does not answer is waited for" silent_peer
	check "peer-foreign-user" eval 'foreign_user | like_golden peer-foreign-user'
	stop n2
	for case in version version-only cluster own-id own-name id-zero higher-id bad-name \
		long-name garbage not-hello hello-fds too-long silence hello-twice \
		ready-before-bell bell-twice bell-no-fd bell-two-fds bell-no-socket ring-unsealed \
		ring-growable ring-short ring-oversized ring-no-memfd ring-no-fd ring-two-fds \
		ring-twenty-fds ring-odd-size ring-huge ring-foreign hello-empty hello-cut \
		hello-network-twice hello-mtu-zero two-in-one unknown-message \
		ready-no-incarnation ready-beat-zero cast-no-fd cast-two-fds cast-no-memfd \
		cast-short cast-unsealed cast-odd-depth cast-no-id cast-no-epoch cast-foreign \
		lane-of-another; do
		peer_refused dial node-2.sock "$case"
	done
	for case in version cluster other-id garbage ready-before-bell refusal; do
		peer_refused listen node-9.sock "$case"
	done
}

# --- memory --------------------------------------------------------------------------

status_has() { # node, pattern
	ctl "$1" status --json >"$LAB/status" || true
	jq -r '.reasons[]' "$LAB/status" | grep -E "$2"
}

# Room for nobody's rings, then for those of one peer; casts that need more than there is.
no_room_for_rings() {
	local id
	node_with "s/mtu: 1500/mtu: 65521, cast_depth: 65536, multicast_rings: 32/"
	baseline_take before
	refuses memory-casts "$daemon" --config "$LAB/case.yaml"
	! grep -q __asan_init "$daemon" || return 0 # which takes terabytes of addresses
	node_with "s/mtu: 1500/mtu: 1500, ring_size: 128M/"
	baseline_take before
	refuses memory-none prlimit --as=$((400 << 20)) "$daemon" --config "$LAB/case.yaml"
	NETWORK_KEYS="ring_size: 128M"
	for id in 1 2 3; do
		node_config n$id $id >"$LAB/n$id.yaml"
	done
	node_up n1 1 && node_up n2 2
	start n3 n3 prlimit --as=$((700 << 20)) "$daemon" --config "$LAB/n3.yaml"
	check "a node starts with room for one peer's rings" wait_for 10 node_answers n3
	check "memory-one-peer" reasons_like memory-one-peer
	check "with one of two peers it is linked" wait_for 5 links_are n3 1
	check "which is reached" pings n3 "10.77.0.$(linked_with)"
	for id in 3 2 1; do
		check "n$id ends when told to" ends n$id
		rm "$LAB/n$id.yaml"
	done
	NETWORK_KEYS=''
}

links_are() { # node, number
	ctl "$1" topology --json | jq -e --argjson n "$2" --arg node "$1" \
		'[.links[] | select(.from == $node and .state == "up")] | length == $n' >/dev/null
}

# Whichever peer came first has its rings.
reasons_like() { # case
	wait_for 5 status_has n3 'address space' || return
	ctl n3 status --json | jq -r '.reasons[]' | sed -E 's/n[12] \(id [12]\)/PEER/; s/ring of n[12]/ring of PEER/' |
		like_golden "$1"
}

linked_with() {
	ctl n3 topology --json | jq -r '.links[] | select(.from == "n3" and .state == "up").to[1:]'
}

# -------------------------------------------------------------------------------------

grep -q '^ *0 *0 *4294967295$' /proc/self/uid_map && [ "$(id -u)" -eq 0 ] || is_root=no
[ -z "${is_root-}" ] || skip "other users and devices are used here, which takes root"
command -v python3 >/dev/null || skip "python3 is not installed"
lab_begin "$@"
daemon=$(program shmnet-node) && client=$(program shmnetctl) || exit 1
host_add n1 && host_add n2 && host_add n3
for id in 1 2; do
	node_config n$id $id >"$LAB/n$id.yaml"
done
run=("$daemon" --config "$LAB/n1.yaml")
write_tap_holder
baseline_take before
baseline_take empty

bad_use
bad_device
bad_kernel
bad_interface
bad_netns
bad_fabric
bad_directory rendezvous path
bad_directory runtime runtime_dir
full_disk
second_instance
bad_client
no_room_for_rings
bad_peers
check "nothing is left of all that" baseline_is empty
lab_end
