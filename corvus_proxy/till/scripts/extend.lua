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
-- A key's status and limits: `1`, or `1|cap|period|expires_ms`, where no cap is no digits; behind
-- it may stand `|requests|tokens|concurrency|slugs`: in a minute, at once, and which models alone.
local function limits_of(text)
  local status, cap, period, expires, rates = string.match(text,
    '^(%d)|(%d*)|(%a+)|(%d+)(.*)$')
  if not status then return {status = text} end
  return {status = status, cap = tonumber(cap), period = period, expires = tonumber(expires),
    rates = rates ~= '' and rates or nil}
end
-- The first day of the month in which a day lies; days are counted from 1970, years begin in March.
local function month_start(day)
  local era = (day + 719468) % 146097
  local year = math.floor((era - math.floor(era / 1460) + math.floor(era / 36524)
    - math.floor(era / 146096)) / 365)
  local rest = era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  return day - rest + math.floor((153 * math.floor((5 * rest + 2) / 153) + 2) / 5)
end
-- The second at which the period of `now` ends: in UTC, weeks begin on Monday. 0: never.
local function period_end(period, now)
  local day = math.floor(now / 86400)
  if period == 'day' then return (day + 1) * 86400 end
  if period == 'week' then return (day - (day + 3) % 7 + 7) * 86400 end
  if period == 'month' then return month_start(month_start(day) + 32) * 86400 end
  return 0
end
-- What a total has grown by since, exact below 2^53; more than that is no matter to a cap.
local function grown(total, base)
  local low = tonumber(string.sub(total, -9)) - tonumber(string.sub(base, -9))
  local high = tonumber(string.sub(total, 1, -10)) or 0
  high = high - (tonumber(string.sub(base, 1, -10)) or 0)
  return math.min(high * 1e9 + low, 9007199254740991)
end
-- What a key has spent in its period, the period's end, and a mark where a new one has begun:
-- `end|total at the mark|spent in the period before the mark`.
local function spent_of(id, period, now)
  local ends = period_end(period, now)
  local total, mark = unpack(redis.call('HMGET', w, 's:' .. id, 'b:' .. id))
  total = total or '0'
  if ends == 0 then return grown(total, '0'), ends end
  local at, base, before = string.match(mark or '', '^(%d+)|(%d+)|(%d+)$')
  if at ~= string.format('%.0f', ends) then
    return 0, ends, string.format('%.0f|%s|0', ends, total)
  end
  return math.min(grown(total, base) + tonumber(before), 9007199254740991), ends
end

local want, spent = amount_of(total), amount_of(checkpoint)
if not want or not spent then return {'BAD'} end
local hold = hold_of(rid)
if not hold then return {'UNKNOWN'} end
if hold.wallet ~= string.match(w, ':w:(.*)$') then return {'BAD'} end -- nobody pays for another
if hold.owner ~= owner then return {'NOTOWNER'} end
local found = redis.call('HMGET', w, 'bal', 'hld', 'st', 'k:' .. hold.key, 'h:' .. hold.key)
local free = tonumber(found[1]) - tonumber(found[2])
local key, key_held, left = limits_of(found[4] or '2'), tonumber(found[5] or '0'), free
if key.cap then
  local spent_so_far = spent_of(hold.key, key.period, redis.call('TIME')[1])
  left = math.max(0, key.cap - spent_so_far - key_held)
end
local more = math.max(0, math.min(want - hold.held, free, left))
-- A frozen wallet or a revoked key keeps what is held and gets nothing more; one that has expired
-- meanwhile goes on.
local reason = key.status ~= '1' and (key.status == '0' and 'frozen' or 'revoked') or ''
if found[3] ~= '1' then reason = found[3] == '0' and 'frozen' or 'closed' end
if reason ~= '' then more = 0 end
if reason == '' and left < free then reason = 'cap' end
if spent < hold.checkpoint then spent, meta = hold.checkpoint, hold.meta end
redis.call('HSET', h, rid, table.concat({hold.wallet, digits(hold.held + more), digits(spent),
  digits(hold.renewals + 1), owner, hold.price, hold.key, hold.slug, meta}, '|'))
if more > 0 then
  redis.call('HSET', w, 'hld', digits(tonumber(found[2]) + more), 'h:' .. hold.key,
    digits(key_held + more))
end
if hold.held + more < want then return {'FINAL', digits(hold.held + more), reason} end
return {'OK', digits(hold.held + more)}
