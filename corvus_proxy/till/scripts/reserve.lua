#!lua flags=
-- Sets money aside for one request and admits its key, or says why not.
--
-- KEYS   m w h d dz l c
-- ARGV   epoch rid wallet digest owner least most share_floor price slug request_tokens lag_limit
--        day month
-- REPLY  OK granted available key_id | POOR available held | DENIED reason | NOKEY | BACKPRESSURE |
--        DUP tombstone | FENCED epoch state | BAD
local m, w, h, d, dz, l, c = unpack(KEYS)
local epoch, rid, wallet, digest, owner, least, most, share_floor, price, slug,
  request_tokens, lag_limit, day, month = unpack(ARGV)
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
local function hold_of(id)
  local text = redis.call('HGET', h, id)
  if not text then return nil end
  local wallet, held, checkpoint, renewals, owner, price, key, slug, meta = string.match(text,
    '^([^|]*)|(%d+)|(%d+)|(%d+)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
  return {wallet = wallet, held = tonumber(held), checkpoint = tonumber(checkpoint),
    renewals = tonumber(renewals), owner = owner, price = price, key = key, slug = slug,
    meta = meta}
end
-- The key that this secret opens; else why it opens none.
local function key_of(digest)
  local entry = redis.call('HGET', w, 'd:' .. digest)
  if not entry then return nil, 'secret' end
  local id, until_ms = string.match(entry, '^([^|]*)|(%d+)$')
  if until_ms ~= '0' then
    local now = redis.call('TIME')
    if tonumber(until_ms) < now[1] * 1000 + math.floor(now[2] / 1000) then
      return nil, 'expired'
    end
  end
  return {id = id, status = redis.call('HGET', w, 'k:' .. id) or '2'}
end
local WORDS = {['0'] = 'frozen', ['2'] = 'closed'}
local KEY_WORDS = {['0'] = 'frozen', ['2'] = 'revoked'}

local low, high, floor = amount_of(least), amount_of(most), amount_of(share_floor)
local lag = amount_of(lag_limit)
if not low or not high or not floor or not lag or not amount_of(request_tokens) then
  return {'BAD'}
end
if not string.match(day, '^%d+-%d+-%d+$') or string.sub(day, 1, #month) ~= month then
  return {'BAD'}
end
local ended = redis.call('HGET', d, rid)
if ended then return {'DUP', ended} end
local found = redis.call('HMGET', w, 'bal', 'hld', 'st')
if not found[1] then return {'NOKEY'} end
local key, reason = key_of(digest)
if not key then return {'DENIED', reason} end
if found[3] ~= '1' then return {'DENIED', WORDS[found[3]] or 'closed'} end
if key.status ~= '1' then return {'DENIED', KEY_WORDS[key.status] or 'revoked'} end
local bal, hld = tonumber(found[1]), tonumber(found[2])
local available = bal - hld
local before = hold_of(rid)
if before then return {'OK', digits(before.held), digits(available), key.id} end
if tonumber(part[4]) - tonumber(part[5]) > lag then return {'BACKPRESSURE'} end
if available < low then return {'POOR', digits(available), digits(hld)} end
-- A stream takes its slice; a whole answer at most half of the free balance while that is enough.
local grant = math.min(high, available)
if floor > 0 then
  grant = math.min(high, math.max(low, math.min(available, floor), math.floor(available / 2)))
end
redis.call('HSET', h, rid, table.concat({wallet, digits(grant), '0', '0', owner, price, key.id,
  slug, ''}, '|'))
redis.call('HSET', w, 'hld', digits(hld + grant))
return {'OK', digits(grant), digits(available - grant), key.id}
