-- Operations: what became of a request, and any single command as an effect that happens once.

-- collective_v1_operation_settle record... | lifetime_ms
-- Looks for a record of the request under any of these names. None: it was not executed, and so that this stays true a request
-- that arrives later is refused. Answers {'executed', place of the record, function, reply} or {'not_executed'}.
-- No record of its own: asking again gives the same answer. Allowed to run in a full Redis, where the note takes little: else what is
-- unknown would stay so.
define('operation_settle', function(keys, args)
  for place, record in ipairs(keys) do
    local stored = redis.call('GET', record)
    if stored then
      local known, name, reply = cmsgpack.unpack(stored)
      if known ~= SETTLED then
        return {'executed', digits(place), name, reply}
      end
    end
  end
  for _, record in ipairs(keys) do
    redis.call('SET', record, cmsgpack.pack(SETTLED), 'PX', args[1])
  end
  return {'not_executed'}
end, nil, {'allow-oom'})

-- Commands whose integer may be beyond 2^53, which Lua cannot hold: where the exact number is read afterwards.
local EXACT = {INCR = 'GET', INCRBY = 'GET', DECR = 'GET', DECRBY = 'GET', HINCRBY = 'HGET'}

-- collective_v1_command key... | word...
-- Answers {'plain', reply}, {'exact', integer as text} or {'error', text}.
define('command', function(keys, args)
  local reply, refused = try(unpack(args))
  if refused then
    return {'error', refused}
  end
  local reader = EXACT[args[1]]
  if reader == 'GET' then
    return {'exact', redis.call('GET', args[2])}
  elseif reader == 'HGET' then
    return {'exact', redis.call('HGET', args[2], args[3])}
  end
  return {'plain', reply}
end)
