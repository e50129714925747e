-- Leases: who holds a name, until when, and a token that only ever rises.
--
-- One hash a lease, `collective:lease:<name>`: `token` (the highest issued), `seen` (the highest presented with a fenced write),
-- and, while it is held, `owner`, `nonce`, `until` (µs of Redis' clock).

-- Whether a write under this token may be applied: not if a newer one is known. Remembers the token if it is the newest.
function admits(lease, token)
  local known = redis.call('HMGET', lease, 'token', 'seen')
  for _, newer in ipairs({known[1] or '', known[2] or ''}) do
    if newer ~= '' and is_less(token, newer) then
      return false
    end
  end
  if (known[2] or '') ~= token then
    redis.call('HSET', lease, 'seen', token)
  end
  return true
end
