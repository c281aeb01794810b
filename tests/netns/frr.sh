# shellcheck shell=bash
# FRRouting in the hosts of a test, an instance in each. Sourced by tests/netns/*.sh, and
# by deploy/demo.sh, after lib.sh; README.md has what it is for.
#
#	frr_need || skip "$frr_lacks"
#	frr_up router "$LAB/router.conf" && frr_up n1 "$LAB/n1.conf"
#	frr_render n1 n2
#	wait_for 10 frr_neighbors n1 2
#	frr_vty n1 "show ip route ospf"
#	frr_down n1
#
# As Debian's service does, it starts zebra, ospfd and, where the file speaks of them,
# ospf6d and bfdd, as the user frr, and then gives them the file. All that they write is
# in $LAB/frr/HOST; $LAB/frr-HOST-DAEMON.log is what they say. They are processes of the
# lab, frr-HOST-DAEMON for stop, is_alive and pid_of, and end with it.

FRR_DAEMONS=/usr/lib/frr
# What frr_need found missing.
frr_lacks=''
# For frr_render.
RENDER_OPTIONS=()

# True if FRR can run here: no older than 8, and as its own user, which a user namespace
# does not have.
frr_need() {
	local version
	if ! command -v vtysh >/dev/null || [ ! -x "$FRR_DAEMONS/ospfd" ]; then
		frr_lacks="FRR is not installed (package frr)"
		return 1
	fi
	version=$("$FRR_DAEMONS/ospfd" --version | sed -n '1s/.* version //p')
	if [ "${version%%.*}" -lt 8 ]; then
		frr_lacks="FRR is of version $version, and has to be 8 or newer"
	elif ! setpriv --reuid frr --regid frr --clear-groups true 2>/dev/null; then
		frr_lacks="FRR's daemons can't become the user frr here"
	fi
	[ -z "$frr_lacks" ]
}

# The daemons that a file needs.
frr_daemons() { # configuration
	echo zebra
	grep -q '^router ospf$' "$1" && echo ospfd
	grep -q '^router ospf6$' "$1" && echo ospf6d
	grep -Eq '^bfd$|^ *ip(v6)? ospf6? bfd' "$1" && echo bfdd
	return 0
}

# No terminal over TCP: ports would be taken twice where hosts share a namespace.
frr_start() { # host, daemon
	local dir=$LAB/frr/$1
	start "frr-$1-$2" "$1" "$FRR_DAEMONS/$2" --log stdout -P 0 --vty_socket "$dir" \
		-z "$dir/zserv.api" -i "$dir/$2.pid" -f "$dir/empty"
	wait_for 10 test -S "$dir/$2.vty" || {
		tail -n 5 "$LAB/frr-$1-$2.log"
		return 1
	}
}

# Likewise with a file that an instance has already: what differs is not undone.
frr_load() { # host, configuration
	[ "$2" -ef "$LAB/frr/$1/frr.conf" ] || cp "$2" "$LAB/frr/$1/frr.conf" || return
	vtysh --vty_socket "$LAB/frr/$1" --config_dir "$LAB/frr/$1" -b
}

frr_up() { # host, configuration
	local dir=$LAB/frr/$1 daemon
	mkdir -p "$dir" && : >"$dir/empty" && : >"$dir/vtysh.conf" &&
		chmod 711 "$LAB" "$LAB/frr" && chown frr:frr "$dir" || return
	for daemon in $(frr_daemons "$2"); do
		frr_start "$1" "$daemon" || return
	done
	frr_load "$1" "$2"
}

# The same with what deploy/frr/render makes of the nodes' files.
frr_render() { # node...
	local files=("${@/#/$LAB/}") node
	# shellcheck disable=SC2154 # lib.sh has it
	SHMNET_NODE=$(program shmnet-node) "$lab_top/deploy/frr/render" "${RENDER_OPTIONS[@]}" \
		-o "$LAB/rendered" "${files[@]/%/.yaml}" >"$LAB/files" || return
	for node in "$@"; do
		frr_up "$node" "$LAB/rendered/$node/frr.conf" || return
	done
}

# The configuration of a router outside, which tells of the network of the client, too.
frr_router() { # its id, interface to the borders, timers (1/4), more of "router ospf"
	cat <<-CONF
		ip router-id $1
		interface $2
		 ip ospf area 0
		 ip ospf hello-interval ${3%/*}
		 ip ospf dead-interval ${3#*/}
		exit
		interface to-client
		 ip ospf area 0
		 ip ospf passive
		exit
		router ospf
		${4:+ $4}
		exit
	CONF
}

# The other daemons first: zebra then takes their routes out of the kernel.
frr_down() { # host, signal (TERM)
	local daemon
	for daemon in bfdd ospf6d ospfd zebra; do
		[ -z "${lab_pids[frr-$1-$daemon]-}" ] || stop "frr-$1-$daemon" "${2:-TERM}"
	done
	rm -rf "${LAB:?}/frr/$1"
}

# One command, or several.
frr_vty() { # host, command...
	local args=() command
	for command in "${@:2}"; do
		args+=(-c "$command")
	done
	timeout --foreground 10 vtysh --vty_socket "$LAB/frr/$1" \
		--config_dir "$LAB/frr/$1" "${args[@]}"
}

# It has this many neighbours that know what it knows.
frr_neighbors() { # host, number
	frr_vty "$1" "show ip ospf neighbor json" >"$LAB/neighbors" &&
		jq -e --argjson n "$2" '[.neighbors[][] | .nbrState // .state
			| select(startswith("Full"))] | length == $n' "$LAB/neighbors" >"$LAB/full"
}

# By OSPF its kernel sends what is for the prefix to these gateways, in any order, and to no
# others; none: it has no such route. "default", or an IPv6 one, is a prefix, too.
frr_route() { # host, prefix, gateway...
	local v=-4
	case "$2${3-}" in *:*) v=-6 ;; esac
	ip "$v" -n "$(host_ns "$1")" -j route show "$2" proto ospf >"$LAB/route" &&
		[ "$(jq -r '.[] | .gateway // .nexthops[].gateway' "$LAB/route" | sort | xargs)" = \
			"$(printf '%s\n' "${@:3}" | sort | xargs)" ]
}
