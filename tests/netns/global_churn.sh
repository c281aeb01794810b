#!/bin/bash
# Nodes come, are drained and die under live connections: of those to the others none
# breaks.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"

NUMBER=$((10000 / SLOW))

lab_begin "$@"
check "a client and a router" site_make || lab_end
check "three members" members_up n1:1 n2:2 n3:3 || lab_end
check "n1 is the border" borders_are n1
check "each serves" holds_serve n1 n2 n3
hold_start held client "$G"
check "$NUMBER connections" hold_opens held "$NUMBER" || lab_end
check "each node has a fair share" answered "[.by[]] | length == 3 and min > $NUMBER / 5"
figure "$(jq -c .by "$LAB/answer")"
check "all live" hold_lives held

check "a node is added" members_up n1:1 n2:2 n3:3 n4:4 || lab_end
check "it serves" holds_serve n4
check "nothing broke" hold_lives held
check "new connections reach it" wait_for 5 hold_reaches held n4

check "a node is drained" ctl n2 drain
check "it gets no new connections" wait_for 5 hold_spares held n2
check "not one of 200" hold held open 200
check "not one of 200" answered '.by.n2 == null and .failed == 0'
check "those that it has live" hold_lives held
check "it is undrained" ctl n2 undrain
check "and gets new ones" wait_for 5 hold_reaches held n2

stop n3 KILL
check "a node is killed: those of the others live" hold_lives held n1 n2 n4
check "its share goes to others" wait_for 5 hold_spares held n3
check "all of 200" hold_opens held 200
check "those of the others live" hold_lives held n1 n2 n4
check "it comes back" members_up n1:1 n2:2 n3:3 n4:4
check "and so do its connections" hold_lives held
check "it gets new ones" wait_for 5 hold_reaches held n3

check "a node ends" ends n4
check "those of the others live" hold_lives held n1 n2 n3
check "its share goes to others" wait_for 5 hold_spares held n4
# n3's figures begin with its second life.
check "every frame is accounted for" conserved n1 n2
lab_end
