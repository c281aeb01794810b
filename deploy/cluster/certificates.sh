# shellcheck shell=bash
# The CA of a cluster and the certificates of its hosts, in the directory that the inventory
# names: what is wrong with them, and what is missing made. Sourced by deploy/cluster.sh, whose
# variables and faults these are; never asks a host, never removes a key.
# shellcheck disable=SC2154 # cluster.sh's

certificates() { # of a host: files in the directory of the CA
	[ -z "${setting[ca]-}" ] || printf '%s\n' ca.crt "$1.crt" "$1.key"
}

check_key() { # file
	local mode
	[ -f "$1" ] || return 0
	mode=$(stat -c %a "$1")
	[ $((0$mode & 077)) -eq 0 ] || fault "$1" \
		"has mode $mode, so others can use this key; chmod 600 it, or, if they may have, make a new one"
}

check_certificate() { # file, who it is for or nothing, remedy
	local end
	end=$(openssl x509 -noout -enddate -in "$1" 2>/dev/null) ||
		{ fault "$1" "is no certificate; $3" && return; }
	openssl x509 -noout -checkend $((EXPIRES_DAYS * 86400)) -in "$1" >/dev/null || fault "$1" \
		"expires on ${end#*=}, in less than $EXPIRES_DAYS days; $3"
	[ -z "$2" ] || openssl x509 -noout -ext subjectAltName -in "$1" 2>/dev/null |
		tr ', ' '\n' | grep -qxF "URI:$2" ||
		fault "$1" "is not for ${2#*://}; $3"
}

# Both are made at once.
check_pair() { # ca directory, name, what of the two may be missing
	local remedy="put it back, or move that away too, and apply makes both"
	if [ -f "$1/$2.key" ] && [ ! -f "$1/$2.crt" ]; then
		fault "$1/$2.crt" "is missing, and $2.key is there; $remedy"
	elif [ -f "$1/$2.crt" ] && [ ! -f "$1/$2.key" ] && [ "${3-}" != key ]; then
		fault "$1/$2.key" "is missing, and $2.crt is there; $remedy"
	fi
}

# For hosts whose certificates are there; what is missing is made by `apply`.
check_certificates() {
	local ca=${setting[ca]-} host uri="shmnet://${setting[cluster]}"
	[ -n "$ca" ] || return 0
	command -v openssl >/dev/null || fail "openssl is missing here; apt-get install openssl"
	check_key "$ca/ca.key"
	check_pair "$ca" ca key # which may be kept elsewhere
	[ ! -f "$ca/ca.crt" ] || check_certificate "$ca/ca.crt" "" \
		"a new CA and new certificates are due: move the directory away, and apply"
	for host in "${hosts[@]}"; do
		check_key "$ca/$host.key"
		check_pair "$ca" "$host"
		[ -f "$ca/$host.crt" ] || continue
		check_certificate "$ca/$host.crt" "$uri/$host" \
			"move it and $host.key away, and apply makes new ones"
		openssl verify -CAfile "$ca/ca.crt" "$ca/$host.crt" >/dev/null 2>&1 || fault "$ca/$host.crt" \
			"is not by the CA in $ca/ca.crt; move it and $host.key away, and apply makes new ones"
	done
	[ ! -f "$ca/ca.crt" ] || [ -f "$ca/ca.key" ] || [ -z "$(certificates_missing)" ] ||
		fault "$ca/ca.key" "is missing, and certificates are to be made; put the CA's key there"
}

certificates_missing() {
	local host file
	for host in "${hosts[@]}"; do
		for file in $(certificates "$host"); do
			[ -f "${setting[ca]}/$file" ] || echo "$file"
		done
	done | sort -u
}

make_certificates() {
	local ca=${setting[ca]-} host shmnetctl
	[ -n "$(certificates_missing)" ] || return 0
	shmnetctl=$(find_program shmnetctl cli) ||
		fail "shmnetctl is missing here, which makes certificates; install the package, or build"
	(umask 077 && mkdir -p "$ca") || fail "$ca can't be made"
	[ -f "$ca/ca.crt" ] || "$shmnetctl" keygen ca --cluster "${setting[cluster]}" --dir "$ca" ||
		fail "no CA in $ca"
	for host in "${hosts[@]}"; do
		[ -f "$ca/$host.crt" ] || "$shmnetctl" keygen node "$host" --dir "$ca" ||
			fail "no certificate of $host in $ca"
	done
}
