#!/bin/bash
# Two machines whose wire loses packets of the RDMA stream: what arrives is right and
# complete all the same, and nobody is taken for dead.
# timeout: 300, alone
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/nodes.sh
. "$(dirname "$0")/nodes.sh"

MACHINE=([n1]=1 [n2]=2)
SEEDS=([n2]=1)
NETWORKS=("lan0 shm0 1500 10.77.0.%/24" "lan1 shm1 9000 10.78.0.%/24")
NODE_KEYS='liveness: {interval_ms: 500, misses: 6}'
LOST_PER_MILLE=10
FILE_MIB=8
NUMBERS=5000
RATE=500

file_is_copied() { # from, to
	: >"$LAB/hash.log"
	start hash "$2" bash -c "socat -u -b 262144 TCP-LISTEN:7000 - | sha256sum"
	wait_for 5 listens "$2" t 7000 || return
	in_ns "$1" socat -u -b 262144 OPEN:/lab/file "TCP:10.78.0.${2#n}:7000" </dev/null || return
	finish hash 20 || return
	echo "sent $(sha256sum <"$LAB/share/file"), received $(cat "$LAB/hash.log")"
	[ "$(cat "$LAB/hash.log")" = "$(sha256sum <"$LAB/share/file")" ]
}

nobody_died() {
	! { said_of n1 n2 "$before1" && said_of n2 n1 "$before2"; } | grep .
}

counters() { # machine
	vm "$1" rdma -j statistic show link rxe0/1 </dev/null | jq -c '.[0]
		| with_entries(select((.key | test("pkts|seq|retry")) and .value > 0))'
}

vm_begin "$@"
vm_up 2 --mem 384
cluster_make
check "two nodes see each other" mesh_up n1:1 n2:2 || lab_end
check "there is room in front of them" queues_deepen shm0 n1 n2
objects=$(rdma_objects 1)
before1=$(last_event n1) before2=$(last_event n2)

for machine in 1 2; do
	check "machine $machine loses $LOST_PER_MILLE of 1000 packets" \
		vm_drop $machine $LOST_PER_MILLE udp dport 4791
done
check "pings are answered" in_ns n1 ping -q -c 100 -i 0.02 10.77.0.2
# A packet that is lost again when it is sent again costs the device a quarter of a second
# each time, and a second is not rare among 200.
check "all of them, and shmnetctl's" ctl n1 ping n2 lan0 -c 200 -i 0.01 -T 10
check "$NUMBERS broadcasts of each" count_numbers $RATE broadcast n1 n2
check "arrive once" each_once
check "$NUMBERS unicasts of each" count_numbers $RATE each n1 n2
check "arrive once" each_once
head -c "${FILE_MIB}M" /dev/urandom >"$LAB/share/file"
check "a file of $FILE_MIB MiB arrives as it was" file_is_copied n1 n2
check "the other way, too" file_is_copied n2 n1
check "every frame was delivered or counted" conserved n1 n2
for machine in 1 2; do
	dropped=$(vm_dropped $machine)
	check "machine $machine did lose packets" test "$dropped" -gt 0
	figure "machine $machine lost $dropped packets: $(counters $machine)"
	vm_drop $machine 0
done
check "neither took the other for dead" nobody_died
check "as many queue pairs and regions as before" rdma_objects_are 1 "$objects"
check "n1 ends with 0" ends n1
check "n2 ends with 0" ends n2
lab_end
