#!/bin/bash
# SIGTERM: leadership is handed over, what is acknowledged stays.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start_cluster c --nodes 3
must_write 'CREATE TABLE t(x INTEGER PRIMARY KEY)'

# A leader that hands over hears of the next term before it is gone.
log_handed_over() { # NODE
	awk '/SIGTERM: stopping/ { over = 0; stopping = 1 }
		stopping && /shard-1: follower in term/ { over = 1 }
		END { exit !over }' "$C/node$1/droverd.log"
}

# A writer that notes what was acknowledged, one at a time.
writer() {
	local i
	for ((i = 1; i <= 1000; i++)); do
		[ -e "$WORK/enough" ] && return
		d sql -e "INSERT INTO t VALUES($i)" >>"$WORK/writer.log" 2>&1 && echo "$i" >>"$WORK/acked"
	done
}
background writer
writer=$!
acked() { # MORE THAN
	[ -e "$WORK/acked" ] && [ "$(wc -l <"$WORK/acked")" -gt "$1" ]
}
until_true 60 acked 5 || give_up 'the writer writes'

for round in 1 2; do
	old=$(leader)
	pid=$(pid_of "$old")
	kill -TERM "$pid"
	holds "round $round: the leader ends upon SIGTERM" until_true 60 is_gone "$pid"
	holds 'it has stopped in order' log_has "$old" ' stopped$'
	holds 'its pid file is gone' test ! -e "$C/node$old/droverd.pid"
	wait_leader "$old" || give_up 'another node leads'
	new=$(leader)
	holds 'by a transfer, not by a timeout' log_handed_over "$old"
	holds 'writes go on' until_true 60 acked $(($(wc -l <"$WORK/acked") + 3))
	run_is 0 'it is started again' d start "$old"
	holds 'all are well' wait_health healthy
done
touch "$WORK/enough"
wait "$writer"
sql 'SELECT count(*) FROM t' --read linearizable
all=$value
sql "SELECT count(*) FROM t WHERE x IN ($(paste -sd, "$WORK/acked"))" --read linearizable
is "$value" "$(wc -l <"$WORK/acked")" "everything acknowledged is there ($all rows)"
verify_ok 'all nodes hold the same'

run_is 0 'stop all ends in order' d stop all --yes
for n in 1 2 3; do
	holds "node $n stopped in order" log_has "$n" ' stopped$'
done

# SIGINT does the same; SIGHUP nothing.
run d start 1
pid=$(pid_of 1)
kill -HUP "$pid"
sleep 0.5
holds 'SIGHUP does not end an agent' kill -0 "$pid"
kill -INT "$pid"
holds 'SIGINT does' until_true 60 is_gone "$pid"

finish
