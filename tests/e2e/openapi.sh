#!/usr/bin/env bash
# The OpenAPI document against the program it describes: `tests/e2e/openapi.sh target/debug/collective`.
#
# Judges the document (openapi-spec-validator, redocly), lets schemathesis try every operation of it with every check and at
# least 2000 requests, and looks at `/docs/` with Chromium. What comes from PyPI and npm is installed below target/e2e/openapi, by
# version and hash.
#
# Limits: without python3, node, Chromium or a way to the packages it says `skipped: reason` and goes on with what it can do. Only
# processes started here are ended, by their id.
set -euo pipefail

binary=$(realpath "${1:?usage: tests/e2e/openapi.sh BINARY}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/e2e/service.sh
make_place openapi
readonly at_least=2000
suite=$PWD/tests/e2e/openapi
venv=$place/venv

random_requests() {
    if ! has_python; then
        left_out "$no_python, schemathesis did not try the service"
        return 0
    fi
    install_python_packages "$suite/requirements.txt" || return 0
    "$venv/bin/python" -m openapi_spec_validator docs/openapi.json || fail "the document is valid"
    # From a directory of its own: it leaves its notes where it runs.
    mkdir "$work/schemathesis"
    cp "$suite/schemathesis.toml" "$suite/hooks.py" "$work/schemathesis/"
    (cd "$work/schemathesis" && TOKEN=$token PYTHONDONTWRITEBYTECODE=1 timeout 1200 "$venv/bin/schemathesis" run "http://$public/openapi.json" --no-color) >"$place/schemathesis.log" 2>&1 ||
        fail "the service does what its document says" "$(grep -vE '^ *$' "$place/schemathesis.log" | tail -n 120)"
    local count
    count=$(sed -nE 's/^ *([0-9]+) generated, .*/\1/p' "$place/schemathesis.log")
    [ "${count:-0}" -ge "$at_least" ] || fail "at least $at_least requests are tried" "$count"
    ! grep -q 'panicked' "$work"/*.err "$work"/*.out || fail "no request makes the program panic"
    ok "the service does what its document says: $count requests, every check"
}

pages() {
    if ! has_node; then
        left_out "$no_node, redocly did not judge the document and nobody looked at the page"
        return 0
    fi
    install_node_packages tests/e2e/openapi || return 0
    REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true "$place/node_modules/.bin/redocly" lint \
        --config "$place/test/redocly.yaml" docs/openapi.json >"$place/redocly.log" 2>&1 ||
        fail "redocly finds no mistake in the document" "$(tail -n 60 "$place/redocly.log")"
    ok "redocly finds no mistake in the document"
    find_chromium || { left_out "Chromium is not installed, nobody looked at the page"; return 0; }
    (cd "$place" && PUBLIC=$public TOKEN=$token \
        node --test --test-timeout=120000 --test-reporter=spec test/page.test.mjs) || fail "the page is what it should be"
}

export COLLECTIVE_SERVER__SECURITY_CONTACT=mailto:security@example.com
start_service data "${patient[@]}"
"$binary" openapi | diff -q - docs/openapi.json >/dev/null || fail "docs/openapi.json is up to date" "run make docs"
# First, while the counters are as new.
pages
random_requests
finish "openapi: the document, its page and the service agree"
