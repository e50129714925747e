-- `GET /v1/keys/{key}`: content as bytes, with its ETag. Limits: one key, 64 bytes.
dofile(os.getenv("BENCH_WRK") .. "/common.lua")
wrk.path = "/v1/keys/" .. KEY
