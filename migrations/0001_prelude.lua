-- What every function below stands on: one way to register, effects that happen once, integers that are compared exactly.
--
-- The files of this directory, in their order, are the parts of one library, `collective_v1`. A part that has been released is
-- never changed: a new one is added. A function validates before it writes, so that none ends half way; refusals come back as
-- words, and an error raised in here is a bug.
--
-- Calling: FCALL collective_v1_<name> <n> key... [record] <fingerprint> <lifetime_ms> <not_after_us> argument...
-- With a fingerprint the last key is the record of this very request: its effect and its record are written together, and a
-- second arrival gets the first one's answer. Answers: {'done', reply}, {'replayed', reply}, {'mismatch'} (same record, other
-- request), {'settled'} (the record was settled as not executed, and stays so), {'late'}: it arrived after `not_after_us` of Redis'
-- clock ('' = never too late) and found no record, so nothing was done. An arrival that lay in a frozen server's socket meanwhile
-- cannot tell whether an earlier one had its effect, since the record of that lives no longer than it can be needed. An answer
-- that does not keep, such as one that tells what is left of a time, is freshened with `again(keys, args, reply)` before it is
-- told again.

-- The fingerprint of a record that was settled. No request has it.
local SETTLED = 'settled'

-- Redis' clock in whole microseconds. Exact: 2^53 of them last until the year 2255.
local function now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function once(name, body, again)
  return function(keys, args)
    local fingerprint, lifetime, not_after = table.remove(args, 1), table.remove(args, 1), table.remove(args, 1)
    if fingerprint == '' then
      return {'done', body(keys, args)}
    end
    local record = table.remove(keys)
    local stored = redis.call('GET', record)
    if stored then
      local known, _, reply = cmsgpack.unpack(stored)
      if known == SETTLED then
        return {'settled'}
      end
      if known ~= fingerprint then
        return {'mismatch'}
      end
      return {'replayed', again and again(keys, args, reply) or reply}
    end
    if not_after ~= '' and now_us() > tonumber(not_after) then
      return {'late'}
    end
    local reply = body(keys, args)
    -- 'fenced' was decided about who asked and not about the request: the next holder may make it under the same record.
    if reply[1] ~= 'fenced' then
      redis.call('SET', record, cmsgpack.pack(fingerprint, name, reply), 'PX', lifetime)
    end
    return {'done', reply}
  end
end

-- `again` freshens an answer that is told again.
local function define(name, body, again, flags)
  redis.register_function{function_name = 'collective_v1_' .. name, callback = once(name, body, again), flags = flags or {}}
end

-- Whether a write under a fencing token may be applied: 0003_leases defines it.
local admits

-- For writes that may be made under a fencing token. It is the first argument, '' for none; with one, the key of its lease is the
-- last key before the record. The record is asked first, so that a repetition learns what was decided and not what is newer.
local function define_fenced(name, body, flags)
  define(name, function(keys, args)
    local token = table.remove(args, 1)
    if token ~= '' and not admits(table.remove(keys), token) then
      return {'fenced'}
    end
    return body(keys, args)
  end, nil, flags)
end

-- For functions that change nothing: no record, the answer as it is, and callable with FCALL_RO.
local function define_read(name, body)
  redis.register_function{function_name = 'collective_v1_' .. name, callback = body, flags = {'no-writes'}}
end

-- A whole number without exponent, as text.
local function digits(number)
  return string.format('%.0f', number)
end

-- Lua counts in 64-bit floats, which are off beyond 2^53. So integers stay text, as Redis writes them: no plus sign, no leading
-- zero. True if a is less than b.
local function is_less(a, b)
  local a_negative, b_negative = a:sub(1, 1) == '-', b:sub(1, 1) == '-'
  if a_negative ~= b_negative then
    return a_negative
  end
  if a_negative then
    a, b = b:sub(2), a:sub(2)
  end
  if #a ~= #b then
    return #a < #b
  end
  return a < b
end

-- A call whose refusal is the caller's business: the reply, or nil and the error's text.
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    return nil, reply.err
  end
  return reply
end

-- The string under a key: its content, false if there is none, or nil if the key holds another type.
local function string_at(key)
  local content, refused = try('GET', key)
  if refused then
    return nil
  end
  return content
end
