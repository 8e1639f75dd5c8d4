#!/bin/bash
# The command line: help, wrong usage, forms of results, colour, nodes that are not there.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

run_is 0 '--help' "$DROVER" --help
commands=$(sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p' <<<"$out" | grep -vx drover)
for c in init up start stop restart kill pause resume status logs shell sql wal verify stress check \
	clean; do
	grep -qx "$c" <<<"$commands" || fail "--help lists $c"
done
run_is 0 '--version' "$DROVER" --version
like "$out" '^drover [0-9]+\.[0-9]+' 'tells name and number'
run_is 0 'droverd --help' "$DROVERD" --help
run_is 0 'droverd --version' "$DROVERD" --version
run_is 2 'droverd with an unknown flag' "$DROVERD" --frobnicate
run "$DROVER"
like "$code" '^[02]$' 'drover alone does not hang without a terminal'

make_cluster c --nodes 3
for c in $commands; do
	run "$DROVER" "$c" --help
	if [ "$code" != 0 ] || ! grep -q "drover $c" <<<"$out"; then
		fail "drover $c --help" "$said"
	fi
	run d "$c" --frobnicate
	if [ "$code" != 2 ] || [ -n "$out" ] || ! grep -q frobnicate <<<"$err"; then
		fail "drover $c with an unknown flag ends with 2 and names it" "$said"
	fi
done
pass 'each command has help, and refuses an unknown flag'
run_is 2 'an unknown command' d stauts
like "$err" "did you mean 'status'" 'with what was perhaps meant'
for c in start stop restart kill pause resume; do
	run d "$c"
	[ "$code" = 2 ] || fail "drover $c without a node ends with 2" "$said"
	run d "$c" n9
	if [ "$code" != 2 ] || ! grep -q n9 <<<"$err"; then
		fail "drover $c n9 ends with 2 and names it" "$said"
	fi
done
pass 'commands on nodes want one that is there'
run_is 2 'too many arguments' d status 1 2 3
run_is 2 'a value that is no number' d wal 1 -n many
run_is 2 'a form of results that is none' d status -o xml
run_is 2 'a duration that is none' d stress --duration soon
run_is 2 'a level of reads that is none' d sql --read perhaps -e 'SELECT 1'

run_is 4 'status while nothing runs' d status -o json
is "$(j 'scalar @{$_->{nodes}}')" 3 'has a row for each node'
run d sql -e 'SELECT 1' --timeout 2s
like "$code" '^[456]$' 'SQL while nothing runs fails'
is "$out" '' 'with nothing on stdout'
run d verify --timeout 2s
run d stop all --yes
like "$code" '^[018]$' 'stopping what does not run does not hang'
run d kill 1
is "$code" 0 'killing what does not run is done'
like "$out" 'not running' 'and told'
run d logs
is "$code" 1 'nodes that never ran have no logs'
like "$err" 'n2 has no log' 'which is told for each'

run_is 0 'start all' d start all
wait_health healthy || give_up 'the cluster becomes healthy'
must_write "CREATE TABLE t(i INTEGER, r REAL, s TEXT, b BLOB, n);
	INSERT INTO t VALUES(9007199254740993, 1.5, 'a' || char(9, 10, 34, 92, 228, 128512), x'00ff', NULL)"
run d sql -o json -e 'SELECT * FROM t'
is "$(j '$_->[0]{i} . "|" . $_->[0]{r} . "|" . length($_->[0]{s}) . "|" . $_->[0]{b}{hex} . "|"
	. (defined $_->[0]{n} ? "some" : "none")')" '9007199254740993|1.5|7|00ff|none' \
	'JSON carries every type'
run d sql -o tsv -e 'SELECT s, b, n FROM t'
is "$(wc -l <<<"$out")" 2 'TSV keeps a row on a line'
like "$out" '\\N$' 'with \N for NULL'

for c in 'status -o json' 'status --json' 'status --groups -o json' 'verify -o json'; do
	# shellcheck disable=SC2086
	run d $c
	if [ "$code" != 0 ] || [ "$(j 'ref')" != HASH ]; then
		fail "drover $c gives a JSON object" "$said"
	fi
done
run d wal 1 -o json
while IFS= read -r out; do
	[ "$(j 'ref')" = HASH ] || fail 'each line of wal -o json is JSON' "$out"
done <<<"$out"
pass '-o json is JSON and nothing else'
DROVER_OUTPUT=json run d status
is "$(j '$_->{health}')" healthy 'DROVER_OUTPUT chooses the form'
DROVER_OUTPUT=json run d status -o tsv
unlike "$out" '^\{' 'a flag wins over it'
DROVER_OUTPUT=xml run d status
is "$code" 2 'a wrong one is told'
mkdir -p "$XDG_CONFIG_HOME/drover"
printf '[console]\noutput = json\n' >"$XDG_CONFIG_HOME/drover/drover.ini"
run d status
is "$(j '$_->{health}')" healthy "a person's drover.ini chooses it too"
printf '[console]\noutptu = json\n' >"$XDG_CONFIG_HOME/drover/drover.ini"
run d status
unlike "$code" '^0$' 'a wrong key in it is told'
like "$err" 'drover\.ini:2: .*outptu' 'with file and line'
rm "$XDG_CONFIG_HOME/drover/drover.ini"
cd "$C/node1" && run "$DROVER" status -o json
is "$code" 0 'cluster.ini is found in the folders above'
cd "$ROOT" || exit 1
DROVER_CONFIG=$C/cluster.ini run "$DROVER" status
is "$code" 0 'DROVER_CONFIG names it'

# On a terminal.
on_terminal() { # ENV... : status as a terminal of 100 columns gets it
	env TERM=xterm-256color "$@" script -qec "stty cols 100; '$DROVER' -c '$C/cluster.ini' status" \
		/dev/null </dev/null
}
run on_terminal
like "$out" "$(printf '\033')" 'colour on a terminal'
run on_terminal NO_COLOR=1
unlike "$out" "$(printf '\033')" 'none with NO_COLOR'
run on_terminal TERM=dumb
unlike "$out" "$(printf '\033')" 'none on a dumb terminal'
run d status
unlike "$out" "$(printf '\033')" 'none in a file'
for n in $(seq 30); do
	printf 'SELECT %d;\n' "$n"
done >"$WORK/script.sql"
run_is 0 'a script of SQL' d sql -f "$WORK/script.sql" -o tsv
is "$(tail -n 1 <<<"$out")" 30 'runs to its end'
printf 'SELECT 1;\nSELEC 2;\nSELECT 3;\n' >"$WORK/script.sql"
run d sql -f "$WORK/script.sql" -o tsv
is "$code" 1 'a script stops at its first error'
like "$err" 'script\.sql:2' 'with file and line'
unlike "$out" '^3$' 'what comes after it is not run'

run_is 0 'a dry run of stop' d stop all -n
like "$out" 'would stop n1, n2, n3' 'tells what would be done'
run d stop all
is "$code" 8 'stopping the majority without a terminal and without --yes is refused'
run_is 0 'neither has done anything' d status

# Roles as nodes.
run d sql leader -o json -e 'SELECT 1 AS x'
is "$(j '$_->[0]{x}')" 1 'leader names a node'
run d logs followers -n 1
is "$code" 0 'followers name two'
run d sql all -e 'SELECT 1'
is "$code" 2 'SQL wants one node'

finish
