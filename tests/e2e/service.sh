#!/usr/bin/env bash
# What the end-to-end scripts share that need the program running: `source tests/e2e/service.sh` from the project's root,
# with `binary` set. Starts it on free ports with a Redis of its own, and ends both by their ids.
#
# Sets: work (a directory that is removed at the end), place (the suite's directory below target), gateway, redis, public,
# operator, token. Limits: one service a script.
set -euo pipefail
export LC_ALL=C.UTF-8

# Not below $TMPDIR: a unix socket's path may have 107 bytes at most.
work=$(mktemp -d /tmp/collective-e2e.XXXXXX)
gateway=
others=()

cleanup() {
    local pid
    for pid in "${others[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${others[@]}"; do within 5 gone "$pid" || kill -KILL "$pid" 2>/dev/null || true; done
    if [ -n "$gateway" ]; then
        local server
        server=$(cat "$work/data/redis.pid" 2>/dev/null) && kill -CONT "$server" 2>/dev/null || true
        # Asked, so that it ends its Redis; that Redis is ended by its id if it is still there.
        kill -TERM "$gateway" 2>/dev/null || true
        within 35 gone "$gateway" || kill -KILL "$gateway" 2>/dev/null || true
        [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
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
started() { curl --silent --fail --max-time 2 --output "$work/startupz" "http://$operator/startupz"; }

fail() {
    echo "not ok - $1"
    [ $# -lt 2 ] || printf '    %s\n' "${@:2}"
    echo "--- last lines of the program"
    tail -n 20 "$work/err" 2>/dev/null || true
    exit 1
}

# make_place NAME: where this suite keeps what it installs and makes.
make_place() {
    place="${CARGO_TARGET_DIR:-target}/e2e/$1"
    mkdir -p "$place"
    place=$(realpath "$place")
}

start_service() {
    local line
    : >"$work/out"
    COLLECTIVE_SERVER__BIND=127.0.0.1:0 COLLECTIVE_OPS__BIND=127.0.0.1:0 COLLECTIVE_DATA_DIR="$work/data" \
        "$binary" serve >"$work/out" 2>"$work/err" </dev/null &
    gateway=$!
    within 20 grep -q '^listening public=' "$work/out" || fail "the program starts"
    line=$(grep -m 1 '^listening public=' "$work/out")
    public=$(sed -E 's/.*public=([^ ]+).*/\1/' <<<"$line")
    operator=$(sed -E 's/.*operator=([^ ]+).*/\1/' <<<"$line")
    within 20 started || fail "start-up finishes"
    within 10 test -s "$work/data/redis.pid" || fail "it has a Redis of its own"
    redis=$(cat "$work/data/redis.pid")
    token=$(cat "$work/data/root-token")
}

# An installation that failed because nobody could be reached is no fault of ours; any other is.
unreachable() {
    grep -qE 'ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EAI_AGAIN' "$1"
}

# install_node_packages DIRECTORY: what package.json of DIRECTORY asks for, beside a copy of its tests in $place; once for
# each content of the lock file. Fails with `skipped:` said when nobody could be reached.
install_node_packages() {
    rm -rf "$place/test"
    cp -R "$1" "$place/test"
    cp "$1/package.json" "$1/package-lock.json" "$place/"
    cmp -s "$place/package-lock.json" "$place/installed" && return 0
    rm -f "$place/installed"
    if npm --prefix "$place" ci --ignore-scripts --no-audit --no-fund >"$work/install" 2>&1; then
        cp "$place/package-lock.json" "$place/installed"
        return 0
    fi
    tail -n 20 "$work/install"
    unreachable "$work/install" || fail "the packages of $1 can be installed"
    echo "skipped: the packages of $1 could not be fetched from here"
    return 1
}
