-- `PUT /v1/keys/{key}`: replaces the content, answers its ETag. Limits: one key, 64 bytes.
dofile(os.getenv("BENCH_WRK") .. "/common.lua")
wrk.method = "PUT"
wrk.path = "/v1/keys/" .. KEY
wrk.body = VALUE
