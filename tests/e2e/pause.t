#!/bin/bash
# Agents stopped with SIGSTOP: with a majority left writes go on, without one they wait.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start_cluster c --nodes 3
must_write 'CREATE TABLE t(x); INSERT INTO t VALUES(1)'

old=$(leader)
run_is 0 'the leader is paused' d pause leader
wait_leader "$old" || give_up 'another leader is elected'
pass 'another leader is elected'
run_is 3 'status exits with 3: degraded' d status -o json
is "$(j "\$N{$old}{state}")" paused 'the node is shown as paused'
must_write 'INSERT INTO t VALUES(2)'
pass 'writes go on'

run_is 0 'the old leader is resumed' d resume "$old"
holds 'it follows the new one' wait_health healthy
sql 'SELECT count(*) FROM t' "$old" --read linearizable
is "$value" 2 'and reads what was written meanwhile'

# A majority: the two that do not lead.
run_is 0 'the followers are paused' d pause followers --yes
holds 'the leader alone steps down: no quorum' wait_health no_quorum
run_is 4 'status exits with 4' d status
run d sql --timeout 3s -e 'INSERT INTO t VALUES(3)'
like "$code" '^(4|6)$' 'a write is not acknowledged'
run d sql --timeout 3s --read linearizable -e 'SELECT 1'
like "$code" '^(4|6)$' 'nor is a linearizable read answered'

run_is 0 'they are resumed' d resume all
holds 'the cluster heals' wait_health healthy
must_write 'INSERT INTO t VALUES(4)'
pass 'and takes writes'
sql 'SELECT count(*) FROM t WHERE x <> 3' --read linearizable
is "$value" 3 'everything acknowledged is there'
sql 'SELECT count(*) FROM t WHERE x = 3' --read linearizable
like "$value" '^[01]$' 'what was not acknowledged is there once or not at all'
verify_ok 'all nodes hold the same'

finish
