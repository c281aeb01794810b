#!/bin/bash
# shmnetctl against cli-daemon, which has the real control socket and made-up
# reports: output, messages and exit status of every verb, as text and as JSON.
#
#   run.sh SHMNETCTL CLI-DAEMON            compare with the files beside this one
#   run.sh SHMNETCTL CLI-DAEMON --update   write those files
#
# A case's file is "$ command", its standard output, its standard error with "! "
# before each line, and "= exit status"; directory and version are masked.
set -u

ctl=$(realpath "$1")
daemon=$(realpath "$2")
update=${3:-}
here=$(dirname "$(realpath "$0")")
dir=$(mktemp -d "${TMPDIR:-/tmp}/shmnet-cli.XXXXXX") || exit 1
pids=()
failed=0
cases=0

cleanup() {
	[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null
	wait
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

unset SHMNET_SOCKET NO_COLOR
export LC_ALL=C.UTF-8 TERM=xterm TZ=UTC
export SHMNET_RUNTIME_DIR=$dir/run
version=$("$ctl" --version | cut -d' ' -f2)

start() { # mode [path]: waits until it listens
	local path=${2:-$SHMNET_RUNTIME_DIR/$1.sock} line
	mkdir -p "$(dirname "$path")"
	rm -f "$dir/fifo"
	mkfifo "$dir/fifo"
	"$daemon" "$path" "$1" >"$dir/fifo" &
	pids+=($!)
	read -r line <"$dir/fifo"
	[ "$line" = listening ] || { echo "cli-daemon $1 does not start" && exit 1; }
}

mask() {
	sed -e "s|$dir|DIR|g" -e 's/\(until[": ]*\)[0-9]\{4\}-[0-9][0-9]-[0-9][0-9]/\1DATE/' \
		-e "s/\\b${version//./\\.}\\([^-.0-9]\\|\$\\)/VERSION\\1/g"
}

fail() {
	echo "FAILED $*"
	failed=$((failed + 1))
}

# name, command...: standard output of a case stays in $dir/out for more checks.
golden() {
	local name=$1 rc
	shift
	cases=$((cases + 1))
	"$@" >"$dir/out" 2>"$dir/err"
	rc=$?
	{
		echo "\$ $*" | sed "s|$ctl|shmnetctl|"
		cat "$dir/out"
		sed 's/^/! /' "$dir/err"
		echo "= $rc"
	} | mask >"$dir/actual"
	if [ "$update" = --update ]; then
		cp "$dir/actual" "$here/$name.txt"
	elif ! diff -u "$here/$name.txt" "$dir/actual"; then
		fail "$name"
	fi
}

# name, jq expression, command...: one JSON document, nothing on standard error.
golden_json() {
	local name=$1 expression=$2
	shift 2
	golden "$name" "$@"
	[ "$(jq -s length "$dir/out")" = 1 ] || fail "$name: not one JSON document"
	[ -s "$dir/err" ] && fail "$name: text on standard error in JSON mode"
	jq -e ".schema == 1 and ($expression)" "$dir/out" >/dev/null ||
		fail "$name: not true: $expression"
}

expect() { # name, exit status, command...
	local name=$1 want=$2 rc
	shift 2
	cases=$((cases + 1))
	"$@" >"$dir/out" 2>"$dir/err"
	rc=$?
	[ $rc -eq "$want" ] || fail "$name: exit status $rc, not $want: $*"
}

# ---- no daemon ----
golden none-status "$ctl" status
golden none-node "$ctl" -n n1 topology
golden_json none-json '.error.code == "no-daemon"' "$ctl" -n n1 status --json
golden none-version "$ctl" version
golden none-version-node "$ctl" -n n1 version
golden_json none-version-json '.node == null' "$ctl" version -j
golden none-wait "$ctl" -n n1 -T 0.3 status --wait ready
mkdir -p "$SHMNET_RUNTIME_DIR"
golden none-empty-dir "$ctl" stats
golden name-too-long "$ctl" -s "$(printf '%0200d' 0)" status

# ---- usage ----
golden usage-none "$ctl"
golden usage-help "$ctl" help
golden usage-help-option "$ctl" --help
golden usage-help-command "$ctl" help status
golden usage-help-after "$ctl" topology --help
golden usage-command "$ctl" stauts
golden usage-command-far "$ctl" reboot
golden_json usage-command-json '.error.code == "usage"' "$ctl" --json stat
golden usage-option "$ctl" --jsn status
golden usage-option-of-other "$ctl" status --drops
golden usage-letter "$ctl" -x status
golden usage-no-value "$ctl" status -n
golden usage-needless-value "$ctl" status --json=yes
golden usage-seconds "$ctl" -T 5x status
golden usage-seconds-zero "$ctl" -T 0 status
golden usage-format "$ctl" topology --format svg
golden usage-wait "$ctl" status --wait forever
golden usage-argument "$ctl" status n1
golden usage-both "$ctl" -n n1 -s /x status
golden usage-node-path "$ctl" -n /x.sock status
golden usage-help-unknown "$ctl" help sta
golden usage-help-ping "$ctl" help ping
golden usage-ping "$ctl" ping
golden usage-ping-count "$ctl" ping n2 -c 0
golden usage-ping-third "$ctl" ping n2 lan0 lan1
golden usage-ping-timeout "$ctl" ping n2 -T 61
golden usage-help-explain "$ctl" help explain
golden usage-help-drain "$ctl" drain --help
golden usage-help-pause "$ctl" help pause
golden usage-help-resume "$ctl" resume --help
golden usage-pause-second "$ctl" pause lan0 svc0
golden usage-pause-utf8 "$ctl" pause $'\xff'
golden usage-explain "$ctl" explain tcp 198.51.100.7:40112
golden usage-explain-fourth "$ctl" explain tcp 1.2.3.4:5 10.99.0.1:80 svc0
golden usage-flows-count "$ctl" flows -c 0
golden usage-flows-argument "$ctl" flows svc0
golden usage-listeners-count "$ctl" listeners -c 5
golden usage-utf8 "$ctl" listeners --network $'\xff'
golden usage-explain-utf8 "$ctl" explain tcp $'\xff' x

# ---- one daemon: found without being named ----
start ready
golden ready-status "$ctl" status
golden_json ready-status-json '.state == "ready" and (.reasons | type) == "array"' \
	"$ctl" status --json
golden ready-topology "$ctl" topology
golden_json ready-topology-json '
	([.networks[] | keys] | unique) ==
		[["addresses", "kind", "members", "mtu", "name", "state", "tap"]] and
	([.nodes[] | keys] | unique) ==
		[["fabric", "fabric_reason", "id", "incarnation", "name", "paused", "state"],
		 ["fabric", "id", "incarnation", "name", "paused", "state"]] and
	([.links[] | keys] | unique) == [["fabric", "from", "network", "state", "to"]] and
	keys == ["borders", "links", "networks", "node", "nodes", "schema"] and
	([.networks[].addresses | type] | unique) == ["array"]' \
	"$ctl" --json topology
golden ready-stats "$ctl" stats
golden_json ready-stats-json '[.links[].sent_drops | type] == ["array", "array"]' \
	"$ctl" -j stats
golden ready-networks "$ctl" networks
golden ready-networks-one "$ctl" networks svc0
golden ready-networks-unknown "$ctl" networks lan1
golden_json ready-networks-json '[.networks[].name] == ["lan0", "svc0"]' "$ctl" networks -j
golden_json ready-networks-unknown-json '.error.code == "unknown-name"' \
	"$ctl" networks lan1 -j
golden ready-nodes "$ctl" nodes
golden ready-nodes-one "$ctl" nodes n3
golden ready-nodes-unknown "$ctl" nodes n4
golden_json ready-nodes-json '[.nodes[].fabric] == ["self", "shm", "rdma/rxe0"]' \
	"$ctl" nodes -j
golden_json ready-nodes-one-json '[.nodes[].name] == ["n1"]' "$ctl" nodes n1 -j
golden ready-rings "$ctl" rings
golden_json ready-rings-json '
	[.rings[] | .from + ">" + .to] == ["n1>n2", "n2>n1", "n1>n3", "n3>n1"]' \
	"$ctl" rings -j
golden ready-dot "$ctl" topology --format dot
golden ready-events "$ctl" events
golden_json ready-events-json '[.events[].sequence] == [1, 2, 3]' "$ctl" events -j
golden ready-drops "$ctl" stats --drops
golden_json ready-drops-json '.drops == []' "$ctl" stats --drops --json
golden ready-version "$ctl" version
golden ready-ping "$ctl" ping n2 lan0 -c 4 -i 0.01
golden ready-ping-networks "$ctl" ping n2 -i 0.01 -T 0.5
golden ready-ping-self "$ctl" ping n1
golden_json ready-ping-json '
	([.answers[].sequence] == [1, 1, 2, 2]) and
	([.answers[] | select(.time_ns == null).reason] | unique) == ["timeout"] and
	[.networks[].lost] == [0, 1]' \
	"$ctl" ping n2 -c 2 -i 0.01 --json
golden ready-ping-leaves "$ctl" ping n3 lan0 -c 3 -i 0.01
golden ready-flows "$ctl" flows
golden ready-flows-count "$ctl" flows -c 2 --network svc0
golden ready-flows-unknown "$ctl" flows --network svc1
golden_json ready-flows-json '
	([.flows[] | keys] | unique) == [["age_ms", "foreign", "local", "network",
		"owner", "protocol", "via"]] and
	.tables == [{"network": "svc0", "flows": 4, "room": 65536}]' "$ctl" flows -j
golden ready-listeners "$ctl" listeners
golden_json ready-listeners-json '
	[.listeners[].nodes | length] == [3, 1, 2] and
	([.listeners[].foreign | type] | unique) == ["null", "string"]' "$ctl" listeners -j
golden ready-explain "$ctl" explain tcp 198.51.100.7:40112 10.99.0.1:80
golden ready-explain-established "$ctl" explain tcp 1.2.3.4:5 10.99.0.1:80 --established
golden ready-explain-bad "$ctl" explain tcp 10.0.0.1 10.99.0.1:80
golden_json ready-explain-bad-json '.error.code == "bad-flow"' \
	"$ctl" explain tcp 10.0.0.1 10.99.0.1:80 --json
golden_json ready-explain-json '
	.verdict == "forward" and (.steps | length) == 2 and has("reason") == false' \
	"$ctl" explain --json tcp 198.51.100.7:40112 10.99.0.1:80
golden ready-drain "$ctl" drain n2
golden ready-undrain "$ctl" undrain --network svc0
golden ready-drain-unknown "$ctl" drain n4
golden_json ready-drain-json '.networks[0].drained == true and .networks[0].member == "n1"' \
	"$ctl" drain -j
golden ready-reload "$ctl" reload
golden_json ready-reload-json '.changes[0].state == "needs-restart" and .errors == []' \
	"$ctl" reload --json
golden ready-pause "$ctl" pause
golden ready-pause-unknown "$ctl" pause svc1
golden_json ready-pause-json '
	.networks == [{"network": "svc0", "paused": true, "changed": true, "paused_ms": 0}]' \
	"$ctl" pause svc0 -j
golden ready-resume "$ctl" resume
golden_json ready-version-json '.node.name == "n1"' "$ctl" version --json
golden ready-wait "$ctl" status --wait ready
golden ready-option "$ctl" --version
expect format-json 0 "$ctl" topology --format json
cp "$dir/out" "$dir/format"
expect json-option 0 "$ctl" topology --json
cmp "$dir/format" "$dir/out" || fail "topology --format json is not --json"
expect format-tree 0 "$ctl" topology --format=tree
expect socket-option 0 "$ctl" -s "$SHMNET_RUNTIME_DIR/ready.sock" status
expect socket-variable 0 env SHMNET_SOCKET="$SHMNET_RUNTIME_DIR/ready.sock" \
	SHMNET_RUNTIME_DIR=/nonexistent "$ctl" status
golden ascii-topology env LC_ALL=C "$ctl" topology
# shellcheck disable=SC2016
golden output-full bash -c '"$1" topology >/dev/full' bash "$ctl"

# ---- several ----
start degraded
start empty
start paused
golden several "$ctl" status
golden several-version "$ctl" version
golden_json several-json '.error.code == "usage"' "$ctl" status -j
golden degraded-status "$ctl" -n degraded status
golden degraded-flows "$ctl" -n degraded flows
golden degraded-listeners "$ctl" -n degraded listeners
golden degraded-explain "$ctl" -n degraded explain tcp 198.51.100.7:40112 10.99.0.1:80
golden_json degraded-explain-json '.verdict == "drop" and .reason == "no-listener"' \
	"$ctl" -n degraded explain tcp 198.51.100.7:40112 10.99.0.1:80 -j
for verb in flows listeners drain; do
	golden empty-$verb "$ctl" -n empty $verb
done
golden empty-reload "$ctl" -n empty reload
golden degraded-reload "$ctl" -n degraded reload
golden_json degraded-reload-json '(.errors | length) == 2 and .changes == []' \
	"$ctl" -n degraded reload -j
golden_json empty-explain-json '.error.code == "no-global-network"' \
	"$ctl" -n empty explain tcp 198.51.100.7:40112 10.99.0.1:80 -j
golden_json degraded-status-json '.state == "degraded"' "$ctl" -n degraded status --json
golden degraded-wait "$ctl" -n degraded -T 0.3 status --wait ready
golden degraded-topology "$ctl" -n degraded topology
golden_json degraded-topology-json '[.nodes[].state] == ["suspect", "down", "up"]' \
	"$ctl" -n degraded topology --json
golden paused-status "$ctl" -n paused status
golden_json paused-status-json '
	.state == "paused" and [.networks[] | .paused] == [true, false] and
	[.networks[].paused_ms] == [12345, null]' "$ctl" -n paused status --json
golden paused-wait "$ctl" -n paused -T 0.3 status --wait ready
golden paused-networks "$ctl" -n paused networks
golden paused-nodes "$ctl" -n paused nodes
golden_json paused-nodes-json '
	[.nodes[].paused] == [["lan0"], ["lan0", "svc0"], []]' "$ctl" -n paused nodes -j
golden paused-topology "$ctl" -n paused topology
golden_json paused-topology-json '
	[.networks[].state] == ["paused", "up"] and
	([.links[].state] | unique) == ["paused"]' "$ctl" -n paused topology --json
golden paused-dot "$ctl" -n paused topology --format dot
golden paused-pause "$ctl" -n paused pause
golden paused-resume "$ctl" -n paused resume
golden degraded-stats "$ctl" -n degraded stats
golden_json degraded-stats-json '.links[0].sent_drops[0].reason == "ring-full"' \
	"$ctl" -n degraded stats --json
golden degraded-drops "$ctl" -n degraded stats --drops
golden_json degraded-drops-json '[.drops[].frames] | add == 126472' \
	"$ctl" -n degraded stats --drops --json
golden degraded-nodes "$ctl" -n degraded nodes
golden degraded-rings "$ctl" -n degraded rings
golden degraded-ping "$ctl" -n degraded ping n3
golden_json degraded-ping-json '.error.code == "node-down"' \
	"$ctl" -n degraded ping n3 --json
golden degraded-dot "$ctl" -n degraded topology --format dot
golden degraded-events "$ctl" -n degraded events
golden empty-events "$ctl" -n empty events
golden_json empty-events-json '.events == []' "$ctl" -n empty events -j
golden empty-networks "$ctl" -n empty networks
golden empty-networks-unknown "$ctl" -n empty networks lan0
golden empty-rings "$ctl" -n empty rings
golden empty-dot "$ctl" -n empty topology --format dot
golden empty-status "$ctl" -n empty status
golden empty-topology "$ctl" -n empty topology
golden_json empty-topology-json '.networks == [] and .links == []' \
	"$ctl" -n empty topology --json
golden empty-stats "$ctl" -n empty stats

# ---- keygen: no daemon ----
keys=$dir/keys
umask 0
golden keygen-ca "$ctl" keygen ca --cluster lab --dir "$keys"
golden keygen-node "$ctl" keygen node n1 --dir "$keys"
golden_json keygen-node-json '.node == "n2" and .cluster == "lab"' \
	"$ctl" keygen node n2 --dir "$keys" --days 30 --json
golden_json keygen-ca-json '.node == null and .cluster == "default"' \
	"$ctl" keygen ca -d "$dir/keys2" -j
umask 022
[ "$(stat -c %a "$keys" "$keys"/*.key | sort | uniq -c | tr -s ' \n' ' ')" = ' 3 600 1 700 ' ] ||
	fail "keygen: others can read a key: $(stat -c '%a %n' "$keys" "$keys"/*)"
cp -a "$keys" "$dir/before"
golden keygen-ca-again "$ctl" keygen ca --dir "$keys"
golden keygen-node-again "$ctl" keygen node n1 --dir "$keys"
rm "$dir/before/n2.key" "$keys/n2.key"
golden_json keygen-certificate-again '.error.code == "keygen"' \
	"$ctl" keygen node n2 --dir "$keys" --json
diff -r "$dir/before" "$keys" || fail "keygen: a failure changed files"
golden keygen-no-ca "$ctl" keygen node n1 --dir "$dir/none"
golden keygen-no-parent "$ctl" keygen ca --dir "$dir/none/none"
expect keygen-longer-than-ca 1 "$ctl" keygen node n3 --dir "$keys" --days 3651
grep -q 'the CA in .* expires before that: --days can be 36[45][90] at most' "$dir/err" ||
	fail "keygen-longer-than-ca: $(cat "$dir/err")"
cp "$keys/n1.crt" "$dir/keys2/ca.crt"
golden keygen-ca-is-a-node "$ctl" keygen node n1 --dir "$dir/keys2"
cp "$keys/ca.crt" "$dir/keys2/ca.crt"
golden keygen-ca-other-key "$ctl" keygen node n1 --dir "$dir/keys2"
echo nothing >"$dir/keys2/ca.key"
golden keygen-ca-no-key "$ctl" keygen node n1 --dir "$dir/keys2"
golden keygen-nothing "$ctl" keygen
golden keygen-other "$ctl" keygen user
golden keygen-no-name "$ctl" keygen node --dir "$keys"
golden keygen-no-dir "$ctl" keygen ca
golden keygen-needless-name "$ctl" keygen ca lab --dir "$keys"
golden keygen-needless-cluster "$ctl" keygen node n1 --cluster lab --dir "$keys"
golden keygen-bad-name "$ctl" keygen node n/1 --dir "$keys"
golden keygen-long-name "$ctl" keygen node "$(printf '%032d' 0)" --dir "$keys"
golden keygen-bad-cluster "$ctl" keygen ca --cluster '' --dir "$keys"
golden keygen-node-ca "$ctl" keygen node ca --dir "$keys"
golden keygen-days "$ctl" keygen ca --days 36501 --dir "$keys"
golden keygen-help "$ctl" keygen --help
expect keygen-longest-name 0 "$ctl" keygen node "$(printf '%031d' 0)" --dir "$keys"
if [ -x "$(command -v openssl)" ]; then
	for purpose in sslserver sslclient; do
		expect "keygen $purpose" 0 openssl verify -x509_strict -purpose $purpose \
			-CAfile "$keys/ca.crt" "$keys/n1.crt"
	done
	openssl x509 -in "$keys/n1.crt" -noout -ext subjectAltName |
		grep -q 'URI:shmnet://lab/n1' || fail "keygen: the certificate names no node"
else
	echo "skipped: certificates as openssl sees them (no openssl)"
fi

# ---- completion: the line up to the cursor, a word per line of what fits ----
completes() { # name, line, words
	expect "complete $1" 0 env COMP_LINE="$2" COMP_POINT="${4:-${#2}}" \
		"$ctl" --complete shmnetctl '' ''
	[ "$(tr '\n' ' ' <"$dir/out")" = "${3:+$3 }" ] ||
		fail "complete $1: '$2' gives '$(tr '\n' ' ' <"$dir/out")', not '$3'"
	[ -s "$dir/err" ] && fail "complete $1: text on standard error: $(cat "$dir/err")"
}
golden complete-by-hand "$ctl" --complete
completes commands 'shmnetctl ' \
	'status topology networks nodes rings stats events ping flows listeners explain drain undrain pause resume reload neighbors keygen check version help'
completes prefix 'shmnetctl st' 'status stats'
completes nothing 'shmnetctl x' ''
completes program 'shmnetctl' ''
completes empty '' ''
completes cursor 'shmnetctl st --json' 'status stats' 12
completes far 'shmnetctl st' 'status stats' 99999999999
completes options 'shmnetctl stats --' \
	'--node --socket --json --timeout --help --version --drops'
completes option 'shmnetctl topology --f' '--format'
completes other-option 'shmnetctl topology --dr' ''
completes words 'shmnetctl topology --format ' 'tree dot json'
completes equals 'shmnetctl topology --format=d' 'dot'
completes equals-of-none 'shmnetctl topology --=' ''
completes dash-equals 'shmnetctl -=' ''
completes nodes-here 'shmnetctl -n ' 'degraded empty paused ready'
completes nodes-here-equals 'shmnetctl --node=r' 'ready'
completes nodes-letters 'shmnetctl -jn d' 'degraded'
completes command-behind 'shmnetctl -n ready -j netw' 'networks'
completes networks 'shmnetctl -n ready networks ' 'lan0 svc0'
completes networks-glued 'shmnetctl -nready networks s' 'svc0'
completes networks-after "shmnetctl networks --socket=$SHMNET_RUNTIME_DIR/ready.sock l" 'lan0'
completes nodes 'shmnetctl -n ready nodes ' 'n1 n2 n3'
completes one-argument 'shmnetctl -n ready nodes n1 ' ''
completes no-argument 'shmnetctl stats n' ''
completes ping-node 'shmnetctl -n ready ping n' 'n1 n2 n3'
completes ping-network 'shmnetctl -n ready ping n2 ' 'lan0 svc0'
completes ping-no-third 'shmnetctl -n ready ping n2 lan0 ' ''
completes keygen 'shmnetctl keygen ' 'ca node'
completes explain 'shmnetctl explain ' 'tcp udp sctp icmp'
completes explain-no-second 'shmnetctl explain tcp ' ''
completes drain 'shmnetctl -n ready drain n' 'n1 n2 n3'
completes drain-network 'shmnetctl -n ready drain --network ' 'lan0 svc0'
completes pause 'shmnetctl -n ready pause ' 'lan0 svc0'
completes resume 'shmnetctl -n ready resume l' 'lan0'
completes flows-network 'shmnetctl -n ready flows --network=s' 'svc0'
completes keygen-options 'shmnetctl keygen node n1 --d' '--dir --days'
completes help 'shmnetctl help n' 'networks nodes neighbors'
completes unknown-command 'shmnetctl nodse n' ''
completes several-daemons 'shmnetctl nodes ' ''
completes no-daemon 'shmnetctl -n none nodes ' ''

# ---- colour on a terminal only, and not by itself ----
expect colour 4 script -qec "'$ctl' -n degraded status" /dev/null
grep -q $'\033\\[1;31mDOWN' "$dir/out" || fail "colour: DOWN is not red on a terminal"
expect no-colour 4 env NO_COLOR=1 script -qec "'$ctl' -n degraded status" /dev/null
grep -q $'\033' "$dir/out" && fail "NO_COLOR: an escape sequence"
expect dumb 4 env TERM=dumb script -qec "'$ctl' -n degraded status" /dev/null
grep -q $'\033' "$dir/out" && fail "TERM=dumb: an escape sequence"

# ---- check: what the node says; of the machine it says what tests/netns/check.sh sees ----
cat >"$dir/n1.yaml" <<END
node: {name: n1, id: 1, runtime_dir: $SHMNET_RUNTIME_DIR}
fabrics: [{name: local, kind: shm}]
networks: [{name: lan0, tap: shm0, mtu: 9000}, {name: svc0, tap: shmg0, mtu: 65521}]
END
echo 'nodes: 1' >"$dir/bad.yaml"
of_node() { # shmnetctl's arguments
	local rc
	"$ctl" "$@" >"$dir/all"
	rc=$?
	grep -A1 -E '^....  (node|status|links|versions) ' "$dir/all" |
		grep -E '^....  (node|status|links|versions) | mend: '
	return $rc
}
golden ready-check of_node -n ready check "$dir/n1.yaml"
golden degraded-check of_node -n degraded check "$dir/n1.yaml"
golden none-check of_node check "$dir/n1.yaml"
golden bad-check "$ctl" check --pre "$dir/bad.yaml"
golden no-config-check "$ctl" check --pre -n nobody
golden usage-check-argument "$ctl" check --pre a b
golden usage-help-check "$ctl" help check
golden_json bad-check-json '.result == "fail" and .node == null and .pre' \
	"$ctl" check --json --pre "$dir/bad.yaml"
golden_json degraded-check-json '.result == "fail" or .result == "warn"' \
	bash -c "'$ctl' -n degraded check '$dir/n1.yaml' -j | jq '.checks |= map(select(
		.name == (\"status\", \"links\", \"versions\")))'"

# ---- nodes in odd states ----
start starting
golden starting-wait "$ctl" -n starting status --wait ready -T 30
start hostile
golden hostile-status "$ctl" -n hostile status
golden hostile-check of_node -n hostile check "$dir/n1.yaml"
golden hostile-topology "$ctl" -n hostile topology
golden hostile-dot "$ctl" -n hostile topology --format dot
completes hostile 'shmnetctl -n hostile nodes ' 'n1 n2'
golden hostile-events "$ctl" -n hostile events
golden hostile-flows "$ctl" -n hostile flows
golden hostile-reload "$ctl" -n hostile reload
golden hostile-ping "$ctl" -n hostile ping n2 -c 1
golden hostile-nodes-unknown "$ctl" -n hostile nodes n4
golden_json hostile-status-json '.nodes[1].name == "n\u001b[31m\"3\\\nx"' \
	"$ctl" -n hostile status --json
start failing
golden failing-status "$ctl" -n failing status
golden failing-flows "$ctl" -n failing flows
golden failing-rings "$ctl" -n failing rings
golden_json failing-json '.error.code == "internal"' "$ctl" -n failing topology --json
start mute
golden mute-status "$ctl" -n mute -T 0.2 status
golden_json mute-json '.error.code == "timeout"' "$ctl" -n mute -T 0.2 status --json

# ---- something else listens there ----
impostor() { # name, reply in printf's notation
	local path=$SHMNET_RUNTIME_DIR/$1.sock
	# shellcheck disable=SC2059 # it is a format
	printf "$2" >"$dir/reply"
	# the request is 8 bytes
	socat "UNIX-LISTEN:$path" SYSTEM:"head -c 8 >/dev/null; cat $dir/reply" &
	pids+=($!)
	# bound is not yet listening, which is flag 0x10000
	until grep -q "00010000 .* $path\$" /proc/net/unix; do sleep 0.02; done
	golden "impostor-$1" "$ctl" -n "$1" -T 30 status
	wait "${pids[-1]}"
	unset 'pids[-1]'
}

if [ -x "$(command -v socat)" ]; then
	impostor garbage '\002\000\000\000\377\377'
	impostor oversize 'HTTP/1.1 400 Bad Request'
	impostor silent ''
	impostor cut '\020\000\000\000\010'
	# an empty topology, where a status was asked for
	impostor other-verb '\006\000\000\000\010\001\032\002\012\000'
	# schema 2 with a body that this version does not have
	impostor schema '\006\000\000\000\010\002\062\002\012\000'
else
	echo "skipped: impostors (no socat)"
fi

# ---- a daemon that was killed leaves its socket; the next one takes it ----
start ready "$dir/two/dead.sock"
disown "${pids[-1]}"
kill -9 "${pids[-1]}"
while kill -0 "${pids[-1]}" 2>/dev/null; do sleep 0.02; done
unset 'pids[-1]'
golden dead-status env SHMNET_RUNTIME_DIR="$dir/two" "$ctl" status
start ready "$dir/two/live.sock"
golden dead-beside-live env SHMNET_RUNTIME_DIR="$dir/two" "$ctl" status
start ready "$dir/two/dead.sock"
golden dead-again env SHMNET_RUNTIME_DIR="$dir/two" "$ctl" -n dead version
cases=$((cases + 1))
"$daemon" "$dir/two/dead.sock" ready 2>"$dir/err" && fail "a live socket was taken"
grep -q "Address already in use (pid ${pids[-1]})" "$dir/err" ||
	fail "the holder of the socket is not named: $(cat "$dir/err")"

# ---- without permission: another uid, and a member of the socket's group ----
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$dir" "$SHMNET_RUNTIME_DIR"
	cp "$ctl" "$dir/shmnetctl"
	as() { setpriv --reuid=65534 --regid=65534 "$@"; }
	chgrp daemon "$SHMNET_RUNTIME_DIR/ready.sock"
	golden permission-status as --clear-groups "$dir/shmnetctl" -n ready status
	golden_json permission-json '.error.code == "permission"' \
		as --clear-groups "$dir/shmnetctl" -n ready status --json
	expect permission-member 0 as --groups=daemon "$dir/shmnetctl" -n ready status
	golden permission-version as --clear-groups "$dir/shmnetctl" -n ready version
	chmod 700 "$SHMNET_RUNTIME_DIR"
	golden permission-dir as --clear-groups "$dir/shmnetctl" status
	chmod 755 "$SHMNET_RUNTIME_DIR"
	chmod 666 "$SHMNET_RUNTIME_DIR/ready.sock"
	expect permission-root-gid 0 setpriv --reuid=65534 --regid=daemon --clear-groups \
		"$dir/shmnetctl" -n ready status
	golden permission-daemon as --clear-groups "$dir/shmnetctl" -n ready status
else
	echo "skipped: permissions (they need root)"
fi

# ---- follow: each event once, and the end of the node is the end ----
follow() { # name, daemon, lines, option...
	local name=$1 node=$2 lines=$3 path=$SHMNET_RUNTIME_DIR/follow.sock rc i
	shift 3
	cases=$((cases + 1))
	start "$node" "$path"
	: >"$dir/out" # before the child does: the last case's lines must not count
	"$ctl" -s "$path" events --follow "$@" >"$dir/out" 2>"$dir/err" &
	for ((i = 0; i < 500; i++)); do
		[ "$(wc -l <"$dir/out")" -ge "$lines" ] && break
		sleep 0.02
	done
	kill "${pids[-1]}"
	wait "${pids[-1]}"
	unset 'pids[-1]'
	wait $!
	rc=$?
	[ $rc -eq 3 ] || fail "$name: exit status $rc, not 3"
	"$ctl" "$@" -n "$node" events >"$dir/once"
}
follow follow-text degraded 7
cmp "$dir/out" "$dir/once" || fail "follow-text: other lines than without --follow"
follow follow-json degraded 7 --json
jq -c '.schema as $schema | .node as $node | .events[] |
	{schema: $schema, node: $node} + .' "$dir/once" >"$dir/want"
head -n 7 "$dir/out" | cmp - "$dir/want" || fail "follow-json: other events"

# ---- SIGTERM leaves no socket ----
kill "${pids[@]}"
wait
pids=()
left=$(find "$dir" -type s)
[ -z "$left" ] || fail "sockets left: $left"

echo "$((cases - failed))/$cases passed"
[ $failed -eq 0 ]
