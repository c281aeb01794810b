#!/bin/bash
# The Debian package: built, installed into a clean root, upgraded, purged; then the same
# under a systemd of its own (systemd-nspawn), with two nodes as services, from the version
# before and on a full disk, beside TCP connections that have to live on.
# timeout: 1500
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"

# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/../netns/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/../netns/site.sh"
# shellcheck source=tests/netns/recipes.sh
. "$(dirname "$0")/../netns/recipes.sh"
# shellcheck source=tests/deploy/lib.sh
. "$(dirname "$0")/lib.sh"

# --- the package -----------------------------------------------------------------

build_in() { # tree, version: prints the package's path
	local cache
	cache=$(ccache -k cache_dir 2>/dev/null)
	${cache:+env CCACHE_DIR="$cache" CCACHE_BASEDIR="$LAB" CCACHE_NOHASHDIR=1} \
		"$1/deploy/package.sh" -o "$LAB" --version "$2"
}

builds() { # version: $deb is the package
	build_in "$lab_top" "$1" >"$LAB/path" || return
	deb=$(cat "$LAB/path") && [ -f "$deb" ]
}

# What the one before this is: the first package there was, or what the history here goes
# back to. Without a history it is the same with another version.
version_before() {
	git -C "$lab_top" log --diff-filter=A --format=%H -- deploy/package.sh 2>/dev/null | tail -n 1
}

builds_older() { # version: $older is the package
	local commit
	commit=$(version_before)
	if [ -z "$commit" ]; then
		repacks "$1" && older=$newer
		return
	fi
	mkdir "$LAB/before" && git -C "$lab_top" archive "$commit" | tar -x -C "$LAB/before" &&
		build_in "$LAB/before" "$1" >"$LAB/path" && older=$(cat "$LAB/path") && rm -r "$LAB/before"
}

# The same with another version.
repacks() { # version: $newer is the package
	newer=$LAB/shmnet_$1.deb
	dpkg-deb -R "$deb" "$LAB/content" && sed -i "s/^Version: .*/Version: $1/" "$LAB/content/DEBIAN/control" &&
		dpkg-deb --root-owner-group -b "$LAB/content" "$newer" && rm -r "$LAB/content"
}

pleases_lintian() {
	lintian --fail-on error,warning "$deb"
}

says() { # status, text, command...
	local want=$1 text=$2 status
	shift 2
	"$@" >"$LAB/said" 2>&1
	status=$?
	cat "$LAB/said" && [ "$status" -eq "$want" ] && grep -qF -- "$text" "$LAB/said"
}

# --- a root ----------------------------------------------------------------------

# A command in the root: nothing of it is mounted or seen outside. Without a network
# unless the first word is "online".
in_root() { # [online] command...
	local cut=(--net)
	[ "$1" != online ] || { cut=() && shift; }
	# shellcheck disable=SC2016 # that shell's own
	unshare --mount --pid --fork --kill-child "${cut[@]}" sh -c '
		root=$1 && shift && mount -t proc proc "$root/proc" &&
		exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
			DEBIAN_FRONTEND=noninteractive http_proxy="$http_proxy" "$@"' \
		sh "$root" "$@"
}

makes_root() {
	mmdebstrap --quiet --variant=apt --skip=cleanup/apt "$suite" "$root" &&
		cp --remove-destination /etc/resolv.conf "$root/etc/"
}

# What an installation needs, so that it can be cut off.
fetches() {
	in_root online apt-get -qq update &&
		in_root online apt-get -qq -y install --download-only --no-install-recommends \
			"/root/${deb##*/}" systemd-sysv udev dbus iproute2
}

installs() { # package
	in_root apt-get -q -y install --no-install-recommends "/root/${1##*/}"
}

has_version() { # package
	# shellcheck disable=SC2016 # dpkg-query's own
	[ "$(in_root dpkg-query -W -f '${Version} ${db:Status-Status}' shmnet)" = \
		"$(dpkg-deb -f "$1" Version) installed" ]
}

has_user() {
	in_root id shmnet && in_root getent group shmnet
}

has_manual() { # page
	local file
	file=$(find "$root/usr/share/man" -name "$1.gz")
	[ -n "$file" ] && MANWIDTH=80 man --warnings=w -l "$file" >"$LAB/page" 2>"$LAB/warnings" &&
		[ ! -s "$LAB/warnings" ] && grep -q "^NAME" "$LAB/page"
}

completes() {
	in_root bash -c '. /usr/share/bash-completion/completions/shmnetctl && complete -p shmnetctl &&
		COMP_LINE="shmnetctl topo" shmnetctl --complete | grep -x topology'
}

purges() {
	in_root apt-get -q -y purge shmnet
}

# Its user stays, as Debian wants it.
nothing_left() {
	local left
	rm -f "$root"/root/*.deb
	left=$(find "$root" -xdev -name '*shmnet*')
	[ -z "$left" ] || { echo "$left" && return 1; }
	has_user
}

# --- nodes that run ------------------------------------------------------------------

sends() {
	in_machine shmnetctl -n n1 ping n2 lan0 -c 1
}

upgrades() { # package
	in_machine apt-get -q -y install "/root/${1##*/}"
}

# The place of what the package brings is full: dpkg names the file and leaves all as it was.
is_refused_by_full_disk() { # package
	local doc=/usr/share/doc/shmnet pid status
	pid=$(main_pid n1)
	in_machine mount -t tmpfs -o size=8k tmpfs "$doc" || return
	not upgrades "$1" >"$LAB/refused"
	status=$?
	in_machine umount "$doc"
	cat "$LAB/refused"
	[ "$status" -eq 0 ] && grep "No space left on device" "$LAB/refused" && are_active &&
		[ "$(main_pid n1)" = "$pid" ]
}

# --- the test -----------------------------------------------------------------------

need_root
need_tools package dpkg-buildpackage mmdebstrap lintian man systemd-nspawn
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
lab_begin "$@"
root=$LAB/root

check "wrong use is refused" says 2 "'1-2' is no version" "$lab_top/deploy/package.sh" --version 1-2
check "the package is built" builds 0.1.0+r1.gtest || lab_end
check "the version before" builds_older 0.1.0+r0.gtest || lab_end
check "a newer one" repacks 0.1.0+r2.gtest
check "lintian has nothing to say" pleases_lintian
check "a clean root" makes_root || lab_end
cp "$deb" "$newer" "$root/root/"
check "what is needed is fetched" fetches || lab_end

check "it installs" installs "$deb" || lab_end
check "with its user" has_user
for page in shmnetctl.1 shmnet.conf.5 shmnet.7 shmnet-node.8; do
	check "with $page" has_manual $page
done
check "with completion" completes
for example in one-machine cluster; do
	check "the example $example.yaml is right" in_root shmnet-node --check \
		--config /usr/share/doc/shmnet/examples/$example.yaml
done
cp "$root/usr/share/doc/shmnet/examples/one-machine.yaml" "$root/etc/shmnet/n1.yaml"
check "it is upgraded" installs "$newer"
check "to the newer one" has_version "$newer"
check "and the config is kept" cmp "$root/usr/share/doc/shmnet/examples/one-machine.yaml" \
	"$root/etc/shmnet/n1.yaml"
check "it is purged" purges
check "and leaves nothing" nothing_left

cp "$older" "$deb" "$newer" "$root/root/"
check "the root gets a systemd, and the version before" in_root apt-get -q -y install \
	--no-install-recommends systemd-sysv udev dbus iproute2 "/root/${older##*/}" || lab_end
writes_configs
check "it boots" boots || lab_end
check "a namespace, with the drop-in that the unit names" makes_blue
check "nodes start" in_machine systemctl enable --now shmnet-node@n1 shmnet-node@n2
check "and frames cross" wait_for 30 sends
check "connections from and to n1's host" opens_ways
check "a full disk is named, and the nodes go on" is_refused_by_full_disk "$deb"
check "an upgrade from the version before: connections live on" survives "upgrade" upgrades "$deb"
check "and from this one to a newer one" survives "next upgrade" upgrades "$newer"
check "which is there" has_version "$newer"
ways_figures
check "it is removed while nodes run" in_machine apt-get -q -y remove shmnet
check "it leaves no TAP and no rule" no_tap_left
check "and no process" not in_machine pgrep shmnet-node
check "but the config" ls "$root/etc/shmnet/n1.yaml"
check "it is installed again" upgrades "$newer"
check "nodes of that config start" in_machine systemctl start shmnet-node@n1 shmnet-node@n2
check "and frames cross" wait_for 30 sends
check "purged while nodes run" in_machine apt-get -q -y purge shmnet
check "it leaves no TAP and no rule" no_tap_left
check "and no process" not in_machine pgrep shmnet-node
check "it ends" shuts_down
rm -rf "$root"/etc/systemd/system/shmnet-node@*.service.{d,wants} # of this test
check "nothing is left" nothing_left
lab_end
