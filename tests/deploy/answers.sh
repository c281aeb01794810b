#!/bin/bash
# What hosts answer to deploy/cluster.sh: they may be anybody's. In the place of ssh is a
# program that prints what this test has written down, so nothing is asked and nothing changed.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"

# --- the administrator's machine ---------------------------------------------------------

makes_ssh() {
	mkdir "$LAB/bin" "$LAB/answers" || return
	# The verb is the second word after the script, each of them quoted.
	cat >"$LAB/bin/ssh" <<-'END'
		#!/bin/bash
		verb=${*: -1} verb=${verb#*" 'host.sh' '"} verb=${verb%%"'"*}
		while [ $# -gt 1 ]; do host=$1 && shift; done
		file=$LAB/answers/$host.$verb
		[ ! -f "$file.err" ] || cat "$file.err" >&2
		[ ! -f "$file" ] || cat "$file" || exit 255
		[ ! -f "$file.status" ] || exit "$(cat "$file.status")"
	END
	chmod 755 "$LAB/bin/ssh"
}

# All control fields, and a file that is there in vain.
makes_package() {
	mkdir -p "$LAB/content/DEBIAN" && printf '%s\n' "Package: shmnet" "Version: 1.0" \
		"Architecture: all" "Maintainer: Nobody <nobody@example.net>" "Installed-Size: 100" \
		"Description: empty" >"$LAB/content/DEBIAN/control" &&
		dpkg-deb --root-owner-group -b "$LAB/content" "$LAB/shmnet.deb"
}

writes_inventory() {
	cat >"$LAB/inventory.yaml" <<-END
		cluster: lab
		package: shmnet.deb
		hosts:
		  - {name: n1, id: 1, ssh: 192.0.2.1}
		  - {name: n2, id: 2, ssh: 192.0.2.2}
		fabrics:
		  - {name: local, kind: shm, path: /srv/fabric}
		networks:
		  - {name: lan0, tap: shm0, address: 10.77.0.%/24}
	END
}

# --- hosts ---------------------------------------------------------------------------------

# A host on which all is well, and where nothing has been installed yet.
host_answers() { # address, [key, value]...
	declare -A says=([root]=0 [os]=debian [os_version]=12 [os_name]="Debian" [kernel]=6.1.0
		[systemd]=yes [arch]=all [tun]=yes [rdma]='' [addresses]="$1" [time]=$(date +%s)
		["free /etc/shmnet"]=9999999 ["free /usr"]=9999999 ["free /var/cache"]=9999999
		[version]='' [active]=inactive [enabled]=disabled [run]='')
	local file=$LAB/answers/$1.probe key
	shift
	while [ $# -gt 1 ]; do
		says[$1]=$2
		shift 2
	done
	for key in "${!says[@]}"; do
		printf '%s\t%s\n' "$key" "${says[$key]}"
	done >"$file"
}

all_answer_well() {
	local address
	rm -f "$LAB/answers"/*
	for address in 192.0.2.{1,2,3}; do
		host_answers "$address"
		health_answers "$address" '{"nodes": [{"name": "n1", "state": "up"},
			{"name": "n2", "state": "up"}, {"name": "n1.new", "state": "up"}]}'
	done
}

health_answers() { # address, JSON of `shmnetctl nodes`
	printf 'active\tactive\nstatus\t0\nnodes\t%s\n' "${2//$'\n'/}" >"$LAB/answers/$1.health"
}

fails_at() { # address, verb, words
	echo "$3" >"$LAB/answers/$1.$2.err" && echo 1 >"$LAB/answers/$1.$2.status"
}

# Rolled out before, so these run.
begun_by() { # address of host, run of cluster.sh
	host_answers "$1" run "$2" empty_before yes
}

the_run() {
	cat "$LAB/inventory.state/run/id"
}

known() {
	ls "$LAB/inventory.state/hosts"
}

says_no() { # text
	! grep -F -- "$1" "$LAB/said"
}

# Each of the texts is in what it says.
says() { # status, text..., -- verb...
	local want=$1 texts=() status text
	shift
	while [ "$1" != -- ]; do
		texts+=("$1")
		shift
	done
	shift
	PATH=$LAB/bin:$PATH "$lab_top/deploy/cluster.sh" "$LAB/inventory.yaml" "$@" \
		>"$LAB/said" 2>&1 </dev/null
	status=$?
	cat -v "$LAB/said"
	[ "$status" -eq "$want" ] || return
	for text in "${texts[@]}"; do
		grep -qF -- "$text" "$LAB/said" || { echo "wanted: $text" && return 1; }
	done
}

# --- the test ------------------------------------------------------------------------------

for tool in dpkg-deb openssl flock; do
	command -v $tool >/dev/null || skip "$tool is missing; tests/install.sh test package"
done
python3 -c 'import yaml' 2>/dev/null || skip "python3-yaml is missing; tests/install.sh test"
lab_begin "$@"
export LAB
check "an ssh that asks nobody" makes_ssh
check "a package" makes_package
writes_inventory

all_answer_well
check "all is well" says 0 "n1:" "package: none -> 1.0" "n2:" -- plan

# A number is one before it is reckoned with.
for key in time "free /usr"; do
	all_answer_well
	host_answers 192.0.2.2 "$key" "faulty[\$(touch $LAB/ran)]"
	check "a command in place of $key is refused" says 1 "n2: its " "nothing was changed" -- plan
	check "and not run" not test -e "$LAB/ran"
done
host_answers 192.0.2.2 time "0$(date +%s)"
check "a number may begin with 0" says 0 "n2:" -- plan
host_answers 192.0.2.2 time ""
check "a clock that says nothing" says 1 "n2: its clock says ''" -- plan
host_answers 192.0.2.2 time 1
check "a clock that is off" says 1 "s off this one's" -- plan

# What they say is text by the time that it is shown, and not without an end.
all_answer_well
host_answers 192.0.2.1 os none os_name $'No\e[2JSystem\xc2\x9b1m'
fails_at 192.0.2.2 probe $'not\e]0;title\a here\r'
check "what hosts say is told" says 1 "n1: runs No?[2JSystem?1m; Debian" "not?]0;title? here" -- plan
check "without control characters" [ "$(tr -d '\n\t -~' <"$LAB/said" | wc -c)" -eq 0 ]
all_answer_well
head -c 6M /dev/zero >>"$LAB/answers/192.0.2.2.probe"
check "an answer without an end is none" says 1 "n2: can't be reached" -- plan

# Nobody is seen by what is no answer.
for nodes in '{"nodes": [1]}' '{"nodes": [{"name": []}]}' '[]' '' \
	"{\"nodes\": [{\"name\": \"n2\", \"state\": \"$(head -c 200K /dev/zero | tr '\0' x)\"}]}"; do
	all_answer_well
	health_answers 192.0.2.1 "$nodes"
	check "nobody is seen by ${nodes:0:30}" says 4 "ok        0/1 " "ok        1/1 " -- status
	check "and nothing is said of that" says_no "Traceback"
done

# What hosts keep to go back to is being thrown away: there is no way back then.
all_answer_well
fails_at 192.0.2.2 end "no way there"
check "apply can't tell all hosts that it is done" says 1 "n2: failed: can't be told" \
	"Done: n1 n2." "go on:  mend n2" -- apply
check "and offers no way back" says_no "undo"
check "status neither" says 4 "apply' ends it" -- status
check "nor is there one" says 1 "can't be taken back any more" "apply' ends it" -- undo
rm "$LAB/answers"/*.end.*
check "apply ends it" says 0 "going on with the apply" "all hosts are as" -- apply
check "nothing is half done then" says 1 "there is nothing to take back" -- undo

# What is refused before that.
all_answer_well
cp "$LAB/inventory.yaml" "$LAB/good.yaml"
check "no package" says 1 "none.deb: there is no such package" -- --package "$LAB/none.deb" upgrade
check "is told of just once" [ "$(grep -c none.deb "$LAB/said")" -eq 1 ]
check "and in no words of bash" says_no "line "
sed -i 's|{name: lan0,|&hosts: null, |' "$LAB/inventory.yaml"
check "no word on who is in a network is all" says 0 "n1:" -- plan
cp "$LAB/good.yaml" "$LAB/inventory.yaml"
sed -i 's|ssh: 192.0.2.1|&, listen: "192.0.2.1\\n:7471"|; s|kind: shm, path: /srv/fabric|kind: rdma, security: none|' \
	"$LAB/inventory.yaml"
check "an address with a line break" says 2 "inventory.yaml:4: hosts[0].listen: " "is no address" -- plan
sed -i 's|listen: "192.0.2.1.n:7471"|rdma: {device: "rxe0\\trxe1"}|' "$LAB/inventory.yaml"
check "a device with a tab" says 2 "inventory.yaml:4: hosts[0].rdma.device: " "is no RDMA device" -- plan
cp "$LAB/good.yaml" "$LAB/inventory.yaml"
mkdir "$LAB/ca"
"$(program shmnetctl)" keygen ca --cluster lab --dir "$LAB/ca" >/dev/null
"$(program shmnetctl)" keygen node n1 --dir "$LAB/ca" >/dev/null
sed -i '1s/$/\nca: ca/' "$LAB/inventory.yaml"
check "plan says what is to be made" says 0 "n2.key is to be made" -- plan
mv "$LAB/ca/n1.key" "$LAB/n1.key"
check "a certificate without its key" says 1 "ca/n1.key: is missing, and n1.crt is there; put it back" -- plan
mv "$LAB/n1.key" "$LAB/ca/n1.key" && mv "$LAB/ca/n1.crt" "$LAB/n1.crt"
check "a key without its certificate" says 1 "ca/n1.crt: is missing, and n1.key is there; put it back" -- plan
cp "$LAB/good.yaml" "$LAB/inventory.yaml"

# A host by another name.
sed -i 's/name: n2/name: m2/' "$LAB/inventory.yaml"
check "a host by another name is refused" says 1 "m2: has the ssh address of n2" \
	"apply without m2 first" "nothing was changed" -- plan
sed -i 's/name: m2/name: n2/' "$LAB/inventory.yaml"

# A host that a run brings in is not known after its undo; its name may be any.
sed -i 's/^hosts:/&\n  - {name: n1.new, id: 3, ssh: 192.0.2.3}/' "$LAB/inventory.yaml"
fails_at 192.0.2.1 put "it is refused"
check "apply stops after a host that is new" says 1 "n1: failed: its config is refused: it is refused" \
	"Done: n1.new." -- apply
check "which is known" [ "$(known)" = "$(printf 'n1\nn1.new\nn2')" ]
begun_by 192.0.2.3 "$(the_run)"
check "undo goes back" says 0 "n1.new: as it was before" "n1: as it was before" -- undo
check "the host is not known" [ "$(known)" = "$(printf 'n1\nn2')" ]
sed -i '/n1.new/d' "$LAB/inventory.yaml"
check "so nothing is done to it" says 0 "n2:" -- plan
check "nor told of it" says_no "no longer in the inventory"
lab_end
