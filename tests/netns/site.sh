# shellcheck shell=bash
# Global networks as the world sees them: a client, a router, nodes. Sourced by
# tests/netns/global_*.sh after lib.sh and traffic.sh.
#
#	client --- router --- n1   borders: where the router sends what is for the
#	                 `--- n2   addresses; the others are reached through them only,
#	                 `--- n3   but answer by their own link to the router
#
#	site_make
#	members_up n1:1 n2:2 n3:3
#	borders_are n1
#	holds_serve n1 n2 n3 && hold_start held client "$G"
#	hold held open 100; check "..." answered '.failed == 0'

G=10.99.0.1
G6=fd99::1
CLIENT=198.51.100.7
CLIENT6=2001:db8::7
# Of what global_conns.py serves.
HOLD_PORT=7000

# shellcheck disable=SC2034 # lib.sh reads them
NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
# shellcheck disable=SC2034
GLOBALS=("web shmg0 $G $G6")

global_here=$(dirname "${BASH_SOURCE[0]}")

# --- hosts and links ---------------------------------------------------------------

# A host, with what a namespace may inherit from the machine set right.
site_host() { # host
	[ -z "${lab_hosts[$1]-}" ] || return 0
	host_add "$1" &&
		in_ns "$1" sysctl -qw net.ipv4.conf.{all,default}.rp_filter=0
}

veth() { # host, interface, host, interface
	ip -n "$(host_ns "$1")" link add "$2" type veth peer name "$4" \
		netns "$(host_ns "$3")" &&
		ip -n "$(host_ns "$1")" link set "$2" up &&
		ip -n "$(host_ns "$3")" link set "$4" up
}

address() { # host, interface, address...
	local one
	for one in "${@:3}"; do
		case $one in
		*:*) ip -n "$(host_ns "$1")" addr add "$one" dev "$2" nodad ;;
		*) ip -n "$(host_ns "$1")" addr add "$one" dev "$2" ;;
		esac || return
	done
}

link_mac() { # host, interface
	ip -n "$(host_ns "$1")" -j link show "$2" | jq -r '.[0].address'
}

default_route() { # host, IPv4 gateway, IPv6 gateway
	ip -n "$(host_ns "$1")" route replace default via "$2" &&
		ip -n "$(host_ns "$1")" -6 route replace default via "$3"
}

# The client and the router.
site_make() {
	site_host client && site_host router && veth client nic0 router to-client || return
	in_ns router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
		net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1 &&
		address client nic0 "$CLIENT/24" "$CLIENT6/64" &&
		address router to-client 198.51.100.1/24 2001:db8::1/64 &&
		default_route client 198.51.100.1 2001:db8::1
}

# A link from the router to a host that has none yet.
site_join() { # host, id
	[ ! -d "/sys/class/net" ] || ! ip -n "$(host_ns "$1")" link show nic0 >"$LAB/link" 2>&1 ||
		return 0
	veth "$1" nic0 router "to-$1" &&
		address "$1" nic0 "10.1.$2.2/24" "2001:db8:$2::2/64" &&
		address router "to-$1" "10.1.$2.1/24" "2001:db8:$2::1/64" &&
		default_route "$1" "10.1.$2.1" "2001:db8:$2::1"
}

# Hosts, links and nodes, until each node sees all others.
members_up() { # NODE:ID...
	local pair
	for pair in "$@"; do
		site_host "${pair%:*}" && site_join "${pair%:*}" "${pair#*:}" || return
	done
	mesh_up "$@"
}

# The router sends what is for the addresses to these; to several by flow.
borders_are() { # node...
	local node id hops=() hops6=()
	for node in "$@"; do
		id=${node#n}
		hops+=(nexthop via "10.1.$id.2")
		hops6+=(nexthop via "2001:db8:$id::2")
	done
	ip -n "$(host_ns router)" route replace "$G" "${hops[@]}" &&
		ip -n "$(host_ns router)" -6 route replace "$G6" "${hops6[@]}"
}

# --- one LAN instead of a router ------------------------------------------------------

# Members announce the addresses there: GLOBAL_KEYS="announce: nic0".
lan_make() {
	site_host switch && site_host client &&
		ip -n "$(host_ns switch)" link add br0 type bridge mcast_snooping 0 &&
		ip -n "$(host_ns switch)" link set br0 up && lan_join client 9
}

lan_join() { # host, id
	veth "$1" nic0 switch "to-$1" &&
		ip -n "$(host_ns switch)" link set "to-$1" master br0 &&
		address "$1" nic0 "10.99.0.1$2/24" "fd99::1$2/64"
}

# Hosts on it and nodes there, until each node sees all others.
lan_members_up() { # NODE:ID...
	local pair
	for pair in "$@"; do
		site_host "${pair%:*}" && lan_join "${pair%:*}" "${pair#*:}" || return
	done
	mesh_up "$@"
}

# The client takes this node for the address's owner.
entry_is() { # node, address
	ip -n "$(host_ns client)" neigh show "$2" dev nic0 | tee "$LAB/entry"
	grep -q "lladdr $(link_mac "$1" nic0) " "$LAB/entry"
}

entries_are() { # node
	entry_is "$1" "$G" && entry_is "$1" "$G6"
}

# These nodes, by number of distinct MAC addresses, answer a question of the client's.
answer_arp() { # number, sender
	in_ns client python3 "$global_here/global_who.py" nic0 "$2" "$G" >"$LAB/who"
	cat "$LAB/who"
	[ "$(wc -l <"$LAB/who")" -eq "$1" ]
}

# --- services ------------------------------------------------------------------------

# A node knows that these listen at an address and a port, or, as ":80", at all addresses
# at which any does.
node_knows() { # node, end of the address, node...
	ctl "$1" listeners --json >"$LAB/listeners" &&
		jq -e --arg at "$2" '$ARGS.positional as $all
			| [.listeners[] | select(.local | endswith($at))]
			| length > 0 and all($all - .nodes == [])' "$LAB/listeners" \
			--args "${@:3}" >"$LAB/knows"
}

# Every node that runs does so soon.
all_know() { # end of the address, node...
	local name
	# shellcheck disable=SC2154 # lib.sh has it
	for name in "${!lab_pids[@]}"; do
		[[ $name =~ ^n[0-9]+$ ]] || continue
		wait_for 10 node_knows "$name" "$@" && continue
		cat "$LAB/listeners"
		return 1
	done
}

# --- connections that are held -------------------------------------------------------

declare -A hold_lines=() # that it had said before

log_has() { # name, line
	grep -qx "$2" "$LAB/$1.log"
}

# Each of the nodes serves both addresses at HOLD_PORT.
holds_serve() { # node...
	local node
	for node in "$@"; do
		start "serve-$node" "$node" python3 "$global_here/global_conns.py" \
			serve "$node" "$HOLD_PORT" "$G" "$G6" || return
	done
	for node in "$@"; do
		wait_for 10 log_has "serve-$node" ready || return
	done
	all_know ":$HOLD_PORT" "$@"
}

hold_start() { # name, host, address, more arguments of global_conns.py...
	mkfifo "$LAB/$1.fifo" || return
	: >"$LAB/$1.log"
	start "$1" "$2" python3 "$global_here/global_conns.py" \
		hold "$LAB/$1.fifo" "$3" "$HOLD_PORT" "${@:4}"
	wait_for 10 log_has "$1" ready
}

hold_said() { # name, lines
	[ "$(wc -l <"$LAB/$1.log")" -gt "$2" ]
}

# Tells the holder to "open N [RATE]" or "check [NODE...]", and does not wait.
hold_tell() { # name, command...
	hold_lines[$1]=$(wc -l <"$LAB/$1.log")
	echo "${@:2}" >"$LAB/$1.fifo"
}

# Its answer is in $LAB/answer.
hold_hear() { # name
	wait_for 30 hold_said "$1" "${hold_lines[$1]}" || return
	tail -n 1 "$LAB/$1.log" >"$LAB/answer"
}

hold() { # name, command...
	hold_tell "$@" && hold_hear "$1"
}

# What a jq expression says of the last answer.
answered() { # expression
	jq -e "$1" "$LAB/answer" >"$LAB/answered" && return
	cat "$LAB/answer"
	return 1
}

# So many more, all of them served, nobody broken.
hold_opens() { # name, number
	hold "$1" open "$2" && answered ".opened == $2 and .failed == 0"
}

# All that these nodes serve (none named: all) are alive.
hold_lives() { # name, node...
	hold "$1" check "${@:2}" && answered '.broken == {} and .silent == {}'
}

# One of a few new ones comes to the node; none does.
hold_reaches() { # name, node
	hold "$1" open 16 && answered ".by[\"$2\"] > 0"
}

hold_spares() { # name, node
	hold "$1" open 16 && answered ".by[\"$2\"] == null and .failed == 0"
}

# --- web servers -----------------------------------------------------------------------

need_program() { # program, package
	command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || skip "$1 is not installed (package $2)"
}

web_conf() { # node
	local dir=$LAB/web-$1
	cat <<-CONF
		user root;
		daemon off;
		master_process off;
		worker_rlimit_nofile 20000;
		pid $dir/pid;
		error_log $dir/error.log;
		events { worker_connections 10000; }
		http {
		access_log off;
		client_body_temp_path $dir/t1;
		proxy_temp_path $dir/t2;
		fastcgi_temp_path $dir/t3;
		uwsgi_temp_path $dir/t4;
		scgi_temp_path $dir/t5;
		server {
		listen $G:80 backlog=4096;
		listen [$G6]:80 backlog=4096;
		root $dir;
		location = / { default_type text/plain; return 200 "$1\n"; }
		}
		}
	CONF
}

webs_start() { # node...
	local node
	need_program nginx nginx-light
	head -c 1000000 /dev/urandom >"$LAB/big"
	for node in "$@"; do
		mkdir -p "$LAB/web-$node" && cp "$LAB/big" "$LAB/web-$node/big" &&
			web_conf "$node" >"$LAB/web-$node/nginx.conf" || return
		start "web-$node" "$node" nginx -e "$LAB/web-$node/error.log" \
			-c "$LAB/web-$node/nginx.conf"
	done
	for node in "$@"; do
		wait_for 10 listens "$node" t 80 || return
	done
	all_know :80 "$@"
}

# So many requests, each by a connection of its own; $LAB/served counts who served how
# many: "34 n1".
web_asks() { # host, address, number
	local i urls=()
	for ((i = 0; i < $3; i++)); do
		urls+=("http://$2/")
	done
	in_ns "$1" curl -sS --max-time 5 --no-keepalive -H 'Connection: close' \
		"${urls[@]}" >"$LAB/names" || return
	sort "$LAB/names" | uniq -c >"$LAB/served"
	cat "$LAB/served"
	[ "$(wc -l <"$LAB/names")" -eq "$3" ]
}

# Each of the nodes served at least so many, and nobody else any.
web_spread() { # least, node...
	cat "$LAB/served"
	awk -v least="$1" '$1 < least { bad = 1 } END { exit bad }' "$LAB/served" &&
		[ "$(awk '{ print $2 }' "$LAB/served" | xargs)" = "${*:2}" ]
}
