-- Leases: who holds a name, until when, and a token that only ever rises.
--
-- One hash a lease, `collective:lease:<name>`: `token` (the highest issued), `seen` (the highest presented with a fenced write),
-- and, while it is held, `owner`, `nonce` (of the attempt that acquired it), `until` (µs of Redis' clock). Where an owner acquired
-- anew what he held, `held_token` and `held_until` are what he held before: if nobody can tell him of the new token, it is taken
-- back, and what he has been promised is his still.
--
-- A token is a hybrid clock: above everything known of the lease, and at least Redis' time in µs. So it rises by the record when
-- the clock was set back, and by the clock when the record is lost (a failover, an eviction). It would fall only if both happened
-- at once: therefore the record outlives the lease by KEPT_MS, and the clock must be set back by more than that, or a failover lead
-- to a server whose clock is behind by more than the failover took. `floor`, the highest token the calling instance has seen,
-- covers the latter for whatever passed through it.
--
-- collective_v1_lease_acquire  lease | owner nonce ttl_ms token floor   ('' = none)
--   {'acquired' | 'reacquired', token, ms}, {'held', ms}
-- collective_v1_lease_renew    lease | token ttl_ms    {'renewed', token, ms, owner}, {'held', ms}, {'free'}
-- collective_v1_lease_release  lease | token           {'released'}, {'held', ms}, {'free'}
-- collective_v1_lease_withdraw lease record | nonce ms {'withdrawn'}
-- collective_v1_lease_inspect  lease                   {'held', ms, owner}, {'free'}
--
-- To a holder `ms` is what is left, rounded down; to everybody else what is to be waited for, rounded up.

-- A day: more than the clocks of servers that mean the same time are ever apart.
local KEPT_MS = 86400000

-- No token is issued below this, Redis' clock standing in 2001. One that is was made elsewhere, where others count.
local FIRST_TOKEN = '1000000000000000'

-- What is known of a lease; `left` are the µs it is still held for.
local function lease_at(lease, now)
  local known = redis.call('HMGET', lease, 'token', 'seen', 'owner', 'nonce', 'until', 'held_token', 'held_until')
  local ends, held_until = tonumber(known[5] or '') or 0, tonumber(known[7] or '') or 0
  return {
    token = known[1] or '', seen = known[2] or '', owner = known[3] or '', nonce = known[4] or '',
    ends = ends, left = math.max(ends - now, 0), held_token = known[6] or '', held_until = held_until,
  }
end

local function ms_left(left)
  return digits(math.floor(left / 1000))
end

local function ms_to_wait(left)
  return digits(math.ceil(left / 1000))
end

-- Keeps the record at least as long. Never shortens: what is known of tokens must not be forgotten early.
local function keep(lease, ms)
  if redis.call('PTTL', lease) < ms then
    redis.call('PEXPIRE', lease, digits(ms))
  end
end

-- Numbers are exact here: `admits` lets none in that is a day ahead of the clock, and 2^53 µs are over in 2255.
local function next_token(now, ...)
  local token = now
  for _, known in ipairs({...}) do
    token = math.max(token, (tonumber(known) or 0) + 1)
  end
  return digits(token)
end

local function hold(lease, token, now, ttl_ms)
  redis.call('HSET', lease, 'token', token, 'until', digits(now + ttl_ms * 1000))
  keep(lease, ttl_ms + KEPT_MS)
end

local function let_go(lease)
  redis.call('HDEL', lease, 'owner', 'nonce', 'until', 'held_token', 'held_until')
  keep(lease, KEPT_MS)
end

-- The same answer told again, later: who was given the lease then is told what is left of it now, perhaps nothing.
local function aged(keys, _, reply)
  local known = lease_at(keys[1], now_us())
  if reply[1] == 'held' then
    return {'held', ms_to_wait(known.left)}
  end
  if #reply > 1 then
    reply[3] = ms_left(known.token == reply[2] and known.left or 0)
  end
  return reply
end

define('lease_acquire', function(keys, args)
  local lease, now = keys[1], now_us()
  local owner, nonce, ttl_ms, presented, floor = unpack(args)
  local known = lease_at(lease, now)
  local held = known.left > 0
  -- The name of an owner is no secret, so it does not suffice.
  if held and not (presented == known.token and owner == known.owner) then
    return {'held', ms_to_wait(known.left)}
  end
  local token = next_token(now, known.token, known.seen, floor)
  redis.call('HSET', lease, 'owner', owner, 'nonce', nonce)
  if held then
    redis.call('HSET', lease, 'held_token', known.token, 'held_until', digits(known.ends))
  else
    redis.call('HDEL', lease, 'held_token', 'held_until')
  end
  hold(lease, token, now, tonumber(ttl_ms))
  return {held and 'reacquired' or 'acquired', token, ttl_ms}
end, aged)

define('lease_renew', function(keys, args)
  local lease, now = keys[1], now_us()
  local token, ttl_ms = unpack(args)
  local known = lease_at(lease, now)
  if known.left == 0 then
    return {'free'}
  end
  if token ~= known.token then
    return {'held', ms_to_wait(known.left)}
  end
  hold(lease, token, now, tonumber(ttl_ms))
  return {'renewed', token, ttl_ms, known.owner}
end, aged)

define('lease_release', function(keys, args)
  local lease = keys[1]
  local known = lease_at(lease, now_us())
  if known.left == 0 then
    return {'free'}
  end
  if args[1] ~= known.token then
    return {'held', ms_to_wait(known.left)}
  end
  let_go(lease)
  return {'released'}
end, nil, {'allow-oom'})

-- Takes back an attempt of which nobody knows whether it was run: if it was, its lease is released, or is what it was before if
-- its owner held it, and if it is still on its way it will find its record settled and do nothing. Nobody was told the token that
-- is taken back, so it need not be remembered.
define('lease_withdraw', function(keys, args)
  local lease, record, now = keys[1], keys[2], now_us()
  local nonce, ms = unpack(args)
  if redis.call('EXISTS', record) == 0 then
    redis.call('SET', record, cmsgpack.pack(SETTLED), 'PX', ms)
  end
  local known = lease_at(lease, now)
  if known.nonce == nonce then
    if known.held_until > now then
      redis.call('HSET', lease, 'token', known.held_token, 'until', digits(known.held_until))
      redis.call('HDEL', lease, 'nonce', 'held_token', 'held_until')
    else
      let_go(lease)
    end
  end
  return {'withdrawn'}
end, nil, {'allow-oom'})

define_read('lease_inspect', function(keys)
  local known = lease_at(keys[1], now_us())
  if known.left == 0 then
    return {'free'}
  end
  return {'held', ms_left(known.left), known.owner}
end)

-- Whether a write under this token may be applied: not if a newer one is known. Remembers the token if it is the newest, since
-- the acquisition that issued it may be lost. A token nobody can have been given, because it is a day ahead of the clock and not
-- known, is refused: remembered, it would drive all later ones ahead. So is one of ours that is older than a record is kept, where
-- there is no record: whoever holds a lease has one, so newer tokens may have been issued since and be forgotten.
function admits(lease, token)
  local known = redis.call('HMGET', lease, 'token', 'seen')
  if not known[1] and not known[2] and not is_less(token, FIRST_TOKEN)
    and is_less(token, digits(now_us() - KEPT_MS * 1000)) then
    return false
  end
  local newest = true
  for _, other in ipairs({known[1] or '', known[2] or ''}) do
    if other ~= '' then
      if is_less(token, other) then
        return false
      end
      newest = newest and token ~= other
    end
  end
  if newest then
    if is_less(digits(now_us() + KEPT_MS * 1000), token) then
      return false
    end
    redis.call('HSET', lease, 'seen', token)
    keep(lease, KEPT_MS)
  end
  return true
end
