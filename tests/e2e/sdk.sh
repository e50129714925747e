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

binary=$(realpath "${1:?usage: tests/e2e/sdk.sh BINARY}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/e2e/service.sh
make_place sdk
failed=0

digest() { printf %s "$1" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -d ' ' -f 1; }

node_suite() {
    has_node || { left_out "$no_node, the npm packages were not tried"; return 0; }
    install_node_packages tests/e2e/sdk/node --omit=peer || return 0
    rm -rf "$place/examples"
    cp -R examples "$place/examples"
    (cd "$place" && node --test --test-concurrency=1 --test-timeout=120000 --test-reporter=spec test/*.test.mjs) || failed=1
}

python_suite() {
    has_python || { left_out "$no_python, the PyPI packages were not tried"; return 0; }
    install_python_packages tests/e2e/sdk/python/requirements.txt || return 0
    # Bytecode would be written beside the sources.
    PYTHONDONTWRITEBYTECODE=1 EXAMPLES="$PWD/examples" \
        "$place/venv/bin/python" -m unittest discover --start-directory tests/e2e/sdk/python --verbose || failed=1
}

full=sdk-suite-full-token-0b9e3f6a5c71 read_only=sdk-suite-read-only-token-4d8f21c6
start_service data "${patient[@]}" COLLECTIVE_AUTH__FULL_TOKEN_SHA256="$(digest "$full")" \
    COLLECTIVE_AUTH__READ_ONLY_TOKEN_SHA256="$(digest "$read_only")"
export UPSTASH_REDIS_REST_URL="http://$public" UPSTASH_REDIS_REST_TOKEN=$full READ_ONLY_TOKEN=$read_only
export UPSTASH_DISABLE_TELEMETRY=1
node_suite
python_suite
[ "$failed" = 0 ] || fail "every SDK suite that could be run"
finish "no SDK suite that ran had a failure"
