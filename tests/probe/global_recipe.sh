#!/bin/bash
# What the global network asks of the kernel, tried with ip, nft and a stand-in for the
# data plane (global_pump.py), in namespaces: every line says what was seen.
#
#	sudo tests/probe/global_recipe.sh
#
# c is a client; a is a member that gets its packets by v0; b has the sockets and answers
# the client by a link of its own, v1. a and b have the local network l0. G and G6, the
# global addresses, are on the port shmg0 of both.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"

here=$(cd "$(dirname "$0")" && pwd)
G=10.99.0.1 G6=fd99::1
DISPATCHER=02:53:00:00:ff:ff

# --- small words -----------------------------------------------------------------

sys() { # host, key=value...
	in_ns "$1" sysctl -qw "${@:2}"
}

counter() { # host, name of a counter of /proc/net/netstat
	in_ns "$1" nstat -asz "$2" | awk -v name="$2" '$1 == name { print $2 }'
}

# Frames that the stand-in took from a host's port, of a kind.
seen() { # host, kind
	awk -v host="$([ "$1" = a ] && echo 0 || echo 1)" -v kind="$2" \
		'$1 == host && $2 == kind { n = $3 } END { print n + 0 }' "$LAB/state/seen"
}

# Once nothing moves: it writes its figures after 20 ms of silence.
settled() { # host, kind
	rm "$LAB/state/seen" && wait_for 2 [ -f "$LAB/state/seen" ] && seen "$@"
}

seen_more() { # host, kind, than
	[ "$(settled "$1" "$2")" -gt "$3" ]
}

dispatch_to() { # a, b or none
	case $1 in a) echo 0 ;; b) echo 1 ;; *) echo none ;; esac >"$LAB/state/owner.new"
	mv "$LAB/state/owner.new" "$LAB/state/owner"
}

answers() { # host, ping's arguments
	in_ns "$1" ping -q -c 2 -i 0.2 -W 1 "${@:2}"
}

# 20 MB arrive whole.
copies() { # from, to, "TCP:ADDRESS", port
	local from=$1 to=$2 target=$3 port=$4
	rm -f "$LAB/copy"
	start sink "$to" socat -u "TCP6-LISTEN:$port,ipv6-v6only=0" "CREATE:$LAB/copy"
	wait_for 5 listening "$to" "$port" || return
	in_ns "$from" timeout 5 socat -u "OPEN:$LAB/data" "$target:$port" &&
		finish sink 5 && cmp "$LAB/data" "$LAB/copy" && return
	is_alive sink && stop sink
	return 1
}

listening() { # host, port
	in_ns "$1" ss -Hln "sport = :$2" | grep -q .
}

# --- the hosts -------------------------------------------------------------------

veth() { # host, name, host, name
	ip -n "$(host_ns "$1")" link add "$2" type veth peer name "$4" netns "$(host_ns "$3")"
	ip -n "$(host_ns "$1")" link set "$2" up
	ip -n "$(host_ns "$3")" link set "$4" up
}

address() { # host, interface, address...
	local address
	for address in "${@:3}"; do
		case $address in
		*:*) ip -n "$(host_ns "$1")" -6 addr add "$address" dev "$2" nodad ;;
		*) ip -n "$(host_ns "$1")" addr add "$address" dev "$2" ;;
		esac
	done
}

hosts_make() {
	local host
	for host in a b c; do
		host_add "$host" || return
		sys "$host" net.ipv4.conf.{all,default}.rp_filter=0
	done
	veth a v0 c c0 && veth b v1 c c1 && veth a l0 b l0
	address a v0 192.0.2.1/24 2001:db8:2::1/64
	address c c0 192.0.2.9/24 2001:db8:2::9/64
	address b v1 192.0.3.1/24 2001:db8:3::1/64
	address c c1 192.0.3.9/24 2001:db8:3::9/64
	address c lo 198.51.100.7/32 2001:db8::7/128
	address a l0 10.77.0.1/24 fd77::1/64
	address b l0 10.77.0.2/24 fd77::2/64
	ip -n "$(host_ns c)" route add "$G" via 192.0.2.1 src 198.51.100.7
	ip -n "$(host_ns c)" -6 route add "$G6" via 2001:db8:2::1 src 2001:db8::7
	for host in a:2 b:3; do
		ip -n "$(host_ns "${host%:*}")" route add default via "192.0.${host#*:}.9"
		ip -n "$(host_ns "${host%:*}")" -6 route add default via "2001:db8:${host#*:}::9"
	done
}

port_make() { # host, its local-network addresses
	local host=$1 ns
	ns=$(host_ns "$1")
	sys "$host" net.ipv6.conf.shmg0.{keep_addr_on_down=1,accept_dad=0} \
		net.ipv4.conf.shmg0.accept_local=1
	ip -n "$ns" link set shmg0 mtu 65521 up
	address "$host" shmg0 $G/32 $G6/128
	ip -n "$ns" neigh add $G lladdr $DISPATCHER dev shmg0 nud permanent protocol 83
	ip -n "$ns" neigh add $G6 lladdr $DISPATCHER dev shmg0 nud permanent protocol 83
	ip -n "$ns" route add $G dev shmg0 src "$2" table 83 protocol 83
	ip -n "$ns" -6 route add $G6 dev shmg0 src "$3" table 83 protocol 83
}

pump_start() {
	mkdir "$LAB/state" && dispatch_to b
	start pump self python3 "$here/global_pump.py" shmg0 "$G" "$G6" "$LAB/state" \
		"$(host_ns a)" "$(host_ns b)" && wait_for 5 [ -f "$LAB/state/seen" ]
}

# --- rules -------------------------------------------------------------------------

rules() { # host, family: those of pref 0, in their order
	ip -n "$(host_ns "$1")" "$2" rule show | sed -n 's/[[:space:]]*$//; s/^0:[[:space:]]*//p'
}

rules_are() { # host, family, line...
	diff <(printf '%s\n' "${@:3}") <(rules "$1" "$2")
}

# RTM_NEWRULE without NLM_F_EXCL, of protocol kernel; `ip rule add` refuses an equal one.
local_rule_copy() { # host, family
	in_ns "$1" python3 -c 'import socket, struct, sys
family, pref = int(sys.argv[1]), struct.pack("=HHI", 8, 6, 0)
text = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 255, 0, 0, 1, 0) + pref
text += struct.pack("=HHB3x", 5, 21, 2)  # FRA_PROTOCOL
end = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
end.send(struct.pack("=IHHII", 16 + len(text), 32, 0x405, 1, 0) + text)
sys.exit(-struct.unpack_from("=i", end.recv(4096), 16)[0])' "$([ "$2" = -4 ] && echo 2 || echo 10)"
}

rule() { # host, family, ip rule's arguments
	ip -n "$(host_ns "$1")" "$2" rule "${@:3}"
}

try_rules() { # family, global address
	local f=$1 g=$2 ours="from all to $2 iif lo lookup 83 proto 83" own="from all lookup local"
	check "$f: there is the local rule" rules_are a "$f" "$own"
	rule a "$f" add pref 0 iif lo to "$g" lookup 83 protocol 83
	check "$f: a rule of pref 0 comes behind it" rules_are a "$f" "$own" "$ours"
	check "$f: the very same local rule can be there twice" local_rule_copy a "$f"
	check "$f: the second is last" rules_are a "$f" "$own" "$ours" "$own"
	rule a "$f" del pref 0 lookup local
	check "$f: deleting by pref and table takes the first" rules_are a "$f" "$ours" "$own"
	check "$f: the copy is the kernel's own to the last attribute" \
		test "$(ip -n "$(host_ns a)" -d "$f" rule show | grep -c 'lookup local proto kernel')" = 1
	rule a "$f" del pref 0 iif lo to "$g" lookup 83 protocol 83
	check "$f: undo is one deletion" rules_are a "$f" "$own"
}

try_more_rules() { # family, global address, another one
	local f=$1 g=$2 g2=$3 own="from all lookup local"
	local first="from all to $2 iif lo lookup 83 proto 83"
	local second="from all to $3 iif lo lookup 83 proto 83"
	rule a "$f" add pref 0 iif lo to "$g" lookup 83 protocol 83
	local_rule_copy a "$f" && rule a "$f" del pref 0 lookup local
	rule a "$f" add pref 0 iif lo to "$g2" lookup 83 protocol 83
	check "$f: a second address is behind the local rule" \
		rules_are a "$f" "$first" "$own" "$second"
	local_rule_copy a "$f" && rule a "$f" del pref 0 lookup local
	check "$f: and before it after the same trick" \
		rules_are a "$f" "$first" "$second" "$own"
	rule a "$f" del pref 0 protocol 83
	check "$f: deleting by protocol takes one of two" rules_are a "$f" "$second" "$own"
	rule a "$f" del pref 0 protocol 83
	check "$f: then the other" rules_are a "$f" "$own"
	check "$f: and no more" not rule a "$f" del pref 0 protocol 83
	check "$f: that spared the local rule" rules_are a "$f" "$own"
}

# The order matters to nobody but us until the end: at each step there is a local rule.
rules_set() { # host, family, global address
	rule "$1" "$2" add pref 0 iif lo to "$3" lookup 83 protocol 83 &&
		local_rule_copy "$1" "$2" && rule "$1" "$2" del pref 0 lookup local
}

# What a start does after a kill: ours go, a doubled local rule too.
rules_sweep() { # host, family
	while rule "$1" "$2" show | grep -q 'lookup 83'; do
		rule "$1" "$2" del pref 0 table 83 || return
	done
	while [ "$(rules "$1" "$2" | grep -c 'lookup local')" -gt 1 ]; do
		rule "$1" "$2" del pref 0 lookup local || return
	done
}

try_kills() { # family, global address
	local f=$1 steps_done step own="from all lookup local"
	local steps=("rule a $f add pref 0 iif lo to $2 lookup 83 protocol 83"
		"local_rule_copy a $f" "rule a $f del pref 0 lookup local")
	for ((steps_done = 0; steps_done <= 3; steps_done++)); do
		for step in "${steps[@]:0:steps_done}"; do
			$step
		done
		check "$f: killed after step $steps_done, there is a local rule" \
			grep -q "lookup local" <(rules a "$f")
		rules_sweep a "$f"
		check "$f: and a sweep leaves what was there" rules_are a "$f" "$own"
	done
}

# --- nftables --------------------------------------------------------------------

# One process that holds the owner table, as the node would; reads commands from fd 9.
owner_start() {
	mkfifo "$LAB/owner.fifo"
	start owner a sh -c "exec nft -i <$LAB/owner.fifo"
	exec 9>"$LAB/owner.fifo"
}

owner_says() { # commands...
	printf '%s\n' "$@" >&9
}

# All chains anew in one transaction: "table; delete table; table" needs no knowledge of
# what is there, whatever the kernel did with chains of interfaces that went away.
owner_text() { # interface...
	local nic
	printf 'table netdev shmnet-a { flags owner; }; '
	printf 'delete table netdev shmnet-a; '
	printf 'table netdev shmnet-a { flags owner; '
	for nic in "$@"; do
		printf 'chain in-%s { type filter hook ingress device %s priority 0; ' "$nic" "$nic"
		printf 'meta pkttype other accept; '
		printf 'ip6 daddr %s ip6 hoplimit 255 icmpv6 type { 135, 136 } drop; ' $G6
		# What has no MAC header needs one: "fwd ip to" makes it, and takes 1 off the TTL.
		case $nic in
		tun*)
			printf 'ip daddr %s counter fwd ip to %s device shmg0; ' $G $G
			printf 'ip6 daddr %s counter fwd ip6 to %s device shmg0; ' $G6 $G6
			;;
		*)
			printf 'ip daddr %s counter fwd to shmg0; ' $G
			printf 'ip6 daddr %s counter fwd to shmg0; ' $G6
			;;
		esac
		printf '}; '
	done
	echo '}'
}

# The table that nobody owns: what gets past the other one, or comes when that is gone, is
# dropped, and the kernel never answers ARP for G by itself.
guard_set() { # host, interface...
	local host=$1 nic
	{
		echo 'table netdev shmnet-guard {}; delete table netdev shmnet-guard'
		echo 'table netdev shmnet-guard {'
		for nic in "${@:2}"; do
			echo "chain in-$nic { type filter hook ingress device $nic priority 10"
			echo "ip daddr $G counter drop; ip6 daddr $G6 counter drop"
			echo "$arp_rule counter drop; }"
		done
		echo '}'
	} >"$LAB/guard" && in_ns "$host" nft -f - <"$LAB/guard"
}
arp_rule="arp operation request arp daddr ip $G"

hooked() { # interface...
	local nic
	for nic in "$@"; do
		in_ns a nft list chain netdev shmnet-a "in-$nic" 2>/dev/null |
			grep -q "fwd.*shmg0" || return
	done
}

# Packets that the guard dropped of a family.
guarded() { # "ip" or "ip6"
	in_ns a nft list chain netdev shmnet-guard in-v0 |
		sed -n "s/.*$1 daddr .* packets \([0-9]*\).*/\1/p"
}

try_fwd() {
	local family address
	check "chains in an owner table" wait_for 5 hooked v0 l0
	for family in "$G:TCP:$G" "$G6:TCP6:[$G6]"; do
		address=${family%:TCP*}
		check "c reaches $address at b by way of a" answers c "$address"
		check "c's stream to $address arrives" copies c b "TCP${family#*:TCP}" 7000
		check "a's own stream to $address arrives at b" copies a b "TCP${family#*:TCP}" 7001
		dispatch_to a
		check "a's own stream to $address arrives at a itself" \
			copies a a "TCP${family#*:TCP}" 7002
		dispatch_to b
	done
	check "super-frames were whole" test "$(settled a super)" -gt 500
	check "the guard, later on the same device, saw nothing of it" \
		test "$(guarded ip)$(guarded ip6)" = 00
	in_ns c ping -q -f -c 3000 $G >"$LAB/flood" &
	for ((i = 0; i < 60; i++)); do
		owner_says "$(owner_text v0 l0)"
	done
	wait $!
	check "60 replacements of the table lose nothing" grep -q ' 0% packet loss' "$LAB/flood"
	check "and let nothing through" test "$(guarded ip)" = 0
}

# A UDP datagram from c to G, in hex.
datagram() {
	python3 -c 'import socket, struct, sys
ip = socket.inet_aton
text = struct.pack("!BBHHHBBH", 69, 0, 32, 1, 0, 64, 17, 0) + ip(sys.argv[1]) + ip(sys.argv[2])
total = sum(struct.unpack("!10H", text))
total = ~((total & 65535) + (total >> 16)) & 65535
print((text[:10] + struct.pack("!H", total) + text[12:]
       + struct.pack("!HHHH", 5, 9, 12, 0) + b"abcd").hex())' 198.51.100.7 $G
}

inject() { # host, interface, hex of a frame
	in_ns "$1" python3 -c 'import socket, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((sys.argv[1], 0))
out.send(bytes.fromhex(sys.argv[2].replace(":", "")))' "$2" "$3"
}

link_mac() { # host, interface
	ip -n "$(host_ns "$1")" -o link show "$2" | sed 's/.*ether \([^ ]*\).*/\1/'
}

try_frames() {
	local from to before
	from=$(link_mac c c0) to=$(link_mac a v0)
	before=$(settled a v4)
	inject c c0 "020000000001${from}0800$(datagram)"
	check "a frame to another MAC is left alone" test "$(settled a v4)" = "$before"
	inject c c0 "$to${from}0800$(datagram)"
	check "one to the NIC's is taken" seen_more a v4 "$before"
	check "none had a VLAN tag so far" test "$(settled a tagged)" = 0
	inject c c0 "$to${from}810000640800$(datagram)"
	check "one with a tag is taken, and keeps it" seen_more a tagged 0
}

# A device without MAC headers; every line of hex on fd 8 comes out of it.
try_headless() {
	local before other
	mkfifo "$LAB/tun.fifo"
	start tun a python3 -c 'import fcntl, os, struct, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))
for line in open(sys.argv[1]):
    os.write(tun, bytes.fromhex(line))' "$LAB/tun.fifo"
	exec 8>"$LAB/tun.fifo"
	wait_for 5 ip -n "$(host_ns a)" link set tun0 up 2>/dev/null
	owner_says "$(owner_text v0 l0 tun0)"
	check "a new interface is hooked by the owner" wait_for 5 hooked v0 l0 tun0
	before=$(settled a v4)
	datagram >&8
	check "a tunnel's packet gets a header" seen_more a v4 "$before"
	owner_says "$(owner_text v0 l0 tun0 | sed "s/fwd ip to $G device/fwd to/")"
	wait_for 5 not grep -q "fwd ip to" <(in_ns a nft list ruleset)
	before=$(settled a v4) other=$(settled a other)
	datagram >&8
	check "not if it is forwarded as from a NIC" seen_more a other "$other"
	check "then it is no packet any more" test "$(settled a v4)" = "$before"
	exec 8>&-
}

# --- sources -----------------------------------------------------------------------

try_sources() {
	check "source G by a local network is taken" answers b -I $G 10.77.0.1
	rule a -4 del pref 0 protocol 83
	check "without the rule it is a martian" not answers b -I $G 10.77.0.1
	rules_set a -4 $G
	sys a net.ipv4.conf.l0.rp_filter=2
	check "rp_filter 2 there does no harm" answers b -I $G 10.77.0.1
	sys a net.ipv4.conf.l0.rp_filter=1
	check "1 does" not answers b -I $G 10.77.0.1
	sys a net.ipv4.conf.l0.rp_filter=0 net.ipv4.conf.v0.rp_filter=1
	check "1 on the NIC does none" answers c $G
	sys b net.ipv4.conf.shmg0.rp_filter=2
	check "nor 2 on the owner's port" answers c $G
	sys b net.ipv4.conf.shmg0.rp_filter=1
	check "1 on the owner's port does" not answers c $G
	sys b net.ipv4.conf.shmg0.rp_filter=0
	dispatch_to a
	check "a, bound to G, reaches an address of its own" answers a -I $G 10.77.0.1
	sys a net.ipv4.conf.shmg0.accept_local=0
	check "accept_local 0: no stream to itself" not copies a a "TCP:$G" 7003
	check "IPv6 does not ask for it" copies a a "TCP6:[$G6]" 7004
	sys a net.ipv4.conf.shmg0.accept_local=1
	dispatch_to b
}

# --- neighbours --------------------------------------------------------------------

# d is a client in the subnet of the global addresses.
neighbours_make() {
	local host
	host_add d && host_add switch || return
	ip -n "$(host_ns switch)" link add br0 type bridge
	ip -n "$(host_ns switch)" link set br0 up
	for host in a:11 b:12 d:9; do
		veth "${host%:*}" n0 switch "to-${host%:*}"
		ip -n "$(host_ns switch)" link set "to-${host%:*}" master br0
		address "${host%:*}" n0 "10.99.0.${host#*:}/24" "fd99::${host#*:}/64"
	done
	owner_says "$(owner_text v0 l0 n0)"
	wait_for 5 hooked v0 l0 n0
}

# This many answer d's ARP request for G. A probe has no sender.
who_has() { # sender, number
	in_ns d python3 -c 'import socket, sys, time
sender, target = map(socket.inet_aton, sys.argv[1:])
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806))
out.bind(("n0", 0x806))
mac = out.getsockname()[4]
out.send(b"\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + mac + sender
         + bytes(6) + target)
end, found = time.monotonic() + 0.3, set()
while time.monotonic() < end:
    out.settimeout(max(0.001, end - time.monotonic()))
    try:
        frame = out.recv(2048)
    except TimeoutError:
        break
    if frame[20:22] == b"\0\2" and frame[28:32] == target:
        found.add(frame[6:12].hex(":"))
print("\n".join(found))' "$1" $G >"$LAB/who"
	cat "$LAB/who"
	[ "$(grep -c : "$LAB/who")" = "$2" ]
}

# d sends by way of a; b answers, and doesn't know d's MAC yet.
answers_afresh() {
	ip -n "$(host_ns d)" neigh replace $G lladdr "$(link_mac a n0)" dev n0 nud stale
	ip -n "$(host_ns b)" neigh flush dev n0
	in_ns d ping -q -c 1 -W 1 $G
}

entry_is() { # host: d takes G for its NIC
	ip -n "$(host_ns d)" neigh show "$G" | tee "$LAB/entry"
	grep -q "$(link_mac "$1" n0)" "$LAB/entry"
}

guards_set() {
	guard_set a n0 v0 && guard_set b n0
}

try_arp() {
	local all="arp daddr ip $G" requests=$arp_rule
	check "without a guard all members answer ARP" who_has 10.99.0.9 2
	check "and probes" who_has 0.0.0.0 2
	arp_rule=$all && guards_set
	check "ARP to G dropped: nobody answers" who_has 10.99.0.9 0
	check "but b never learns d's MAC: the answer is to G, too" not answers_afresh
	arp_rule=$requests && guards_set
	check "only requests dropped: nobody answers" who_has 10.99.0.9 0
	check "nor probes" who_has 0.0.0.0 0
	check "and b learns d's MAC" answers_afresh
	check "but its question moved d's entry" entry_is b
	sys b net.ipv4.conf.n0.arp_announce=2
	answers_afresh >"$LAB/ping"
	check "not with arp_announce 2" entry_is a
	start tcpdump a tcpdump -Z root -lni n0 arp
	wait_for 5 grep -q listening "$LAB/tcpdump.log"
	who_has 0.0.0.0 0
	check "a packet socket sees requests that are dropped" \
		wait_for 5 grep -q "who-has $G" "$LAB/tcpdump.log"
	stop tcpdump
}

d_reaches_afresh() {
	ip -n "$(host_ns d)" -6 neigh flush dev n0
	in_ns d ping -q -c 1 -W 1 "$G6"
}

try_nd() {
	check "nobody answers neighbour solicitations" not d_reaches_afresh
	sys a net.ipv6.conf.n0.proxy_ndp=1
	ip -n "$(host_ns a)" -6 neigh add proxy $G6 dev n0 protocol 83
	check "nor does proxy_ndp" not d_reaches_afresh
	sys a net.ipv6.conf.n0.forwarding=1
	check "unless the NIC forwards" d_reaches_afresh
	ip -n "$(host_ns a)" -6 neigh del proxy $G6 dev n0
	sys a net.ipv6.conf.n0.{forwarding,proxy_ndp}=0
}

# --- the end of the owner ----------------------------------------------------------

connects_with() { # exit status of curl: 7 refused, 28 no answer
	in_ns c curl -s -m 1 "http://$2:81/"
	[ $? = "$1" ]
}

try_kill() {
	stop owner KILL
	check "killed: its table is gone" not hooked v0
	check "c gets no answer, and no reset" connects_with 28 $G
	check "nor by IPv6" connects_with 28 "[$G6]"
	check "the guard had them" test "$(guarded ip)" -gt 0 -a "$(guarded ip6)" -gt 0
	check "nor does a answer ARP" who_has 10.99.0.9 0
	in_ns a nft delete table netdev shmnet-guard
	check "without the guard a resets what is not its own" connects_with 7 $G
}

lab_begin "$@"
check "three hosts" hosts_make || lab_end
head -c 20000000 /dev/urandom >"$LAB/data"
try_rules -4 $G
try_rules -6 $G6
try_more_rules -4 $G 10.99.0.2
try_more_rules -6 $G6 fd99::2
try_kills -4 $G
try_kills -6 $G6
check "a stand-in for the data plane" pump_start || lab_end
port_make a 10.77.0.1 fd77::1
port_make b 10.77.0.2 fd77::2
for host in a b; do
	rules_set $host -4 $G && rules_set $host -6 $G6
done
owner_start
owner_says "$(owner_text v0 l0)"
guard_set a v0
try_fwd
try_frames
try_headless
try_sources
in_ns a nft delete table netdev shmnet-guard
check "a client in the same subnet" neighbours_make
try_arp
try_nd
try_kill
lab_end
