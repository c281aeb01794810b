#!/bin/bash
# What deploy/cluster.sh has a host do, as root: it comes over ssh as the text of a command,
# so nothing of it stays there. Standard output is for cluster.sh, standard error for people.
#
#   probe NAME             KEY<tab>VALUE about the host, and the node's config, if there is one
#   begin RUN NAME WHO     keeps what is there now, to go back to: /etc/shmnet/.previous
#   package VERSION [back] a package from standard input is installed; back: an older one, too
#   stage NAME             files from standard input, a tar, go to /etc/shmnet/.new
#   put NAME               these take their places, if the config is right
#   start NAME             the node runs with them: reloads if that is enough
#   health NAME            state of the unit, exit status of `shmnetctl status`, nodes as JSON
#   undo RUN NAME          files are again as `begin` found them; a node that is new is gone
#   unpackage              the package is gone; what is in /etc/shmnet stays
#   resume RUN NAME        after both, the unit runs again, or not, as `begin` found it
#   end RUN                what `begin` kept is thrown away
#   remove NAME purge      the node is gone, and the package, and all of /etc/shmnet
#   remove NAME last       as long as there is no other node's config: just the node otherwise
#
# Every verb can be repeated after it was cut off. A file is written beside its place, synced
# and renamed, so there is always one, the old one or the new one.
set -u
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 077
etc=/etc/shmnet
old=$etc/.previous
new=$etc/.new
cache=/var/cache/shmnet-cluster

say() {
	printf '%s\t%s\n' "$1" "$2"
}

fail() {
	echo "$*" >&2
	exit 1
}

# All that a node has in /etc/shmnet.
files_of() { # node
	printf '%s\n' "$1.yaml" ca.crt "$1.crt" "$1.key"
}

unit_of() { # node
	echo "shmnet-node@$1.service"
}

installed_version() {
	# shellcheck disable=SC2016 # dpkg-query's own
	dpkg-query -W -f '${db:Status-Status} ${Version}' shmnet 2>/dev/null | sed -n 's/^installed //p'
}

# --- probe -------------------------------------------------------------------------

os_says() { # key
	# shellcheck source=/dev/null
	(. /etc/os-release 2>/dev/null && eval "echo \"\${$1-}\"")
}

# KiB, of the nearest directory that is there.
free_below() { # directory
	local dir=$1
	until [ -d "$dir" ]; do dir=$(dirname "$dir"); done
	df -Pk "$dir" | awk 'NR == 2 { print $4 }'
}

probe_files() { # node
	local file
	while read -r file; do
		[ ! -f "$etc/$file" ] ||
			say "file $file" "$(sha256sum <"$etc/$file" | cut -d' ' -f1)"
	done < <(files_of "$1")
}

probe() { # node
	local dir
	say root "$(id -u)"
	say os "$(os_says ID)"
	say os_version "$(os_says VERSION_ID)"
	say os_name "$(os_says PRETTY_NAME)"
	say kernel "$(uname -r)"
	say systemd "$([ -d /run/systemd/system ] && echo yes)"
	say arch "$(dpkg --print-architecture 2>/dev/null)"
	say tun "$([ "$(stat -Lc %t:%T /dev/net/tun 2>/dev/null)" = a:c8 ] && echo yes)"
	say rdma "$(find /sys/class/infiniband -mindepth 1 -printf '%f ' 2>/dev/null)"
	say addresses "$(ip -o address | awk '{ sub("/.*", "", $4); printf "%s ", $4 }')"
	say time "$(date +%s)"
	for dir in /etc/shmnet /usr /var/cache; do
		say "free $dir" "$(free_below "$dir")"
	done
	say version "$(installed_version)"
	say active "$(systemctl is-active "$(unit_of "$1")" 2>/dev/null)"
	say enabled "$(systemctl is-enabled "$(unit_of "$1")" 2>/dev/null)"
	say run "$(cat $old/run 2>/dev/null)"
	say who "$(cat $old/who 2>/dev/null)"
	say version_before "$(cat $old/version 2>/dev/null)"
	say active_before "$(cat $old/active 2>/dev/null)"
	say empty_before "$(cat $old/empty 2>/dev/null)"
	probe_files "$1"
	[ ! -f "$etc/$1.yaml" ] || sed 's/^/config\t/' "$etc/$1.yaml"
}

# --- the way to something else -------------------------------------------------------

# Not if nothing was begun, or if it is undone.
has_begun() { # run
	[ "$(cat $old/run 2>/dev/null)" = "$1" ]
}

# Nothing of anybody's, whatever runs of cluster.sh have left.
is_empty() {
	[ -z "$(find $etc -mindepth 1 -maxdepth 1 -not -name '.previous*' -not -name .new \
		-print -quit 2>/dev/null)" ]
}

# Of two that begin, the other one finds the place taken.
begin() { # run, node, who
	local run
	mkdir -p $etc && chmod 755 $etc && exec 8<$etc || return
	flock -w 10 8 || fail "another roll-out begins here at the same time"
	! has_begun "$1" || return 0
	run=$(cat $old/run 2>/dev/null)
	[ -z "$run" ] || fail "is half way in another roll-out (of $(cat $old/who))"
	rm -rf $old $old.new && mkdir $old.new || return # what was cut off
	trap 'rm -rf $old.new' EXIT
	keep $old.new "$@" && sync -f $old.new && mv -T $old.new $old
}

keep() { # directory, run, node, who
	local file unit
	unit=$(unit_of "$3")
	echo "$2" >"$1/run" && echo "$4" >"$1/who" && installed_version >"$1/version" &&
		{ ! is_empty || echo yes >"$1/empty"; } &&
		{ systemctl is-active "$unit" >"$1/active" || true; } &&
		{ systemctl is-enabled "$unit" >"$1/enabled" 2>/dev/null || true; } || return
	while read -r file; do
		[ ! -f "$etc/$file" ] || cp -p "$etc/$file" "$1/" || return
	done < <(files_of "$3")
}

# apt is asked for lists only where these are missing or too old.
apt_installs() { # more options..., file
	set -- -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 \
		-o Dpkg::Options::=--force-confold install "$@"
	apt-get "$@" || { apt-get -q update && apt-get "$@"; }
}

# What dpkg was cut off in. On the way back that may be the package which can't be installed.
finish_others() { # [back]
	[ -z "$(dpkg --audit)" ] || dpkg --configure -a >&2 || [ "${1-}" = back ]
}

package() { # version, [back]
	local deb=$cache/shmnet_$1.deb options=() status
	[ "$(installed_version)" != "$1" ] || { cat >/dev/null && return; }
	[ "${2-}" != back ] || options=(--allow-downgrades)
	mkdir -p $cache && chmod 755 $cache && (umask 022 && cat >"$deb") &&
		finish_others "${2-}" &&
		apt_installs "${options[@]}" "$deb" >&2 </dev/null
	status=$?
	rm -rf $cache
	return $status
}

stage() { # node
	rm -rf $new
	mkdir -p $etc && mkdir $new && tar -x -C $new -f - && sync -f $new && return
	rm -rf $new
	fail "$etc can't be written to, see above"
}

# Certificates first: a config that names them is never there without them.
put() { # node
	local file
	shmnet-node --config "$new/$1.yaml" --check >&2 || return
	while read -r file; do
		[ -f "$new/$file" ] || continue
		chmod 644 "$new/$file"
		case $file in
		*.key) chmod 600 "$new/$file" && chown shmnet:shmnet "$new/$file" || return ;;
		esac
		mv -f "$new/$file" "$etc/$file" || return
	done < <(files_of "$1" | tac)
	sync -f $etc
	rm -rf $new
}

same_certificates() { # node
	local file
	while read -r file; do
		cmp -s "$old/$file" "$etc/$file" || [ ! -e "$etc/$file" ] || return
	done < <(files_of "$1" | sed 1d)
}

start() { # node
	systemctl -q enable "$(unit_of "$1")" >&2 && run_node "$1"
}

# A node reads its certificates at its start.
run_node() { # node
	local unit status
	unit=$(unit_of "$1")
	if systemctl -q is-active "$unit" && same_certificates "$1"; then
		shmnetctl -n "$1" reload >&2
		status=$?
		[ $status -ne 0 ] || { echo reloaded && return; }
		[ $status -eq 4 ] || return 1
	fi
	restart "$unit" && echo started
}

restart() { # unit
	systemctl reset-failed "$1" 2>/dev/null
	systemctl restart "$1" >&2 && return
	journalctl -q -u "$1" -n 5 -o cat >&2
	return 1
}

health() { # node
	say active "$(systemctl is-active "$(unit_of "$1")")"
	shmnetctl -n "$1" status >/dev/null 2>&1
	say status $?
	say version "$(installed_version)"
	say nodes "$(shmnetctl -n "$1" --json nodes 2>/dev/null | tr -d '\n')"
}

# --- and back --------------------------------------------------------------------------

# A package that can't run cleans nothing either, and goes all the same.
forget() { # node
	local unit
	unit=$(unit_of "$1")
	systemctl -q disable --now "$unit" >&2 2>/dev/null
	! systemctl -q is-active "$unit" || fail "$unit does not stop"
	[ ! -f "$etc/$1.yaml" ] || ! command -v shmnet-node >/dev/null ||
		shmnet-node --config "$etc/$1.yaml" --cleanup >&2 ||
		echo "what $1 has set up in the network may be left: shmnet-node --cleanup failed" >&2
	rm -f "$etc/$1.yaml" "$etc/$1.crt" "$etc/$1.key"
}

undo() { # run, node
	local file
	has_begun "$1" || return 0
	rm -rf $new
	[ -f "$old/$2.yaml" ] || forget "$2" || return
	while read -r file; do
		if [ -f "$old/$file" ]; then
			cmp -s "$old/$file" "$etc/$file" && continue
			cp -p "$old/$file" "$etc/.back" && sync "$etc/.back" &&
				mv -f "$etc/.back" "$etc/$file" || return
			echo "$file" >>$old/back
		else
			rm -f "$etc/$file"
		fi
	done < <(files_of "$2")
	[ "$(cat $old/enabled)" = enabled ] || systemctl -q disable "$(unit_of "$2")" 2>/dev/null
	return 0
}

unpackage() {
	[ -z "$(dpkg-query -W shmnet 2>/dev/null)" ] ||
		apt-get -q -y -o DPkg::Lock::Timeout=120 remove shmnet >&2 </dev/null
}

resume() { # run, node
	local unit
	has_begun "$1" && [ -f "$old/$2.yaml" ] || return 0
	unit=$(unit_of "$2")
	if [ "$(cat $old/active)" != active ]; then
		systemctl -q stop "$unit" 2>/dev/null # which may not be there any more
		! systemctl -q is-active "$unit"
	elif grep -qv '\.yaml$' $old/back 2>/dev/null; then
		restart "$unit"
	else
		run_node "$2" >&2
	fi
}

# At once out of its place: what is half thrown away is nothing to go back to.
end() { # run
	! has_begun "$1" || { rm -rf $old.gone && mv -T $old $old.gone && rm -rf $new; } || return
	rm -rf $old.gone
	rmdir $etc 2>/dev/null
	return 0
}

# The user stays, as with the package.
remove() { # node, purge|last
	forget "$1" || return
	[ "$2" = purge ] || [ -z "$(find $etc -maxdepth 1 -name '*.yaml' -print -quit 2>/dev/null)" ] ||
		return 0
	[ -z "$(dpkg-query -W shmnet 2>/dev/null)" ] ||
		apt-get -q -y -o DPkg::Lock::Timeout=120 purge shmnet >&2 </dev/null || return
	rm -rf $etc $cache
}

"$@"
