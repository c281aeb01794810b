# shellcheck shell=bash
# What the README says of routing, run as it stands there. Sourced after lib.sh, traffic.sh
# and site.sh.
#
#	client ----- router --- n1   borders: a NIC each, eth0, on one LAN
#	198.51.100.7        `-- n2
#	                        n3   and others have none
#
#	outside_make && border_join n1 1
#	mesh_up n1:1 n2:2 n3:3
#	run_recipe n3 'On the other nodes'

recipes_here=$(dirname "${BASH_SOURCE[0]}")
recipes_readme=$recipes_here/../../README.md

# Prints the block of code behind the line of the README that ends with these words and a
# colon. Without such a block it fails.
recipe() { # words
	awk -v words="$1:" '
		inside && /^```/ { exit }
		inside { print; printed = 1 }
		/^```/ && found { inside = 1 }
		/[^[:space:]]/ && !/^```/ { at = length($0) - length(words) + 1
			found = at > 0 && substr($0, at) == words }
		END { exit !printed }' "$recipes_readme"
}

# Goes on in a machine of its own, as far as a script can have one: /run and the first network
# namespace are nobody else's. Before lab_begin.
own_machine() { # the script's arguments
	lab_become_root "$@"
	if [ -z "${RECIPES_OWN-}" ]; then
		exec 9</proc/self/ns/net
		exec env RECIPES_OWN=1 unshare -mn --propagation private "$0" "$@"
	fi
	{ mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up; } ||
		skip "no /run of its own"
}

# In the network namespace that it has left.
online() { # command...
	nsenter --net=/proc/self/fd/9 -- "$@"
}

# The directory of a clone that was built.
make_clone() { # directory
	mkdir "$1" && ln -s "${SHMNET_BIN:-$lab_top/build/gcc}" "$1/build"
}

# What one types into a shell, block after block; what it has started ends with it.
type_recipes() { # directory, words...
	local words
	echo "trap 'kill \$(jobs -p) 2>/dev/null || :; wait' EXIT; set -ex; cd '$1'"
	for words in "${@:2}"; do
		recipe "$words" || return
	done
}

# As a shell in the host would.
run_recipe() { # host, words
	recipe "$2" >"$LAB/recipe" && in_ns "$1" sh -ec "$(cat "$LAB/recipe")"
}

# --- the outside -------------------------------------------------------------------------

# The client, and a router whose LAN has room for borders.
outside_make() {
	site_make && ip -n "$(host_ns router)" link add lan type bridge mcast_snooping 0 &&
		ip -n "$(host_ns router)" link set lan up &&
		address router lan 192.0.2.254/24 2001:db8:1::fe/64
}

# A NIC for a node, eth0, which makes it a border.
border_join() { # node, id
	site_host "$1" && veth "$1" eth0 router "to-$1" &&
		ip -n "$(host_ns router)" link set "to-$1" master lan &&
		address "$1" eth0 "192.0.2.$2/24" "2001:db8:1::$2/64" &&
		default_route "$1" 192.0.2.254 2001:db8:1::fe
}

# --- what goes on meanwhile ----------------------------------------------------------------

GAP_PORT=7010

# Someone asks without a pause, by UDP and TCP, at an address that a host serves.
way_open() { # name, host, host that serves, its address
	mkfifo "$LAB/$1.fifo" || return
	: >"$LAB/$1.log"
	start "serve-$1" "$3" python3 "$recipes_here/gap.py" serve "$GAP_PORT" "$4"
	wait_for 10 log_has "serve-$1" ready || return
	start "$1" "$2" python3 "$recipes_here/gap.py" ask "$LAB/$1.fifo" "$4" "$GAP_PORT"
	wait_for 10 log_has "$1" ready
}

# It is answered again, and its connection is the one of the beginning.
way_flows() { # name
	hold "$1" gap && answered '.udp_now < 300 and .tcp_now < 300 and (.broken | not)' >"$LAB/flows"
}

ways_mark() { # name...
	local way
	for way in "$@"; do
		hold "$way" mark || return
	done
}

# Waits until all of them flow, and prints for how long each was silent since the mark.
ways_live() { # what was done, name...
	local way
	for way in "${@:2}"; do
		wait_for 30 way_flows "$way" || {
			cat "$LAB/answer"
			return 1
		}
		jq -r --arg what "$1, $way" \
			'"\($what): silent for \(.udp) ms by UDP, \(.tcp) ms by TCP"' \
			"$LAB/answer" >>"$LAB/gaps"
	done
}

ways_figures() {
	while read -r line; do
		figure "$line"
	done <"$LAB/gaps"
}
