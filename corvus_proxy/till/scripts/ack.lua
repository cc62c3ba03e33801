#!lua flags=allow-oom
-- Notes what the books have committed and trims what nobody needs any more.
--
-- KEYS   m l d dz
-- ARGV   epoch committed keep
-- REPLY  OK pruned | AHEAD seq | FENCED epoch state | BAD
local m, l, d, dz = unpack(KEYS)
local epoch, committed, keep = unpack(ARGV)
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local part = redis.call('HMGET', m, 'ep', 'rs', 'st', 'sq', 'cs')
if part[1] ~= epoch or part[2] ~= me or part[3] ~= 'OPEN' then
  return {'FENCED', part[1] or '', part[3] or ''}
end
-- Lua numbers are doubles: amounts come as digits, at most 2^53 - 1, and leave by '%.0f'.
local function amount_of(text)
  if not string.match(text, '^%d+$') or #text > 16 then return nil end
  local number = tonumber(text)
  return number <= 9007199254740991 and number or nil
end
local function digits(number) return string.format('%.0f', number) end

local done, spare = amount_of(committed), amount_of(keep)
if not done or not spare then return {'BAD'} end
if done > tonumber(part[4]) then return {'AHEAD', part[4]} end
-- A wrong type has to fail before the first write.
redis.call('XLEN', l)
redis.call('HLEN', d)
redis.call('ZCARD', dz)
if done > tonumber(part[5]) then redis.call('HSET', m, 'cs', digits(done)) end
if done <= spare then return {'OK', '0'} end
redis.call('XTRIM', l, 'MINID', epoch .. '-' .. digits(done - spare + 1))
local old = redis.call('ZRANGEBYSCORE', dz, '-inf', digits(done - spare), 'LIMIT', 0, 500)
if #old > 0 then
  redis.call('HDEL', d, unpack(old))
  redis.call('ZREM', dz, unpack(old))
end
return {'OK', digits(#old)}
