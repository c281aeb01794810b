#!/bin/bash
# shmnetctl check: each check in a state in which it passes and in one in which it
# doesn't; what it prints to mend that is run, and then it passes.
#
# Without RDMA device the files that one has in /sys and /dev are made up, in a mount
# namespace; tests/vm/rxe_loopback.sh has a real one.
# shellcheck disable=SC2317,SC2016 # functions and words are run by name
. "$(dirname "$0")/lib.sh"
lab_begin "$@"

client=$(program shmnetctl) || exit 1
# --- how one looks -------------------------------------------------------------

in_host=h1
wrap=()
options=(--pre)
config=$LAB/pre.yaml

# Runs it; the document is in $LAB/check.json, the status in $status.
look() {
	in_ns "$in_host" "${wrap[@]}" "$client" check --json "${options[@]}" "$config" \
		>"$LAB/check.json" 2>"$LAB/check.err"
	status=$?
	# Of nothing at all jq says nothing, and calls that good; so all is one list.
	jq -es 'length == 1 and .[0].schema == 1 and (.[0].checks | length > 0)' \
		"$LAB/check.json" >/dev/null
}

# The last look has one with this name, result and words.
is() { # name, result, pattern
	jq -es --arg n "$1" --arg r "$2" --arg t "${3-}" \
		'any(.[].checks[]; .name == $n and .result == $r and (.text | test($t)))' \
		"$LAB/check.json" >/dev/null && return
	jq -c --arg n "$1" '.checks[] | select(.name == $n)' "$LAB/check.json"
	return 1
}

looks() { # name, result, pattern
	look && is "$@"
}

# Runs what is to mend it, where it was looked at.
mend() { # name, pattern of the command
	local command
	command=$(jq -r --arg n "$1" --arg m "$2" \
		'first(.checks[] | select(.name == $n and has("mend") and (.mend | test($m)))).mend' \
		"$LAB/check.json")
	echo "\$ $command"
	[ -n "$command" ] && [ "$command" != null ] || return 1
	in_ns "$in_host" "${wrap[@]}" env PATH="$(dirname "$client"):$PATH" bash -c "$command"
}

mended() { # name, result, pattern
	looks "$1" pass && not is "$@"
}

# It is wrong, says how to mend it, which is done, and it is good.
mends() { # name, result, pattern, pattern of the command
	looks "$1" "$2" "$3" && mend "$1" "$4" && wait_for 3 mended "$1" "$2" "$3"
}

exits() { # status, options and file...
	local want=$1
	shift
	in_ns "$in_host" "${wrap[@]}" "$client" check "$@" >"$LAB/check.out" 2>&1
	local rc=$?
	cat "$LAB/check.out"
	echo "exit status $rc"
	[ "$rc" -eq "$want" ]
}

# --- a real RDMA device --------------------------------------------------------------

settled() { # result of status
	looks status pass "ready, 1 of the other"
}

real_device() {
	in_host=self
	host_add n1 && host_add n2 || exit 1
	NETWORKS=("lan0 shm0 9000 10.77.0.%/24")
	node_config n1 1 >"$config"
	check "modules are there" looks modules pass
	check "the device, and its port is active" is device pass "of $RDMA_DEVICE is active"
	check "the GID of its address" is gid pass "of $RDMA_DEVICE is that of $RDMA_ADDRESS:7472"
	check "locked memory" is memlock pass
	sed -i "s/device: [a-z0-9_]*/device: absent0/" "$config"
	check "a device that isn't there" looks device fail "no RDMA device absent0; there are: .*$RDMA_DEVICE"
	sed -i "s/device: absent0, //; s/$RDMA_ADDRESS:7472/192.0.2.99:7472/" "$config"
	check "an address that isn't" looks gid fail "192.0.2.99, where the node is to listen, is no address"
	node_up n1 1 && node_up n2 2 || exit 1
	options=()
	config=$LAB/n1.yaml
	check "two nodes are linked by it" wait_for 20 settled
	check "with the network's MTU" is links pass "network lan0 to n2 carries MTU 9000"
	check "and lock what they need" is memlock pass
	lab_end
}

[ "$FABRIC" = shm ] || real_device

command -v nft >/dev/null || skip "no nft"
command -v openssl >/dev/null || skip "no openssl"

host_add h1 && host_add h2 || exit 1
ip link add veth1 netns "$(host_ns h1)" type veth peer name veth2 netns "$(host_ns h2)" || exit 1
ip -n "$(host_ns h1)" link set veth1 name eth0 up
ip -n "$(host_ns h2)" link set veth2 name eth0 up

# --- the config and the kernel ---------------------------------------------------

pre_config() { # networks, fabrics
	cat <<-END
		node: {name: n1, id: 1, runtime_dir: $LAB/run}
		fabrics: [${2:-{name: local, kind: shm, path: $LAB/fabric\}}]
		networks:
		${1:-  - {name: lan0, tap: shm0, mtu: 9000, address: 10.77.0.1/24\}}
	END
}

pre_config >"$config"
check "a good host: all passes, exit 0" exits 0 --pre "$config"
check "the config is good" looks config pass "pre.yaml is good"
check "the kernel is new enough" is kernel pass
check "memory can be sealed" is memory pass
check "/dev/net/tun can be opened" is tun pass
wrap=(setarch --uname-2.6)
check "a kernel that calls itself 2.6 is too old" looks kernel fail "5.0 or later is needed"
check "degraded: exit 4" [ "$status" -eq 4 ]
wrap=()
echo 'nodes: 1' >"$LAB/bad.yaml"
check "a config with errors: exit 2" exits 2 --pre "$LAB/bad.yaml"
config=$LAB/bad.yaml
check "each error in its own words" looks config fail "unknown key 'nodes'; did you mean 'node'"
check "and nothing is looked at that depends on it" not is kernel pass
config=$LAB/pre.yaml
config=$LAB/$'caf\xe9.yaml'
pre_config >"$config"
check "a name that is no UTF-8" looks config pass "/caf[?].yaml is good"
config=$LAB/pre.yaml
check "a config that isn't there" exits 2 --pre "$LAB/absent.yaml"
check "without a config it asks which: exit 2" exits 2 --pre
check "before the node runs: it is not asked" not is node fail
options=()
check "no node: named" looks node fail "no shmnet-node listens at $LAB/run/n1.sock"
check "exit 3" [ "$status" -eq 3 ]
options=(--pre)

# --- /dev/net/tun, and an RDMA device, made up ------------------------------------

dev=$LAB/dev sys=$LAB/class
mkdir -p "$dev/net" "$dev/infiniband" "$sys"
touch "$dev/null" "$dev/infiniband/rdma_cm"
cat >"$LAB/fake" <<-'END'
	#!/bin/bash
	# /dev and /sys/class of files: DIR command...
	mount --bind /dev/null "$1/dev/null"
	[ ! -f "$1/dev/net/tun" ] || mount --bind /dev/net/tun "$1/dev/net/tun"
	mount --rbind "$1/dev" /dev && mount --bind "$1/class" /sys/class || exit 99
	shift
	exec "$@"
END
chmod +x "$LAB/fake"
wrap=(unshare -m "$LAB/fake" "$LAB")
check "no /dev/net/tun: named" looks tun fail '/dev/net/tun'
mkdir -p "$sys/misc/tun"
if in_ns h1 "${wrap[@]}" bash -c 'mknod -m 0666 /dev/try c 10 200 && : <>/dev/try' 2>/dev/null; then
	rm "$dev/try"
	check "the kernel has tun: its node is made" mends tun fail "though the kernel has it" mknod
else
	echo "skipped: a device node can't be made here"
fi
touch "$dev/net/tun"

keys=$LAB/keys
"$client" keygen ca --cluster default --dir "$keys" >/dev/null || exit 1
"$client" keygen node n1 --dir "$keys" >/dev/null || exit 1
rdma="{name: roce, kind: rdma, listen: \"192.0.2.1:7471\", seeds: [\"192.0.2.2:7471\"], \
ca: $keys/ca.crt, certificate: $keys/n1.crt, key: $keys/n1.key}"
small="  - {name: lan0, tap: shm0, ring_size: 256K, address: 10.77.0.1/24}"
pre_config "$small" "$rdma" >"$config"

device_make() { # name
	local port=$sys/infiniband/$1/ports/1
	mkdir -p "$port/gids" "$port/gid_attrs/types" "$port/gid_attrs/ndevs"
	echo "1: CA" >"$sys/infiniband/$1/node_type"
	echo "4: ACTIVE" >"$port/state"
	echo "fe80:0000:0000:0000:0000:00ff:fe00:0001" >"$port/gids/0"
	echo "0000:0000:0000:0000:0000:ffff:c000:0201" >"$port/gids/1"
	echo "RoCE v2" | tee "$port/gid_attrs/types/0" >"$port/gid_attrs/types/1"
	echo eth0 | tee "$port/gid_attrs/ndevs/0" >"$port/gid_attrs/ndevs/1"
}

check "no module: modprobe is named" looks modules fail "ib_uverbs is not there"
mkdir "$sys/infiniband_verbs"
check "modules are there" looks modules pass
mv "$dev/infiniband/rdma_cm" "$dev/rdma_cm"
check "rdma_ucm is not" looks modules fail "rdma_cm is missing"
mv "$dev/rdma_cm" "$dev/infiniband/rdma_cm"
check "no RDMA device, and how to make one" looks device fail "no RDMA device rxe0, nor any"
check "its command makes it over an interface" jq -e \
	'any(.checks[]; .mend // "" | test("rdma link add rxe0 type rxe netdev"))' "$LAB/check.json"
device_make rxe0
check "the address to listen on is set by the command" \
	mends gid fail "is no address of this host" "ip address add 192.0.2.1 dev eth0"
check "the device's GID is found" looks gid pass "GID 1 of port 1 of rxe0 is that of 192.0.2.1:7471; eth0 has MTU 1500"
check "the device's port is active" is device pass "port 1 of rxe0 is active"
echo "1: DOWN" >"$sys/infiniband/rxe0/ports/1/state"
check "a port that is down: the command ups its interface" looks device fail "port 1 of rxe0 is 1: DOWN"
check "namely eth0" mend device "^ip link set eth0 up$"
echo "4: ACTIVE" >"$sys/infiniband/rxe0/ports/1/state"
echo "4: RNIC" >"$sys/infiniband/rxe0/node_type"
check "iWARP is refused" looks device fail "iWARP"
check "what is not, is named" jq -e 'any(.checks[]; .mend // "" | test("# device: one of RoCEv2$"))' "$LAB/check.json"
echo "1: CA" >"$sys/infiniband/rxe0/node_type"
echo "IB/RoCE v1" >"$sys/infiniband/rxe0/ports/1/gid_attrs/types/1"
check "a GID of RoCEv1 is none" looks gid fail "rxe0 has no RoCEv2 GID for 192.0.2.1, which is an address of eth0"
echo "RoCE v2" >"$sys/infiniband/rxe0/ports/1/gid_attrs/types/1"
sed -i 's/listen:/device: mlx5_0, listen:/' "$config"
check "another device than the config's" looks device fail "no RDMA device mlx5_0; there are: rxe0"
sed -i 's/device: mlx5_0, //' "$config"
in_ns h1 ip link set eth0 mtu 1000
check "an MTU that makes small packets" mends gid warn "carries only 512 bytes" "mtu 1500"

# --- locked memory ----------------------------------------------------------------

wrap=(setpriv --bounding-set=-ipc_lock prlimit --memlock=524288)
check "too little locked memory for the rings" looks memlock fail \
	"may lock 524 kB .RLIMIT_MEMLOCK., rings for 1 peer need 1.05 MB"
check "its command raises the limit" jq -e \
	'any(.checks[]; .name == "memlock" and (.mend | test("ulimit|LimitMEMLOCK")))' "$LAB/check.json"
wrap=(setpriv --bounding-set=-ipc_lock prlimit --memlock=8388608)
check "enough of it" looks memlock pass "may lock 8.39 MB, rings for 1 peer need 1.05 MB"
sed -i 's/seeds: \[/&"192.0.2.3:7471", /' "$config"
check "each seed is a peer" looks memlock pass "rings for 2 peers need 2.10 MB"
wrap=(prlimit --memlock=524288)
check "CAP_IPC_LOCK is no limit" looks memlock pass "may lock any memory"
wrap=()

# --- certificates and the clock ---------------------------------------------------

check "certificates are good" looks certificate pass "n1.crt is valid until"
check "the CA's, too" is certificate pass "ca.crt is valid until"
check "the key is for its owner only" is key pass
if [ -x /usr/bin/systemctl ]; then
	cat >"$LAB/systemctl" <<-'END'
		#!/bin/bash
		# Of a unit that runs as user "nobody": what it is asked for.
		while [ $# -gt 0 ]; do
			case $1$2 in
			-pLoadState) echo LoadState=loaded ;;
			-pUser) echo User=nobody ;;
			-pLimitMEMLOCK) echo LimitMEMLOCK=524288 ;;
			-p*) echo "${2}=" ;;
			esac
			shift
		done
	END
	cat >"$LAB/unit" <<-'END'
		#!/bin/bash
		# A host with systemd: DIR command...
		mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system || exit 99
		mount --bind "$1/systemctl" /usr/bin/systemctl || exit 99
		shift
		exec "$@"
	END
	chmod +x "$LAB/systemctl" "$LAB/unit"
	wrap=(unshare -m "$LAB/unit" "$LAB")
	check "a unit that may lock too little" looks memlock fail "the unit may lock 524 kB"
	check "its command" jq -e 'any(.checks[]; .name == "memlock" and (.mend | test("systemctl edit shmnet-node@n1")))' \
		"$LAB/check.json"
	check "a key of root's is none for a unit that runs as another user" \
		mends key warn "can't be read by the unit, which runs as user nobody" "^chown nobody $keys/n1.key$"
	wrap=()
	chown root "$keys/n1.key"
else
	echo "skipped: units (no systemctl)"
fi
chmod 644 "$keys/n1.key"
check "a key that others can read" mends key fail "mode 0644" "^chmod 600 $keys/n1.key$"
rm "$keys"/n1.*
check "no certificate: it is made" mends certificate fail "n1.crt: No such file" "keygen node n1"
check "the key with it" is key pass
rm "$keys"/n1.*
"$client" keygen node n1 --dir "$keys" --days 5 >/dev/null
check "a certificate that expires soon" mends certificate warn "n1.crt expires on .*, in [45] days" "keygen node n1"
certificate() { # start, end, extension: of n1, by openssl
	printf '%s\n' '[ca]' 'default_ca = x' '[x]' "database = $LAB/index" "serial = $LAB/serial" \
		'default_md = sha256' 'policy = p' "new_certs_dir = $LAB" '[p]' \
		'commonName = supplied' '[e]' "${3:-subjectAltName = URI:shmnet://default/n1}" >"$LAB/ca.conf"
	: >"$LAB/index"
	echo 01 >"$LAB/serial"
	openssl req -new -key "$keys/n1.key" -subj /CN=n1 -out "$LAB/n1.csr" &&
		openssl ca -batch -notext -config "$LAB/ca.conf" -extensions e -in "$LAB/n1.csr" \
			-cert "$keys/ca.crt" -keyfile "$keys/ca.key" -out "$keys/n1.crt" \
			-startdate "$1" -enddate "$2"
}
rm -f "$keys"/*.old
check "openssl makes one that has ended" certificate 20200101000000Z 20210101000000Z
check "an expired one: a new one is made" mends certificate fail "n1.crt expired on 2021-01-01" "keygen node n1"
check "openssl makes one that has not begun" certificate 20900101000000Z 20910101000000Z
check "one that is not valid yet, or the clock is wrong" looks certificate fail \
	"n1.crt is not valid before 2090-01-01, and the clock here says 20"
check "the command sets the clock" jq -e \
	'any(.checks[]; .mend // "" | test("timedatectl set-ntp true"))' "$LAB/check.json"
check "openssl makes one with two names" certificate 20200101000000Z 20900101000000Z \
	'subjectAltName = URI:shmnet://default/n1, URI:shmnet://default/n2'
check "which is nobody's" mends certificate fail "is not that of node n1" "keygen node n1"
rm -f "$keys"/*.old
check "openssl makes one for a server" certificate 20200101000000Z 20900101000000Z \
	$'subjectAltName = URI:shmnet://default/n1\nextendedKeyUsage = serverAuth'
check "a node is a client, too" mends certificate fail "is not made for a node's TLS" "keygen node n1"
rm -f "$keys"/*.old
check "openssl makes a CA that is over" certificate 20200101000000Z 20210101000000Z \
	'basicConstraints = critical,CA:TRUE'
mv "$keys/n1.crt" "$LAB/over.crt"
rm -f "$keys"/n1.* "$keys"/*.old
"$client" keygen node n1 --dir "$keys" >/dev/null
cat "$keys/ca.crt" >>"$LAB/over.crt"
sed -i "s|$keys/ca.crt|$LAB/over.crt|" "$config"
check "a CA that is over beside the next one" looks certificate pass "over.crt is valid until"
check "is in nobody's way" not is certificate fail
sed -i "s|$LAB/over.crt|$keys/n1.crt|" "$config"
check "the certificate of a node for the CA's" looks certificate fail "n1.crt is a certificate that may not sign others"
sed -i "s|ca: $keys/n1.crt|ca: $keys/ca.crt|" "$config"
"$client" keygen node n2 --dir "$keys" >/dev/null
cp "$keys/n1.key" "$LAB/n1.key" && cp "$keys/n2.key" "$keys/n1.key"
check "the key of another certificate" looks key fail "n1.key is not the key of $keys/n1.crt"
cp "$LAB/n1.key" "$keys/n1.key"
sed -i 's/n1.crt/n2.crt/; s/n1.key/n2.key/' "$config"
check "the certificate of another node" looks certificate fail "is not that of node n1 in cluster default"
sed -i 's/n2.crt/n1.crt/; s/n2.key/n1.key/' "$config"
"$client" keygen ca --cluster default --dir "$LAB/other" >/dev/null
sed -i "s|$keys/ca.crt|$LAB/other/ca.crt|" "$config"
check "the CA of others" looks certificate fail \
	"n1.crt .CA $LAB/other/ca.crt.: the certificate of node 'n1' .* which is not the CA that the config names"
cat "$keys/ca.crt" >>"$LAB/other/ca.crt"
check "beside the own one: as the node takes it" looks certificate pass "n1.crt is valid until"
check "each CA is looked at" jq -e '[.checks[] | select(.name == "certificate" and .result == "pass")] | length == 3' \
	"$LAB/check.json"
sed -i "s|$LAB/other/ca.crt|$keys/ca.crt|" "$config"
if grep -qc '__[at]san_init' "$client"; then
	echo "skipped: clocks (a sanitizer's run-time library has to be loaded before all others)"
else
	clock=$(program libclock.so) || exit 1
	wrap=(env LD_PRELOAD="$clock" SHMNET_CLOCK=synchronised)
	check "a clock that is synchronised" looks clock pass "is synchronised"
	wrap=(env LD_PRELOAD="$clock" SHMNET_CLOCK=free)
	check "one that isn't" looks clock warn "is not synchronised"
	wrap=()
fi

# --- the firewall -----------------------------------------------------------------

check "no rules: nothing is kept out" looks firewall pass "keeps out tcp to port 7471"
rules() { # nft's words of chain "input", policy
	in_ns h1 nft -f - <<-END
		flush ruleset
		table inet filter {
			set ports { type inet_service; elements = { 22, 7471 } }
			chain others { tcp dport 7471 accept; udp dport 4791 accept; }
			chain some { ip saddr 192.0.2.0/24 return; drop; }
			chain input { type filter hook input priority 0; policy ${2:-drop}; $1 }
		}
	END
}
rules 'ct state established,related accept; iif "lo" accept; tcp dport 22 accept;'
check "a chain that drops: TCP to our port" looks firewall warn "chain input of table inet filter drops tcp to port 7471"
check "and RoCEv2" is firewall warn "drops udp to port 4791"
check "each has its command" mend firewall "tcp dport 7471 accept"
check "which helps" looks firewall pass "tcp to port 7471"
check "the other one, too" mends firewall warn "udp to port 4791" "udp dport 4791 accept"
rules 'tcp dport { 22, 7000-8000 } accept; meta l4proto udp accept;'
check "sets, ranges, protocols accept" looks firewall pass "udp to port 4791"
check "none is warned of" not is firewall warn
rules 'jump others;'
check "so does another chain" looks firewall pass "tcp to port 7471"
check "none is warned of" not is firewall warn
rules 'tcp dport @ports accept; ip saddr 192.0.2.0/24 udp dport 4791 accept;'
check "what may accept does" looks firewall pass "udp to port 4791"
rules 'ct state vmap { established : accept, related : accept, invalid : drop };
	tcp dport vmap { 22 : accept, 7000-8000 : jump others };'
check "maps are followed: TCP" looks firewall pass "tcp to port 7471"
check "and RoCEv2, which they don't have" is firewall warn "drops udp to port 4791"
rules 'tcp dport 7471 drop;' accept
check "a rule that drops in a chain that accepts" mends firewall warn "drops tcp to port 7471" "tcp dport 7471 accept"
rules 'iifname "eth1" accept; iifname "eth0" tcp dport != 7471 drop;'
check "not by another interface" looks firewall warn "drops udp to port 4791"
rules 'tcp dport != { 22, 7471 } drop;' accept
check "what isn't TCP has no other port either" looks firewall pass "udp to port 4791"
check "nor has TCP" not is firewall warn
rules 'ct state established accept; tcp dport != 22 accept;'
check "and does not get in by that" looks firewall warn "drops udp to port 4791"
check "where TCP does" is firewall pass "tcp to port 7471"
rules 'ip6 nexthdr != tcp accept;'
check "nor IPv4 by what IPv6 is not" looks firewall warn "drops udp to port 4791"
rules 'jump some;' accept
check "what may leave a chain before it drops may get in" looks firewall pass "udp to port 4791"
check "so may TCP" not is firewall warn
rules 'goto some;' accept
check "by the policy after a goto" looks firewall pass "udp to port 4791"
rules 'jump some;'
check "not where the policy drops" looks firewall warn "drops tcp to port 7471"
rules 'ip saddr vmap { 192.0.2.0/24 : return }; drop;' accept
check "nor is a map's return forgotten" looks firewall pass "udp to port 4791"
rules 'ip saddr 192.0.2.0/24 goto some; drop;' accept
check "nor a goto" looks firewall pass "udp to port 4791"
in_ns h1 nft flush ruleset
in_ns h1 nft -j -f - <<-'END'
	{"nftables": [{"add": {"table": {"family": "inet", "name": "a;false"}}},
	 {"add": {"chain": {"family": "inet", "table": "a;false", "name": "in", "type": "filter",
	                    "hook": "input", "prio": 0, "policy": "drop"}}}]}
END
check "a table whose name a shell would run" looks firewall warn "table inet a;false drops tcp"
check "is in no command" jq -e 'all(.checks[]; .mend // "" | test("false") | not)' "$LAB/check.json"
in_ns h1 nft flush ruleset
as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
if in_ns h1 "${as[@]}" true 2>/dev/null; then
	chmod 755 "$LAB" && cp "$client" "$LAB/shmnetctl"
	client=$LAB/shmnetctl
	wrap=("${as[@]}")
	check "without root: what can't be read is said" looks firewall warn "can't be read without root"
	check "nor can the key" is key warn "can't be read by user 65534"
	check "with the command" jq -e 'any(.checks[]; .mend // "" | test("^sudo shmnetctl check --pre "))' \
		"$LAB/check.json"
	check "all else is looked at" is memlock pass
	mkdir -m 755 "$LAB/deployed" && cp "$keys/ca.crt" "$keys/n1.crt" "$keys/n1.key" "$LAB/deployed"
	sed "s|$keys|$LAB/deployed|g" "$config" >"$LAB/deployed.yaml"
	config=$LAB/deployed.yaml
	check "nor where its directory can be looked into" looks key warn "n1.key can't be read by user 65534"
	check "but the certificate there can" is certificate pass "deployed/n1.crt is valid until"
	config=$LAB/pre.yaml
	wrap=()
	client=$(program shmnetctl)
	chmod 700 "$LAB"
else
	echo "skipped: without root (there is no other user here)"
fi

# --- interfaces and settings --------------------------------------------------------

global='  - {name: svc0, kind: global, tap: shmg0, address: 10.99.0.1, announce: eth0}
routing: {nics: [eth0]}'
pre_config "$global" >"$config"
check "an interface to the outside is up" looks nics pass "eth0 is up"
check "each once" jq -e '[.checks[] | select(.name == "nics")] | length == 1' "$LAB/check.json"
in_ns h1 ip link set eth0 down
check "one that is down" mends nics fail "eth0 is down" "ip link set eth0 up"
in_ns h2 ip link set eth0 down
check "one without carrier" wait_for 3 looks nics warn "eth0 has no carrier"
in_ns h2 ip link set eth0 up
sed 's/eth0/eth7/' "$config" >"$LAB/eth7.yaml"
config=$LAB/eth7.yaml
check "one that isn't there" looks nics fail "there is no interface eth7"
config=$LAB/pre.yaml
in_ns h1 sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=1
check "a border that does not forward" mends forwarding warn "ip_forward is 0" "sysctl -w net.ipv4.ip_forward=1"
check "a strict reverse path filter" mends rp_filter warn "eth0 drops packets" "conf.eth0.rp_filter=2"
in_ns h1 ip link add eth0.100 type veth peer name vlan
in_ns h1 ip link set eth0.100 up
in_ns h1 sysctl -qw net/ipv4/conf/eth0.100/rp_filter=1
sed 's/eth0/eth0.100/' "$config" >"$LAB/vlan.yaml"
config=$LAB/vlan.yaml
check "of a VLAN" mends rp_filter warn "eth0.100 drops packets" "conf.eth0/100.rp_filter=2"
config=$LAB/pre.yaml
in_ns h1 sysctl -qw net.ipv4.conf.all.rp_filter=1
check "one with which a global network does not start" mends rp_filter fail \
	"conf.all.rp_filter is 1" "conf.all.rp_filter=2"
sed -i 's/tap: shmg0/&, mtu: 1500/' "$config"
check "a global network carries what comes in" looks mtu pass "network svc0: 1500"
in_ns h1 ip link set eth0 mtu 9000
check "it doesn't" mends mtu warn "network svc0 has MTU 1500, and eth0 brings packets of up to 9000" \
	"ip link set eth0 mtu 1500"
sed "s/runtime_dir/netns: ${lab_prefix}none, &/" "$config" >"$LAB/netns.yaml"
config=$LAB/netns.yaml
check "a network namespace that isn't there" looks netns fail "${lab_prefix}none"
sed -i "s/${lab_prefix}none/$(host_ns h2)/" "$config"
in_host=self
check "settings are those of the namespace of the TAPs" wait_for 3 looks nics pass "eth0 is up"
check "not those of here" is forwarding warn
into="ip netns exec $(host_ns h2)"
check "which is mended from here" mends forwarding warn "ip_forward is 0" "^$into sysctl -w net.ipv4.ip_forward=1$"
in_ns h2 ip link set eth0 down
check "an interface, too" mends nics fail "eth0 is down" "^$into ip link set eth0 up$"
in_ns h2 ip link set eth0 down
ln -s "/run/netns/$(host_ns h2)" "$LAB/a name"
sed -i "s|netns: [^,]*|netns: $LAB/a name|" "$config"
check "in a namespace with a path" mends nics fail "eth0 is down" "^nsenter --net='$LAB/a name' ip link set eth0 up$"
in_ns h2 ip link set eth0 down
in_host=h2
check "and in that one as anywhere" mends nics fail "eth0 is down" "^ip link set eth0 up$"
in_host=h1

# --- the node that runs --------------------------------------------------------------

NETWORKS=("lan0 shm0 1500 10.77.0.%/24")
GLOBALS=("svc0 shmg0 10.99.0.1")
options=()
config=$LAB/n1.yaml
for i in 1 2; do
	node_config "n$i" $i | sed "s/runtime_dir/netns: $(host_ns h$i), &/" >"$LAB/n$i.yaml"
	node_start "n$i" self || exit 1
done
in_host=self
check "two nodes run" wait_for 5 node_sees n1 1
check "nothing is wrong" wait_for 5 settled
check "exit 0" exits 0 "$config"
check "the node is there" is node pass "n1 runs, pid $(pid_of n1)"
check "its links carry the MTU from end to end" is links pass "network lan0 to n2 carries MTU 1500"
check "versions agree" is versions pass "n2 speaks wire version"
nameless() {
	"$client" check -s "$LAB/run/n1.sock" --json >"$LAB/check.json"
}
check "the config is that of the node" nameless
check "found by its command line" [ "$(jq -r .config "$LAB/check.json")" = "$config" ]
in_host=h2
check "the node's network namespace is looked at, from any" looks status pass
in_host=self

in_ns h1 ip link set shm0 mtu 1400
check "an interface whose MTU was changed" looks mtu warn "network lan0 has MTU 1500, and its interface shm0 1400"
check "is mended" mend mtu "^ip netns exec $(host_ns h1) ip link set shm0 mtu 1500$"
check "and good" looks mtu pass "network lan0: 1500"
"$client" -s "$LAB/run/n2.sock" pause lan0 >/dev/null
SHMNET_RUNTIME_DIR=$LAB/run
export SHMNET_RUNTIME_DIR
check "a network that is paused by the other node is resumed there" \
	mends links warn "network lan0 is paused by n2" "shmnetctl -n n2 resume lan0"
"$client" -s "$LAB/run/n1.sock" pause lan0 >/dev/null
check "one that is paused here, here" \
	mends links warn "network lan0 is paused here" "shmnetctl -n n1 resume lan0"

echo "  - {name: lan1, tap: shm1, address: 10.78.0.1/24}" >>"$LAB/n1.yaml"
check "a file that is newer than the node" looks node warn "runs with another config than .*: lan1 differs"
reload() {
	"$client" -s "$LAB/run/n1.sock" reload && looks node pass
}
check "is loaded by the node" reload
sed -i '$d' "$LAB/n1.yaml"
check "and unloaded" reload

host_add h3 || exit 1
node_config n3 3 | sed "s/runtime_dir/netns: $(host_ns h3), &/" >"$LAB/n3.yaml"
start n3 self "$(program shmnet-node-prior)" --config "$LAB/n3.yaml"
older() {
	looks versions warn "n3 speaks wire version . at most, and n1 .: upgrade n3"
}
check "an older node: who is to be upgraded" wait_for 10 older
check "degraded: exit 4" exits 4 "$config"
stop n3
node_start n3 self
newer() {
	looks versions pass "n3 speaks" && not is versions warn
}
check "after the upgrade it is good" wait_for 10 newer
stop n3

stop n2
alone() {
	looks status warn "network lan0: no node is linked to it"
}
check "no other node: degraded, and why" wait_for 5 alone
sed -i 's/mtu: 1500/mtu: 1600/' "$LAB/n2.yaml"
node_start n2 self
differs() {
	looks status warn "network lan0 has MTU 1[56]00 on n[12] and MTU 1[56]00 on n[12]"
}
check "a node of another MTU" wait_for 5 differs
check "what to mend is named" jq -e 'any(.checks[]; .mend // "" | test("the same mtu on both"))' "$LAB/check.json"
stop n2
stop n1
check "no node: exit 3" exits 3 "$config"

host_add h4 || exit 1
node_config n4 4 >"$LAB/n4.yaml"
config=$LAB/n4.yaml
node_start n4 h4
check "a node that runs in another network namespace" wait_for 5 looks mtu pass "network lan0: 1500"
in_ns h4 ip link set shm0 mtu 1400
check "is mended there" mends mtu warn "its interface shm0 1400" \
	"^nsenter --net=/proc/$(pid_of n4)/ns/net ip link set shm0 mtu 1500$"
stop n4

lab_end
