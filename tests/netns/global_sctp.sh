#!/bin/bash
# SCTP at a global address: who associates with it from outside is served by one of those
# that listen, and by nobody else.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"

has_sctp() {
	python3 -c 'import socket as s; s.socket(s.AF_INET, s.SOCK_STREAM, s.IPPROTO_SCTP)' \
		2>"$LAB/sctp"
}

serve() { # node, address
	start "sctp-$1-${2//:/-}" "$1" python3 "$global_here/echo.py" \
		serve "$1" "$2" 9000 --sctp
	all_know "$2:9000" "$1"
}

# The server's name and our address, as it sees it.
asked() { # host, "NAME ADDRESS", address, more arguments of echo.py...
	in_ns "$1" python3 "$global_here/echo.py" ask sctp "$3" 9000 "${@:4}" >"$LAB/asked"
	cat "$LAB/asked"
	[ "$(cat "$LAB/asked")" = "$2" ]
}

# Both nodes are among those that served six clients.
both_serve() { # address
	local i
	for i in 1 2 3 4 5 6; do
		in_ns client python3 "$global_here/echo.py" ask sctp "$1" 9000 || return
	done >"$LAB/served"
	sort "$LAB/served" | uniq -c
	[ "$(cut -d' ' -f1 "$LAB/served" | sort -u | xargs)" = "n1 n2" ]
}

lab_begin "$@"
has_sctp || skip "this kernel has no SCTP (module sctp)"
check "a client and a router" site_make || lab_end
check "two members" members_up n1:1 n2:2 || lab_end
check "n1 is the border" borders_are n1
check "the client pings the address" wait_for 5 in_ns client ping -qc 1 -W 1 "$G"

check "nobody serves: no association" not asked client "" "$G" --timeout 1
check "a server on n2" serve n2 "$G"
check "the client is served by n2" asked client "n2 $CLIENT" "$G"
check "30 KB in chunks" asked client "n2 $CLIENT" "$G" --size 30000
check "so is n1, from its own address" asked n1 "n2 10.77.0.1" "$G" --from 10.77.0.1
check "and n2" asked n2 "n2 10.77.0.2" "$G" --from 10.77.0.2
check "a server on n1, too" serve n1 "$G"
check "each takes its share" both_serve "$G"
check "every frame is accounted for" conserved n1 n2
for node in n1 n2; do
	check "$node ends" ends $node
done
lab_end
