#!/bin/bash
# The Debian packages that shmnet needs, each with what for; installs what is missing.
#
#   install.sh GROUP...     build: to compile; demo: for deploy/demo.sh; test: for
#                           tests/run.sh; bench: for tests/bench/run.sh; lint: for the
#                           static checks; lab: for the virtual machines of deploy/lab;
#                           package: for deploy/package.sh and its test
#   install.sh --list       prints the list
#
# As root it runs apt-get; otherwise it names the command and exits 1. Exit 0: all there.
set -u

# package | groups | what for
packages='
meson               | build           | configures the build
ninja-build         | build           | runs it
gcc                 | build           | compiles it
libc6-dev           | build           | libc headers
linux-libc-dev      | build           | TAP, virtio-net and rtnetlink headers
pkg-config          | build           | finds the libraries
protobuf-c-compiler | build           | generates the messages of proto/
libprotobuf-c-dev   | build           | the messages
libevent-dev        | build           | the event loop of the control plane
libcyaml-dev        | build           | loads the config file
libyaml-dev         | build           | finds the position of an error in it
libmnl-dev          | build           | rtnetlink
libnftables-dev     | build           | the tables of a global network
libssl-dev          | build           | TLS between machines, certificates
libibverbs-dev      | build           | RDMA verbs
librdmacm-dev       | build           | connections of RDMA
libsystemd-dev      | build           | what the node tells its service manager (optional)
libcap-ng-dev       | build           | capabilities that are given up
libseccomp-dev      | build           | the filter of system calls
libjansson-dev      | build           | JSON output of shmnetctl
scdoc               | build,package   | manual pages (optional)
g++                 | build           | the C++ half of the test shim
libgtest-dev        | build           | runs the unit tests
iproute2            | demo,test,bench | namespaces, addresses
iputils-ping        | demo,test,bench | ping and ping6
iperf3              | demo,test,bench | streams
socat               | demo,test,bench | copies files
jq                  | demo,test       | reads the JSON of shmnetctl and meson
procps              | demo,test,bench | sysctl in a namespace
dnsmasq-base        | demo,test       | DHCP server
isc-dhcp-client     | demo,test       | DHCP client
udhcpc              | test            | another one
bird2               | test            | OSPF for who has no FRR
avahi-daemon        | test            | mDNS responder
lldpd               | test            | LLDP neighbours
iperf               | test            | multicast streams, which iperf3 has not
openssl             | test            | another TLS client and server
nginx-light         | demo,test,bench | a web server
curl                | demo,test,bench | its client
wrk                 | test,bench      | many of them
openssh-server      | test            | ssh and its server
ipvsadm             | lab             | the same in a machine
haproxy             | test,bench      | what a global address is compared with
libdpdk-dev         | bench           | a hash table that the flow cache is compared with
vde2                | test,bench      | a switch that shmnet is compared with
frr                 | demo,test       | OSPF: routers within and outside
tcpdump             | test            | looks at a TAP as a user would
ethtool             | test,bench      | switches the offloads of a TAP
strace              | test            | lets system calls fail
python3             | test,bench      | sends frames and messages that no host would
python3-yaml        | demo,test       | deploy/frr/render reads config files
clang               | test            | second compiler; sanitizers, fuzzer
libclang-rt-14-dev  | test            | their run-time parts
llvm                | test            | names the functions in their reports
spin                | test            | checks the models
clang-format        | lint            | layout of C files
clang-tidy          | lint            | .clang-tidy
shellcheck          | lint            | shell scripts
codespell           | lint            | spelling
systemd             | lint            | systemd-analyze: looks at the unit file
qemu-system-x86     | lab             | the machines
busybox-static      | lab             | their first process
cpio                | lab             | packs it
kmod                | lab             | names the modules of their kernel
rdma-core           | lab             | names and limits of RDMA devices
ibverbs-providers   | lab             | the driver of Soft-RoCE
ibverbs-utils       | lab             | ibv_devinfo, ibv_rc_pingpong
rdmacm-utils        | lab             | rping
perftest            | lab             | what RDMA does without shmnet
nftables            | test,lab        | drops frames; lists tables
debhelper           | package         | builds a Debian package
dpkg-dev            | package         | likewise
lintian             | package         | looks at it
mmdebstrap          | package         | makes a root to install it into
man-db              | package         | reads the manual pages
systemd-container   | test,package    | boots a root
udev                | test            | what it does to a TAP
dbus                | test            | who stops a service asks systemd by it
'

fields() { # groups wanted: prints the packages
	local name groups
	while IFS='|' read -r name groups _; do
		name=${name// /} groups=${groups// /}
		for group in "$@"; do
			[[ -n $name && ,$groups, == *,$group,* ]] && echo "$name" && break
		done
	done <<<"$packages"
}

missing() { # packages
	local installed
	installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null)
	for name in "$@"; do
		grep -qx "$name installed" <<<"$installed" || echo "$name"
	done
}

# The daemons among them run in the tests only: no service is started.
install() { # packages
	export DEBIAN_FRONTEND=noninteractive
	local policy=/usr/sbin/policy-rc.d status
	if [ -e "$policy" ]; then
		policy=''
	else
		printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
	fi
	apt-get -o DPkg::Lock::Timeout=300 update -qq &&
		apt-get -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends "$@"
	status=$?
	[ -z "$policy" ] || rm "$policy"
	return $status
}

main() {
	local wanted lacking
	[ "$1" = --list ] && { echo "${packages:1}" && return 0; }
	mapfile -t wanted < <(fields "$@")
	if ! command -v dpkg-query >/dev/null; then
		echo "not a Debian system; needed are the equivalents of: ${wanted[*]}" >&2
		return 0
	fi
	mapfile -t lacking < <(missing "${wanted[@]}")
	[ ${#lacking[@]} -eq 0 ] && return 0
	if [ "$(id -u)" -ne 0 ]; then
		echo "missing packages; as root: apt-get install ${lacking[*]}" >&2
		return 1
	fi
	echo "installing ${lacking[*]}"
	install "${lacking[@]}" >/dev/null
}

[ $# -gt 0 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
main "$@"
