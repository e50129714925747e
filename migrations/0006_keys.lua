-- Keys: plain strings, compared, written and removed in one piece.
--
-- collective_v1_key_put key [lease] | token if_match if_none_match content lifetime
-- collective_v1_key_delete key [lease] | token if_match if_none_match
-- A condition is '' (none), '*' (there is content, whatever it is), or tags with commas between them; '-' stands for a list that
-- nothing can match. A tag is the SHA-1 of the content in hexadecimal. lifetime: '' for ever, 'keep', or milliseconds.
-- Answers {'created'}, {'replaced'}, {'gone'}, {'unmet', tag} ('' = there is no such key), {'type'}, {'fenced'}.
--
-- collective_v1_key_facts key
-- Answers {'facts', tag, length, milliseconds left (-1 = for ever)}, {'missing'}, {'type'}.
--
-- The lifetime is no part of the tag. What is stored is read only where a tag is asked for: '*' costs nothing with 16 MiB.

-- 'string', 'none', or nil for what is no key of this resource.
local function kind_of(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' or kind == 'none' then
    return kind
  end
end

-- The tag of what fails a condition, or nil if both hold.
local function unmet(key, exists, if_match, if_none_match)
  local tag = not exists and ''
  local function current()
    tag = tag or redis.sha1hex(redis.call('GET', key))
    return tag
  end
  local function named(tags)
    return exists and (tags == '*' or tags:find(current(), 1, true) ~= nil)
  end
  if (if_match ~= '' and not named(if_match)) or (if_none_match ~= '' and named(if_none_match)) then
    return current()
  end
end

define_fenced('key_put', function(keys, args)
  local key = keys[1]
  local if_match, if_none_match, content, lifetime = unpack(args)
  local kind = kind_of(key)
  if not kind then
    return {'type'}
  end
  local tag = unmet(key, kind == 'string', if_match, if_none_match)
  if tag then
    return {'unmet', tag}
  end
  if lifetime == 'keep' then
    redis.call('SET', key, content, 'KEEPTTL')
  elseif lifetime == '' then
    redis.call('SET', key, content)
  else
    redis.call('SET', key, content, 'PX', lifetime)
  end
  return {kind == 'string' and 'replaced' or 'created'}
end)

-- Allowed to run in a full Redis: it makes room.
define_fenced('key_delete', function(keys, args)
  local key = keys[1]
  local kind = kind_of(key)
  if not kind then
    return {'type'}
  end
  local tag = unmet(key, kind == 'string', args[1], args[2])
  if tag then
    return {'unmet', tag}
  end
  redis.call('DEL', key)
  return {'gone'}
end, {'allow-oom'})

define_read('key_facts', function(keys)
  local key = keys[1]
  local content = string_at(key)
  if content == nil then
    return {'type'}
  end
  if not content then
    return {'missing'}
  end
  return {'facts', redis.sha1hex(content), digits(#content), digits(redis.call('PTTL', key))}
end)
