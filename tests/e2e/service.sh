#!/usr/bin/env bash
# What the end-to-end scripts share that need the program running: `source tests/e2e/service.sh` from the project's root,
# with `binary` set. Starts it on free ports with a Redis of its own, as often as it is asked to, and ends all by their ids.
#
# Sets: work (a directory that is removed at the end), place (the suite's directory below target) and, for the program started
# last, gateway, redis, public, operator, token. Limits: what a program prints goes below $work, and its end is shown by `fail`.
# What could not run says `skipped: reason`, and the script that left it out ends with 77.
set -euo pipefail
export LC_ALL=C.UTF-8

# Where tools/ensure puts what it takes out of packages.
PATH=$PWD/target/tools/bin:$PATH
readonly could_not_run=77
parts_left_out=0
passed=0

# shellcheck source=tests/e2e/workplace.sh
source tests/e2e/workplace.sh
gateways=()
others=()

cleanup() {
    local pid
    for pid in "${others[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${others[@]}"; do within 5 gone "$pid" || kill -KILL "$pid" 2>/dev/null || true; done
    local servers
    servers=$(cat "$work"/*/redis.pid 2>/dev/null) || true
    # Asked, so that each ends its Redis; that Redis is ended by its id if it is still there.
    for pid in $servers; do kill -CONT "$pid" 2>/dev/null || true; done
    for pid in "${gateways[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${gateways[@]}"; do within 35 gone "$pid" || kill -KILL "$pid" 2>/dev/null || true; done
    for pid in $servers; do kill -KILL "$pid" 2>/dev/null || true; done
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

ok() {
    passed=$((passed + 1))
    echo "ok $passed - $1"
}

gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }
has() { command -v "$1" >/dev/null 2>&1; }
started() { curl --silent --fail --max-time 2 --output "$work/startupz" "http://$operator/startupz"; }
# Redis answers and every lane of the breaker is closed: start-up finishes without that, too.
calm() { curl --silent --max-time 2 "http://$operator/status" | grep -q '^{"status":"pass"'; }

fail() {
    echo "not ok - $1"
    [ $# -lt 2 ] || printf '    %s\n' "${@:2}"
    echo "--- last lines of the program"
    tail -n 20 "$work"/*.err 2>/dev/null || true
    exit 1
}

# skip REASON...: says so and ends the script, which has failed at nothing.
skip() {
    echo "skipped: $*"
    exit "$could_not_run"
}

# left_out REASON...: says so and goes on without that part.
left_out() {
    echo "skipped: $*"
    parts_left_out=$((parts_left_out + 1))
}

# finish SENTENCE: the last line, which must not sound like everything where something was left out.
finish() {
    [ "$parts_left_out" -ne 0 ] || { echo "$1"; return 0; }
    echo "$1, and $parts_left_out of its parts could not run (skipped above)"
    exit "$could_not_run"
}

# has_node: with npm, and new enough for tests with a time limit (20.11).
has_node() { has npm && has node && node --test --test-timeout=1 --version >/dev/null 2>&1; }
has_python() { has python3 && python3 -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }
readonly no_node="node (20.11 or later) or npm is not installed" no_python="python3 (3.10 or later, with venv) is not installed"

# ensure NAME...: installs what is missing and says so. Fails if that fails.
ensure() {
    local status=0
    tools/ensure "$@" >"$work/ensure" 2>&1 || status=$?
    grep '^ensure: ' "$work/ensure" || true
    return "$status"
}

# find_chromium: sets and exports CHROMIUM, a path, unless it names a browser already; installs one where there is none. Fails if
# that fails.
find_chromium() {
    local name
    [ -n "${CHROMIUM:-}" ] && has "$CHROMIUM" || ensure chromium || return 1
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
        [ -n "$name" ] && has "$name" || continue
        CHROMIUM=$(command -v "$name")
        export CHROMIUM
        return 0
    done
    return 1
}

# make_place NAME: where this suite keeps what it installs and makes.
make_place() {
    place="${CARGO_TARGET_DIR:-target}/e2e/$1"
    mkdir -p "$place"
    place=$(realpath "$place")
}

# For suites that are not about outages: else a pause of this machine or of its disk would decide what they are told.
# shellcheck disable=SC2034 # read by the scripts that source this
readonly patient=(
    COLLECTIVE_REQUESTS__TIMEOUT=20s COLLECTIVE_ATTEMPT__TIMEOUT=5s COLLECTIVE_REDIS__ACQUIRE_TIMEOUT=5s
    COLLECTIVE_REDIS__CONNECT_TIMEOUT=5s COLLECTIVE_BREAKER__SLOW_CALL_AFTER=4s COLLECTIVE_BREAKER__STALL_AFTER=10s
)

# launch [NAME [VARIABLE=VALUE...]]: a program whose data is in $work/NAME, once it listens.
launch() {
    local name=${1:-data} line
    [ $# -eq 0 ] || shift
    : >"$work/$name.out"
    # Redis waits for the disk at every write, and would wait for all that was built and installed just now as well. Only that disk:
    # others may be of a network that is gone, and nothing ends who waits for those.
    sync -f "$work" 2>/dev/null || true
    env -u COLLECTIVE_IMAGE_PROFILE -u COLLECTIVE_DEBIAN_MIRROR -u COLLECTIVE_CONTAINERS \
        COLLECTIVE_SERVER__BIND=127.0.0.1:0 COLLECTIVE_OPS__BIND=127.0.0.1:0 COLLECTIVE_DATA_DIR="$work/$name" "$@" \
        "$binary" serve >"$work/$name.out" 2>"$work/$name.err" </dev/null &
    gateway=$!
    gateways+=("$gateway")
    within 20 grep -q '^listening public=' "$work/$name.out" || fail "the program starts"
    line=$(grep -m 1 '^listening public=' "$work/$name.out")
    public=$(sed -E 's/.*public=([^ ]+).*/\1/' <<<"$line")
    operator=$(sed -E 's/.*operator=([^ ]+).*/\1/' <<<"$line")
    within 20 started || fail "start-up finishes"
}

# start_service [NAME [VARIABLE=VALUE...]]: the same with a Redis of its own, once both serve.
start_service() {
    launch "$@"
    local name=${1:-data}
    within 10 test -s "$work/$name/redis.pid" || fail "it has a Redis of its own"
    redis=$(cat "$work/$name/redis.pid")
    within 20 calm || fail "it reaches its Redis"
    token=$(cat "$work/$name/root-token" 2>/dev/null) || true # there is none where the script brought one
}

# An installation that failed because nobody could be reached, or nothing is made for this machine, is no fault of ours; any other is:
# above all a package that is not the one of the lock file, whatever had to be asked twice before.
unreachable() {
    ! grep -qE 'DO NOT MATCH THE HASHES|EINTEGRITY' "$1" && grep -qE 'ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|EAI_AGAIN|ERR_SOCKET_TIMEOUT|NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProtocolError|ProxyError|code E50[234]|too many 50[234] error responses|Network is unreachable|No matching distribution found' "$1"
}

# install_once WHAT LOCK COMMAND...: runs it in $place, once for each content of the lock file. Fails with `skipped:` said when
# nobody could be reached.
install_once() {
    local what=$1 lock=$2
    shift 2
    local stamp="$place/installed-${lock##*/}"
    cmp -s "$lock" "$stamp" && return 0
    rm -f "$stamp"
    # Half a package that a registry sent looks like one that is another, and npm may end with nothing but an error of its own
    # ("Exit handler never called"): asked for once more before either is believed. What differs from the lock file does so again.
    if "$@" >"$work/install" 2>&1 || { ! unreachable "$work/install" && "$@" >"$work/install" 2>&1; }; then
        cp "$lock" "$stamp"
        return 0
    fi
    tail -n 20 "$work/install"
    unreachable "$work/install" || fail "$what can be installed"
    left_out "$what could not be fetched from here"
    return 1
}

# install_node_packages DIRECTORY [OPTION...]: what package.json of DIRECTORY asks for, beside a copy of its tests in $place, so that
# node finds node_modules beside them and nothing is written into the sources.
install_node_packages() {
    local from=$1
    shift
    rm -rf "$place/test"
    cp -R "$from" "$place/test"
    cp "$from/package.json" "$from/package-lock.json" "$place/"
    install_once "the packages of $from" "$place/package-lock.json" \
        npm --prefix "$place" ci --ignore-scripts --no-audit --no-fund "$@"
}

# install_python_packages REQUIREMENTS: exactly those, by hash, into $place/venv.
install_python_packages() {
    install_once "the packages of $1" "$1" python_packages "$place/venv" "$1"
}

python_packages() {
    python3 -m venv --clear "$1" &&
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
            --requirement "$2"
}
