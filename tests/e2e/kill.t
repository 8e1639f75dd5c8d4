#!/bin/bash
# The leader is killed while clients write; nothing acknowledged is lost, and it comes back.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start_cluster c --nodes 3
run_is 0 'the cluster takes writes' d sql -e 'CREATE TABLE before(x); INSERT INTO before VALUES(1)'

background d stress --duration 12s --concurrency 8 --hot-keys 10 --read-ratio 0.2 -o json \
	>"$WORK/stress.out" 2>"$WORK/stress.err"
stress=$!
wrote() {
	run d status -o json
	[ "$(j '($G{1}{committed} || $G{2}{committed}) > 50 ? 1 : 0')" = 1 ]
}
until_true 30 wrote

old=$(leader)
pid=$(pid_of "$old")
run_is 0 'the leader is killed in the middle of it' d kill leader
holds 'its process is gone' until_true 20 is_gone "$pid"
wait_leader "$old" || give_up 'another leader is elected'
pass 'another leader is elected'
run_is 3 'status exits with 3: degraded' d status -o json
is "$(j "\$N{$old}{state}")" down 'the killed node is down'
run_is 0 'writes go on' d sql -e 'INSERT INTO before VALUES(2)'

run_is 0 'the killed node is started again' d start "$old"
holds 'stress comes to its end' wait "$stress"
out=$(tail -n 1 "$WORK/stress.out")
said=$(tail -n 20 "$WORK/stress.err")
is "$(j '$_->{verified} ? 1 : 0')" 1 'and finds what was acknowledged, and nothing else'
is "$(j '$_->{ok} > 0 ? 1 : 0')" 1 'something was acknowledged'
wait_health healthy || fail 'the cluster is healthy again' "$said"
caught_up() {
	run d status -o json
	[ "$(j "\$G{$old}{lag_entries} == 0 && \$G{$old}{applied} >= \$G{$(leader)}{committed}")" = 1 ]
}
holds 'the returned node has caught up' until_true 60 caught_up
sql 'SELECT count(*) FROM before' "$old" --read linearizable
is "$value" 2 'and reads what it missed'
verify_ok 'all nodes hold the same'

# A follower: killed, misses writes, returns.
f=$(follower)
run_is 0 'a follower is killed' d kill "$f"
must_write "INSERT INTO before WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n
	WHERE i < 500) SELECT i FROM n"
run_is 0 'and started' d start "$f"
holds 'it gets what it missed' \
	until_true 60 sql_gives 502 'SELECT count(*) FROM before' "$f" --read stale

# All at once, without warning.
run_is 0 'all are killed' d kill all --yes
run_is 4 'no quorum' d status
run_is 0 'all are started' d start all
holds 'a leader is elected' wait_leader
must_write 'SELECT count(*) FROM before' --read linearizable
is "$value" 502 'every acknowledged row is there'
verify_ok 'and all nodes hold the same'

finish
