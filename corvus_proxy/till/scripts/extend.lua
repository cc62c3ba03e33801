#!lua flags=allow-oom
-- Raises a hold to a total, renews its lease, and keeps its checkpoint.
--
-- KEYS   m w h d dz l c
-- ARGV   epoch rid total checkpoint owner meta
-- REPLY  OK granted_total | FINAL granted_total reason | NOTOWNER | UNKNOWN |
--        FENCED epoch state | BAD
local m, w, h, d, dz, l, c = unpack(KEYS)
local epoch, rid, total, checkpoint, owner, meta = unpack(ARGV)
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

local want, spent = amount_of(total), amount_of(checkpoint)
if not want or not spent then return {'BAD'} end
local hold = hold_of(rid)
if not hold then return {'UNKNOWN'} end
if hold.wallet ~= string.match(w, ':w:(.*)$') then return {'BAD'} end -- nobody pays for another
if hold.owner ~= owner then return {'NOTOWNER'} end
local found = redis.call('HMGET', w, 'bal', 'hld', 'st', 'k:' .. hold.key)
local free = tonumber(found[1]) - tonumber(found[2])
local more = math.max(0, math.min(want - hold.held, free))
-- A frozen wallet or a revoked key keeps what is held and gets nothing more.
local reason = found[4] ~= '1' and (found[4] == '0' and 'frozen' or 'revoked') or ''
if found[3] ~= '1' then reason = found[3] == '0' and 'frozen' or 'closed' end
if reason ~= '' then more = 0 end
if spent < hold.checkpoint then spent, meta = hold.checkpoint, hold.meta end
redis.call('HSET', h, rid, table.concat({hold.wallet, digits(hold.held + more), digits(spent),
  digits(hold.renewals + 1), owner, hold.price, hold.key, hold.slug, meta}, '|'))
if more > 0 then redis.call('HSET', w, 'hld', digits(tonumber(found[2]) + more)) end
if hold.held + more < want then return {'FINAL', digits(hold.held + more), reason} end
return {'OK', digits(hold.held + more)}
