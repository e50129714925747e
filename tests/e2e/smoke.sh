#!/usr/bin/env bash
# A running service, wherever it runs, does what its front page says: `tests/e2e/smoke.sh URL TOKEN [OPERATOR-URL]`.
#
# A dozen calls over both dialects, refusals included, and the operator's side if it can be reached. Prints one line a
# check. Limits: it writes keys that begin with `smoke:` and deletes them; nothing else is touched.
set -euo pipefail

url=${1:?usage: tests/e2e/smoke.sh URL TOKEN [OPERATOR-URL]}
token=${2:?the token}
operator=${3:-}
passed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# expect SENTENCE STATUS BODY-PATTERN CURL-ARGUMENTS...: an empty pattern asks nothing of the body.
expect() {
    local sentence=$1 status=$2 pattern=$3 got
    shift 3
    got=$(curl --silent --max-time 5 --dump-header "$work/head" --output "$work/body" --write-out '%{http_code}' "$@") || true
    if [ "$got" != "$status" ] || { [ -n "$pattern" ] && ! grep -qE "$pattern" "$work/body"; }; then
        echo "not ok - $sentence: expected $status $pattern, got ${got:-nothing} $(head -c 300 "$work/body" 2>/dev/null)"
        exit 1
    fi
    passed=$((passed + 1))
    echo "  $sentence"
}

api() {
    local sentence=$1 status=$2 pattern=$3 path=$4
    shift 4
    expect "$sentence" "$status" "$pattern" --header "Authorization: Bearer $token" "$@" "$url$path"
}

: >"$work/body"
expect "a stranger is refused" 401 unauthenticated "$url/v1/keys/smoke:a"
api "a key is written" 201 '' /v1/keys/smoke:a -X PUT --data hello
api "it is read" 200 '^hello$' /v1/keys/smoke:a
grep -qi '^etag:' "$work/head" || { echo "not ok - a read carries an ETag"; exit 1; }
api "the command dialect sees it" 200 '^{"result":"hello"}$' / --data '["GET","smoke:a"]'
api "so does a command in the path" 200 '^{"result":"hello"}$' /get/smoke:a
api "a pipeline answers in order" 200 '^\[{"result":"OK"},{"result":2}\]$' /pipeline \
    --data '[["SET","smoke:n","1"],["INCR","smoke:n"]]'
api "a transaction is one" 200 '^\[{"result":3},{"result":"3"}\]$' /multi-exec --data '[["INCR","smoke:n"],["GET","smoke:n"]]'
api "a counter counts" 200 '^{"value":4}$' /v1/counters/smoke:n/increment \
    --header 'Content-Type: application/json' --data '{"by":1}'
api "Redis' own errors come through" 400 'WRONGTYPE' / --data '["LPUSH","smoke:a","x"]'
api "what never may be sent is refused" 400 error / --data '["SHUTDOWN"]'
api "keys are deleted" 200 '^{"result":2}$' / --data '["DEL","smoke:a","smoke:n"]'
api "what is gone is not found" 404 not_found /v1/keys/smoke:a
expect "problems are explained to everybody" 200 '' "$url/problems"
if [ -n "$operator" ]; then
    for probe in livez readyz startupz status; do expect "/$probe answers" 200 '"status"' "$operator/$probe"; done
    expect "metrics tell of the build" 200 '^collective_build_info{.*} 1' "$operator/metrics"
fi
echo "smoke: $passed checks passed"
