#!/bin/bash
# The Debian package: built, installed into a clean root, upgraded, purged; then the same
# under a systemd of its own (systemd-nspawn), with two nodes as services.
# timeout: 1500
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"

# shellcheck disable=SC2054
NSPAWN=(systemd-nspawn --quiet --register=no --keep-unit --private-network --console=pipe
	--link-journal=no --capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_BPF --bind=/dev/net/tun)

# --- the package -----------------------------------------------------------------

builds() { # version: $deb is the package
	local cache
	cache=$(ccache -k cache_dir 2>/dev/null)
	${cache:+env CCACHE_DIR="$cache" CCACHE_BASEDIR="$LAB" CCACHE_NOHASHDIR=1} \
		"$lab_top/deploy/package.sh" -o "$LAB" --version "$1" >"$LAB/path" || return
	deb=$(cat "$LAB/path") && [ -f "$deb" ]
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

# --- the root with a systemd ---------------------------------------------------------

# The first process of the container.
first_pid() {
	pgrep -P "$(pid_of machine)" | head -n 1
}

in_machine() { # command...
	timeout --foreground 60 nsenter -t "$(first_pid)" -a -r -w -- env -i \
		PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
}

is_booted() {
	in_machine systemctl is-system-running | grep -qE '^(running|degraded)$'
} 2>/dev/null

boots() {
	start machine self "${NSPAWN[@]}" -D "$root" --machine "${lab_prefix%-}" --boot
	wait_for 60 is_booted || { tail "$LAB/machine.log" && return 1; }
}

writes_configs() {
	for id in 1 2; do
		cat <<-END >"$root/etc/shmnet/n$id.yaml" || return
			node: {name: n$id, id: $id}
			fabrics:
			  - {name: local, kind: shm}
			networks:
			  - {name: lan0, tap: shm$id, address: 10.77.0.$id/24}
		END
	done
	echo "  - {name: svc0, kind: global, tap: shmg1, address: 10.99.0.1}" >>"$root/etc/shmnet/n1.yaml"
}

are_active() {
	in_machine systemctl is-active shmnet-node@n1 shmnet-node@n2 || {
		in_machine journalctl --no-pager -n 30
		return 1
	}
}

sends() {
	in_machine shmnetctl -n n1 ping n2 lan0 -c 1
}

main_pid() { # node
	in_machine systemctl show -P MainPID "shmnet-node@$1"
}

tap_index() { # tap
	in_machine cat "/sys/class/net/$1/ifindex"
}

# Another process, the same TAP.
was_restarted() { # pid and index before
	[ "$(main_pid n1)" != "$1" ] && [ "$(tap_index shm1)" = "$2" ]
}

upgrades_running() {
	local pid index
	pid=$(main_pid n1) index=$(tap_index shm1)
	in_machine apt-get -q -y install "/root/${newer##*/}" && was_restarted "$pid" "$index"
}

restarts() {
	local pid index
	pid=$(main_pid n1) index=$(tap_index shm1)
	in_machine systemctl restart shmnet-node@n1 && was_restarted "$pid" "$index"
}

# The node goes on as it was.
refuses_reload() {
	local pid status
	pid=$(main_pid n1)
	sed -i 's/^node:/nude:/' "$root/etc/shmnet/n1.yaml"
	not in_machine systemctl reload shmnet-node@n1
	status=$?
	sed -i 's/^nude:/node:/' "$root/etc/shmnet/n1.yaml"
	[ "$status" -eq 0 ] && [ "$(main_pid n1)" = "$pid" ] && are_active
}

no_tap_left() {
	in_machine sh -c 'ls /sys/class/net; ip rule; ! ls /sys/class/net | grep shm && ! ip rule | grep 10.99'
}

ends() {
	in_machine systemctl --no-block poweroff && finish machine 30
}

# --- the test -----------------------------------------------------------------------

[ "$(id -u)" -eq 0 ] || skip "not root: a root of its own needs that"
for tool in dpkg-buildpackage mmdebstrap lintian man systemd-nspawn; do
	command -v $tool >/dev/null || skip "$tool is missing; tests/install.sh package"
done
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
lab_begin "$@"
root=$LAB/root

check "wrong use is refused" says 2 "'1-2' is no version" "$lab_top/deploy/package.sh" --version 1-2
check "the package is built" builds 0.1.0+r1.gtest || lab_end
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

cp "$deb" "$newer" "$root/root/"
check "the root gets a systemd" in_root apt-get -q -y install --no-install-recommends \
	systemd-sysv udev dbus iproute2 "/root/${deb##*/}" || lab_end
writes_configs
check "it boots" boots || lab_end
check "nodes start" in_machine systemctl enable --now shmnet-node@n1 shmnet-node@n2
check "and frames cross" wait_for 30 sends
check "a restart keeps the TAP" restarts
check "an upgrade restarts nodes, and keeps the TAP" upgrades_running
check "and frames cross again" wait_for 30 sends
check "a bad file is refused, and the node goes on" refuses_reload
check "purged while nodes run" in_machine apt-get -q -y purge shmnet
check "it leaves no TAP and no rule" no_tap_left
check "and no process" not in_machine pgrep shmnet-node
check "it ends" ends
check "nothing is left" nothing_left
lab_end
