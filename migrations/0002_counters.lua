-- Counters: one integer string each, bounded, exact over 64 bits.
--
-- collective_v1_counter_increment counter [lease] | token by min max on_limit ttl_ms        ('' = none)
-- Answers {'ok', value}, {'clamped', value}, {'min' | 'max', value} (refused, value kept), {'overflow', value}, {'type'},
-- {'fenced'}.
--
-- A bound bites only in the direction of the step: a counter beyond its bound may always come back. The lifetime is set when
-- the increment creates the counter, and later increments do not move it, so that a counter of a day ends with its day.

local function bounded(old, new, by, min, max)
  if max ~= '' and not is_less(by, '0') and is_less(max, new) then
    return 'max', is_less(old, max) and max or old
  end
  if min ~= '' and is_less(by, '0') and is_less(new, min) then
    return 'min', is_less(min, old) and min or old
  end
end

-- What an increment that left 64 bits comes to: a bound that it must have passed, if there is one.
local function overflowed(old, by, min, max)
  local bound = is_less(by, '0') and min or max
  if bound == '' then
    return 'overflow', old
  end
  return bounded(old, is_less(by, '0') and '-9223372036854775809' or '9223372036854775808', by, min, max)
end

define_fenced('counter_increment', function(keys, args)
  local counter = keys[1]
  local by, min, max, on_limit, ttl_ms = unpack(args)
  local stored = string_at(counter)
  if stored == nil then
    return {'type'}
  end
  local old = stored or '0'
  local reply, refused = try('INCRBY', counter, by)
  local word, bound
  if not reply then
    if refused:find('not an integer', 1, true) then
      return {'type'}
    elseif not refused:find('overflow', 1, true) then
      error(refused, 0)
    end
    word, bound = overflowed(old, by, min, max)
    if word == 'overflow' then
      return {'overflow', old}
    end
  else
    -- INCRBY's own reply would pass through a float.
    local new = redis.call('GET', counter)
    word, bound = bounded(old, new, by, min, max)
    if not word then
      if not stored and ttl_ms ~= '' then
        redis.call('PEXPIRE', counter, ttl_ms)
      end
      return {'ok', new}
    end
  end
  local kept = on_limit == 'clamp' and bound or old
  if stored or kept ~= old then
    redis.call('SET', counter, kept, 'KEEPTTL')
    if not stored and ttl_ms ~= '' then
      redis.call('PEXPIRE', counter, ttl_ms)
    end
  else
    redis.call('DEL', counter)
  end
  return {on_limit == 'clamp' and 'clamped' or word, kept}
end)
