#!/bin/sh
# shellcheck shell=ash
# The first process of a machine of the lab, from its initramfs: loads the modules,
# makes the host's files the root (9p, read-only, a tmpfs over it), sets up the two
# interfaces and rxe0, and becomes agent.py. busybox runs this; nothing else is here.
#
# The kernel's command line says: lab.id=N, lab.mtu=BYTES, lab.modules=DIRECTORY.
#
# eth0   192.0.2.N/24, fd00::N/64: the network under test, with rxe0 on it
# mgmt   198.51.100.N/24: only for agent.py
set -e
export PATH=/bin:/usr/sbin:/usr/bin:/sbin
bb=/bin/busybox
$bb --install -s /bin

die() {
	echo "lab: $1" >/dev/console
	poweroff -f
}
trap 'die "the start of this machine failed; the line before says where"' EXIT

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
read -r words </proc/cmdline
for word in $words; do
	case $word in
	lab.*=*) eval "${word#lab.}" ;;
	esac
done

while read -r module; do
	insmod "/modules/$module"
done </modules/list

# Host files; what the machine writes is in memory and goes with it.
mkdir -p /host /top /new
options=trans=virtio,version=9p2000.L,msize=524288
mount -t 9p -o $options,ro,cache=loose,access=any root /host
mount -t tmpfs -o size=50%,mode=755 tmpfs /top
mkdir /top/upper /top/work
mount -t overlay -o lowerdir=/host,upperdir=/top/upper,workdir=/top/work overlay /new
for dir in proc sys dev; do
	mkdir -p /new/$dir
	mount --move /$dir /new/$dir
done
mount -t tmpfs -o mode=755 tmpfs /new/run
mkdir -p /new/run/netns /new/run/lock /new/dev/shm /new/dev/pts /new/lab
ln -s /proc/self/fd /new/dev/fd
for stream in stdin/0 stdout/1 stderr/2; do
	ln -s "/proc/self/fd/${stream#*/}" "/new/dev/${stream%/*}"
done
mount -t tmpfs -o mode=1777 tmpfs /new/dev/shm
mount -t devpts -o mode=600,ptmxmode=666 devpts /new/dev/pts
mount -t 9p -o $options,rw,cache=none,access=any share /new/lab
mkdir -p /new/lib/modules
release=$(uname -r)
rm -rf "/new/lib/modules/$release"
ln -s "${modules:?}" "/new/lib/modules/$release"
cp /agent.py /new/run/lab-agent.py

interface() { # name, address, MTU
	ip link set "$1" mtu "$3"
	ip address add "$2" broadcast + dev "$1"
	ip link set "$1" up
}
ip link set lo up
ip link set eth1 name mgmt
echo 0 >/new/proc/sys/net/ipv6/conf/eth0/accept_dad
interface mgmt "198.51.100.${id:?}/24" 1500
interface eth0 "192.0.2.$id/24" "${mtu:?}"
ip address add "fd00::$id/64" dev eth0
hostname "vm$id"
chroot /new rdma link add rxe0 type rxe netdev eth0

trap - EXIT
exec switch_root /new /usr/bin/python3 -ISs /run/lab-agent.py serve "198.51.100.$id"
