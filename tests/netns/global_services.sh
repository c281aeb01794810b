#!/bin/bash
# Real programs behind one address: nginx, wrk, iperf3, ssh, UDP, large datagrams, a path
# with a smaller MTU; from outside and from the nodes themselves.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"

# --- web -------------------------------------------------------------------------------

wrk_runs() { # address
	in_ns client wrk -t 1 -c 60 -d 2 -H 'Connection: close' "http://$1/" >"$LAB/wrk"
	cat "$LAB/wrk"
	grep -q 'requests in' "$LAB/wrk" && ! grep -qE 'Socket errors|Non-2xx' "$LAB/wrk"
}

try_web() {
	local address
	check "nginx on each node" webs_start n1 n2 n3 || lab_end
	for address in "$G" "[$G6]"; do
		check "the client asks $address for 90 pages" web_asks client "$address" 90
		check "each node serves a fair share" web_spread 20 n1 n2 n3
		check "so does n2, which is one of them" web_asks n2 "$address" 30
		check "served by all, itself included" web_spread 5 n1 n2 n3
	done
	check "wrk sees no error" wrk_runs "$G"
	figure "wrk: $(sed -n 's/^Requests.sec: *//p' "$LAB/wrk") connections/s"
}

# --- a path with a smaller MTU ------------------------------------------------------------

gets_big() { # address, bytes
	rm -f "$LAB/got"
	in_ns client curl -sS --max-time 10 -o "$LAB/got" "http://$1/big" &&
		cmp "$LAB/got" "$LAB/big"
}

learnt_mtu() { # family, client's address
	local node
	for node in n1 n2 n3; do
		ip -n "$(host_ns "$node")" "$1" route get "$2" | grep -q "mtu $narrow" && return
	done
	return 1
}

# The client itself takes frames of 1,500 bytes, and says so to the servers.
try_mtu() {
	narrow=1280
	ip -n "$(host_ns router)" link set to-client mtu $narrow
	check "1 MB through a path of 1,280 bytes" gets_big "$G"
	check "a server has learnt so" learnt_mtu -4 "$CLIENT"
	check "1 MB by IPv6" gets_big "[$G6]"
	check "a server has learnt so" learnt_mtu -6 "$CLIENT6"
	ip -n "$(host_ns router)" link set to-client mtu 1500
}

# --- others ----------------------------------------------------------------------------

# The server makes its UDP socket when the client has asked for it by TCP, and the client
# sends one datagram at once, and no other before that is answered.
iperf_datagrams() { # address
	in_ns client iperf3 -u -c "$1" -b 50M -t 1 -J >"$LAB/iperf.udp" 2>&1
	jq -r '.error // empty' "$LAB/iperf.udp"
	jq -e '.end.sum.packets > 1000 and .end.sum.lost_percent < 50' "$LAB/iperf.udp"
}

try_iperf() {
	start iperf4 n2 iperf3 -s -B "$G"
	start iperf6 n3 iperf3 -s -B "$G6"
	check "iperf3 servers" all_know "$G:5201" n2 && all_know "[$G6]:5201" n3
	check "iperf3" iperf_run client "$G" && iperf_figure "client to $G"
	check "in the other direction" iperf_run client "$G" -R
	check "IPv6" iperf_run client "$G6" && iperf_figure "client to $G6"
	check "from a node" iperf_run n1 "$G" && iperf_figure "n1 to $G"
	check "datagrams, 50 Mb/s" iperf_datagrams "$G"
	check "by IPv6" iperf_datagrams "$G6"
}

udp_serve() { # node, address
	start "udp-$1-${2//:/-}" "$1" python3 "$global_here/global_udp.py" serve "$1" "$2" 7
}

asks_udp() { # host, address, more arguments of global_udp.py...
	in_ns "$1" python3 "$global_here/global_udp.py" ask "$2" 7 "${@:3}"
}

try_udp() {
	local node address order
	for node in n1 n2 n3; do
		udp_serve $node "$G" && udp_serve $node "$G6"
		wait_for 5 listens $node u 7
	done
	check "a UDP service on each node" all_know :7 n1 n2 n3
	for address in "$G" "$G6"; do
		check "40 UDP clients at $address, each served by one node" \
			asks_udp client "$address" --clients 40
		for order in forward backward shuffled; do
			check "8 KB datagrams to $address in fragments, $order" \
				asks_udp client "$address" --size 8000 --order $order
		done
		check "8 KB from a node" asks_udp n1 "$address" --size 8000
	done
}

ssh_serve() { # node
	local dir=$LAB/ssh
	mkdir -p "$dir" && ssh-keygen -qt ed25519 -N '' -f "$dir/host" &&
		ssh-keygen -qt ed25519 -N '' -f "$dir/user" &&
		cp "$dir/user.pub" "$dir/authorized" || return
	# It wants a directory in /run, and gets one that nobody else sees.
	start sshd "$1" sh -c 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$@"' sh \
		/usr/sbin/sshd -D -e -f /dev/null \
		-h "$dir/host" -o "ListenAddress=$G" -o "ListenAddress=[$G6]" \
		-o "AuthorizedKeysFile=$dir/authorized" -o StrictModes=no -o UsePAM=no \
		-o "PidFile=$dir/pid" -o PermitRootLogin=yes
	wait_for 5 listens "$1" t 22
}

ssh_gives() { # host, address
	in_ns "$1" ssh -F /dev/null -i "$LAB/ssh/user" -o BatchMode=yes -o ConnectTimeout=5 \
		-o StrictHostKeyChecking=no -o "UserKnownHostsFile=$LAB/ssh/known" \
		"root@$2" cat "$LAB/big" | cmp - "$LAB/big"
}

# It wants to be root of more than a user namespace.
try_ssh() {
	if ! command -v ssh-keygen >/dev/null || [ ! -x /usr/sbin/sshd ]; then
		echo "SKIP: sshd is not installed (package openssh-server)"
	elif [ "$(awk '{ print $3 }' /proc/self/uid_map)" = 1 ]; then
		echo "SKIP: sshd needs a real root"
	else
		check "sshd on n3" ssh_serve n3
		check "ssh to $G" ssh_gives client "$G"
		check "ssh to $G6" ssh_gives client "$G6"
		check "ssh from n2" ssh_gives n2 "$G"
	fi
}

need_program wrk wrk
lab_begin "$@"
need_program nginx nginx-light
check "a client and a router" site_make || lab_end
check "three members" members_up n1:1 n2:2 n3:3 || lab_end
check "n1 is the border" borders_are n1
check "the client pings the address" wait_for 5 pings client "$G"
check "and by IPv6" wait_for 5 pings client "$G6"
check "a large ping, in fragments" in_ns client ping -q -c 2 -W 2 -s 4000 "$G"
check "and by IPv6" in_ns client ping -q -c 2 -W 2 -s 4000 "$G6"
try_web
try_mtu
try_iperf
try_udp
try_ssh
check "every frame is accounted for" conserved n1 n2 n3
lab_end
