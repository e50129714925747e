#!/usr/bin/env bash
# The built program, used from outside as its users use it: `tests/e2e/run.sh target/debug/collective`.
#
# Starts the binary on free ports with a Redis of its own, follows the README, freezes and kills that Redis, kills the
# program, and looks at what a caller is told each time. The exact numbers of the promises are measured by the suite and
# the benchmarks; the bounds here are wider, because this runs on busy machines.
#
# Limits: every wait is bounded; only processes started here are ended, by their id.
set -euo pipefail
export LC_ALL=C
# Of the scripts that build images; the program knows no such variables.
unset COLLECTIVE_IMAGE_PROFILE COLLECTIVE_DEBIAN_MIRROR COLLECTIVE_CONTAINERS

binary=$(realpath "${1:?usage: tests/e2e/run.sh BINARY}")
# shellcheck source=tests/e2e/workplace.sh
source "$(dirname "${BASH_SOURCE[0]}")/workplace.sh"
gateway=
children=()
passed=0

cleanup() {
    local pid
    for pid in ${gateway:+"$gateway"} "${children[@]}"; do
        kill -CONT "$pid" 2>/dev/null || true
        kill -KILL "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap cleanup EXIT

fail() {
    echo "not ok - $1"
    [ $# -lt 2 ] || printf '    %s\n' "${@:2}"
    echo "--- last lines of the program"
    tail -n 30 "$work/out" "$work/err" 2>/dev/null || true
    exit 1
}

ok() {
    passed=$((passed + 1))
    echo "ok $passed - $1"
}

# within SECONDS COMMAND...: runs it until it succeeds or the time is over.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.05
    done
}

# call METHOD URL [CURL-ARGUMENTS...]: sets status, seconds, body, and leaves the head in $work/head.
call() {
    local method=$1 url=$2 told
    shift 2
    [ "$method" = HEAD ] && set -- --head "$@"
    [ "$method" = HEAD ] || set -- --request "$method" "$@"
    : >"$work/head"
    : >"$work/body"
    told=$(curl --silent --max-time 5 --dump-header "$work/head" --output "$work/body" \
        --write-out '%{http_code} %{time_total}' "$@" "$url" 2>/dev/null) || true
    read -r status seconds <<<"${told:-000 0}"
    body=$(tr -d '\0' <"$work/body")
}

api() {
    local method=$1 path=$2
    shift 2
    call "$method" "http://$public$path" --header "Authorization: Bearer $token" "$@"
}

header() { sed -n "s/^$1: *//Ip" "$work/head" | tr -d '\r' | tail -n 1; }

# expect SENTENCE STATUS [BODY]: the last call answered so.
expect() {
    [ "$status" = "$2" ] || fail "$1" "expected status $2, got $status" "$body"
    [ $# -lt 3 ] || [ "$body" = "$3" ] || fail "$1" "expected $3" "got      $body"
    ok "$1"
}

starts() {
    : >"$work/out"
    # Redis waits for the disk at every write, and would wait for all that was built just now as well. Only that disk: others may be
    # of a network that is gone, and nothing ends who waits for those.
    sync -f "$work" 2>/dev/null || true
    COLLECTIVE_SERVER__BIND=127.0.0.1:0 COLLECTIVE_OPS__BIND=127.0.0.1:0 COLLECTIVE_DATA_DIR="$work/data" \
        "$binary" serve >"$work/out" 2>>"$work/err" </dev/null &
    gateway=$!
    within 10 grep -q '^listening public=' "$work/out" || fail "the program says where it listens"
    local line
    line=$(grep -m 1 '^listening public=' "$work/out")
    public=$(sed -E 's/.*public=([^ ]+).*/\1/' <<<"$line")
    operator=$(sed -E 's/.*operator=([^ ]+).*/\1/' <<<"$line")
    within 10 test -s "$work/data/root-token" || fail "a token is made on the first start"
    token=$(cat "$work/data/root-token")
}

# The processes whose parent is $1, without asking for procps where /proc is at hand.
children_of() {
    if [ -r /proc/self/stat ]; then
        awk -v parent="$1" 'FNR == 1 { sub(/.*\) /, ""); if ($2 == parent) { split(FILENAME, part, "/"); print part[3] } }' \
            /proc/[0-9]*/stat 2>/dev/null || true
    else
        ps -A -o pid=,ppid= | awk -v parent="$1" '$2 == parent { print $1 }'
    fi
}

has_child() {
    redis=$(children_of "$gateway" | head -n 1)
    [ -n "$redis" ]
}

finds_redis() {
    within 10 has_child || fail "the program starts a Redis of its own"
    children+=("$redis")
}

answers() { call GET "http://$operator$1" && [ "$status" = "$2" ]; }
reads() { api GET "/v1/keys/$1" && [ "$status" = 200 ] && [ "$body" = "$2" ]; }
refuses() { api GET /v1/keys/greeting && [ "$status" = 503 ]; }
# Redis answers and every lane of the breaker is closed: one that writes says nothing of the other, which reads.
calm() { call GET "http://$operator/status" && [[ $body = '{"status":"pass"'* ]]; }
writes() { api PUT /v1/keys/ready --data yes && [[ $status = 20? ]]; }
# Ended counts as gone, also while nobody has collected it yet.
is_gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }
gateway_ended() { is_gone "$gateway"; }
mode_of() { stat -c %a "$1" 2>/dev/null || stat -f %Lp "$1"; }

# --- The first minute, as the README tells it.
: >"$work/err"
starts
within 10 answers /startupz 200 || fail "start-up finishes"
within 20 calm || fail "it reaches its Redis" "$status $body"
within 10 writes || fail "a first write succeeds" "$status $body"
finds_redis
[ "$(cat "$work/data/redis.pid")" = "$redis" ] || fail "redis.pid names the Redis, as the README says"
ok "the program starts with a Redis of its own, named in redis.pid"

[ "$(mode_of "$work/data")" = 700 ] && [ "$(mode_of "$work/data/root-token")" = 600 ] ||
    fail "the data and the token are readable by their owner alone"
ok "the data and the token are readable by their owner alone"

line=$(cat "$work/out" "$work/err" | grep -o 'curl .*Authorization: Bearer.*' | head -n 1) || true
[ -n "$line" ] || fail "a ready-to-paste curl line is printed"
if grep -qF "$token" "$work/out" "$work/err"; then fail "the token itself is never printed"; fi
(cd "$work" && bash -c "$line --silent --show-error --fail --max-time 5" >/dev/null) || fail "the printed line works" "$line"
ok "the printed curl line works as pasted and does not hold the token"

call GET "http://$public/v1/keys/greeting"
expect "a caller without a token is refused" 401
api PUT /v1/keys/e2e --data hello
expect "a new key is created" 201
api GET /v1/keys/e2e
expect "it is read back" 200 hello
[ -n "$(header ETag)" ] || fail "a read carries an ETag"
api PUT '/v1/keys/e2e?ttl_seconds=600' --data hello
expect "it is written again, with a time to live" 204
api HEAD /v1/keys/e2e
expect "it is looked at without its value" 200
api GET /v1/keys/never-written
expect "what was never written is not found" 404
api POST / --data '["GET","e2e"]'
expect "the command dialect sees the same key" 200 '{"result":"hello"}'
api POST /pipeline --data '[["SET","e2e:p","1"],["INCR","e2e:p"]]'
expect "a pipeline answers in order" 200 '[{"result":"OK"},{"result":2}]'
api POST /v1/counters/e2e:visits/increment --header 'Content-Type: application/json' --data '{"by":3}'
expect "a counter counts" 200 '{"value":3}'
api GET /v1/counters/e2e:visits
expect "a counter is read" 200 '{"value":3}'
api DELETE /v1/keys/e2e:p
expect "a key is deleted" 204
api PUT /v1/keys/greeting --data hello

# --- The operator's side.
for probe in /livez /readyz /startupz /status /metrics; do
    call GET "http://$operator$probe"
    [ "$status" = 200 ] || fail "$probe answers 200" "$status $body"
    call GET "http://$public$probe" --header "Authorization: Bearer $token"
    [ "$status" != 200 ] || fail "$probe is not served to callers"
done
ok "probes, status and metrics answer on the operator's port and nowhere else"
if command -v promtool >/dev/null; then
    call GET "http://$operator/metrics"
    promtool check metrics <"$work/body" || fail "promtool accepts the metrics"
    ok "promtool accepts the metrics"
else
    left_out=", without a check of the metrics by promtool"
    echo "skipped: promtool is not installed, the metrics were not checked"
fi

# --- Redis freezes.
kill -STOP "$redis"
within 10 refuses || fail "a frozen Redis is noticed" "$status $body"
api GET /v1/keys/greeting
expect "a read is refused while Redis is frozen" 503
[ "$(header Collective-Outcome)" = not_executed ] || fail "the refusal says that nothing was executed" "$(cat "$work/head")"
[ -n "$(header Retry-After)" ] || fail "the refusal says when to come back" "$(cat "$work/head")"
# One alone may have met a busy moment of this machine: the one in the middle is judged.
times=$seconds
for _ in 1 2 3 4 5 6 7 8; do
    api GET /v1/keys/greeting
    [ "$status" = 503 ] || fail "a read is refused while Redis is frozen" "$status $body"
    times+=$'\n'$seconds
done
seconds=$(sort -n <<<"$times" | sed -n 5p)
awk "BEGIN { exit !($seconds < 0.1) }" || fail "the refusal is quick" "$(tr '\n' ' ' <<<"$times")"
ok "the refusal took $seconds s, says not_executed and when to come back"
api PUT /v1/keys/frozen --data never
expect "a write is refused while Redis is frozen" 503
call GET "http://$operator/livez"
expect "the process is alive while Redis is frozen" 200
call GET "http://$operator/readyz"
expect "the service stays ready while Redis is frozen" 200
call GET "http://$operator/status"
[[ $body =~ \"state\":\ *\"(open|half_open)\" ]] || fail "the status shows the open breaker" "$body"
ok "the status shows the open breaker"
kill -CONT "$redis"
within 20 reads greeting hello || fail "service returns by itself after the thaw" "$status $body"
ok "service returns by itself after the thaw"
api GET /v1/keys/frozen
expect "the refused write was not applied later" 404

# --- Redis dies.
kill -KILL "$redis"
dead=$redis
within 10 is_gone "$dead" || fail "a killed Redis is gone"
within 30 reads greeting hello || fail "Redis is started again and nothing is lost" "$status $body"
finds_redis
[ "$redis" != "$dead" ] || fail "Redis is started again" "still $dead"
ok "a killed Redis is started again and nothing is lost"

# --- The program dies, its Redis outlives it and is adopted.
# The shell's own remark about it would stand between the results.
{ kill -KILL "$gateway" && wait "$gateway" || true; } 2>/dev/null
within 10 gateway_ended || fail "a killed program is gone"
starts
within 30 reads greeting hello || fail "after kill -9 of the program nothing is lost" "$status $body"
ok "after kill -9 of the program nothing is lost"
survivors=0
for pid in "${children[@]}" $(children_of "$gateway"); do
    is_gone "$pid" || survivors=$((survivors + 1))
done
if has_child; then children+=("$redis"); fi
[ "$survivors" = 1 ] || fail "one Redis serves the data, never two" "$survivors are alive"
ok "one Redis serves the data, never two"

# --- It is asked to stop.
kill -TERM "$gateway"
within 30 gateway_ended || fail "the program stops when asked"
status=0
wait "$gateway" || status=$?
gateway=
[ "$status" = 0 ] || fail "the program stops with exit code 0" "exit code $status"
for pid in "${children[@]}"; do
    within 10 is_gone "$pid" || fail "its Redis is stopped with it" "process $pid is alive"
done
ok "the program stops when asked, and its Redis with it"
echo "end to end: $passed checks passed${left_out:-}"
[ -z "${left_out:-}" ] || exit 77
