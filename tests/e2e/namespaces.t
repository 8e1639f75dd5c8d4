#!/bin/bash
# Namespaces: made, used and dropped from any node; apart from one another; there after a restart.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start_cluster c --nodes 3 --shards 3

is "$(run d status --groups -o json; j '@{$N{1}{groups}}')" 4 'three shards and meta are four groups'
sql 'SHOW NAMESPACES'
is "$value" main 'main is there from the start'
run_is 0 'a namespace is made' d sql -e 'CREATE NAMESPACE shop'
run d sql -e 'CREATE NAMESPACE shop'
is "$code" 1 'making it again fails'
like "$err" "namespace 'shop' exists" 'and says why'
run_is 0 'unless IF NOT EXISTS is said' d sql -e 'CREATE NAMESPACE IF NOT EXISTS shop'
run_is 0 'more are made, on several shards' d sql -e \
	'CREATE NAMESPACE a; CREATE NAMESPACE b; CREATE NAMESPACE c'
run d sql -o tsv -e 'SHOW NAMESPACES'
is "$(tail -n +2 <<<"$out" | tr '\n' ' ')" 'a b c main shop ' 'and listed'

for ns in main shop a b c; do
	must_write "CREATE TABLE t(v TEXT); INSERT INTO t VALUES('$ns')" -d "$ns"
done
for ns in main shop a b c; do
	for n in 1 2 3; do
		sql 'SELECT group_concat(v) FROM t' "$n" -d "$ns" --read linearizable
		[ "$value" = "$ns" ] || fail "node $n reads $ns" "$value" "$said"
	done
done
pass 'each namespace holds its own, read on each node'
run d sql -d nowhere -e 'SELECT 1'
is "$code" 1 'an unknown namespace is refused'
like "$err" "no namespace 'nowhere'" 'by name'
run d sql -e 'CREATE NAMESPACE 1x'
unlike "$code" '^0$' 'so is a wrong name'
run d sql -e 'DROP NAMESPACE main'
unlike "$code" '^0$' 'main cannot be dropped'

run_is 0 'one is dropped' d sql -e 'DROP NAMESPACE b'
run d sql -d b -e 'SELECT 1'
is "$code" 1 'and gone'
run_is 0 'its name can be used again' d sql -e 'CREATE NAMESPACE b'
must_write 'CREATE TABLE t(v TEXT)' -d b
sql 'SELECT count(*) FROM t' -d b --read linearizable
is "$value" 0 'and is empty then'
verify_ok 'all nodes hold the same'

run_is 0 'all are killed' d kill all --yes
run_is 0 'and started' d start all
wait_health healthy || give_up 'the cluster becomes healthy'
run d sql -o tsv -e 'SHOW NAMESPACES'
is "$(tail -n +2 <<<"$out" | tr '\n' ' ')" 'a b c main shop ' 'the namespaces are there after a crash'
must_write 'SELECT v FROM t' -d shop --read linearizable
is "$value" shop 'with what they hold'
verify_ok 'and all nodes hold the same'

finish
