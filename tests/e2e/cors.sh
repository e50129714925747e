#!/usr/bin/env bash
# Pages of other origins in a real browser, against the built program: `tests/e2e/cors.sh target/debug/collective`.
#
# Installs playwright-core and the published SDK with npm below target/e2e (exact versions of the lock file), serves one page
# from two origins, starts the program twice, with the first of them listed and with none, and lets Chromium try both.
#
# Limits: without node, npm, Chromium or a way to the packages it says `skipped: reason`; a package that does not match its
# lock file is a failure. CHROMIUM names another browser of that family. Only processes started here are ended, by their id.
set -euo pipefail

binary=$(realpath "${1:?usage: tests/e2e/cors.sh BINARY}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/e2e/service.sh
make_place cors

has_node || skip "$no_node, the browser was not tried"
find_chromium || skip "Chromium is not installed, the browser was not tried"
install_node_packages tests/e2e/cors || exit "$could_not_run"

TOKEN=$(od -An -N 24 -t x1 /dev/urandom | tr -d ' \n')
export TOKEN
: >"$work/pages"
(cd "$place" && exec node test/pages.mjs) >"$work/pages" 2>"$work/pages.err" </dev/null &
others+=($!)
within 20 grep -q '^pages ' "$work/pages" || fail "the pages are served"
read -r _ LISTED OTHER <"$work/pages"
# Longer than a busy machine pauses, short enough for the outage at the end.
start_service listed COLLECTIVE_AUTH__ROOT_TOKEN="$TOKEN" COLLECTIVE_CORS__ALLOWED_ORIGINS="https://app.example.com,$LISTED" \
    COLLECTIVE_REQUESTS__TIMEOUT=10s COLLECTIVE_ATTEMPT__TIMEOUT=2s COLLECTIVE_BREAKER__STALL_AFTER=2s
export LISTED OTHER SERVICE="http://$public" REDIS_PID="$redis"
start_service off COLLECTIVE_AUTH__ROOT_TOKEN="$TOKEN"
export SERVICE_OFF="http://$public"

(cd "$place" && node --test --test-timeout=120000 --test-reporter=spec test/browser.test.mjs) ||
    fail "pages of other origins are let in where they are listed, and nowhere else"
echo "pages of other origins: tried with $("$CHROMIUM" --version 2>/dev/null | head -n 1)"
