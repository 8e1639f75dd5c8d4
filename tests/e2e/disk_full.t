#!/bin/bash
# A full disk: the node refuses writes, stays up for reads, and goes on when there is space.
# shellcheck source=tests/e2e/lib.sh

# A small disk is a mount, so this wants a root, be it one in a namespace of its own.
if [ "$(id -u)" != 0 ] && [ -z "${E2E_UNSHARED:-}" ]; then
	if unshare --user --map-root-user --mount true 2>/dev/null; then
		E2E_UNSHARED=1 exec unshare --user --map-root-user --mount "$0" "$@"
	fi
fi
. "$(dirname "$0")/lib.sh"

small_disk() { # NODE MIB
	local data=$C/node$1/data
	cp -a "$data" "$WORK/data$1"
	mount -t tmpfs -o "size=$2m,mode=700" drover-e2e "$data" 2>/dev/null || return 1
	mounts+=("$data")
	cp -a "$WORK/data$1/." "$data/"
}
fill() { # NODE
	dd if=/dev/zero of="$C/node$1/data/filler" bs=64k status=none 2>/dev/null
	dd if=/dev/zero of="$C/node$1/data/filler2" bs=1k status=none 2>/dev/null
	:
}
unfill() { # NODE
	rm -f "$C/node$1/data/filler" "$C/node$1/data/filler2"
}

make_cluster c --nodes 3
for n in 1 2 3; do
	mkdir -p "$C/node$n/data"
	set_key "$n" wal segment_mb 1
	set_key "$n" wal tail_mb 1
done
if ! small_disk 1 24 || ! small_disk 2 24 || ! small_disk 3 24; then
	echo '1..0 # SKIP cannot mount a small disk here'
	exit 0
fi
run_is 0 'three nodes with small disks start' d start all
holds 'the cluster is healthy' wait_health healthy
must_write 'CREATE TABLE t(x INTEGER PRIMARY KEY, b BLOB)'
must_write 'INSERT INTO t VALUES(1, randomblob(100))'
# Reading it makes a node put it into its file; only then can a full disk not keep it from readers.
for n in 1 2 3; do
	sql 'SELECT count(*) FROM t WHERE x = 1' "$n" --read linearizable
	is "$value" 1 "node $n has the first row"
done
pids="$(pid_of 1) $(pid_of 2) $(pid_of 3)"

big() { # FROM: some 200 KiB of rows
	d sql --timeout 5s -e "INSERT INTO t WITH RECURSIVE n(i) AS (VALUES($1) UNION ALL
		SELECT i + 1 FROM n WHERE i < $1 + 19) SELECT i, randomblob(10000) FROM n" >/dev/null
}

# One node's disk is full, the leader's: another takes over, and the cluster goes on.
full=$(leader)
fill "$full"
next=1000
write_on() { # until the log needs its next segment
	big "$next" >/dev/null 2>&1 && next=$((next + 20))
	[ "$(leader)" != "$full" ] && [ -n "$(leader)" ]
}
holds 'the leader on the full disk hands over' until_true 60 write_on
holds 'and the cluster writes on' until_true 60 big 5000
is "$(pid_of 1) $(pid_of 2) $(pid_of 3)" "$pids" 'every agent lives'
holds 'the log of the full node says why' until_true 30 log_has "$full" 'space|full'
sql 'SELECT count(*) FROM t WHERE x = 1' "$full" --read stale
is "$value" 1 'the full node serves stale reads'
unfill "$full"
holds 'with space again it catches up' \
	until_true 60 sql_gives 20 'SELECT count(*) FROM t WHERE x >= 5000' "$full" --read stale
holds 'the cluster is healthy' wait_health healthy
verify_ok 'all nodes hold the same'

# All disks are full.
for n in 1 2 3; do
	fill "$n"
done
next=10000
refused() {
	run big "$next"
	next=$((next + 20))
	[ "$code" != 0 ]
}
holds 'with all disks full writes are refused' until_true 60 refused
is "$(pid_of 1) $(pid_of 2) $(pid_of 3)" "$pids" 'every agent lives'
alive() {
	local pid
	for pid in $pids; do
		kill -0 "$pid" 2>/dev/null || return 1
	done
}
holds 'as a process' alive
for n in 1 2 3; do
	sql 'SELECT count(*) FROM t WHERE x = 1' "$n" --read stale
	is "$value" 1 "node $n serves stale reads"
done
for n in 1 2 3; do
	unfill "$n"
done
holds 'with space again writes are taken' until_true 60 big 90000
holds 'the cluster is healthy' wait_health healthy
sql 'SELECT count(*) FROM t WHERE x >= 90000' --read linearizable
is "$value" 20 'and read'
verify_ok 'all nodes hold the same'

# No room to start.
run_is 0 'node 2 is stopped' d stop 2
rm -rf "${C:?}"/node2/data/*
fill 2
run_agent "$C/node2/agent.ini"
is "$code" 1 'an agent without room for its log does not start'
like "$err" '[Nn]o space left' 'and says why'
unfill 2
rm -rf "${C:?}"/node2/data/*
run_is 0 'with room it starts' d start 2
holds 'and comes back' wait_health healthy
verify_ok 'all nodes hold the same'
run_is 0 'the end' d stop all --yes

finish
