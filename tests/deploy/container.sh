#!/bin/bash
# The page "Containers" of the README, as it stands there: a web server and its client, as
# they are, in containers of systemd-nspawn, whose namespaces nodes outside put their TAPs
# into. With --long also by podman, which is installed into a root of its own for that.
# timeout: 300
set -u
here=$(dirname "$0")
# shellcheck source=tests/netns/lib.sh
. "$here/../netns/lib.sh"
# shellcheck source=tests/netns/recipes.sh
. "$here/../netns/recipes.sh"
# shellcheck source=tests/deploy/lib.sh
. "$here/lib.sh"

# What the page takes for granted: a directory with a root. Nothing is mounted there but in
# namespaces of its users.
makes_web() {
	borrows_root && mv "$root" "$LAB/clone/web" && root=$LAB/clone/web && mkdir "$root/srv" &&
		touch "$root"/etc/{localtime,resolv.conf} && echo "it is served" >"$root/srv/index.html"
}

# Containers that are no services of this machine's systemd.
wraps_nspawn() {
	mkdir "$LAB/bin" && cat >"$LAB/bin/systemd-nspawn" <<-END && chmod +x "$LAB/bin/systemd-nspawn"
		#!/bin/sh
		exec $(command -v systemd-nspawn) --quiet --register=no --keep-unit --console=pipe \\
			--bind-ro=/usr "\$@" </dev/null
	END
}

# Types these blocks of the page.
types() { # log, words...
	type_recipes "$LAB/clone" "${@:2}" >"$LAB/$1.sh" && echo 'echo page is done; wait' >>"$LAB/$1.sh" &&
		start "$1" self env PATH="$LAB/bin:$PATH" bash "$LAB/$1.sh" && wait_for 60 is_typed "$1"
	log_of "$1" | grep -x "it is served" && log_of "$1" | grep -x "page is done" && return
	tail -n 40 "$LAB/$1.log" "$LAB"/clone/*.log
	return 1
}

is_typed() { # log
	log_of "$1" | grep -qx "page is done" || ! is_alive "$1"
}

log_of() { # log
	cat "$LAB/$1.log"
}

# As the client's container sees it: an interface, which it can't change, and nothing of
# what carries its frames.
inside() { # command...
	"$LAB/bin/systemd-nspawn" -D "$root" --read-only --network-namespace-path=/run/netns/box2 "$@"
}

has_interface() {
	inside ip addr show shm0 | grep -F 10.77.0.2/24
}

sees_nothing() {
	# shellcheck disable=SC2016 # that shell's own
	inside sh -c 'set -ex; ip link show shm0; cat /proc/[0-9]*/comm /proc/net/unix; ls /run /dev
		! grep -l shmnet /proc/[0-9]*/comm; ! grep shmnet /proc/net/unix; ! test -e /run/shmnet
		! test -e /dev/net/tun; ! ip link set shm0 down'
}

# In the namespace that it was started in, with its TAP in the other one.
stays_outside() {
	local pid
	pid=$(node_says box2 .pid) && [ "$(readlink "/proc/$pid/ns/net")" = "$(readlink /proc/self/ns/net)" ] &&
		not ip link show shm0
}

node_says() { # node, expression
	"$(program shmnetctl)" -n "$1" status --json | jq -e "$2"
}

# --- podman --------------------------------------------------------------------------------

makes_podman_root() {
	online mmdebstrap --quiet --variant=apt --include=podman,crun,iproute2,curl \
		"$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" "$LAB/pod" &&
		mkdir -p "$LAB/pod$root" && wraps_podman
}

# In a mount namespace of its own, with the /run/netns of here, and its own root as "web".
wraps_podman() {
	cat >"$LAB/bin/podman" <<-END && chmod +x "$LAB/bin/podman"
		#!/bin/bash
		[ -n "\${POD-}" ] || POD=1 exec unshare -m --propagation private "\$0" "\$@"
		set -e
		pod=$LAB/pod
		mount --bind \$pod \$pod
		mount --bind \$pod \$pod$root
		mount -t proc proc \$pod/proc
		mount -t sysfs sysfs \$pod/sys
		mount -t cgroup2 none \$pod/sys/fs/cgroup
		mount -t tmpfs tmpfs \$pod/run
		mkdir \$pod/run/netns
		mount --rbind /run/netns \$pod/run/netns
		mount --rbind /dev \$pod/dev
		verb=\$1
		shift
		exec chroot \$pod podman --cgroup-manager=cgroupfs --storage-driver=vfs \$verb \\
			--cgroups=disabled --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "\$@"
	END
}

# --- the test ------------------------------------------------------------------------------

need_root
need_tools test systemd-nspawn python3 curl jq
own_machine "$@"
lab_begin "$@"
make_clone "$LAB/clone" && wraps_nspawn || exit 1
check "a root for containers" makes_web || lab_end
check "a server in a container is reached from another one" types page "and a node for each" \
	"and its client in another one" || lab_end
check "which has the interface of the node" has_interface
check "sees nothing else of it, and can't change it" sees_nothing
check "the node is where it was started" stays_outside
if [ -n "${SHMNET_TEST_LONG-}" ] && command -v mmdebstrap >/dev/null; then
	check "a root with podman" makes_podman_root &&
		check "a container of podman reaches the server, too" types podman "as well as a directory"
fi
stop page
lab_end
