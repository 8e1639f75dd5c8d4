#!/bin/bash
# Garbage, oversized and truncated bytes, strangers and liars on every port: refused and counted,
# and the agents live.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

stranger=$(dirname "$DROVER")/e2e/stranger
if [ ! -x "$stranger" ]; then
	stranger=$WORK/stranger
	cc -std=c11 -D_GNU_SOURCE -I"$ROOT" -o "$stranger" "$ROOT/tests/e2e/stranger.c" -lsodium ||
		give_up 'tests/e2e/stranger.c is built'
fi

start_cluster c --nodes 3
must_write 'CREATE TABLE t(x); INSERT INTO t VALUES(42)'
run d status -o json
cluster=$(j '$_->{cluster_id}')
rpc=$(j '$N{1}{addresses}{rpc}')
peer=$(j '$N{1}{addresses}{peer}')
user_key=$(find "$C" -name 'admin.key')
pids="$(pid_of 1) $(pid_of 2) $(pid_of 3)"

unhurt() { # NAME
	is "$(pid_of 1) $(pid_of 2) $(pid_of 3)" "$pids" "after $1 the agents are the same"
	must_write 'SELECT x FROM t' 1 --read linearizable
	is "$value" 42 'and serve'
}
count() { # COUNTER: of node 1
	run d status -o json
	j "\$N{1}{links}{$1}"
}

# Bytes before any hello, with the shell's own sockets.
bytes() { # ADDRESS: sends stdin, reads for a moment
	timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/$2" || exit 0; cat >&3; timeout 0.3 cat <&3 >/dev/null' \
		- "${1%:*}" "${1##*:}" 2>/dev/null
}
refused=$(count refused_hello)
for address in "$rpc" "$peer"; do
	printf 'GET / HTTP/1.1\r\nHost: x\r\n\r\n' | bytes "$address"
	printf 'drover\1\0' | bytes "$address"
	printf 'drover\2\0' | bytes "$address"
	printf '\26\3\1\2\0\1\0\1\374\3\3' | bytes "$address"
	head -c 100000 /dev/zero | bytes "$address"
	head -c 1000000 /dev/urandom | bytes "$address"
	bytes "$address" </dev/null
done
unhurt 'garbage before the hello'
holds 'and have counted it' test "$(count refused_hello)" -gt "$refused"

# Many connections at once that say nothing; they must not keep others out for good.
silent=()
for i in $(seq 60); do
	exec {fd}<>"/dev/tcp/${rpc%:*}/${rpc##*:}" && silent+=("$fd")
done 2>/dev/null
unhurt 'sixty connections that say nothing'
for fd in ${silent[@]+"${silent[@]}"}; do
	exec {fd}>&-
done

# Resets: closed with unread data, before and in the middle of the hello.
resets() {
	perl -MSocket -e '
	my ($host, $port) = @ARGV;
	for my $i (1 .. 200) {
		socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
		setsockopt($s, SOL_SOCKET, SO_LINGER, pack("ii", 1, 0));
		connect($s, sockaddr_in($port, inet_aton($host))) or die "connect: $!";
		syswrite($s, substr("drover\1\0" . "\2" x 152, 0, $i % 161));
		close($s);
	}
' "${rpc%:*}" "${rpc##*:}"
}
holds 'two hundred connections are reset' resets
unhurt 'resets'

# With a sound hello, as drover-protocol(7) has it.
as_user() {
	run "$stranger" "$rpc" "$cluster" admin "$user_key" 3 "$@"
}
as_user status
is "$code" 0 'a client written from the man page gets a status'
is "$(j '$_->{name}')" n1 'of this node'
address=$(run d status -o json; j '$N{$G{1}{leader_id}}{addresses}{rpc}')
run "$stranger" "$address" "$cluster" admin "$user_key" 3 sql 'SELECT x FROM t'
is "$out" "$(printf '0\n42')" 'and an answer to SQL'
as_user feed stats
is "$out" "$(printf 'stats 1\nstats 2')" 'and what it subscribes to'

for kind in version name; do
	as_user hello "$kind"
	is "$out" closed "a hello with a wrong $kind is closed without a word"
done
as_user hello signature
is "$out" closed 'so is one whose signature does not hold'
as_user hello key
like "$out" '^(closed|verdict 1)$' 'so is a key that is not the one claimed'
as_user hello mirror
is "$out" closed 'so is one that echoes ours'
as_user hello slow
is "$out" closed 'so is one that stops half-way, after a while'
run "$stranger" "$rpc" other admin "$user_key" 3 hello sound
is "$out" closed 'so is one of another cluster'
run "$stranger" "$rpc" "$cluster" nobody "$user_key" 3 hello sound
is "$out" 'verdict 1' 'an unknown user is turned away'
run "$stranger" "$peer" "$cluster" admin "$user_key" 1 hello sound
like "$out" '^verdict [12]$' 'so is a user who wants to be a peer'
run "$stranger" "$rpc" "$cluster" 2:n2 "$C/node2/node.key" 1 hello sound
is "$out" 'verdict 2' 'peers are not served on the port of clients'
unhurt 'wrong hellos'

bad=$(count bad_frames)
as_user garbage
is "$code" 0 'a user with a key sends garbage'
[ "$code" = 0 ] || diag "$said"
like "$out" '^length 0: closed' 'a frame of length 0 closes the link'
like "$out" '^length 4 GiB: closed' 'so does one of 4 GiB'
like "$out" '^own type: closed' 'so does one of an unknown type of the link'
unhurt 'garbage from a user'
holds 'and have counted it' test "$(count bad_frames)" -gt "$bad"

# A peer gone mad: node 3's key, while node 3 is away.
run_is 0 'node 3 is stopped' d stop 3
pids="$(pid_of 1) $(pid_of 2) $(pid_of 3)"
for purpose in 1 2; do
	run "$stranger" "$peer" "$cluster" 3:n3 "$C/node3/node.key" "$purpose" garbage
	is "$code" 0 "a peer sends garbage on links of purpose $purpose"
	[ "$code" = 0 ] || diag "$said"
done
unhurt 'garbage from a peer'
holds 'the log tells of it' log_has 1 'dropped a message from n3'
holds 'but not each time' test "$(wc -l <"$C/node1/droverd.log")" -lt 3000
run_is 0 'node 3 is started' d start 3
holds 'the cluster is healthy' wait_health healthy
verify_ok 'all nodes hold the same'

finish
