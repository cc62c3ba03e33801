#!lua flags=no-writes
-- Tells a key's standing without touching anything.
--
-- KEYS   m w
-- ARGV   epoch digest
-- REPLY  OK key_id status balance held wallet_spent key_spent main label cap period period_spent
--        resets_ms expires_ms key_held rates | DENIED reason | NOKEY | FENCED epoch state
local m, w = unpack(KEYS)
local epoch, digest = unpack(ARGV)
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local part = redis.call('HMGET', m, 'ep', 'rs', 'st', 'sq', 'cs')
if part[1] ~= epoch or part[2] ~= me or part[3] ~= 'OPEN' then
  return {'FENCED', part[1] or '', part[3] or ''}
end
local function digits(number) return string.format('%.0f', number) end
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
-- The key that this secret opens; else why it opens none. While a pepper is changed a secret comes
-- with a digest under each, joined by commas.
local function key_of(digest)
  local entry = redis.call('HGET', w, 'd:' .. digest)
  if not entry then
    for one in string.gmatch(digest, '[^,]+') do
      entry = entry or redis.call('HGET', w, 'd:' .. one)
    end
  end
  if not entry then return nil, 'secret' end
  local id, until_ms = string.match(entry, '^([^|]*)|(%d+)$')
  if until_ms ~= '0' then
    local now = redis.call('TIME')
    if tonumber(until_ms) < now[1] * 1000 + math.floor(now[2] / 1000) then
      return nil, 'expired'
    end
  end
  local limits, held = unpack(redis.call('HMGET', w, 'k:' .. id, 'h:' .. id))
  local key = limits_of(limits or '2')
  key.id, key.held = id, tonumber(held or '0')
  return key
end
local WORDS = {['0'] = 'frozen', ['2'] = 'closed'}
local KEY_WORDS = {['0'] = 'frozen', ['2'] = 'revoked'}

local found = redis.call('HMGET', w, 'bal', 'hld', 'st', 'spt')
if not found[1] then return {'NOKEY'} end
local key, reason = key_of(digest)
if not key then return {'DENIED', reason} end
local now = redis.call('TIME')
local status, spent, ends = 'active', 0, 0
if key.cap then spent, ends = spent_of(key.id, key.period, now[1]) end
local expires = key.expires or 0
if expires > 0 and expires <= now[1] * 1000 + math.floor(now[2] / 1000) then status = 'expired' end
if key.status ~= '1' then status = KEY_WORDS[key.status] or 'revoked' end
if found[3] ~= '1' then status = WORDS[found[3]] or 'closed' end
local total, name = unpack(redis.call('HMGET', w, 's:' .. key.id, 'n:' .. key.id))
local main, label = string.match(name or '1|', '^(%d)|(.*)$')
return {'OK', key.id, status, found[1], found[2], found[4] or '0', total or '0', main, label,
  key.cap and digits(key.cap) or '', key.period or 'total', digits(spent), digits(ends * 1000),
  digits(expires), digits(key.held), key.rates or ''}
