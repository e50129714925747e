#!/usr/bin/env bash
# The promises with numbers, measured side by side with a bare handler: `make bench`.
#
# Builds the product and `bench/bare` with the same release profile, starts one Redis without persistence on a unix socket
# and both servers with two workers each on it, checks that both give the same answers, then drives them in turn with wrk:
# one pair of runs a round and case, the order changing from round to round, so that whatever else the machine does hits
# both alike. CPU is what /proc says the server's process used, divided by the requests answered. Ratios (ours/bare) are
# taken pair by pair and their median is shown; absolute figures are medians too and belong to this machine only.
#
# BENCH_ROUNDS (5), BENCH_SECONDS (4) a run, BENCH_CASES ("get set v1_get v1_put pipeline open idle"), BENCH_BUILD (yes; no
# measures the programs that are there).
# Limits: Linux; loopback; server, Redis and wrk share the cores. Only processes started here are ended, by their id. The
# promises about breakers, outcomes and in-process refusals are the test suite's, not measured here.
set -euo pipefail
export LC_ALL=C

root=$(cd "$(dirname "$0")/.." && pwd)
rounds=${BENCH_ROUNDS:-5}
seconds=${BENCH_SECONDS:-4}
cases=${BENCH_CASES:-get set v1_get v1_put pipeline open idle}
# As many as the promise names.
idle=10000
workers=2
target=${CARGO_TARGET_DIR:-$root/target}
ours=$target/release/collective
bare=$target/bench/release/bare
out=$target/bench
export BENCH_WRK=$root/bench/wrk BENCH_IDLE=$idle

# Not below $TMPDIR: a unix socket's path may have 107 bytes at most.
work=$(mktemp -d /tmp/collective-bench.XXXXXX)
declare -A pid=() url=()

cleanup() {
    local one
    for one in "${pid[@]}"; do
        kill -CONT "$one" 2>/dev/null || true
        kill -KILL "$one" 2>/dev/null || true
        wait "$one" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { echo "bench: $*" >&2; }
die() {
    say "$*"
    tail -n 5 "$work"/*.err >&2 2>/dev/null || true
    exit 1
}

# within SECONDS COMMAND...: repeats it until it succeeds or the time is over.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.05
    done
}

connections_of() { case $1 in pipeline) echo 16 ;; paced) echo 8 ;; *) echo 64 ;; esac; }
chosen() { case " $cases " in *" $1 "*) true ;; *) false ;; esac; }

build() {
    say "building both in release"
    (cd "$root" && ${CARGO:-cargo} build --release --locked --bin collective)
    (cd "$root/bench/bare" && ${CARGO:-cargo} build --release --locked --target-dir "$target/bench")
    local strays
    strays=$(comm -23 <(versions "$root/bench/bare/Cargo.lock") <(versions "$root/Cargo.lock") | grep -v '^bare ' || true)
    [ -z "$strays" ] || die "other versions in bench/bare/Cargo.lock than in Cargo.lock, copy it anew:" "$strays"
}

versions() { awk -F'"' '/^name = /{name=$2} /^version = /{print name, $2}' "$1" | sort; }

start_redis() {
    local server
    server=$(command -v redis-server || command -v valkey-server)
    "$server" --port 0 --unixsocket "$work/redis.sock" --dir "$work" --save '' --appendonly no >"$work/redis.out" 2>&1 &
    pid[redis]=$!
    within 5 test -S "$work/redis.sock" || die "Redis did not start"
}

# start SIDE: a fresh server; sets url[SIDE].
start() {
    : >"$work/$1.out"
    case $1 in
    ours)
        # Bounds on callers are raised: one address plays all of them.
        COLLECTIVE_SERVER__BIND=127.0.0.1:0 COLLECTIVE_OPS__BIND=127.0.0.1:0 COLLECTIVE_SERVER__WORKERS=$workers \
            COLLECTIVE_REDIS__URL="unix://$work/redis.sock" COLLECTIVE_AUTH__ROOT_TOKEN=$BENCH_TOKEN \
            COLLECTIVE_DATA_DIR="$work/data" COLLECTIVE_LIMITS__CONNECTIONS=20000 \
            COLLECTIVE_LIMITS__CONNECTIONS_PER_ADDRESS=20000 \
            "$ours" serve >"$work/ours.out" 2>"$work/ours.err" </dev/null &
        ;;
    bare)
        BARE_REDIS="unix://$work/redis.sock" BARE_TOKEN=$BENCH_TOKEN BARE_WORKERS=$workers \
            "$bare" >"$work/bare.out" 2>"$work/bare.err" </dev/null &
        ;;
    esac
    pid[$1]=$!
    within 10 grep -q '^listening public=' "$work/$1.out" || die "$1 did not start"
    url[$1]=http://$(sed -nE 's/^listening public=([^ ]+).*/\1/p' "$work/$1.out")
}

stop() {
    kill -TERM "${pid[$1]}" 2>/dev/null || true
    within 5 gone "${pid[$1]}" || kill -KILL "${pid[$1]}"
    wait "${pid[$1]}" 2>/dev/null || true
    unset "pid[$1]"
}

gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

ask() {
    local side=$1 method=$2 path=$3
    shift 3
    curl --silent --show-error --max-time 5 --include --request "$method" --header "Authorization: Bearer $BENCH_TOKEN" \
        "$@" "${url[$side]}$path"
}

# Head and body, sorted, without what differs from answer to answer.
normal() { tr -d '\r' | sed -E 's/^(date|x-request-id|upstash-sync-token): .*/\1: */I' | sort; }

# The comparison is worth nothing unless both do the same work.
same_answers() {
    local side value='a value with "quotes" and ü'
    local json='["SET","bench:same","a value with \"quotes\" and ü"]'
    for side in bare ours; do
        {
            ask "$side" PUT /v1/keys/bench:same --data-binary "$value" | normal
            ask "$side" GET /v1/keys/bench:same | normal
            ask "$side" POST / --data "$json" | normal
            ask "$side" POST / --data '["GET","bench:same"]' | normal
            ask "$side" POST / --data '["GET","bench:none"]' | normal
            ask "$side" POST /pipeline --data "[$json,[\"GET\",\"bench:same\"],[\"STRLEN\",\"bench:same\"]]" | normal
            ask "$side" PUT /v1/keys/bench:key --data-binary "$(printf 'v%.0s' {1..64})" | head -n 1
        } >"$work/$side.answers"
        redis_run DEL bench:same
    done
    # The last answer differs by design: the key is new to the first side only.
    diff -u <(sed '$d' "$work/bare.answers") <(sed '$d' "$work/ours.answers") >&2 || die "the two give different answers"
}

# A command to Redis itself, through the bare handler.
redis_run() { ask bare POST / --data "[\"$1\",\"$2\"]" >/dev/null; }

ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }
ticks_per_second=$(getconf CLK_TCK)

# Ticks the whole machine was busy, and those of them that were ours: this script and its ended children, and both servers.
busy() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8 + $9 }' /proc/stat; }
own() {
    local sum=0 one
    for one in "${pid[@]}"; do sum=$((sum + $(ticks "$one"))); done
    sed 's/.*) //' "/proc/$$/stat" | awk -v sum="$sum" '{ print sum + $12 + $13 + $14 + $15 }'
}

# drive CASE SIDE SECONDS: one run of wrk, its figures in FIGURES' order and the CPU of server and Redis in microseconds.
drive() {
    local script=$1 server before_server before_redis told
    server=${pid[$2]}
    [ "$1" != open ] || script=get
    before_server=$(ticks "$server")
    before_redis=$(ticks "${pid[redis]}")
    told=$(wrk -t 1 -c "$(connections_of "$1")" -d "${3}s" --timeout 5s -s "$BENCH_WRK/$script.lua" "${url[$2]}" |
        sed -n 's/^FIGURES //p')
    [ -n "$told" ] || die "wrk said nothing ($1, $2)"
    echo "$told $(((($(ticks "$server") - before_server)) * 1000000 / ticks_per_second))" \
        "$(((($(ticks "${pid[redis]}") - before_redis)) * 1000000 / ticks_per_second))"
}

# sample ROUND CASE SIDE SECONDS: one line of samples; anything but plain success ends the bench.
sample() {
    local requests micros refused broken rest
    read -r requests micros refused broken rest < <(drive "$2" "$3" "$4")
    [ "${broken:-1}" = 0 ] || die "$2 $3: $broken connections or requests broke"
    case $2 in
    open | paced) [ "$refused" = "$requests" ] || die "$2: $((requests - refused)) of $requests were not refused" ;;
    *) [ "$refused" = 0 ] || die "$2 $3: $refused of $requests were not answered with success" ;;
    esac
    [ "$1" = 0 ] || echo "$1 $2 $3 $requests $micros $rest" >>"$work/samples"
    say "round $1 $2 $3: $((requests * 1000000 / micros))/s"
}

compare() {
    local case round
    for case in get set v1_get v1_put pipeline; do
        chosen "$case" || continue
        sample 0 "$case" bare 1
        sample 0 "$case" ours 1
    done
    for ((round = 1; round <= rounds; round++)); do
        for case in get set v1_get v1_put pipeline; do
            chosen "$case" || continue
            if ((round % 2)); then
                sample "$round" "$case" bare "$seconds"
                sample "$round" "$case" ours "$seconds"
            else
                sample "$round" "$case" ours "$seconds"
                sample "$round" "$case" bare "$seconds"
            fi
        done
    done
}

refuses() { ask ours POST / --data '["GET","bench:key"]' --write-out '\n%{http_code} %{time_total}' | tail -n 1 | awk '{ exit !($1 == 503 && $2 < 0.1) }'; }
serves() { ask ours POST / --data '["GET","bench:key"]' | head -n 1 | grep -q ' 200'; }

# A frozen Redis, an open breaker, nothing but refusals. The bare handler would only hang.
refusals() {
    local round
    kill -STOP "${pid[redis]}"
    within 15 refuses || die "the breaker did not open"
    sample 0 open ours 1
    for ((round = 1; round <= rounds; round++)); do
        sample "$round" open ours "$seconds"
        sample "$round" paced ours "$seconds"
    done
    kill -CONT "${pid[redis]}"
    within 10 serves || die "service did not return"
}

holds() { [ "$(find "/proc/$1/fd" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" -ge "$idle" ]; }
resident() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }

# Memory with idle keep-alive connections, in fresh processes.
idle_memory() {
    local side
    if [ "$(ulimit -n)" -lt $((idle + 200)) ]; then
        say "SKIPPED: idle connections need ulimit -n of $((idle + 200)), it is $(ulimit -n)"
        echo "skipped: \`ulimit -n\` is $(ulimit -n)" >"$work/idle.skipped"
        return
    fi
    for side in bare ours; do
        local empty
        empty=$(resident "${pid[$side]}")
        wrk -t 1 -c "$idle" -d 60s --timeout 60s -s "$BENCH_WRK/idle.lua" "${url[$side]}" >"$work/idle.out" 2>&1 &
        pid[wrk]=$!
        within 30 holds "${pid[$side]}" || die "$side does not hold $idle connections"
        sleep 2
        echo "$side $empty $(resident "${pid[$side]}")" >>"$work/idle"
        say "idle $side: $(tail -n 1 "$work/idle") KiB"
        kill -KILL "${pid[wrk]}"
        wait "${pid[wrk]}" 2>/dev/null || true
        unset 'pid[wrk]'
    done
}

report() {
    echo "Rounds: $rounds × $seconds s, $workers workers each, $(nproc) cores; other programs used $others % of them meanwhile."
    if [ -s "$work/samples" ]; then
        awk -v order="get set v1_get v1_put pipeline" -f /dev/fd/3 "$work/samples" 3<<'AWK'
function median(list, count,    i, j, swap) {
    for (i = 2; i <= count; i++)
        for (j = i; j > 1 && list[j] < list[j - 1]; j--) { swap = list[j]; list[j] = list[j - 1]; list[j - 1] = swap }
    return count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
}
# The median over all rounds of one measure: of a side, or of the ratio of both in the same round.
function of(case, side, measure,    round, list, count) {
    for (round = 1; round <= rounds; round++)
        list[++count] = side != "" ? value[case, side, measure, round] : value[case, "ours", measure, round] / value[case, "bare", measure, round]
    return median(list, count)
}
function range(case, measure,    round, ratio, low, high) {
    for (round = 1; round <= rounds; round++) {
        ratio = value[case, "ours", measure, round] / value[case, "bare", measure, round]
        if (round == 1 || ratio < low) low = ratio
        if (round == 1 || ratio > high) high = ratio
    }
    return sprintf("%.2f-%.2f", low, high)
}
function verdict(holds) { return holds ? "met" : "**missed**" }
{
    seen[$2] = 1; if ($1 > rounds) rounds = $1
    value[$2, $3, "rate", $1] = $4 / $5 * 1e6
    value[$2, $3, "p50", $1] = $6; value[$2, $3, "p99", $1] = $7
    value[$2, $3, "cpu", $1] = $8 / $4; value[$2, $3, "redis", $1] = $9 / $4 + 1e-9
}
END {
    name["get"] = "`POST /` GET"; name["set"] = "`POST /` SET"; name["v1_get"] = "`GET /v1/keys/…`"
    name["v1_put"] = "`PUT /v1/keys/…`"; name["pipeline"] = "`POST /pipeline`, 100 commands"
    for (c in seen) if (c in name) compared = 1
    if (compared) print "\n| case | requests/s bare | ours | CPU µs/request bare | ours | **throughput ours/bare** (range) | **CPU ours/bare** (range) | Redis CPU ours/bare | p99 µs bare | ours | promise |"
    if (compared) print "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    for (n = split(order, cases, " "); ++i <= n;) {
        c = cases[i]; if (!(c in seen)) continue
        rate = of(c, "", "rate"); cpu = of(c, "", "cpu")
        promise = c == "pipeline" ? sprintf("≥ 0.85: %s", verdict(rate >= 0.85)) : sprintf("≥ 0.90: %s; ≤ 1.15: %s", verdict(rate >= 0.9), verdict(cpu <= 1.15))
        printf "| %s | %.0f | %.0f | %.1f | %.1f | **%.2f** (%s) | **%.2f** (%s) | %.2f | %.0f | %.0f | %s |\n", name[c], of(c, "bare", "rate"), of(c, "ours", "rate"), of(c, "bare", "cpu"), of(c, "ours", "cpu"), rate, range(c, "rate"), cpu, range(c, "cpu"), of(c, "", "redis"), of(c, "bare", "p99"), of(c, "ours", "p99"), promise
    }
    if ("open" in seen) {
        p99 = of("paced", "ours", "p99")
        printf "\nRefusals while open: at %.0f/s p50 %.0f µs, p99 %.0f µs; promise p99 ≤ 1 ms: %s. Driven as hard as wrk can: %.0f/s, p50 %.0f µs, p99 %.0f µs, CPU %.1f µs each.\n", of("paced", "ours", "rate"), of("paced", "ours", "p50"), p99, verdict(p99 <= 1000), of("open", "ours", "rate"), of("open", "ours", "p50"), of("open", "ours", "p99"), of("open", "ours", "cpu")
    }
}
AWK
    fi
    if [ -s "$work/idle" ]; then
        awk -v idle="$idle" '{ empty[$1] = $2; full[$1] = $3 } END {
            ratio = full["ours"] / full["bare"]
            printf "\n%d idle keep-alive connections: bare %.0f MiB (%.0f before), ours %.0f MiB (%.0f before), ratio %.2f; promise ≤ 1.3: %s.\n",
                idle, full["bare"] / 1024, empty["bare"] / 1024, full["ours"] / 1024, empty["ours"] / 1024, ratio, ratio <= 1.3 ? "met" : "**missed**" }' "$work/idle"
    fi
    [ ! -s "$work/idle.skipped" ] || printf '\nIdle connections: %s.\n' "$(cat "$work/idle.skipped")"
}

"$root/tools/ensure" redis curl wrk
[ "${BENCH_BUILD:-yes}" = no ] || build
BENCH_TOKEN=$(od -An -tx1 -N24 /dev/urandom | tr -d ' \n')
export BENCH_TOKEN
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
start_redis
start bare
start ours
same_answers
if chosen idle; then
    idle_memory
    stop bare
    stop ours
    start bare
    start ours
fi
since=$SECONDS before_busy=$(busy) before_own=$(own)
compare
! chosen open || refusals
spent=$((SECONDS - since))
others=$(((($(busy) - before_busy - $(own) + before_own)) * 100 / (ticks_per_second * $(nproc) * (spent ? spent : 1))))
[ "$others" -lt 5 ] || say "other programs used $others % of the machine meanwhile: repeat this on a quiet one"
mkdir -p "$out"
report | tee "$out/last.md"
say "also in $out/last.md"
