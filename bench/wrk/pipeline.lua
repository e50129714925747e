-- `POST /pipeline` with 100 commands, 50 SET and 50 GET in turn. Limits: ten keys, 64 bytes each.
dofile(os.getenv("BENCH_WRK") .. "/common.lua")
wrk.method = "POST"
wrk.path = "/pipeline"
wrk.headers["Content-Type"] = "application/json"
local commands = {}
for n = 1, 50 do
    local key = KEY .. ":" .. n % 10
    table.insert(commands, string.format('["SET","%s","%s"]', key, VALUE))
    table.insert(commands, string.format('["GET","%s"]', key))
end
wrk.body = "[" .. table.concat(commands, ",") .. "]"
