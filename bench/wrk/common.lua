-- What all load scripts share: the caller's token, the key, and one line of figures at the end.
--
-- Every script sets one fixed request and no `request` function, so that wrk formats it once and spends nothing on Lua
-- while it drives. `bench/run.sh` gives the token in the environment and reads the line that starts with FIGURES.
-- Limits: needs wrk 4; latencies are wrk's own, of a closed loop (it waits for an answer before it asks again).
wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN")

KEY = "bench:key"
VALUE = string.rep("v", 64)

-- FIGURES requests microseconds not-2xx broken p50-microseconds p99-microseconds
function done(summary, latency)
    local errors = summary.errors
    local broken = errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format("FIGURES %d %d %d %d %d %d\n", summary.requests, summary.duration, errors.status, broken,
        latency:percentile(50), latency:percentile(99)))
end
