#!lua flags=allow-oom
-- Gives a running request its hold again in a partition that is rebuilt.
--
-- KEYS   m w h d dz l c
-- ARGV   epoch rid wallet held checkpoint owner price key slug meta
-- REPLY  OK held | DUP tombstone | NOKEY | FENCED epoch state | BAD
local m, w, h, d, dz, l, c = unpack(KEYS)
local epoch, rid, wallet, held, checkpoint, owner, price, key, slug, meta = unpack(ARGV)
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local part = redis.call('HMGET', m, 'ep', 'rs', 'st', 'sq', 'cs')
if part[1] ~= epoch or part[2] ~= me or part[3] ~= 'REPLAY' then
  return {'FENCED', part[1] or '', part[3] or ''}
end
-- Lua numbers are doubles: amounts come as digits, at most 2^53 - 1, and leave by '%.0f'.
local function amount_of(text)
  if not string.match(text, '^%d+$') or #text > 16 then return nil end
  local number = tonumber(text)
  return number <= 9007199254740991 and number or nil
end
local function digits(number) return string.format('%.0f', number) end
local function hold_of(id)
  local text = redis.call('HGET', h, id)
  if not text then return nil end
  local wallet, held, checkpoint, renewals, owner, price, key, slug, meta = string.match(text,
    '^([^|]*)|(%d+)|(%d+)|(%d+)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
  return {wallet = wallet, held = tonumber(held), checkpoint = tonumber(checkpoint),
    renewals = tonumber(renewals), owner = owner, price = price, key = key, slug = slug,
    meta = meta}
end

local want, spent = amount_of(held), amount_of(checkpoint)
if not want or not spent then return {'BAD'} end
local ended = redis.call('HGET', d, rid)
if ended then return {'DUP', ended} end
local before = hold_of(rid)
if before then return {'OK', digits(before.held)} end
local found = redis.call('HMGET', w, 'bal', 'hld', 'h:' .. key, 'k:' .. key, 'a:' .. key)
if not found[1] then return {'NOKEY'} end
local free = tonumber(found[1]) - tonumber(found[2])
local grant = math.min(want, free)
redis.call('HSET', h, rid, table.concat({wallet, digits(grant), digits(spent), '0', owner, price,
  key, slug, meta}, '|'))
redis.call('HSET', w, 'hld', digits(tonumber(found[2]) + grant), 'h:' .. key,
  digits(tonumber(found[3] or '0') + grant))
-- It runs: a key that may run only so many at once has it among them again (`reserve`).
if string.match(found[4] or '', '^%d|%d*|%a+|%d+|%d*|%d*|%d+|') then
  redis.call('HSET', w, 'a:' .. key, found[5] and found[5] .. ',' .. rid or rid)
end
return {'OK', digits(grant)}
