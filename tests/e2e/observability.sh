#!/usr/bin/env bash
# Rules, alerts and dashboard against a real Prometheus: `tests/e2e/observability.sh target/debug/collective`.
#
# First promtool checks and tests what lies in deploy/prometheus. Then a Prometheus scrapes the program once a second through a
# scripted outage: Redis freezes and thaws three times and freezes for longer, callers are turned away, the program drains and
# ends. The alerts that can fire within that time must; every recording rule and every query of the dashboard must have had data.
#
# The rules evaluated here are a copy with each `for:` divided by 30 (one minute becomes two seconds) and nothing else changed;
# the true lengths are what promtool tests. Seen by promtool only: CollectiveMetricsAbsent (nobody to scrape) and
# CollectiveRetriesExhausted (a Redis bad enough for it and too good for the breaker cannot be arranged from outside).
#
# Limits: without prometheus, promtool or /proc it says `skipped: reason`; without node the dashboard's queries are not tried. Only
# processes started here are ended, by their id.
set -euo pipefail

binary=$(realpath "${1:?usage: tests/e2e/observability.sh BINARY}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/e2e/service.sh
make_place observability

ensure promtool || skip "promtool is not installed, rules and alerts were not tried"

# --- What lies in deploy/prometheus, as it is.
promtool check config deploy/prometheus/prometheus.yml >"$work/check" 2>&1 || fail "promtool accepts the configuration and the rules" "$(cat "$work/check")"
ok "promtool accepts the configuration and the rules"
promtool test rules deploy/prometheus/tests/*.test.yml >"$work/check" 2>&1 || fail "the alerts fire and keep silent as tested" "$(cat "$work/check")"
ok "the alerts fire and keep silent as tested"

[ -r /proc/net/tcp ] || skip "without /proc Prometheus' port cannot be found, nothing was scraped"
ensure prometheus || skip "prometheus is not installed, nothing was scraped"

# --- A service with few places and a long farewell, and a Prometheus that looks at it every second.
export COLLECTIVE_LIMITS__CONNECTIONS=24 COLLECTIVE_LIMITS__CONNECTIONS_PER_ADDRESS=24 COLLECTIVE_DRAIN__DELAY=40s
start_service
promtool check metrics < <(curl --silent --fail --max-time 5 "http://$operator/metrics") || fail "promtool accepts the metrics"
ok "promtool accepts the metrics"

shorter() { awk '/^ +for: / { n = $2; unit = substr(n, length(n)); n += 0; if (unit == "m") n *= 60
    printf "        for: %ds\n", n / 30; next } { print }' "$1"; }
mkdir "$work/rules" "$work/prometheus"
shorter deploy/prometheus/rules/collective.rules.yml >"$work/rules/collective.rules.yml"
sed -e "s/collective:8081/$operator/" -e 's/^  \(scrape\|evaluation\)_interval: .*/  \1_interval: 1s/' \
    -e 's/^  scrape_timeout: .*/  scrape_timeout: 1s/' deploy/prometheus/prometheus.yml >"$work/prometheus.yml"
promtool check config "$work/prometheus.yml" >"$work/check" 2>&1 || fail "the hastened copy is still valid" "$(cat "$work/check")"
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus" --web.listen-address=127.0.0.1:0 \
    --log.level=info >"$work/prometheus.log" 2>&1 </dev/null &
others+=($!)
prometheus_pid=$!
finds_prometheus() {
    local inode port
    for inode in $(find "/proc/$prometheus_pid/fd" -lname 'socket:*' -printf '%l\n' 2>/dev/null | grep -o '[0-9]*'); do
        port=$(awk -v inode="$inode" '$10 == inode && $4 == "0A" { split($2, at, ":"); print at[2] }' /proc/net/tcp)
        [ -z "$port" ] || { watcher="127.0.0.1:$((16#$port))"; return 0; }
    done
    return 1
}
within 20 finds_prometheus || fail "Prometheus starts" "$(tail -n 5 "$work/prometheus.log")"
prometheus_is_ready() { curl --silent --fail --max-time 2 --output /dev/null "http://$watcher/-/ready"; }
within 20 prometheus_is_ready || fail "Prometheus is ready" "$(tail -n 5 "$work/prometheus.log")"
began=$(date +%s)

# query EXPRESSION: what Prometheus answers now.
query() { curl --silent --max-time 5 --get --data-urlencode "query=$1" "http://$watcher/api/v1/query"; }
has_data() { query "$1" | grep -q '"value":\['; }
fires() { has_data "ALERTS{alertname=\"$1\",alertstate=\"firing\"}"; }
must_fire() {
    within "$2" fires "$1" || fail "$1 fires" "$(query "ALERTS")"
    ok "$1 fires"
}
state_is() { curl --silent --max-time 2 "http://$operator/status" | grep -q "\"name\":\"redis.read\",\"state\":\"$1"; }

# --- Callers: reads, writes, a command that is unknown, and a subscriber who stays.
callers() {
    local auth="Authorization: Bearer $token"
    while :; do
        curl --silent --max-time 4 --output /dev/null --header "$auth" "http://$public/v1/keys/watched:[1-30]" || true
        curl --silent --max-time 4 --output /dev/null --header "$auth" --request PUT --data x "http://$public/v1/keys/watched:[1-10]" || true
        curl --silent --max-time 4 --output /dev/null --header "$auth" --data '["INCR","watched:count"]' "http://$public/?n=[1-5]" || true
        sleep 0.1
    done
}
callers &
others+=($!)
curl --silent --no-buffer --max-time 300 --output /dev/null --header "Authorization: Bearer $token" "http://$public/subscribe/watched" &
others+=($!)
within 20 has_data 'up{job="collective"} == 1' || fail "Prometheus scrapes the program"
within 20 has_data 'job:collective_http_requests:rate5m > 0' || fail "the recording rules are evaluated"
if has_data 'ALERTS{alertstate="firing"}'; then fail "nothing fires in calm" "$(query ALERTS)"; fi
ok "Prometheus scrapes the program, evaluates the rules, and nothing fires in calm"

# --- The outage.
for _ in 1 2 3; do
    kill -STOP "$redis"
    within 10 state_is open || fail "a frozen Redis opens the breaker"
    kill -CONT "$redis"
    within 10 state_is closed || fail "a thawed Redis closes the breaker"
done
must_fire CollectiveBreakerFlapping 15
kill -STOP "$redis"
must_fire CollectiveBreakerOpen 20
must_fire CollectiveErrorBudgetBurnFast 30
must_fire CollectiveErrorBudgetBurnSlow 60
kill -CONT "$redis"
within 10 state_is closed || fail "a thawed Redis closes the breaker"
breaker_is_silent() { ! fires CollectiveBreakerOpen; }
within 15 breaker_is_silent || fail "CollectiveBreakerOpen ends with the outage"
ok "CollectiveBreakerOpen ends with the outage"

# --- More callers than places.
crowd() {
    while :; do
        curl --silent --parallel --parallel-immediate --parallel-max 40 --max-time 2 --output /dev/null \
            --header "Authorization: Bearer $token" "http://$public/subscribe/crowd?n=[1-40]" 2>/dev/null || true
    done
}
crowd &
crowd_pid=$!
others+=("$crowd_pid")
must_fire CollectiveShedding 30
kill "$crowd_pid" 2>/dev/null || true

# --- Farewell: it drains longer than it should, then it is gone. The alert waits for 10 s, and anew if a scrape came too late.
kill -TERM "$gateway"
must_fire CollectiveNotReady 38
within 60 gone "$gateway" || fail "the program ends"
must_fire CollectiveDown 20

# --- Every recording rule and every query of the dashboard had data at some moment of this.
if has node; then
    node tests/e2e/observability/queries.mjs "http://$watcher" "$began" "$(date +%s)" || fail "every rule and every panel had data"
    ok "every recording rule and every query of the dashboard had data"
else
    left_out "node is not installed, whether every rule and every panel had data was not looked at"
fi
finish "observability: $passed checks passed"
