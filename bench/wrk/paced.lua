-- `POST /` with a GET, at most 1000 times a second on each connection: for latencies that are the server's and not those
-- of a machine kept fully busy by the load itself. Limits: wrk's own event loop adds some tens of microseconds.
dofile(os.getenv("BENCH_WRK") .. "/get.lua")

-- Milliseconds before the next request of a connection.
function delay()
    return 1
end
