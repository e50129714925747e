#!/usr/bin/env bash
# The operator's page in a real browser: `tests/e2e/page.sh target/debug/collective`.
#
# Starts the program with a Redis of its own and lets tests/e2e/page/page.test.mjs look at `/` with Chromium while that Redis
# freezes and thaws and the program stops. Screenshots stay in target/e2e/page/shots.
#
# Limits: without node, npm, Chromium or a way to the packages it says `skipped: reason`. Only processes started here are
# ended, by their id.
set -euo pipefail

binary=$(realpath "${1:?usage: tests/e2e/page.sh BINARY}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/e2e/service.sh
make_place page

has_node || skip "$no_node, nobody looked at the page"
find_chromium || skip "Chromium is not installed, nobody looked at the page"
install_node_packages tests/e2e/page || exit "$could_not_run"

# A probe's connect has twice this time, and half-open is shown once it has lasted 0.6 s: a failing one must not come near that only
# because a browser keeps the machine busy.
# And for the same reason Redis must not be taken to stand still while all is calm; how soon that is noticed is not asked here.
start_service data COLLECTIVE_BREAKER__PROBE_TIMEOUT=100ms COLLECTIVE_BREAKER__STALL_AFTER=1s
mkdir -p "$place/shots"
rm -f "$place/shots"/*.png
export PUBLIC="$public" OPERATOR="$operator" TOKEN="$token" REDIS_PID="$redis" GATEWAY_PID="$gateway" SHOTS="$place/shots"
(cd "$place" && node --test --test-timeout=120000 --test-reporter=spec test/page.test.mjs) ||
    fail "the page is what it should be" "screenshots: $place/shots"
echo "screenshots: $place/shots"
