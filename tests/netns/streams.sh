#!/bin/bash
# Streams of real programs over networks of four MTUs: iperf3, a file with its hash,
# and pings that just fit and just don't.
# timeout: 180
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

NETWORKS=(
	"lan0 shm0 1500 10.77.0.%/24 fd77::%/64"
	"lan1 shm1 9000 10.78.0.%/24 fd78::%/64"
	"lan2 shm2 65521 10.79.0.%/24 fd79::%/64"
	"lan3 shm3 1490 10.80.0.%/24 fd80::%/64"
)
FILE_MIB=$((1024 / SLOW / SLOW))

iperf() { # what, address, more of iperf3's arguments
	check "$1" iperf_run n1 "${@:2}" && iperf_figure "$1"
}

file_is_copied() {
	local sent got status
	start hash n2 bash -c "socat -u -b 262144 TCP-LISTEN:7000 - | sha256sum"
	wait_for 5 listens n2 t 7000 || return
	head -c "${FILE_MIB}M" /dev/urandom >"$LAB/file"
	in_ns n1 socat -u -b 262144 "OPEN:$LAB/file" TCP:10.77.0.2:7000 || return
	finish hash 20
	status=$?
	sent=$(sha256sum <"$LAB/file") got=$(tail -n 1 "$LAB/hash.log")
	rm "$LAB/file"
	echo "sent $sent, received $got"
	[ "$status" -eq 0 ] && [ "$sent" = "$got" ]
}

# The largest ping without fragments passes, one byte more is refused by the sender.
just_fits() { # address, MTU, bytes of headers
	pings n1 -M "do" -s $(($2 - $3)) "$1" || return
	in_ns n1 ping -c 1 -W 1 -M "do" -s $(($2 - $3 + 1)) "$1" >"$LAB/ping" 2>&1 && return 1
	cat "$LAB/ping"
	grep -qiE "message too long, mtu[=:] ?$2" "$LAB/ping"
}

lab_begin "$@"
check "two nodes see each other" mesh_up n1:1 n2:2 || lab_end
check "a server runs" iperf_serve n2 || lab_end
for address in fd77::2 fd78::2 fd79::2 fd80::2; do
	wait_for 5 pings n1 -6 $address >/dev/null || check "IPv6 to $address" false
done

for row in "1500 10.77.0.2 fd77::2" "9000 10.78.0.2 fd78::2" "65521 10.79.0.2 fd79::2"; do
	read -r mtu v4 v6 <<<"$row"
	iperf "one TCP stream, MTU $mtu" "$v4"
	iperf "one TCP stream back, MTU $mtu" "$v4" -R
	iperf "one TCP stream, MTU $mtu, IPv6" "$v6"
done
iperf "8 TCP streams" 10.77.0.2 -P 8
iperf "8 TCP streams back" 10.77.0.2 -P 8 -R
iperf "8 TCP streams, IPv6" fd77::2 -P 8
iperf "TCP both ways at once" 10.77.0.2 --bidir
iperf "a TCP stream, MTU 1490" 10.80.0.2
iperf "UDP, MTU 1500" 10.77.0.2 -u -b 200M -l 1472
iperf "UDP back, IPv6" fd77::2 -u -b 200M -l 1452 -R
iperf "UDP in fragments, MTU 1500" 10.77.0.2 -u -b 200M -l 16000
iperf "UDP, MTU 65521" 10.79.0.2 -u -b 1G -l 65000

check "a file of $FILE_MIB MiB arrives as it was" file_is_copied

check "a jumbo frame passes with MTU 9000" pings n1 -M "do" -s 8972 10.78.0.2
check "and is refused with MTU 1500" not pings n1 -M "do" -s 8972 10.77.0.2
check "in fragments it passes there, too" pings n1 -s 8972 10.77.0.2
check "MTU 1500 is 1500" just_fits 10.77.0.2 1500 28
check "MTU 9000 is 9000" just_fits 10.78.0.2 9000 28
check "MTU 1490 is 1490" just_fits 10.80.0.2 1490 28
check "MTU 9000 is 9000 for IPv6" just_fits fd78::2 9000 48
check "60 KB pings pass with MTU 65521" pings n1 -M "do" -s 60000 10.79.0.2
check "60 KB pings pass with MTU 65521, IPv6" pings n1 -M "do" -s 60000 fd79::2
check "so does the largest there is" pings n1 -s 65507 10.79.0.2
check "every frame was delivered or counted" conserved n1 n2
lab_end
