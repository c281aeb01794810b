# shellcheck shell=bash
# Words that are compared with those in a file: $golden/CASE. Sourced after lib.sh, by
# tests that set $golden and $daemon.
#
# With GOLDEN_UPDATE=1 in the environment the files are written instead of compared. In
# them LAB stands for the directory of the test, PID, PORT, N and DATE for what changes; left
# out are the warning of a config without certificates, what privileges are kept, and that
# the machine was busy.

golden=''   # the directory
daemon=''   # the path of shmnet-node
lab_prefix=${lab_prefix-}

# Numbers that differ from run to run, and only those.
normalise() {
	sed -E "/security is none/d; /keeps of all privileges|did not run for/d; s|$LAB|LAB|g; s|^$daemon:|shmnet-node:|; s|$lab_prefix|PREFIX|g; s/\bpid [0-9]+/pid PID/g
		s/\(gap [0-9]+ ms\)/(gap N ms)/
		s/\bLinux [0-9][^ :]*:/Linux RELEASE:/
		s/[0-9.]+ MiB (are left|are available)/N MiB \1/g
		s/[0-9-]{10} [0-9:]{8} UTC/DATE/g; s/(192\.0\.2\.1):[1-9][0-9]{4}\b/\1:PORT/g"
}

like_golden() { # case; what was said on stdin
	normalise >"$LAB/$1.said"
	if [ -n "${GOLDEN_UPDATE-}" ]; then
		cp "$LAB/$1.said" "$golden/$1"
		return
	fi
	diff -u --label "${golden##*/}/$1" --label now "$golden/$1" "$LAB/$1.said"
}

# Runs the command where n1 would run; its exit status and words are those of the file.
says() { # case, command...
	local name=$1 status
	shift
	COMMAND_DEADLINE=20 in_ns "$(node_in n1)" "$@" >"$LAB/out" 2>&1 </dev/null
	status=$?
	{
		echo "exit $status"
		cat "$LAB/out"
	} | like_golden "$name"
}

# The same, and afterwards the host is as it was before.
refuses() { # case, command...
	check "$1" says "$@"
	baseline_same before && return
	check "$1 leaves nothing behind" baseline_is before
}
