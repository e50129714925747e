-- Limiters: GCRA in one call, exact to the microsecond, and the census of instances that a local decision is divided by.
--
-- Record `collective:limiter:<name>`, six numbers: `spent part at capacity refill per`. What was taken and is not refilled yet is
-- spent + part/per tokens as of `at` (µs of Redis' clock); it drains by `refill` tokens in each `per` µs. This is the leaky-bucket form
-- of GCRA: with it a changed policy needs no conversion of time, tokens spent stay spent. No record: nothing is spent.
--
-- collective_v1_limiter_take limiter | capacity refill per_us cost owed      `owed`: tokens granted elsewhere, charged first
--   {'allowed' | 'refused', remaining, retry_us, reset_us, spent, part}; {'type'}: the record is none of ours.
-- collective_v1_limiter_peek limiter | cost, or cost capacity refill per_us to ask by other numbers than the last take's
--   as take, followed by capacity refill per_us; {'none'}: no record, and no numbers to ask by.
-- collective_v1_limiter_charge limiter | capacity refill per_us tokens      for what was granted elsewhere: {'ok'}, {'type'}
-- collective_v1_instance_announce census | id lifetime_us                   {'ok', instances}, {'type'}
--
-- All arithmetic is exact: capacity, refill, cost are whole and up to 10^9, `per` is up to 2^42 µs, and no product is made that
-- could reach 2^53 and matter (`times_over`, `drained`). Rounding happens in two places, both against the taker: a `part` under a
-- new `per`, by less than 1/per of a token, and waits, which are whole µs.

-- Waits are reported, and records kept, for a century at most.
local CENTURY_US = 3155760000000000

-- a * b / p: quotient and rest, exactly, for b < p <= 2^42 and a quotient below 2^53. Digit by digit, so that what is divided stays
-- below 2048 * p <= 2^53.
local function times_over(a, b, p)
  local parts = {}
  while a > 0 do
    local digit = math.fmod(a, 1024)
    parts[#parts + 1] = digit
    a = (a - digit) / 1024
  end
  local quotient, rest = 0, 0
  for at = #parts, 1, -1 do
    local sum = rest * 1024 + parts[at] * b
    rest = math.fmod(sum, p)
    quotient = quotient * 1024 + (sum - rest) / p
  end
  return quotient, rest
end

-- The record, false if there is none, nil if it is none of ours.
local function limiter_at(key)
  local stored = string_at(key)
  if not stored then
    return stored
  end
  local spent, part, at, capacity, refill, per = stored:match('^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
  return spent and {
    spent = tonumber(spent), part = tonumber(part), at = tonumber(at),
    capacity = tonumber(capacity), refill = tonumber(refill), per = tonumber(per),
  } or nil
end

-- What is left of it by now, and whether the clock went back: then nothing was refilled, and refilling goes on from where the clock
-- stands. Waiting until it has caught up would refuse for as long as it was set back. Where `whole` leaves 2^53 it is rounded, and
-- above any `spent` either way.
local function drained(limiter, now)
  local elapsed = math.max(0, now - limiter.at)
  local rest = math.fmod(elapsed, limiter.per)
  local whole, part = times_over(limiter.refill, rest, limiter.per)
  limiter.spent = limiter.spent - whole - (elapsed - rest) / limiter.per * limiter.refill
  limiter.part = limiter.part - part
  if limiter.part < 0 then
    limiter.spent, limiter.part = limiter.spent - 1, limiter.part + limiter.per
  end
  if limiter.spent < 0 then
    limiter.spent, limiter.part = 0, 0
  end
  local set_back = limiter.at > now
  limiter.at = now
  return limiter, set_back
end

-- The same tokens under other numbers. True if they differ.
local function adopt(limiter, capacity, refill, per)
  local changed = limiter.capacity ~= capacity or limiter.refill ~= refill or limiter.per ~= per
  if limiter.per ~= per then
    local quotient, rest = times_over(per, limiter.part, limiter.per)
    limiter.part = quotient + (rest > 0 and 1 or 0)
    if limiter.part == per then
      limiter.spent, limiter.part = limiter.spent + 1, 0
    end
  end
  limiter.capacity, limiter.refill, limiter.per = capacity, refill, per
  return changed
end

-- Until that many tokens have drained, in whole µs, rounded up.
local function wait_us(limiter, whole, part)
  local rest = math.fmod(limiter.per, limiter.refill)
  local quotient, over = times_over(whole, rest, limiter.refill)
  local wait = whole * ((limiter.per - rest) / limiter.refill) + quotient + math.ceil((over + part) / limiter.refill)
  return math.min(wait, CENTURY_US)
end

local function keep_limiter(key, limiter)
  local lifetime_ms = math.ceil(wait_us(limiter, limiter.spent, limiter.part) / 1000)
  local record = {}
  for place, field in ipairs({'spent', 'part', 'at', 'capacity', 'refill', 'per'}) do
    record[place] = digits(limiter[field])
  end
  redis.call('SET', key, table.concat(record, ' '), 'PX', digits(math.max(1, lifetime_ms)))
end

-- Whether so many more fit, and how it stands: as the reply has it.
local function judged(limiter, cost)
  local need = limiter.spent + cost
  local fits = need < limiter.capacity or (need == limiter.capacity and limiter.part == 0)
  local retry = fits and 0 or wait_us(limiter, need - limiter.capacity, limiter.part)
  return fits, function()
    local left = math.max(0, limiter.capacity - limiter.spent - (limiter.part > 0 and 1 or 0))
    local reset = wait_us(limiter, limiter.spent, limiter.part)
    return {
      fits and 'allowed' or 'refused', digits(left), digits(retry), digits(reset),
      digits(limiter.spent), digits(limiter.part),
    }
  end
end

local function fresh_limiter(now, capacity, refill, per)
  return {spent = 0, part = 0, at = now, capacity = capacity, refill = refill, per = per}
end

define('limiter_take', function(keys, args)
  local capacity, refill, per, cost = tonumber(args[1]), tonumber(args[2]), tonumber(args[3]), tonumber(args[4])
  local now = now_us()
  local limiter = limiter_at(keys[1])
  if limiter == nil then
    return {'type'}
  end
  local set_back = false
  if limiter then
    limiter, set_back = drained(limiter, now)
  else
    limiter = fresh_limiter(now, capacity, refill, per)
  end
  local changed = adopt(limiter, capacity, refill, per) or set_back
  local owed = tonumber(args[5])
  limiter.spent = limiter.spent + owed
  local fits, told = judged(limiter, cost)
  if fits then
    limiter.spent = limiter.spent + cost
  end
  -- A refusal itself changes nothing but the numbers in force, and where time stands.
  if fits or changed or owed > 0 then
    keep_limiter(keys[1], limiter)
  end
  return told()
end)

define_read('limiter_peek', function(keys, args)
  local now = now_us()
  local limiter = limiter_at(keys[1])
  if limiter == nil then
    return {'type'}
  end
  local capacity, refill, per = tonumber(args[2]), tonumber(args[3]), tonumber(args[4])
  if not limiter and not capacity then
    return {'none'}
  end
  limiter = limiter and drained(limiter, now) or fresh_limiter(now, capacity, refill, per)
  if capacity then
    adopt(limiter, capacity, refill, per)
  end
  local _, told = judged(limiter, tonumber(args[1]))
  local reply = told()
  for _, number in ipairs({limiter.capacity, limiter.refill, limiter.per}) do
    reply[#reply + 1] = digits(number)
  end
  return reply
end)

-- The numbers in force stay: those of an instance that was cut off may be older.
define('limiter_charge', function(keys, args)
  local now = now_us()
  local limiter = limiter_at(keys[1])
  if limiter == nil then
    return {'type'}
  end
  limiter = limiter and drained(limiter, now)
    or fresh_limiter(now, tonumber(args[1]), tonumber(args[2]), tonumber(args[3]))
  limiter.spent = limiter.spent + tonumber(args[4])
  keep_limiter(keys[1], limiter)
  return {'ok'}
end)

define('instance_announce', function(keys, args)
  local now = now_us()
  if not try('ZADD', keys[1], digits(now), args[1]) then
    return {'type'}
  end
  redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', '(' .. digits(now - tonumber(args[2])))
  redis.call('PEXPIRE', keys[1], digits(math.ceil(tonumber(args[2]) / 1000)))
  return {'ok', digits(redis.call('ZCARD', keys[1]))}
end)
