#!/bin/bash
# restart --rolling: one node at a time, with the cluster serving all the while.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start_cluster c --nodes 3
must_write 'CREATE TABLE t(x)'
pids="$(pid_of 1) $(pid_of 2) $(pid_of 3)"

background d stress --duration 15s --concurrency 4 -o json >"$WORK/stress.out" 2>"$WORK/stress.err"
stress=$!
run_is 0 'restart --rolling all' d restart --rolling all
new="$(pid_of 1) $(pid_of 2) $(pid_of 3)"
for n in 1 2 3; do
	is "$([ "$(cut -d' ' -f$n <<<"$pids")" != "$(cut -d' ' -f$n <<<"$new")" ] && echo new)" new \
		"node $n runs as another process"
	holds "node $n stopped in order" log_has "$n" ' stopped$'
done
holds 'the cluster is healthy' wait_health healthy
holds 'stress comes to its end' wait "$stress"
out=$(tail -n 1 "$WORK/stress.out")
said=$(tail -n 20 "$WORK/stress.err")
is "$(j '$_->{verified} ? 1 : 0')" 1 'and what it wrote is right'
is "$(j '$_->{ok} > 0 ? 1 : 0')" 1 'it wrote something'
verify_ok 'all nodes hold the same'

# With one node down a rolling restart would take the quorum away.
run_is 0 'one node is killed' d kill "$(follower)"
run d restart --rolling "$(leader)"
unlike "$code" '^0$' 'a rolling restart that would cost the quorum is refused'
holds 'the cluster still has a leader' wait_leader

finish
