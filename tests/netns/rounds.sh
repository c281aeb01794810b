# shellcheck shell=bash
# Rounds of faults, drawn by a seed, under a load; what must hold after each. Sourced by
# tests/netns/chaos.sh and tests/vm/chaos.sh after lib.sh and traffic.sh.
#
# A script has NODES and NETWORK_NAMES, for each fault begin_FAULT NODE and end_FAULT
# NODE, LOADS, faults_for LOAD, which sets FAULTS, and round_more, its own checks. A fault
# says whose figures it ends: dead[NODE]; and where frames may be counted twice: late_to,
# late_from (see books_balance_since).
#
#	rounds_begin 4		# how many, unless SHMNET_ROUNDS says it
#	rounds_run
#
# The seed is printed; SHMNET_SEED=N replays the choices.

LOADS=(unicast broadcast)
FAULTS=()
NETWORK_NAMES=lan0
# Frames each second, of all nodes to each other, and of each to all.
RATE_EACH=3000
RATE_CAST=1000
# Milliseconds: before a fault begins, until all end, before the next one ends.
BEGIN_WITHIN=400
LAST_WITHIN=1500
END_WITHIN=200

declare -A dead=() late_to=() late_from=()

# A number below the limit, into $some. Bash's $RANDOM is below 32768; a subshell would
# draw the same ones again.
draw() { # limit
	some=$((RANDOM % $1))
}

sleep_below() { # milliseconds
	draw "$1"
	sleep "$((some / 1000)).$(printf %03d $((some % 1000)))"
}

# --- faults ----------------------------------------------------------------------------

# Up to three at different nodes at once.
faults_choose() {
	local node number left=("${NODES[@]}")
	draw 3
	number=$((some + 1))
	chosen=() dead=() late_to=() late_from=()
	while [ ${#chosen[@]} -lt $number ]; do
		draw ${#left[@]}
		node=${left[some]}
		left=("${left[@]:0:some}" "${left[@]:some+1}")
		draw ${#FAULTS[@]}
		chosen+=("${FAULTS[some]} $node")
	done
}

# Begun one by one, ended in that order.
faults_run() {
	local one
	for one in "${chosen[@]}"; do
		sleep_below $BEGIN_WITHIN
		"begin_${one% *}" "${one#* }" || { echo "can't begin: $one" && return 1; }
	done
	sleep_below $LAST_WITHIN
	for one in "${chosen[@]}"; do
		"end_${one% *}" "${one#* }" || { echo "can't end: $one" && return 1; }
		sleep_below $END_WITHIN
	done
}

# --- the load ----------------------------------------------------------------------------

# Two looks see the same: nothing was under way between one node's figures and another's.
stats_rest() {
	stats_take "${NODES[@]}" && mv "$LAB/stats" "$LAB/stats.before" &&
		stats_take "${NODES[@]}" &&
		jq -en --slurpfile new "$LAB/stats" --slurpfile old "$LAB/stats.before" \
			'$new[0] | map_values(.links) == ($old[0] | map_values(.links))' >/dev/null
}

load_start() {
	wait_for 10 stats_rest
	case $load in
	unicast) count_start $RATE_EACH each "${NODES[@]}" ;;
	broadcast) count_start $RATE_CAST broadcast "${NODES[@]}" ;;
	*) "load_$load" ;;
	esac
}

none_twice() {
	counts_take "${NODES[@]}" && jq -e 'all(.own == 0 and all(.from[]; .twice == 0))' \
		"$LAB/counts"
}

# --- what must hold ----------------------------------------------------------------------

survivors() {
	local node
	for node in "${NODES[@]}"; do
		[ -n "${dead[$node]-}" ] || echo "$node"
	done
}

# Since the round began. What was in the ring of a node that was given up is counted as
# lost, and again when the node went on and took it: never less than once.
books_balance_since() { # node...
	stats_take "$@" && jq -c -n --arg late_to " ${!late_to[*]} " \
		--arg late_from " ${!late_from[*]} " --arg networks "$NETWORK_NAMES" \
		--slurpfile new "$LAB/stats" --slurpfile old "$LAB/stats.before" '
		def sum: map(.frames) | add // 0;
		def link($all; $of; $network; $peer):
			[$all[$of].links[] | select(.network == $network and .peer == $peer)][0]
			// {sent_frames: 0, delivered_frames: 0, sent_drops: [], received_drops: []};
		def missing($all; $network; $from; $to):
			link($all; $from; $network; $to) as $out | link($all; $to; $network; $from) as $in
			| $out.sent_frames - ($out.sent_drops | sum) - $in.delivered_frames
			- ($in.received_drops | sum);
		$new[0] as $new | $old[0] as $old | ($networks | split(" "))[] as $network
		| ($new | keys[]) as $from | ($new | keys[]) as $to | select($from != $to)
		| {$network, $from, $to, missing: (missing($new; $network; $from; $to)
			- missing($old; $network; $from; $to)),
		   late: (($late_to | contains(" \($to) ")) or ($late_from | contains(" \($from) ")))}' \
		>"$LAB/books" &&
		jq -es 'all(if .late then .missing <= 0 else .missing == 0 end)' \
			"$LAB/books" >/dev/null
}

conserved_since() { # node...
	wait_for 10 books_balance_since "$@" && return
	cat "$LAB/books"
	return 1
}

no_errors() {
	! grep -h '^ERROR' "$LAB"/n?.log
}

# --- rounds --------------------------------------------------------------------------------

round() { # number
	local what
	draw ${#LOADS[@]}
	load=${LOADS[some]}
	faults_for "$load"
	faults_choose
	printf -v what '%s, ' "${chosen[@]}"
	load_start
	check "round $1: ${what%, } under $load" faults_run || return
	check "  nobody else ended" all_alive "${NODES[@]}" || return
	check "  all see each other" mesh_is_whole "${NODES[@]}" || return
	case $load in
	unicast | broadcast) check "  no frame came twice" none_twice ;;
	*) check "  the load is done" "done_$load" && cat "$LAB/figures" ;;
	esac
	# shellcheck disable=SC2046 # by word
	check "  every frame between those that lived is accounted for" \
		conserved_since $(survivors)
	round_more
	check "  nothing was out of order" no_errors
}

rounds_begin() { # number
	ROUNDS=${SHMNET_ROUNDS:-$1}
	RANDOM=$((${SHMNET_SEED:=$$} & 32767))
	figure "seed $SHMNET_SEED"
}

# Until one fails.
rounds_run() {
	local number
	# shellcheck disable=SC2154 # lib.sh has it
	for ((number = 1; number <= ROUNDS && checks_failed == 0; number++)); do
		round $number
	done
	[ "$checks_failed" -eq 0 ] ||
		figure "again: SHMNET_SEED=$SHMNET_SEED SHMNET_ROUNDS=$((number - 1))"
}
