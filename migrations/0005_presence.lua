-- Presence: how many are in a room now, and how many there were at most. Nobody can be named by what is kept.
--
-- Two keys a room: `collective:presence:<room>`, a sorted set of members by the end of their time (ms of Redis' clock), and
-- `collective:presence-room:<room>`, a hash: `secret`, `since` (when counting began), `peak` and `at` (when it was reached).
--
-- A member is kept as sha1(secret .. digest), the secret being 32 random bytes of this room alone and the digest the service's SHA-256
-- of the name, so that the name itself reaches neither the slow log nor a monitor. A keyed digest of fixed parts; nobody outside
-- sees one or can offer one, so nothing more than being one-way and different in each room is asked of it.
--
-- collective_v1_presence_beat  members room | digest ttl_ms secret   {'present'}
-- collective_v1_presence_leave members room | digest                 {'left'}
-- collective_v1_presence_look  members room                          {'room', count, peak, at, since}  ('' = never)
--
-- Whoever's time is over does not count from that millisecond on; his entry is swept by later calls, SWEEP of them each, so that no
-- call takes long after a crowd has left. Both keys go with the last of their members, the room's a day later.

local SWEEP = 100

local function now_ms()
  return math.floor(now_us() / 1000)
end

local function pseudonym(secret, digest)
  return redis.sha1hex(secret .. digest)
end

local function present(members, now)
  return redis.call('ZCOUNT', members, '(' .. digits(now), '+inf')
end

-- Those whose time is over have the lowest ranks.
local function sweep(members, now)
  local over = redis.call('ZCOUNT', members, '-inf', digits(now))
  if over > 0 then
    redis.call('ZREMRANGEBYRANK', members, 0, math.min(over, SWEEP) - 1)
  end
end

define('presence_beat', function(keys, args)
  local members, room, now = keys[1], keys[2], now_ms()
  local digest, ttl_ms, fresh = args[1], tonumber(args[2]), args[3]
  if redis.call('HSETNX', room, 'secret', fresh) == 1 then
    redis.call('HSET', room, 'since', digits(now), 'peak', '0')
  end
  local known = redis.call('HMGET', room, 'secret', 'peak')
  sweep(members, now)
  redis.call('ZADD', members, digits(now + ttl_ms), pseudonym(known[1], digest))
  local count = present(members, now)
  if count > tonumber(known[2]) then
    redis.call('HSET', room, 'peak', digits(count), 'at', digits(now))
  end
  keep(members, ttl_ms)
  keep(room, ttl_ms + KEPT_MS)
  return {'present'}
end)

-- Allowed to run in a full Redis: it makes room.
define('presence_leave', function(keys, args)
  local members, room = keys[1], keys[2]
  local secret = redis.call('HGET', room, 'secret')
  if secret then
    redis.call('ZREM', members, pseudonym(secret, args[1]))
    sweep(members, now_ms())
  end
  return {'left'}
end, nil, {'allow-oom'})

define_read('presence_look', function(keys)
  local known = redis.call('HMGET', keys[2], 'peak', 'at', 'since')
  return {'room', digits(present(keys[1], now_ms())), known[1] or '0', known[2] or '', known[3] or ''}
end)
