#!/bin/bash
# Wrong configuration: file, line and what is right on one line, exit code 1, nothing started.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

make_cluster c --nodes 3
ini=$C/node1/bad.ini

# Changes node 1's agent.ini with a Perl expression on each line, and looks what droverd says.
# WANT is a regular expression; LINE in it stands for the number of the first line with TEXT.
bad() { # NAME EDIT TEXT WANT
	local name=$1 edit=$2 text=$3 want=$4 line
	perl -pe "$edit" "$C/node1/agent.ini" >"$ini"
	line=$(grep -nF -m 1 -- "$text" "$ini" | cut -d: -f1)
	run_agent "$ini"
	if [ "$code" = 1 ] && [ "$(wc -l <<<"$err")" = 1 ] &&
		grep -Eq -- "bad\.ini${want//LINE/:$line: }" <<<"$err"; then
		pass "$name"
	else
		fail "$name" "wanted: bad.ini${want//LINE/:$line: }" "$said"
	fi
}

bad 'unknown key' 's/^\[listen\]/[listen]\nprot = 1/' 'prot = 1' 'LINE.*prot.*allowed are .*rpc'
bad 'unknown section' 's/^\[listen\]/[lisen]/' '[lisen]' 'LINE.*lisen.*allowed are .*\[listen\]'
bad 'key before any section' 's/^/id = 1\n/ if $. == 1' 'id = 1' 'LINE.*id.*before any'
bad 'line that is none' 's/^\[listen\]/[listen]\nhello/' 'hello' 'LINE'
bad 'key twice' 's/^(id = 1)$/$1\n$1/' 'id = 1' ':[0-9]+: id .*twice'
bad 'section twice' 's/^\[listen\]/[listen]\n[listen]/' '[listen]' ':[0-9]+: .*listen.* already'
bad 'number that is none' 's/^\[raft\]/[raft]\nheartbeat_ms = soon/' 'soon' \
	'LINE.*heartbeat_ms.*soon.*5\.\.10000'
bad 'number out of range' 's/^\[raft\]/[raft]\nheartbeat_ms = 99999/' '99999' \
	'LINE.*heartbeat_ms.*99999.*5\.\.10000'
bad 'negative number' 's/^\[raft\]/[raft]\nheartbeat_ms = -5/' '= -5' 'LINE.*heartbeat_ms.*5\.\.10000'
bad 'word that is none of them' 's/^\[log\]/[log]\nlevel = loud/' 'loud' \
	'LINE.*level.*loud.*debug\|info\|warn\|error'
bad 'address without a port' 's/^rpc = .*/rpc = 127.0.0.1/' 'rpc = 127.0.0.1' 'LINE.*rpc.*host:port'
bad 'key that is none' 's/^key = .*/key = abc/' 'key = abc' 'LINE.*key.*64 hex digits'
bad 'missing key' 's/^id = 1$//' '[node]' "LINE.*lacks the key 'id'"
bad 'election shorter than heartbeats' 's/^\[raft\]/[raft]\nheartbeat_ms = 500/' '[raft]' \
	'LINE.*election_ms.*twice heartbeat_ms'
bad 'this node not among the peers' 's/^id = 1$/id = 7/' '[node]' 'LINE.*\[peer 7\]'
bad 'listening to everybody without saying insecure' '$s = $1 if /^\[(.*)\]/; s/^rpc = .*/rpc = 0.0.0.0:7000/ if $s eq "listen"' '[listen]' \
	'LINE.*0\.0\.0\.0:7000.*insecure = yes'
bad 'no user' '$s = $1 if /^\[(.*)\]/; $_ = "" if $s =~ /^user/' '[node]' ': there is no \[user NAME\]'
bad 'endless line' 's/^\[log\]/"# " . "x" x 5000 . "\n[log]"/e' 'xxxxx' 'LINE.*line is at most'
is "$(find "$C" -name '*.seg')" '' 'none of these has written a log'
printf '\0\1\2binary' >"$ini"
run_agent "$ini"
is "$code" 1 'a file that is no text is refused'

cp "$C/node1/agent.ini" "$ini"
chmod 644 "$C/node1/node.key"
run_agent "$ini"
is "$code" 1 'a secret key that others may read is refused'
like "$err" 'node\.key.*chmod 600' 'with what to do'
chmod 600 "$C/node1/node.key"
run_agent "$C/nothing.ini"
is "$code" 1 'a missing file is an error'
like "$err" 'nothing\.ini' 'that names it'
run_is 2 'no file at all is wrong usage' "$DROVERD"
is "$(own_pids)" '' 'none of these runs'

# cluster.ini, for the command line.
run "$DROVER" -c "$WORK/none.ini" status
unlike "$code" '^0$' 'a missing cluster.ini is an error'
like "$err" 'none\.ini' 'that names it'
sed 's/^\[cluster\]/[cluster]\nclour = red/' "$C/cluster.ini" >"$C/bad.ini"
line=$(grep -n clour "$C/bad.ini" | cut -d: -f1)
run "$DROVER" -c "$C/bad.ini" status
unlike "$code" '^[034]$' 'an unknown key in cluster.ini is an error'
like "$err" "bad\.ini:$line: .*clour.*allowed are .*shards" 'with file, line and what is allowed'
(cd "$WORK" && "$DROVER" status) >"$WORK/out" 2>"$WORK/err"
like "$(cat "$WORK/err")" 'no cluster\.ini' 'without a cluster.ini anywhere it says so'

# Things that are in the way.
run_is 0 'a sound node starts' d start 1
run_agent "$C/node1/agent.ini"
is "$code" 1 'a second agent on the same data is refused'
like "$err" "another agent \(pid $(pid_of 1)\)" 'with the pid of the first'
run d start 1
like "$code" '^[08]$' 'drover start of a node that runs does no harm'
pid=$(pid_of 1)
holds 'the first runs on' kill -0 "$pid"

sed "s/^rpc = .*/$(sed -n '/^\[listen\]/,/^\[/s/^\(rpc = .*\)/\1/p' "$C/node1/agent.ini" | head -n 1)/" \
	"$C/node2/agent.ini" >"$WORK/x"
port=$(sed -n '/^\[listen\]/,/^\[raft/s/^rpc = .*:\([0-9]*\)$/\1/p' "$C/node1/agent.ini")
set_key 2 listen rpc "127.0.0.1:$port"
run_agent "$C/node2/agent.ini"
is "$code" 1 'a port in use is an error'
like "$err" "127\.0\.0\.1:$port.*in use" 'that names the address'
run d start 2
unlike "$code" '^0$' 'drover start tells that the agent ended'
like "$err" 'in use' 'and why'
holds 'it left no pid file' test ! -e "$C/node2/droverd.pid"

set_key 3 node data "$C/no/such/folder"
run_agent "$C/node3/agent.ini"
is "$code" 1 'a missing folder is an error'
like "$err" "$C/no/such/folder" 'that names it'
touch "$C/file"
set_key 3 node data "$C/file/data"
run_agent "$C/node3/agent.ini"
is "$code" 1 'a file in place of a folder is an error'
like "$err" "$C/file/data" 'that names it'
set_key 3 node data /proc/nowhere
run_agent "$C/node3/agent.ini"
is "$code" 1 'a folder that cannot be written is an error'
like "$err" '/proc/nowhere' 'that names it'
set_key 3 node data "$C/file"
run_agent "$C/node3/agent.ini"
is "$code" 1 'a data folder that is a file is an error'

finish
