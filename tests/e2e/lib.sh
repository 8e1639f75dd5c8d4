# What the end-to-end tests share: a cluster in a temporary folder, TAP, waiting, JSON.
#
# A test sources this file, makes clusters, checks, and calls `finish` at its end. Every process
# that runs from the test's folder is ended and the folder removed when it exits, however it does.
# Nothing here depends on how fast the machine is: what takes time is waited for, up to a deadline
# that only a hang passes. DROVER names the program under test, E2E_KEEP=1 keeps the folder,
# E2E_PATIENCE=3 makes every deadline three times as long.
#
# shellcheck shell=bash
set -u
shopt -s nullglob
export LC_ALL=C.UTF-8

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
DROVER=$(realpath "${DROVER:-$ROOT/build/release/drover}")
DROVERD=$(realpath "${DROVERD:-$(dirname "$DROVER")/droverd}")
if [ ! -x "$DROVER" ] || [ ! -x "$DROVERD" ]; then
	echo "Bail out! there is no $DROVER or $DROVERD; build first"
	exit 1
fi
export DROVER_AGENT=$DROVERD

WORK=$(mktemp -d "${TMPDIR:-/tmp}/drover-e2e.XXXXXX") || exit 1
# Nothing of the person who runs the tests gets in or is touched.
unset DROVER_CONFIG DROVER_OUTPUT DROVER_AGENT_CONFIG NO_COLOR
export HOME=$WORK/home XDG_CONFIG_HOME=$WORK/home/config XDG_STATE_HOME=$WORK/home/state
mkdir -p "$XDG_CONFIG_HOME" "$XDG_STATE_HOME"
# A sanitizer's finding must not look like an ordinary failure.
export ASAN_OPTIONS=${ASAN_OPTIONS:-exitcode=99} TSAN_OPTIONS=${TSAN_OPTIONS:-exitcode=99:suppressions=$ROOT/tests/tsan.supp}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-exitcode=99:print_stacktrace=1}

tests=0
failed=0
children=() # processes started by `background`
mounts=()

# --- the end ---

# Processes whose command line names a file in this test's folder: its agents.
own_pids() {
	local proc
	for proc in /proc/[0-9]*; do
		{ tr '\0' '\n' <"$proc/cmdline"; } 2>/dev/null | grep -qF -- "$WORK/" &&
			echo "${proc#/proc/}"
	done
}

show_logs() {
	local log
	for log in "$WORK"/*/node*/droverd.log; do
		diag "--- ${log#"$WORK"/}"
		tail -n 25 "$log" | sed 's/^/# /'
	done
}

clean_up() {
	local pid mount
	trap - EXIT INT TERM HUP
	for pid in ${children[@]+"${children[@]}"} $(own_pids); do
		[ "$pid" = $$ ] || kill -KILL "$pid" 2>/dev/null
	done
	wait 2>/dev/null
	until_true 20 no_own_pids
	for mount in ${mounts[@]+"${mounts[@]}"}; do
		umount "$mount" || umount -l "$mount"
	done
	if [ -n "${E2E_KEEP:-}" ]; then
		diag "kept: $WORK"
	else
		rm -rf "$WORK"
	fi
}

no_own_pids() {
	local pid
	for pid in $(own_pids); do
		[ "$pid" = $$ ] || return 1
	done
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- TAP ---

diag() {
	printf '# %s\n' "$@"
}

pass() { # NAME
	tests=$((tests + 1))
	echo "ok $tests - $1"
}

fail() { # NAME [WHY...]
	tests=$((tests + 1))
	failed=$((failed + 1))
	echo "not ok $tests - $1"
	shift
	printf '%s\n' "$@" | sed 's|^|#   |'
}

is() { # GOT WANTED NAME
	if [ "$1" = "$2" ]; then
		pass "$3"
	else
		fail "$3" "got:    $1" "wanted: $2" "${said:-}"
	fi
}

like() { # GOT REGEX NAME
	if grep -Eq -- "$2" <<<"$1"; then
		pass "$3"
	else
		fail "$3" "got:            $1" "does not match: $2" "${said:-}"
	fi
}

unlike() { # GOT REGEX NAME
	if grep -Eq -- "$2" <<<"$1"; then
		fail "$3" "got:     $1" "matches: $2"
	else
		pass "$3"
	fi
}

# Is the command's exit code 0?
holds() { # NAME COMMAND...
	local name=$1
	shift
	if "$@"; then
		pass "$name"
	else
		fail "$name" "this failed: $*" "${said:-}"
	fi
}

# What only a bug can leave in a log.
CRASHES='Sanitizer|runtime error:|Assertion .* failed|stack smashing|buffer overflow'

finish() {
	local log crashed=
	for log in "$WORK"/*/node*/droverd.log; do
		grep -Eq "$CRASHES" "$log" && crashed="$crashed$(grep -E -A 30 "$CRASHES" "$log")"
	done
	[ -z "$crashed" ] || fail 'no agent has crashed' "$crashed"
	[ "$failed" = 0 ] || show_logs
	echo "1..$tests"
	[ "$failed" = 0 ]
	exit
}

# Without what the test is about there is no point in going on.
give_up() { # WHY
	fail "$1" "${said:-}"
	finish
}

# --- running and waiting ---

# Runs a command; out, err and code are what came of it.
run() {
	out=
	err=
	code=0
	"$@" >"$WORK/out" 2>"$WORK/err" </dev/null || code=$?
	out=$(tr -d '\0' <"$WORK/out")
	err=$(tr -d '\0' <"$WORK/err")
	said="\$ $(basename "$1") ${*:2}
exit code $code
$(head -c 2000 "$WORK/out")
$(head -c 2000 "$WORK/err")"
}

# The same, and its exit code is a test.
run_is() { # CODE NAME COMMAND...
	local want=$1 name=$2
	shift 2
	run "$@"
	is "$code" "$want" "$name"
}

# An agent in the foreground, which is to refuse to start; if it does start it is ended.
run_agent() { # INI
	run timeout -k 10 $((30 * ${E2E_PATIENCE:-1})) "$DROVERD" -c "$1"
}

d() { # drover, on the cluster at hand; bounded, so that a hang is a failure
	timeout -k 10 $((240 * ${E2E_PATIENCE:-1})) "$DROVER" -c "$C/cluster.ini" "$@"
}

background() { # COMMAND...: leaves its pid in $!
	"$@" </dev/null &
	children+=($!)
}

# Waits until a command succeeds. false: it did not, for that many seconds.
until_true() { # SECONDS COMMAND...
	local end=$((SECONDS + $1 * ${E2E_PATIENCE:-1}))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# --- JSON ---

# What a Perl expression makes of the JSON document in $out, as text. $_ is the document, $N{2} the
# node with id 2 of a status, $G{2} its group 1.
j() { # EXPRESSION
	perl -MJSON::PP -e '
		my ($text, $code) = @ARGV;
		$_ = eval { JSON::PP->new->utf8->allow_nonref->decode($text) };
		if ($@) { print "no JSON: $@"; exit 1 }
		our (%N, %G);
		if (ref eq "HASH" && ref $_->{nodes} eq "ARRAY") {
			%N = map { $_->{id} => $_ } @{$_->{nodes}};
			for my $n (values %N) {
				($G{$n->{id}}) = grep { $_->{group} == 1 } @{$n->{groups} || []};
			}
		}
		my $value = eval $code;
		die $@ if $@;
		print defined $value ? $value : "null";
	' "$out" "$1"
}

# --- clusters ---

# A port from which on PORTS are free, below those that the system gives to outgoing connections.
PORTS=40
free_base() {
	local base port taken tries
	for ((tries = 0; tries < 200; tries++)); do
		base=$((10000 + (RANDOM * 32768 + RANDOM) % 22000 / PORTS * PORTS))
		taken=$(awk 'NR > 1 { split($2, a, ":"); print a[2] }' /proc/net/tcp /proc/net/tcp6)
		for ((port = base; port < base + PORTS; port++)); do
			grep -qix "$(printf '%04X' "$port")" <<<"$taken" && continue 2
		done
		echo "$base"
		return
	done
	return 1
}

# Makes a cluster in $WORK/NAME and takes it in hand (C); more arguments go to drover init.
make_cluster() { # NAME [FLAG...]
	C=$WORK/$1
	shift
	base=$(free_base) || give_up 'no free ports'
	run "$DROVER" init "$C" --base-port "$base" "$@"
	[ "$code" = 0 ] || give_up 'drover init makes a cluster'
}

# Makes and starts one.
start_cluster() { # NAME [FLAG...]
	make_cluster "$@"
	run d start all
	[ "$code" = 0 ] || give_up 'drover start all starts the cluster'
	wait_health healthy || give_up 'the cluster becomes healthy'
}

# Adds a line to a section of a node's agent.ini, in place of the key if it is there.
set_key() { # NODE SECTION KEY VALUE
	perl -i -ne '
		BEGIN { our ($section, $key, $value) = splice(@ARGV, 0, 3) }
		next if $in && /^#?\s*\Q$key\E\s*=/;
		$in = $1 eq $section if /^\[(.*)\]/;
		print;
		print "$key = $value\n" if /^\[\Q$section\E\]/;
	' "$2" "$3" "$4" "$C/node$1/agent.ini"
}

has_health() {
	run d status -o json
	[ "$(j '$_->{health}' 2>/dev/null)" = "$1" ]
}

wait_health() { # healthy|degraded|no_quorum
	until_true 60 has_health "$1"
}

# The id of the node that leads group 1; empty if there is none.
leader() {
	run d status -o json
	j 'my ($l) = grep { $_->{state} eq "up" && grep { $_->{group} == 1 && $_->{role} eq "leader" }
		@{$_->{groups}} } @{$_->{nodes}}; $l ? $l->{id} : ""'
}

has_leader() {
	local id
	id=$(leader)
	[ -n "$id" ] && [ "$id" != "${1:-}" ]
}

# Waits until a node leads, other than the one given.
wait_leader() { # [NOT]
	until_true 60 has_leader "${1:-}"
}

# Some node that does not lead.
follower() {
	local id lead
	lead=$(leader)
	for id in 1 2 3; do
		[ "$id" = "$lead" ] || {
			echo "$id"
			return
		}
	done
}

pid_of() { # NODE
	cat "$C/node$1/droverd.pid" 2>/dev/null
}

is_gone() { # PID
	! kill -0 "$1" 2>/dev/null
}

# Runs SQL and leaves the only value of its only row in $value. More arguments go to drover sql.
sql() { # STATEMENTS [ARGUMENT...]
	local text=$1
	shift
	run d sql -o json -e "$text" "$@"
	[ "$code" = 0 ] || return 1
	out=$(tail -n 1 <<<"$out")
	value=$(j 'ref eq "ARRAY" && @$_ ? (values %{$_->[0]})[0] : ""')
}

sql_gives() { # WANTED STATEMENTS [ARGUMENT...]
	local want=$1
	shift
	sql "$@" && [ "$value" = "$want" ]
}

# A write that may have to wait for an election.
must_write() { # STATEMENTS [ARGUMENT...]
	until_true 60 sql "$@" || give_up "this is written: $1"
}

verified() {
	run d verify -o json
	[ "$code" = 0 ] && [ "$(j '$_->{ok} ? 1 : 0')" = 1 ]
}

# All nodes hold the same: a test.
verify_ok() { # NAME
	if until_true 60 verified; then
		pass "$1"
	else
		fail "$1" "$said"
	fi
}

log_has() { # NODE REGEX
	grep -Eq -- "$2" "$C/node$1/droverd.log"
}
