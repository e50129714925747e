#!/usr/bin/env bash
# Pages of other origins in a real browser, against the built program: `tests/e2e/cors.sh target/debug/collective`.
#
# Installs playwright-core and the published SDK with npm below target/e2e (exact versions of the lock file), serves one page
# from two origins, starts the program twice, with the first of them listed and with none, and lets Chromium try both.
#
# Limits: without node, npm, Chromium or a way to the packages it says `skipped: reason`; a package that does not match its
# lock file is a failure. CHROMIUM names another browser of that family. Only processes started here are ended, by their id.
set -euo pipefail
export LC_ALL=C.UTF-8

binary=$(realpath "${1:?usage: tests/e2e/cors.sh BINARY}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
place="${CARGO_TARGET_DIR:-target}/e2e/cors"
mkdir -p "$place"
place=$(realpath "$place")
# Not below $TMPDIR: a unix socket's path may have 107 bytes at most.
work=$(mktemp -d /tmp/collective-cors.XXXXXX)
pages=
gateways=()

cleanup() {
    local pid redis
    # Asked, so that each ends its Redis; that Redis is ended by its id if it is still there.
    for pid in "${gateways[@]}" ${pages:+"$pages"}; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${gateways[@]}"; do within 35 gone "$pid" || kill -KILL "$pid" 2>/dev/null || true; done
    for redis in "$work"/*/redis.pid; do
        redis=$(cat "$redis" 2>/dev/null) && { kill -CONT "$redis" && kill -KILL "$redis"; } 2>/dev/null || true
    done
    rm -rf "$work"
}
trap cleanup EXIT

# within SECONDS COMMAND...: runs it until it succeeds or the time is over.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.05
    done
}

gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }
has() { command -v "$1" >/dev/null 2>&1; }
started() { curl --silent --fail --max-time 2 --output "$work/startupz" "http://$1/startupz"; }

skip() {
    echo "skipped: $1, the browser was not tried"
    exit 0
}

browser() {
    local name
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
        [ -n "$name" ] && has "$name" && command -v "$name" && return 0
    done
    return 1
}

# start NAME [VARIABLE=VALUE...]: a program with a Redis of its own; sets address.
start() {
    local name=$1 line operator
    shift
    : >"$work/$name.out"
    env COLLECTIVE_SERVER__BIND=127.0.0.1:0 COLLECTIVE_OPS__BIND=127.0.0.1:0 COLLECTIVE_DATA_DIR="$work/$name" \
        COLLECTIVE_AUTH__ROOT_TOKEN="$TOKEN" "$@" "$binary" serve >"$work/$name.out" 2>"$work/$name.err" </dev/null &
    gateways+=($!)
    within 20 grep -q '^listening public=' "$work/$name.out" || { tail -n 20 "$work/$name.err"; return 1; }
    line=$(grep -m 1 '^listening public=' "$work/$name.out")
    operator=$(sed -E 's/.*operator=([^ ]+).*/\1/' <<<"$line")
    within 20 started "$operator" || { tail -n 20 "$work/$name.err"; return 1; }
    address=http://$(sed -E 's/.*public=([^ ]+).*/\1/' <<<"$line")
}

unreachable() { grep -qE 'ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EAI_AGAIN' "$1"; }

# install: once for each content of the lock file.
install() {
    cmp -s "$place/package-lock.json" "$place/installed" && return 0
    rm -f "$place/installed"
    if npm --prefix "$place" ci --ignore-scripts --no-audit --no-fund >"$work/install" 2>&1; then
        cp "$place/package-lock.json" "$place/installed"
        return 0
    fi
    tail -n 20 "$work/install"
    if unreachable "$work/install"; then skip "the npm packages could not be fetched from here"; fi
    echo "not ok - the packages of the browser suite can be installed"
    exit 1
}

has node && has npm || skip "node or npm is not installed"
CHROMIUM=$(browser) || skip "Chromium is not installed"
export CHROMIUM
# Copied, so that node finds node_modules beside the tests and nothing is written into the sources.
cp tests/e2e/cors/* "$place/"
install

TOKEN=$(od -An -N 24 -t x1 /dev/urandom | tr -d ' \n')
export TOKEN
: >"$work/pages"
(cd "$place" && exec node pages.mjs) >"$work/pages" 2>"$work/pages.err" </dev/null &
pages=$!
within 10 grep -q '^pages ' "$work/pages" || { cat "$work/pages.err"; echo "not ok - the pages are served"; exit 1; }
read -r _ LISTED OTHER <"$work/pages"
export LISTED OTHER
start listed COLLECTIVE_CORS__ALLOWED_ORIGINS="https://app.example.com,$LISTED" || { echo "not ok - the program starts"; exit 1; }
export SERVICE=$address
start off || { echo "not ok - the program starts"; exit 1; }
export SERVICE_OFF=$address
REDIS_PID=$(cat "$work/listed/redis.pid")
export REDIS_PID

if ! (cd "$place" && node --test --test-timeout=120000 --test-reporter=spec browser.test.mjs); then
    echo "--- last lines of the program"
    tail -n 20 "$work/listed.err"
    exit 1
fi
echo "pages of other origins: tried with $("$CHROMIUM" --version 2>/dev/null | head -n 1)"
