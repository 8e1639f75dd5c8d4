#!/bin/bash
# A cluster's life: made, started, written to, read everywhere, stopped, started again, removed.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

make_cluster c --nodes 3
holds 'init writes cluster.ini' test -s "$C/cluster.ini"
for n in 1 2 3; do
	holds "init writes node$n/agent.ini" test -s "$C/node$n/agent.ini"
	run_is 0 "droverd finds node$n/agent.ini sound" "$DROVERD" --check -c "$C/node$n/agent.ini"
done
is "$(find "$C" -name '*.key' | wc -l)" 4 'init makes a key for each node and one for the user'
is "$(find "$C" -name '*.key' ! -perm 600)" '' 'keys are readable by their owner only'

before=$(find "$C" -type f -exec cksum {} + | sort)
run "$DROVER" init "$C" --base-port "$base"
unlike "$code" '^0$' 'a second init of the same folder is refused'
is "$(find "$C" -type f -exec cksum {} + | sort)" "$before" 'and leaves every file as it was'

run_is 4 'status of a cluster that was not started exits with 4' d status -o json
is "$(j '$_->{health}')" no_quorum 'its health is no_quorum'
is "$(j 'join " ", map { $_->{state} } @{$_->{nodes}}')" 'down down down' 'all nodes are down'
is "$(j 'exists $N{1}{version} ? $N{1}{version} : "missing"')" null \
	'what a node that is down cannot tell is null'

run_is 0 'start all' d start all
wait_health healthy || give_up 'the cluster becomes healthy'
run_is 0 'status of a healthy cluster exits with 0' d status -o json
is "$(j 'join " ", sort keys %$_')" 'cluster_id health nodes' 'status has the keys it promises'
is "$(j 'join " ", grep { !exists $N{2}{$_} } qw(id name state pid version uptime_s rss_bytes
	addresses sync_state writes_per_s reads_per_s groups)')" '' 'so has a node'
is "$(j 'join " ", grep { !exists $N{2}{addresses}{$_} } qw(peer rpc http mysql)')" '' \
	'so have its addresses'
is "$(j 'join " ", grep { !exists $G{2}{$_} } qw(group name role leader_id term first_index
	last_index committed applied durable snapshot_index lag_entries lag_ms)')" '' \
	'so has a group'
is "$(j 'join " ", sort map { $G{$_}{role} } 1..3')" 'follower follower leader' \
	'one node leads, two follow'
is "$(j 'my %l = map { $G{$_}{leader_id} => 1 } 1..3; scalar keys %l')" 1 \
	'and all agree on who leads'
is "$(j '$N{2}{pid}')" "$(pid_of 2)" 'the pid is that of the pid file'
run d status
like "$out" 'n1.*n1|n2' 'the table names the nodes'

run_is 0 'a table is made' d sql -e 'CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)'
run_is 0 'a write sent to node 1 is done' d sql 1 -e "INSERT INTO t VALUES(1, 'one'), (2, 'two')"
for n in 1 2 3; do
	sql 'SELECT group_concat(v) FROM (SELECT v FROM t ORDER BY id)' "$n" --read linearizable
	is "$value" one,two "node $n reads it"
done
holds 'a stale read sees it after a while too' \
	until_true 30 sql_gives 2 'SELECT count(*) FROM t' 3 --read stale
run d sql -o tsv -e 'SELECT id, v FROM t ORDER BY id'
is "$out" "$(printf 'id\tv\n1\tone\n2\ttwo')" 'results as TSV'
run d sql -e 'INSERT INTO nowhere VALUES(1)'
is "$code" 1 'a failing statement exits with 1'
like "$err" 'no such table: nowhere' 'with what SQLite says'
is "$out" '' 'and nothing on stdout'
run_is 0 'rows change' d sql -e "UPDATE t SET v = 'TWO' WHERE id = 2; DELETE FROM t WHERE id = 1"
verify_ok 'all nodes hold the same'
is "$(j '@{$_->{groups}} > 0 && keys %{$_->{groups}[0]{digests}}')" 3 'as digests of three nodes'

run_is 0 'the log can be read' d wal 2 -o json
like "$out" TWO 'and shows what was written'
run_is 0 'the logs can be read' d logs -n 5
like "$out" 'n[123]' 'and name their node'
run_is 0 'a command runs in the folder of a node' d shell 2 -- pwd
is "$(realpath "$out")" "$(realpath "$C/node2")" 'indeed there'

run_is 0 'stop all' d stop all --yes
for n in 1 2 3; do
	holds "node $n has removed its pid file" test ! -e "$C/node$n/droverd.pid"
done
run_is 4 'now there is no quorum' d status
run_is 0 'start all again' d start all
wait_health healthy || give_up 'the cluster becomes healthy again'
must_write 'SELECT count(*) FROM t' --read linearizable
is "$value" 1 'the data are still there'
run_is 0 'restart --rolling' d restart --rolling all
wait_health healthy
must_write 'SELECT v FROM t' --read linearizable
is "$value" TWO 'and still'

run d clean
is "$code" 8 'clean without a terminal and without --yes is refused'
holds 'and removes nothing' test -s "$C/cluster.ini"
run_is 0 'clean --yes' d clean --yes
is "$(own_pids)" '' 'ends every agent'
is "$(find "$C" -name '*.seg' -o -name 'ns-*.db' 2>/dev/null)" '' 'and removes the data'

base=$(free_base)
run_is 0 'up makes and starts a cluster' "$DROVER" up "$WORK/up" --nodes 3 --base-port "$base"
C=$WORK/up
run_is 0 'which is healthy at once' d status
run_is 0 'up again changes nothing' "$DROVER" up "$WORK/up"

finish
