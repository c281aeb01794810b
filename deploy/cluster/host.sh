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
#   undo RUN NAME          what `begin` kept is there again, but for the package
#   end RUN                what `begin` kept is thrown away
#   remove NAME [purge]    the node is gone; purge: and the package, and all of /etc/shmnet
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
	probe_files "$1"
	[ ! -f "$etc/$1.yaml" ] || sed 's/^/config\t/' "$etc/$1.yaml"
}

# --- the way to something else -------------------------------------------------------

begin() { # run, node, who
	local file
	[ "$(cat $old/run 2>/dev/null)" != "$1" ] || return 0
	rm -rf $old.new && mkdir -p $etc && chmod 755 $etc && mkdir $old.new || return
	echo "$1" >$old.new/run && echo "$3" >$old.new/who &&
		installed_version >$old.new/version &&
		{ systemctl is-active "$(unit_of "$2")" >$old.new/active || true; } || return
	while read -r file; do
		[ ! -f "$etc/$file" ] || cp -p "$etc/$file" $old.new/ || return
	done < <(files_of "$2")
	sync -f $old.new && mv $old.new $old
}

# apt is asked for lists only where these are missing or too old.
apt_installs() { # more options..., file
	set -- -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 \
		-o Dpkg::Options::=--force-confold install "$@"
	apt-get "$@" || { apt-get -q update && apt-get "$@"; }
}

package() { # version, [back]
	local deb=$cache/shmnet_$1.deb options=() status
	[ "$(installed_version)" != "$1" ] || { cat >/dev/null && return; }
	[ "${2-}" != back ] || options=(--allow-downgrades)
	mkdir -p $cache && chmod 755 $cache && (umask 022 && cat >"$deb") &&
		{ [ -z "$(dpkg --audit)" ] || dpkg --configure -a >&2; } &&
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

# A node reads its certificates at its start.
start() { # node
	local unit status
	unit=$(unit_of "$1")
	systemctl -q enable "$unit" >&2 || return
	if systemctl -q is-active "$unit" && same_certificates "$1"; then
		shmnetctl -n "$1" reload >&2
		status=$?
		[ $status -ne 0 ] || { echo reloaded && return; }
		[ $status -eq 4 ] || return 1
	fi
	systemctl reset-failed "$unit" 2>/dev/null
	systemctl restart "$unit" >&2 || { journalctl -q -u "$unit" -n 5 -o cat >&2 && return 1; }
	echo started
}

health() { # node
	say active "$(systemctl is-active "$(unit_of "$1")")"
	shmnetctl -n "$1" status >/dev/null 2>&1
	say status $?
	say version "$(installed_version)"
	say nodes "$(shmnetctl -n "$1" --json nodes 2>/dev/null | tr -d '\n')"
}

# --- and back --------------------------------------------------------------------------

forget() { # node
	local unit
	unit=$(unit_of "$1")
	systemctl -q disable --now "$unit" >&2 2>/dev/null
	! systemctl -q is-active "$unit" || fail "$unit does not stop"
	[ ! -f "$etc/$1.yaml" ] || ! command -v shmnet-node >/dev/null ||
		shmnet-node --config "$etc/$1.yaml" --cleanup >&2 || return
	rm -f "$etc/$1.yaml" "$etc/$1.crt" "$etc/$1.key"
}

undo() { # run, node
	local file
	[ "$(cat $old/run 2>/dev/null)" = "$1" ] || return 0 # nothing was begun, or it is undone
	rm -rf $new
	if [ ! -f "$old/$2.yaml" ]; then
		forget "$2" || return
		[ -f $old/ca.crt ] || rm -f $etc/ca.crt
		return 0
	fi
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
	if [ "$(cat $old/active)" != active ]; then
		systemctl -q stop "$(unit_of "$2")" >&2
	elif grep -qv yaml $old/back 2>/dev/null; then
		systemctl restart "$(unit_of "$2")" >&2
	else
		start "$2" >&2
	fi
}

end() { # run
	[ "$(cat $old/run 2>/dev/null)" != "$1" ] || rm -rf $old $new
	rmdir $etc 2>/dev/null
	return 0
}

# The user stays, as with the package.
remove() { # node, [purge]
	forget "$1" || return
	[ "${2-}" = purge ] || { rm -rf $old $new && return; }
	[ -z "$(dpkg-query -W shmnet 2>/dev/null)" ] ||
		apt-get -q -y -o DPkg::Lock::Timeout=120 purge shmnet >&2 </dev/null || return
	rm -rf $etc $cache
}

"$@"
