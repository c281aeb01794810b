# shellcheck shell=bash
# What a host has of global networks: shared by tests/netns/global_*.sh. Source it after
# lib.sh.
#
# host_kernel HOST prints all that decides where the host's packets go, in a quiet host.

# Runs in a host. Without what the kernel counts and times.
global_everything() {
	local v
	for v in -4 -6; do
		ip $v -d rule
		ip $v route show table all
		ip $v neigh show nud permanent
		ip $v neigh show proxy
	done
	ip -o addr | sed 's/^[0-9]*: //; s/[0-9]*sec/forever/g'
	ip -o link | sed 's/^[0-9]*: //; s/@if[0-9]*//'
	nft list ruleset
	(cd /proc/sys/net && grep -rs . ipv4/conf ipv6/conf ipv4/ip_local_port_range |
		grep -v stable_secret)
}

host_kernel() { # host
	in_ns "$1" bash -c "$(declare -f global_everything); global_everything"
}

# Keeps the state of a host under a name.
host_keep() { # host, name
	host_kernel "$1" >"$LAB/$2.host"
}

host_same() { # host, name
	host_kernel "$1" | cmp -s - "$LAB/$2.host"
}

# True once the host is as it was; otherwise prints the difference.
host_is() { # host, name
	wait_for 5 host_same "$1" "$2" && return
	host_kernel "$1" | diff -U0 --label "$2" --label now "$LAB/$2.host" -
}

# The rule that looks up the table local is there in both versions of IP.
host_has_local() { # host
	local v
	for v in -4 -6; do
		[ "$(ip -n "$(host_ns "$1")" $v rule | grep -c '^0:.*from all lookup local')" -ge 1 ] ||
			return
	done
}
