#!/bin/bash
# What keeps a node from using RDMA, and how it says so: the thing, the value, the remedy.
# timeout: 200
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"

config() { # listen, more keys of the fabric
	cat >"$LAB/share/bad.yaml" <<-END
		node: {name: n9, id: 9, cluster: errors, runtime_dir: /tmp/run9}
		fabrics:
		  - {name: roce, kind: rdma, listen: "$1", seeds: [], security: none$2}
		networks:
		  - {name: red, tap: red0, addresses: [10.8.0.1/24]}
	END
}

# The node doesn't start, and says this.
says() { # words, command that runs the node...
	local words=$1
	shift
	vm 1 timeout 20 "$@" "$(program shmnet-node)" --config /lab/bad.yaml >"$LAB/out" 2>&1 </dev/null
	[ $? -eq 1 ] || { cat "$LAB/out" && return 1; }
	cat "$LAB/out"
	grep -qF "ERROR fabric roce: $words" "$LAB/out"
}

as_user() {
	echo setpriv --reuid 1000 --clear-groups --inh-caps +net_admin --ambient-caps +net_admin
}

vm_begin "$@"
program shmnet-node >/dev/null || exit 1
vm_up 1 --mem 384
read -ra user < <(as_user)
gids="it has some for: fe80::5054:ff:fe00:1, 192.0.2.1, fd00::1"

config 10.1.2.3:7471 ''
check "an address of no host" says \
	"can't listen on 10.1.2.3:7471: Cannot assign requested address: no interface of this host has it"
config 127.0.0.1:7471 ''
check "an address that RDMA has no GID for" \
	says "rxe0 has no RoCEv2 GID for 127.0.0.1, which is an address of lo; $gids"
config 192.0.2.1:7471 ', device: mlx5_0'
check "a device that there isn't" says "no RDMA device mlx5_0; there are: rxe0"

config 192.0.2.1:7471 ''
vm_start other 1 rping -s -a 192.0.2.1 -p 7471
check "another program listens" wait_for 10 eval \
	"vm 1 rdma resource show cm_id </dev/null | grep 7471"
check "an address in use" says "192.0.2.1:7471: another program listens there by RDMA"
stop other

vm 1 sh -c 'mkdir -p -m 750 /tmp/run9; chown 1000 /tmp/run9; chmod 600 /dev/infiniband/*'
check "a device file that we may not open" says \
	"can't open rxe0: /dev/infiniband/uverbs0 has mode 0600 and owner 0:0, and this is user 1000" \
	"${user[@]}"
vm 1 chmod 666 /dev/infiniband/uverbs0
check "nor that of the connection manager" says \
	"can't use the connection manager: /dev/infiniband/rdma_cm has mode 0600" "${user[@]}"
vm 1 sh -c 'rm -r /tmp/run9; chmod 666 /dev/infiniband/*; mkdir /tmp/hidden'
vm 1 mv /dev/infiniband/uverbs0 /tmp/hidden
check "a device without a file" says "rxe0 is there, but has no file in /dev/infiniband"
vm 1 mv /tmp/hidden/uverbs0 /dev/infiniband

vm 1 ip link set eth0 down
check "a port that is down" says "port 1 of rxe0 is down: ip link set eth0 up"
vm 1 ip link set eth0 up
vm 1 rdma link delete rxe0
check "no device" says "this host has no RDMA device; one in software: modprobe rdma_rxe; rdma \
link add rxe0 type rxe netdev eth0"
lab_end
