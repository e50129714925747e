#!/usr/bin/env bash
# The built program, used by the published SDKs as their users use them: `tests/e2e/sdk.sh target/debug/collective`.
#
# Installs the exact versions of the lock files with npm and pip below target/e2e, starts the binary on free ports with a
# Redis of its own, and runs the suites of tests/e2e/sdk and everything in examples/ against it. The suites run one after
# the other, because they empty the database between tests.
#
# Limits: without node, npm, python3 or a way to the packages it says `skipped: reason` and goes on with what it can do; a
# package that does not match its lock file is a failure. Only processes started here are ended, by their id.
set -euo pipefail
export LC_ALL=C.UTF-8

binary=$(realpath "${1:?usage: tests/e2e/sdk.sh BINARY}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
place="${CARGO_TARGET_DIR:-target}/e2e"
mkdir -p "$place"
place=$(realpath "$place")
# Not below $TMPDIR: a unix socket's path may have 107 bytes at most.
work=$(mktemp -d /tmp/collective-sdk.XXXXXX)
gateway=
failed=0

cleanup() {
    if [ -n "$gateway" ]; then
        # Asked, so that it ends its Redis; that Redis is ended by its id if it is still there.
        kill -TERM "$gateway" 2>/dev/null || true
        within 35 gone "$gateway" || kill -KILL "$gateway" 2>/dev/null || true
        local redis
        redis=$(cat "$work/data/redis.pid" 2>/dev/null) && kill -KILL "$redis" 2>/dev/null || true
    fi
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
digest() { printf %s "$1" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -d ' ' -f 1; }
started() { curl --silent --fail --max-time 2 --output "$work/startupz" "http://$operator/startupz"; }

start() {
    local full=sdk-suite-full-token-0b9e3f6a5c71 read_only=sdk-suite-read-only-token-4d8f21c6 line
    : >"$work/out"
    COLLECTIVE_SERVER__BIND=127.0.0.1:0 COLLECTIVE_OPS__BIND=127.0.0.1:0 COLLECTIVE_DATA_DIR="$work/data" \
        COLLECTIVE_AUTH__FULL_TOKEN_SHA256=$(digest "$full") \
        COLLECTIVE_AUTH__READ_ONLY_TOKEN_SHA256=$(digest "$read_only") \
        "$binary" serve >"$work/out" 2>"$work/err" </dev/null &
    gateway=$!
    within 20 grep -q '^listening public=' "$work/out" || { tail -n 20 "$work/err"; return 1; }
    line=$(grep -m 1 '^listening public=' "$work/out")
    operator=$(sed -E 's/.*operator=([^ ]+).*/\1/' <<<"$line")
    within 20 started || { tail -n 20 "$work/err"; return 1; }
    UPSTASH_REDIS_REST_URL=http://$(sed -E 's/.*public=([^ ]+).*/\1/' <<<"$line")
    export UPSTASH_REDIS_REST_URL
    export UPSTASH_REDIS_REST_TOKEN=$full READ_ONLY_TOKEN=$read_only UPSTASH_DISABLE_TELEMETRY=1
}

# An installation that failed because nobody could be reached is no fault of ours; any other is.
unreachable() {
    grep -qE 'ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EAI_AGAIN|NewConnectionError|ConnectTimeout|Network is unreachable' "$1"
}

# install NAME DIRECTORY LOCK COMMAND...: once for each content of the lock file.
install() {
    local name=$1 directory=$2 lock=$3 log="$work/install"
    shift 3
    cmp -s "$lock" "$directory/installed" && return 0
    rm -f "$directory/installed"
    if "$@" >"$log" 2>&1; then
        cp "$lock" "$directory/installed"
        return 0
    fi
    tail -n 20 "$log"
    if unreachable "$log"; then
        echo "skipped: the packages of the $name SDK suite could not be fetched from here"
    else
        echo "not ok - the packages of the $name SDK suite can be installed"
        failed=1
    fi
    return 1
}

node_suite() {
    local there="$place/node"
    has node && has npm || { echo "skipped: node or npm is not installed, the npm packages were not tried"; return 0; }
    mkdir -p "$there"
    # Copied, so that node finds node_modules beside the tests and nothing is written into the sources.
    rm -rf "$there/test" "$there/examples"
    cp -R tests/e2e/sdk/node "$there/test"
    cp -R examples "$there/examples"
    cp tests/e2e/sdk/node/package.json tests/e2e/sdk/node/package-lock.json "$there/"
    install Node "$there" "$there/package-lock.json" \
        npm --prefix "$there" ci --omit=peer --ignore-scripts --no-audit --no-fund || return 0
    (cd "$there" && node --test --test-concurrency=1 --test-timeout=120000 --test-reporter=spec test/*.test.mjs) || failed=1
}

python_packages() {
    python3 -m venv --clear "$1" &&
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
            --requirement "$2"
}

python_suite() {
    local there="$place/python" requirements=tests/e2e/sdk/python/requirements.txt
    has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null ||
        { echo "skipped: python3 with venv is not installed, the PyPI packages were not tried"; return 0; }
    mkdir -p "$there"
    install Python "$there" "$requirements" python_packages "$there/venv" "$requirements" || return 0
    # Bytecode would be written beside the sources.
    PYTHONDONTWRITEBYTECODE=1 EXAMPLES="$PWD/examples" \
        "$there/venv/bin/python" -m unittest discover --start-directory tests/e2e/sdk/python --verbose || failed=1
}

start || { echo "not ok - the program starts"; exit 1; }
node_suite
python_suite
[ "$failed" = 0 ] || { echo "--- last lines of the program"; tail -n 20 "$work/err"; exit 1; }
echo "no SDK suite that ran had a failure"
