#!/bin/bash
# A node whose data are deleted comes back with everything; half of it deleted, it refuses.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start_cluster c --nodes 3
must_write 'CREATE TABLE t(x INTEGER PRIMARY KEY, v TEXT)'
must_write "INSERT INTO t WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n
	WHERE i < 2000) SELECT i, hex(randomblob(50)) FROM n"
holds 'founding is over on every node' \
	test ! -e "$C/node1/data/founding" -a ! -e "$C/node2/data/founding" -a ! -e "$C/node3/data/founding"

run_is 0 'node 3 is stopped' d stop 3
rm -rf "$C/node3/data"
must_write "UPDATE t SET v = 'new' WHERE x = 7"
run_is 0 'it starts with an empty data folder' d start 3
holds 'and the cluster is healthy again' wait_health healthy
holds 'it has every row' until_true 60 sql_gives 2000 'SELECT count(*) FROM t' 3 --read stale
holds 'and what was written without it' \
	until_true 60 sql_gives new 'SELECT v FROM t WHERE x = 7' 3 --read stale
holds 'it says so' log_has 3 'data folder was empty'
not_rejoining() {
	[ ! -e "$C/node3/data/rejoining" ]
}
holds 'it takes part in full again' until_true 60 not_rejoining
verify_ok 'all nodes hold the same'

# Alone it must not come back: somebody else may know of a vote of its own.
run_is 0 'nodes 2 and 3 are killed' d kill 2 3 --yes
rm -rf "$C/node3/data"
run d start 3
holds 'with a voter away it waits' until_true 30 log_has 3 'waiting to hear from .*n2'
run d sql --timeout 3s -e 'INSERT INTO t VALUES(100000, 0)'
unlike "$code" '^0$' 'and nothing is acknowledged meanwhile'
run_is 0 'the voter is started' d start 2
holds 'now all are well' wait_health healthy
holds 'nothing was lost' until_true 60 sql_gives 2000 'SELECT count(*) FROM t WHERE x <= 2000' 3 --read stale
holds 'it takes part in full again' until_true 60 not_rejoining
verify_ok 'all nodes hold the same'

# Only the log is gone: the databases know of entries that the log does not have.
run_is 0 'node 2 is stopped' d stop 2
rm -rf "$C/node2/data/log"
run_agent "$C/node2/agent.ini"
[ "$code" = 1 ] || give_up 'with its log deleted alone a node does not start'
pass 'with its log deleted alone a node does not start'
like "$err" 'remove its whole data folder' 'and says what to do'
run d start 2
unlike "$code" '^0$' 'drover start says so too'
like "$err" 'data folder' 'in the words of the agent'
rm -rf "$C/node2/data"
run_is 0 'with the whole folder removed it starts' d start 2
holds 'and all are well' wait_health healthy

# The databases are gone, the log is whole: they are made again from it.
run_is 0 'node 1 is stopped' d stop 1
rm -rf "$C"/node1/data/group-*
run_is 0 'with its databases deleted alone a node starts' d start 1
holds 'all are well' wait_health healthy
holds 'it has every row' until_true 60 sql_gives 2000 'SELECT count(*) FROM t WHERE x <= 2000' 1 --read stale
verify_ok 'all nodes hold the same'

# A flipped byte in the log of one node.
run_is 0 'node 3 is stopped' d stop 3
seg=$(find "$C/node3/data/log" -name '*.seg' | sort | head -n 1)
printf 'X' | dd of="$seg" bs=1 seek=5000 conv=notrunc status=none
run_agent "$C/node3/agent.ini"
[ "$code" = 1 ] || give_up 'a damaged log is refused'
pass 'a damaged log is refused'
like "$err" 'damaged at byte' 'with the place'
rm -rf "$C/node3/data"
run_is 0 'with the data folder removed the node comes back' d start 3
holds 'all are well' wait_health healthy
verify_ok 'all nodes hold the same'

finish
