#!/usr/bin/env bash
# Traces against a receiver that is none of ours: `tests/e2e/otlp.sh target/debug/collective`.
#
# Sends a read whose first attempt Redis leaves unanswered (it is frozen until the second is on its way) and reads what the
# receiver, rotel, prints of it: names, parent, attempts as events. Then the receiver is ended, and callers notice nothing. What
# comes from PyPI is installed below target/e2e/otlp, by version and hash.
#
# Limits: without python3 or a way to the package it says `skipped: reason`. Only processes started here are ended, by their id.
set -euo pipefail

binary=$(realpath "${1:?usage: tests/e2e/otlp.sh BINARY}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/e2e/service.sh
make_place otlp
readonly suite=$PWD/tests/e2e/otlp trace=0af7651916cd43dd8448eb211c80319c caller=b7ad6b7169203331

has_python || skip "$no_python, no receiver of traces was asked"
install_python_packages "$suite/requirements.txt" || skip "the receiver could not be installed"
agent=$("$place/venv/bin/python" -c 'import importlib.util; print(importlib.util.find_spec("rotel").submodule_search_locations[0])')/rotel-agent

# Ports that are free now: the receiver takes no 0.
read -r http grpc < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))')
"$agent" start --otlp-http-endpoint "127.0.0.1:$http" --otlp-grpc-endpoint "127.0.0.1:$grpc" --exporter blackhole \
    --debug-log traces --debug-log-verbosity detailed >"$work/receiver.out" 2>"$work/receiver.err" </dev/null &
receiver=$!
others+=("$receiver")
listens() { (: </dev/tcp/127.0.0.1/"$http") 2>/dev/null; }
within 20 listens || fail "the receiver starts" "$(tail -n 5 "$work/receiver.out" "$work/receiver.err")"
ok "a receiver of traces runs"

# Nothing but the attempt's own time may end while Redis is frozen.
start_service data COLLECTIVE_TRACES__ENDPOINT="http://127.0.0.1:$http" COLLECTIVE_TRACES__SAMPLE_RATIO=1 \
    COLLECTIVE_SERVER__WORKERS=1 COLLECTIVE_REQUESTS__TIMEOUT=20s COLLECTIVE_ATTEMPT__TIMEOUT=2s \
    COLLECTIVE_BREAKER__STALL_AFTER=30s COLLECTIVE_REDIS__CONNECT_TIMEOUT=10s
ask() {
    curl --silent --show-error --max-time 30 --output "$work/body" --write-out '%{http_code}' \
        --header "Authorization: Bearer $token" "$@" "http://$public/v1/keys/a-secret-key"
}
[ "$(ask --request PUT --data kept)" = 201 ] || fail "a key is written" "$(cat "$work/body")"
# Both connections of the worker are there, so that the attempt is sent and not answered.
for _ in 1 2 3 4; do ask >/dev/null; done
retries() {
    curl --silent --max-time 2 "http://$operator/metrics" |
        awk '/^collective_redis_retries_total.*"retried"/ { sum += $2 } END { print sum + 0 }'
}
before=$(retries)
retried() { [ "$(retries)" -gt "$before" ]; }
kill -STOP "$redis"
ask --header "traceparent: 00-$trace-$caller-01" --dump-header "$work/head" >"$work/status" &
asking=$!
within 15 retried || fail "an attempt that is not answered is followed by another"
kill -CONT "$redis"
wait "$asking" || fail "a read is answered although its first attempt was not" "$(cat "$work/status")"
status=$(cat "$work/status")
[ "$status" = 200 ] || fail "a read is answered although its first attempt was not" "$status" "$(cat "$work/body")"
grep -qi "^traceresponse: 00-$trace-" "$work/head" || fail "the answer says which trace it is in" "$(cat "$work/head")"
# It may be read while it is being written: then it is not judged yet.
told() { python3 "$suite/told.py" "$work/receiver.out" "$caller" >"$work/told" 2>&1; }
within 20 told ||
    fail "the spans of a retried call say what became of it" "$(cat "$work/told")" "$(tail -n 80 "$work/receiver.out")"
cat "$work/told"
ok "the spans of a retried call arrive with their names, their parent and their attempts"

{ kill -KILL "$receiver" && wait "$receiver" || true; } 2>/dev/null
within 5 gone "$receiver" || fail "the receiver ends"
for _ in $(seq 50); do
    [ "$(ask)" = 200 ] || fail "with the receiver gone callers notice nothing" "$(cat "$work/body")"
done
lost() { curl --silent --max-time 2 "http://$operator/metrics" | awk '/^collective_traces_dropped_total/ { sum += $2 } END { exit sum < 50 }'; }
within 20 lost || fail "what the receiver did not get is counted" "$(curl --silent "http://$operator/metrics" | grep traces)"
ok "with the receiver gone callers notice nothing, and what is lost is counted"
finish "otlp: $passed checks passed"
