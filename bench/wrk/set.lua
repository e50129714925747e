-- `POST /` with a SET: the cheapest write of the command dialect. Limits: one key, 64 bytes.
dofile(os.getenv("BENCH_WRK") .. "/common.lua")
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = string.format('["SET","%s","%s"]', KEY, VALUE)
