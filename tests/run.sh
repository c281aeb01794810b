#!/bin/bash
# Installs what the tests need, builds shmnet three ways, runs every test that this
# machine can run, and says what it skipped and why.
#
#   tests/run.sh [--quick | --long] [--only PATTERN] [--list]
#
#     --quick          the unit tests of the plain build, nothing else
#     --long           more rounds, longer streams, a minute of each fuzzer, the Debian
#                      package in a root of its own, and a cluster of such
#     --only PATTERN   tests whose name matches the regular expression
#     --list           names what would run
#     -h, --help       this text
#
# The names are BUILD/TEST: gcc/... is the plain build, asan/... clang with the
# address and undefined behaviour sanitizers, tsan/... clang with the thread
# sanitizer; static/..., netns/..., vm/..., fuzz/..., deploy/... and demo/... stand beside them.
# A line per test; a unit test program counts with each of its cases, and a case
# that is skipped has a line of its own. At the end the output of what failed, and
# "N passed, N failed, N skipped". Exit 0 if nothing failed, 1 if something did, 2 on
# usage. Builds are in build/, all output in build/logs/.
#
# A test program exits with 0, with 77 if skipped (then it has printed "SKIP: reason"),
# or it failed. It runs in an empty directory of its own (also TMPDIR), without
# standard input, under a time limit (120 s, or "# timeout: N" in a script), with
#     SHMNET_BIN             the build directory whose programs to use
#     SHMNET_NETNS_PREFIX    for its network namespaces
#     SHMNET_TEST_DIR        its directory
#     SHMNET_TEST_LONG=1     under --long
# Two run at a time, or as many as SHMNET_TEST_LANES says, but for those that need the
# machine for themselves. What fails is tried once more at the end, with the machine for
# itself; what passes only then is named above the last line, with the log of its first
# try. Of more than five failures none is tried again.
# A namespace with the prefix, or a process with that directory in its environment,
# that is still there afterwards is removed and makes the test fail.
set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD
export LC_ALL=C.UTF-8

# With CI=true a skip is a failure, but for these: "test: reason", regular expressions.
ci_may_skip=(
	# A peer that writes where it likes is a race; gcc/ and asan/ run these.
	'tsan/plane/.*: a hostile peer is a data race'
	'tsan/cast-plane/.*: a hostile member is a data race'
	'tsan/ring-stress/.*: the races are wanted'
	# The machine's kernel; tagged frames are sent raw besides.
	'netns/frames_any.*: this kernel has no VLAN interfaces.*'
	# vm/rxe_loopback runs both.
	'netns(-asan)?/global_sctp: this kernel has no SCTP.*'
	'(gcc|asan)/sockets/.*: the kernel has no SCTP'
	'vm/ospf: takes some minutes without KVM.*'
	'vm/cluster: takes minutes without KVM.*'
	# It preloads a library; netns/ runs it.
	"netns-asan/(global_kill_steps|failures): a sanitizer's run-time library .*"
	# Without the filter there is nothing to see; gcc/ and netns/ run these.
	"asan/confine/.*: a sanitizer makes calls of its own"
	"netns-asan/confine: a sanitizer makes calls of its own"
)

quick='' long='' only='' list=''
passed=0 failed=0 skipped=0
failed_logs=()
number=0
# Tests that run: by their pid, "number|protocol|test|seconds|log".
declare -A lanes=()
# What each was started with, by its number, quoted.
declare -A commands=()
# First tries that failed: "number|protocol|test|seconds|log|status|milliseconds".
again=()
second_try=''
unsteady=()
AGAIN_MAX=5
# So many at once. Most of them wait most of the time.
LANES=${SHMNET_TEST_LANES:-2}

usage() {
	sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//p}' "$0"
}

bad_usage() {
	echo "$1; see tests/run.sh --help" >&2
	exit 2
}

parse_options() {
	while [ $# -gt 0 ]; do
		case $1 in
		--quick) quick=1 ;;
		--long) long=1 ;;
		--list) list=1 ;;
		--only)
			[ $# -ge 2 ] || bad_usage "--only takes a pattern"
			only=$2
			shift
			;;
		-h | --help) usage && exit 0 ;;
		*) bad_usage "unknown option '$1'" ;;
		esac
		shift
	done
	[ -z "$quick" ] || [ -z "$long" ] || bad_usage "--quick and --long exclude each other"
}

selected() { # test
	[[ -z $only || $1 =~ $only ]]
}

now_ms() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

# ok|FAIL|again|skip, test, milliseconds or nothing, remark
report() {
	local time=''
	[ -z "$3" ] || printf -v time '%d.%02d s' $(($3 / 1000)) $(($3 % 1000 / 10))
	if [ -n "$4" ]; then
		printf '%-5s %-42s %9s  %s\n' "$1" "$2" "$time" "$4"
	else
		printf '%-5s %-42s %9s\n' "$1" "$2" "$time"
	fi
}

fail() { # test, milliseconds, remark, log
	report FAIL "$1" "$2" "$3"
	[[ " ${failed_logs[*]-} " == *"|$4 "* ]] || failed_logs+=("$1|$4")
	failed=$((failed + 1))
}

skip() { # test, reason, log
	local allowed
	if [ "${CI-}" = true ]; then
		for allowed in ${ci_may_skip[@]+"${ci_may_skip[@]}"}; do
			[[ "$1: $2" =~ ^$allowed$ ]] && break
			allowed=''
		done
		[ -n "${allowed-}" ] || { fail "$1" '' "skipped on CI: $2" "$3" && return; }
	fi
	report skip "$1" '' "$2"
	skipped=$((skipped + 1))
}

# --- one test ------------------------------------------------------------------

# Processes that have this test's directory in their environment.
processes_of() { # directory
	grep -lzxF "SHMNET_TEST_DIR=$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
}

namespaces_of() { # prefix
	ip netns list 2>/dev/null | awk -v prefix="$1" 'index($1, prefix) == 1 { print $1 }'
}

# Ends and removes what a test left, and prints what that was. A process that is on
# its way out gets two seconds.
remove_leftovers() { # directory, prefix
	local pid name
	for _ in {1..20}; do
		[ -z "$(processes_of "$1")" ] && break
		sleep 0.1
	done
	for pid in $(processes_of "$1"); do
		echo "left behind: process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
		kill -KILL "$pid"
	done 2>/dev/null
	for name in $(namespaces_of "$2"); do
		echo "left behind: namespace $name"
		ip netns delete "$name"
	done
}

# Runs a test in the background, and leaves in NUMBER.result its exit status, or
# "untidy", and how long it took in milliseconds.
perform() { # number, seconds, log, command...
	local number=$1 seconds=$2 log=$3 dir=$work/$1 prefix=st$$x$1- left started status child
	shift 3
	started=$(now_ms)
	trap 'kill -TERM "$child" && wait "$child"; remove_leftovers "$dir" "$prefix"; exit 130' TERM
	mkdir "$dir"
	(
		cd "$dir" || exit 1
		export SHMNET_TEST_DIR=$dir SHMNET_NETNS_PREFIX=$prefix TMPDIR=$dir
		exec timeout -k 10 "$seconds" "$@"
	) >"$log" 2>&1 </dev/null &
	child=$!
	wait $child
	status=$?
	local took=$(($(now_ms) - started))
	left=$(remove_leftovers "$dir" "$prefix")
	rm -rf --one-file-system "$dir"
	if [ -n "$left" ]; then
		echo "$left" >>"$log"
		[ $status -ne 0 ] || status=untidy
	fi
	echo "$status $took" >"$work/$number.result"
}

# The skipped cases of a log, "case|reason"; a script has no cases.
skips_in() { # log
	awk '
		/^SKIP: / { if (reason) print "|" reason; reason = substr($0, 7) }
		/^\[  SKIPPED \] .*ms\)$/ { print $4 "|" reason; reason = "" }
		END { if (reason) print "|" reason }' "$1"
}

cases_in() { # OK|FAILED, log
	grep -cE "^\[ +$1 \] .* \([0-9]+ ms\)$" "$2"
}

report_skips() { # test, log
	local name reason
	while IFS='|' read -r name reason; do
		skip "$1${name:+/$name}" "$reason" "$2"
	done < <(skips_in "$2")
}

# protocol (gtest or exitcode), test, log, milliseconds, seconds allowed, exit status
# or "untidy"
judge() {
	local good=1 bad=1 remark=''
	if [ "$1" = gtest ]; then
		good=$(cases_in OK "$3") bad=$(cases_in FAILED "$3")
		[ "$bad" -gt 0 ] || bad=1
		remark="$good cases"
		[ "$good" -eq 1 ] && remark="1 case"
	fi
	case $6 in
	0) ;;
	77)
		[ -n "$(skips_in "$3")" ] || echo "SKIP: no reason given" >>"$3"
		report_skips "$2" "$3"
		return
		;;
	untidy) remark="left something behind" ;;
	124 | 137) remark="not done after $5 s" ;;
	*) remark="exit status $6" ;;
	esac
	if [ "$6" = 0 ] && [ "$good" -eq 0 ] && [ -z "$(skips_in "$3")" ]; then
		fail "$2" "$4" "ran no test" "$3"
	elif [ "$6" = 0 ]; then
		report ok "$2" "$4" "$remark"
		[ -z "$second_try" ] || unsteady+=("$2|${3%.log}.first.log")
		passed=$((passed + good))
	else
		fail "$2" "$4" "$remark" "$3"
		failed=$((failed + bad - 1))
		[ "$1" = gtest ] && passed=$((passed + good))
	fi
	report_skips "$2" "$3"
}

judge_lane() { # its pid
	local protocol test log seconds number status took
	IFS='|' read -r number protocol test seconds log <<<"${lanes[$1]}"
	unset "lanes[$1]"
	read -r status took <"$work/$number.result" || status=untidy took=0
	if [ -z "$second_try" ] && [[ $status != 0 && $status != 77 ]]; then
		report again "$test" "$took" ''
		again+=("$number|$protocol|$test|$seconds|$log|$status|$took")
		return
	fi
	judge "$protocol" "$test" "$log" "$took" "$seconds" "$status"
}

# Until no more than so many tests are running; each that ends is judged. `wait -n` can't
# be asked: it forgets who ended before it was called.
wait_for_lanes() { # number
	local pid
	while [ ${#lanes[@]} -gt "$1" ]; do
		for pid in "${!lanes[@]}"; do
			kill -0 "$pid" 2>/dev/null || judge_lane "$pid"
		done
		[ ${#lanes[@]} -le "$1" ] || sleep 0.05
	done
}

# Starts a test when there is a lane for it, or, "alone", when no other runs. It is judged
# when it has ended, which wait_for_lanes 0 waits for.
run_test() { # protocol, test, seconds[:alone], command...
	local protocol=$1 test=$2 seconds=${3%:alone} room=$((LANES - 1))
	[ "$seconds" = "$3" ] || room=0
	shift 3
	selected "$test" || return 0
	[ -z "$list" ] || { echo "$test" && return 0; }
	local log=$logs/${test//\//.}.log
	wait_for_lanes $room
	number=$((number + 1))
	printf -v "commands[$number]" '%q ' "$@"
	perform $number "$seconds" "$log" "$@" &
	lanes[$!]="$number|$protocol|$test|$seconds|$log"
	[ $room -gt 0 ] || wait_for_lanes 0
}

# A failure that a loaded machine alone explains is not the same as one that stays; but
# it is not nothing, so that it is named at the end.
try_again() {
	local entry tried protocol test seconds log status took
	wait_for_lanes 0
	[ ${#again[@]} -gt $AGAIN_MAX ] || second_try=1
	for entry in ${again[@]+"${again[@]}"}; do
		IFS='|' read -r tried protocol test seconds log status took <<<"$entry"
		if [ -z "$second_try" ]; then
			judge "$protocol" "$test" "$log" "$took" "$seconds" "$status"
			continue
		fi
		mv "$log" "${log%.log}.first.log"
		eval "run_test $protocol $test $seconds:alone ${commands[$tried]}"
	done
	wait_for_lanes 0
}

# --- builds --------------------------------------------------------------------

# Halting at the first report makes a report a failure.
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
export MALLOC_PERTURB_=165

# In a process of its own: a test that compiles has the compiler that is usual here.
configure() ( # build
	local dir=build/$1 options=(-Dwerror=true)
	if [ -f "$dir/build.ninja" ]; then
		ninja -C "$dir" build.ninja # set up again if a meson.build has changed
		exit
	fi
	rm -rf --one-file-system "$dir" # what an attempt that failed has left
	case $1 in
	gcc) export CC=gcc CXX=g++ ;;
	asan | fuzz) export CC=clang CXX=clang++ && options+=("-Db_sanitize=address,undefined") ;;
	tsan) export CC=clang CXX=clang++ && options+=("-Db_sanitize=thread") ;;
	esac
	# Meson warns of -fsanitize=fuzzer-no-link, for which it has no option.
	if [ "$1" = fuzz ]; then options+=(-Dfuzz=true); else options+=(--fatal-meson-warnings); fi
	[ "$1" = gcc ] || options+=(-Db_lundef=false)
	meson setup "$dir" "${options[@]}"
)

# A line of JSON per test of these suites. If none is named: of all but static, and
# in a build with a sanitizer but those that it has nothing to say about.
tests_of() { # build, suite...
	local build=$1 only_quick=${quick:+unit}
	shift
	meson introspect --tests "build/$build" |
		jq -c --arg suites "$* $only_quick" --arg build "$build" '
		($suites | split(" ") | map(select(. != ""))) as $wanted
		| map(.suite |= map(sub("^[^:]*:"; "")))
		| map(select(if $wanted != [] then any(.suite[]; IN($wanted[]))
			     else .suite != ["static"]
				  and ($build == "gcc" or any(.suite[];
				       IN("tsan", "model", "netns") | not)) end))
		| sort_by(if .suite | index("unit") then 0 else 1 end)[]'
}

make_build() { # build, ninja targets...
	local build=$1
	shift
	configure "$build" && ninja -C "build/$build" "$@"
}

# Only what its tests need: a build of the thread sanitizer need not be whole.
targets_of() { # build; JSON lines on stdin
	jq -r --arg dir "$top/build/$1/" '
		.cmd[] | select(startswith($dir)) | ltrimstr($dir)' | sort -u
}

run_meson_tests() { # first part of their names, build; JSON lines on stdin
	local row name seconds protocol cmd vars arg
	while read -r row <&3; do
		IFS='|' read -r name seconds protocol \
			< <(jq -r '"\(.name)|\(.timeout)\(if any(.suite[]; IN("model", "netns"))
				then ":alone" else "" end)|\(.protocol)"' <<<"$row")
		mapfile -d '' cmd < <(jq -j '.cmd[] + "\u0000"' <<<"$row")
		# Meson names a program that is an argument relative to the build.
		for arg in "${!cmd[@]}"; do
			[ ! -f "build/$2/${cmd[arg]}" ] || cmd[arg]=$top/build/$2/${cmd[arg]}
		done
		mapfile -d '' vars < <(jq -j '.env | to_entries[]
			| "\(.key)=\(.value)\u0000"' <<<"$row")
		run_test "$protocol" "$1/$name" "$seconds" \
			env SHMNET_BIN="$top/build/$2" "${vars[@]}" "${cmd[@]}"
	done 3<&0
}

# Configures, picks the tests, builds, runs them. A build that no selected test needs
# is not made.
run_build() { # build, "all" or the tests' programs alone, suite...
	local build=$1 extent=$2 log=$logs/build.$1.log rows targets=() started
	shift 2
	started=$(now_ms)
	configure "$build" >"$log" 2>&1 || { fail "build/$build" '' "meson setup" "$log" && return; }
	rows=$(tests_of "$build" "$@" | while read -r row; do
		selected "$build/$(jq -r .name <<<"$row")" && echo "$row"
	done)
	[ -n "$rows" ] || [ -z "$only" ] || return 0
	if [ -z "$list" ]; then
		[ "$extent" = all ] || mapfile -t targets < <(targets_of "$build" <<<"$rows")
		[ "$extent" = all ] || [ ${#targets[@]} -gt 0 ] || return 0
		make_build "$build" "${targets[@]}" >>"$log" 2>&1 ||
			{ fail "build/$build" $(($(now_ms) - started)) '' "$log" && return; }
		report ok "build/$build" $(($(now_ms) - started)) ''
		passed=$((passed + 1))
	fi
	[ -z "$rows" ] || run_meson_tests "$build" "$build" <<<"$rows"
}

# --- stages, the quick ones first ----------------------------------------------

run_static() {
	[ -d build/gcc ] && run_meson_tests static gcc < <(tests_of gcc static)
	for check in format shell spelling service; do
		run_test exitcode static/$check 900 "$top/tests/static.sh" $check
	done
}

run_tidy() {
	selected static/tidy || return 0
	[ -n "$list" ] || make_build asan all >"$logs/build.tidy.log" 2>&1
	run_test exitcode static/tidy 900 "$top/tests/static.sh" tidy "$top/build/asan"
}

# libFuzzer; what it finds goes to its own directory, not into the corpus.
run_fuzzers() {
	local log=$logs/build.fuzz.log corpus name
	for corpus in tests/fuzz/corpus/*/; do
		name=$(basename "$corpus")
		selected "fuzz/$name" || continue
		[ -n "$list" ] || make_build fuzz "tests/fuzz/$name-fuzz" >"$log" 2>&1 ||
			{ fail build/fuzz '' "no fuzzer for $name" "$log" && continue; }
		run_test exitcode "fuzz/$name" 180 "$top/build/fuzz/tests/fuzz/$name-fuzz" \
			-max_total_time=60 -print_final_stats=1 . "$top/$corpus"
	done
}

# A script says in its head if it needs more time, and if others would disturb it:
# "# timeout: 300" or "# timeout: 300, alone".
script_timeout() { # script
	local limit
	limit=$(sed -nE '1,30s/^# timeout: ([0-9]+)(, (alone))?$/\1:\3/p' "$1")
	limit=${limit:-120}
	echo "${limit%:}"
}

run_scripts() { # prefix of the test's name, build, scripts...
	local kind=$1 build=$2 script name
	shift 2
	for script in "$@"; do
		[ -x "$script" ] || continue
		name=$kind/$(basename "$script" .sh)
		run_test exitcode "$name" "$(script_timeout "$script")" \
			env SHMNET_BIN="$top/build/$build" "$top/$script"
	done
}

run_networks() {
	local any='' script
	for script in tests/{netns,vm}/*.sh deploy/demo.sh; do
		script=${script#*/}
		selected "${script%.sh}" && any=1
	done
	[ -z "$any" ] && ! selected demo/demo && return 0
	if [ -z "$list" ] && ! make_build gcc >"$logs/build.netns.log" 2>&1; then
		fail build/gcc '' "no programs for the netns tests" "$logs/build.netns.log"
		return
	fi
	run_scripts netns gcc tests/netns/*.sh
	# What a liar does to a node is for the sanitizers to see in every run.
	if [ -n "$long" ]; then
		run_scripts netns-asan asan tests/netns/*.sh
	elif selected netns-asan/hostile; then
		[ -n "$list" ] || make_build asan all >"$logs/build.netns-asan.log" 2>&1
		run_scripts netns-asan asan tests/netns/hostile.sh
	fi
	run_scripts demo gcc deploy/demo.sh
	run_scripts vm gcc tests/vm/*.sh
}

# The package and a cluster take minutes, and what a root needs from Debian's mirror.
run_deploy() {
	local script name log=$logs/install.package.log scripts=()
	for script in tests/deploy/*.sh; do
		name=$(basename "$script" .sh)
		{ [ -x "$script" ] && selected "deploy/$name"; } || continue
		if [[ $name == package || $name == cluster ]]; then
			[ -n "$long" ] || [ -n "$only" ] || continue
			[ -n "$list" ] || tests/install.sh package >"$log" 2>&1 ||
				{ fail "deploy/$name" '' "its packages are not installed" "$log" && continue; }
		fi
		scripts+=("$script")
	done
	[ ${#scripts[@]} -gt 0 ] || return 0
	if [ -z "$list" ] && ! make_build gcc >"$logs/build.deploy.log" 2>&1; then
		fail build/gcc '' "no programs for the deploy tests" "$logs/build.deploy.log"
		return
	fi
	run_scripts deploy gcc "${scripts[@]}"
}

run_all() {
	run_build gcc all
	[ -z "$quick" ] || return 0
	run_static
	run_build asan all
	run_build tsan tests tsan
	run_networks
	run_deploy
	run_tidy
	[ -z "$long" ] || run_fuzzers
}

# --- the whole -----------------------------------------------------------------

# What failed in a log, in a few lines: who reads only the first of them knows why.
gist_of() { # log
	grep -m 2 -A 4 -E '^(FAIL |not ok|left behind: )|: Failure$|: error: |ERROR: .*Sanitizer' "$1" ||
		tail -n 3 "$1"
}

show_failures() {
	local entry
	for entry in ${failed_logs[@]+"${failed_logs[@]}"}; do
		printf '\n--- %s, in short\n' "${entry%%|*}"
		gist_of "${entry#*|}"
	done
	for entry in ${failed_logs[@]+"${failed_logs[@]}"}; do
		printf '\n--- %s (%s)\n' "${entry%%|*}" "${entry#*|}"
		tail -n 200 "${entry#*|}"
	done
}

show_unsteady() {
	local entry
	for entry in ${unsteady[@]+"${unsteady[@]}"}; do
		printf '\n--- %s passed at its second try only; the first (%s):\n' \
			"${entry%%|*}" "${entry#*|}"
		tail -n 40 "${entry#*|}"
	done
}

stop() {
	local pid
	for pid in "${!lanes[@]}"; do
		kill -TERM "$pid"
	done 2>/dev/null
	wait
	exit 130
}

main() {
	parse_options "$@"
	tests/install.sh build demo test lint lab || exit 1
	logs=$top/build/logs
	mkdir -p "$logs"
	work=$(mktemp -d /tmp/shmnet-test.XXXXXX) || exit 1
	chmod 755 "$work" # some tests act as another user
	trap 'rm -rf --one-file-system "$work"' EXIT
	trap stop INT TERM HUP
	[ -z "$long" ] || export SHMNET_TEST_LONG=1
	run_all
	[ -z "$list" ] || exit 0
	try_again
	show_failures
	show_unsteady
	[ ${#failed_logs[@]} -eq 0 ] || echo
	[ $((passed + failed + skipped)) -gt 0 ] || bad_usage "no test matches '$only'"
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed -eq 0 ]
}

main "$@"
