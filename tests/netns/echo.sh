# shellcheck shell=bash
# Servers that say who serves, and clients that ask them: echo.py. Source it after
# traffic.sh, or in tests/vm/ after nodes.sh.

PORT=8000
# shellcheck disable=SC2154 # lib.sh has it
echo_py=$lab_top/tests/netns/echo.py

is_ready() { # server
	grep -q ready "$LAB/$1.log"
}

serve() { # server, host, address
	start "$1" "$2" python3 "$echo_py" serve "$2" "$3" "$PORT"
	wait_for 5 is_ready "$1"
}

# The server's name and our address, as it sees it. On a slow machine a datagram may wait
# for its verdict for longer than it is kept; then it is for the client to send again.
asked() { # host, "NAME ADDRESS", tcp or udp, address, more arguments...
	local host=$1 want=$2 protocol=$3 address=$4
	shift 4
	in_ns "$host" python3 "$echo_py" ask "$protocol" "$address" "$PORT" \
		--tries "$SLOW" "$@" | tee "$LAB/asked"
	[ "$(cat "$LAB/asked")" = "$want" ]
}
