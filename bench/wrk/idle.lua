-- Connections that ask once and then stay open: for measuring what an idle keep-alive connection costs in memory.
-- Limits: one thread; wrk must be ended from outside, the first `BENCH_IDLE` requests are sent and no more.
dofile(os.getenv("BENCH_WRK") .. "/common.lua")
wrk.path = "/v1/keys/" .. KEY
local left = tonumber(os.getenv("BENCH_IDLE"))

-- Milliseconds before the next request of any connection.
function delay()
    left = left - 1
    return left >= 0 and 0 or 3600000
end
