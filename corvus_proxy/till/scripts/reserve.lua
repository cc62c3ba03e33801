#!lua flags=
-- Sets money aside for one request and admits its key, or says why not.
--
-- KEYS   m w h d dz l c
-- ARGV   epoch rid wallet digest owner least most share_floor price slug request_tokens lag_limit
--        day month
-- REPLY  OK granted available key_id requests requests_left tokens tokens_left minute ends |
--        POOR available held | DENIED reason | NOKEY | BACKPRESSURE |
--        LIMITED reason retry_ms figures | DUP tombstone | FENCED epoch state | BAD
--
-- What follows key_id in OK is of a key with a limit a minute alone, and of no repetition. Figures
-- are `cap spent held resets_ms` for `cap`; else `limit used`, for `rate`, `tokens`, `concurrency`.
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
-- The minute of a key: when it began, and the requests and tokens admitted in it. It begins with
-- the first request after the last one's end; a clock that went back ends it.
local function minute_of(id, now_ms)
  local began, requests, tokens = string.match(redis.call('HGET', w, 'q:' .. id) or '',
    '^(%d+)|(%d+)|(%d+)$')
  began = tonumber(began)
  if not began or now_ms < began or now_ms >= began + 60000 then return now_ms, 0, 0 end
  return began, tonumber(requests), tonumber(tokens)
end
-- The key's requests that still hold money, of those noted as running; looked at only where there
-- may be too many, so that a count is as exact as the holds and costs nothing where nobody waits.
local function running_of(id, limit)
  local noted = {}
  for rid in string.gmatch(redis.call('HGET', w, 'a:' .. id) or '', '[^,]+') do
    noted[#noted + 1] = rid
  end
  if #noted < limit then return noted end
  local living, holds = {}, redis.call('HMGET', h, unpack(noted))
  for at, rid in ipairs(noted) do
    if holds[at] then living[#living + 1] = rid end
  end
  return living
end
local WORDS = {['0'] = 'frozen', ['2'] = 'closed'}
local KEY_WORDS = {['0'] = 'frozen', ['2'] = 'revoked'}

local low, high, floor = amount_of(least), amount_of(most), amount_of(share_floor)
local lag = amount_of(lag_limit)
local asked = amount_of(request_tokens)
if not low or not high or not floor or not lag or not asked then
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
-- A cap leaves what of it is neither spent in its period nor held by the key's other requests.
local now_ms, left, spent, ends, mark = 0, available, 0, 0, nil
if key.expires then
  local now = redis.call('TIME')
  now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
  if key.expires > 0 and key.expires <= now_ms then return {'DENIED', 'expired_key'} end
  if key.cap then
    spent, ends, mark = spent_of(key.id, key.period, now[1])
    left = math.max(0, key.cap - spent - key.held)
    available = math.min(available, left)
  end
end
local requests_max, tokens_max, running_max, slugs
if key.rates then
  requests_max, tokens_max, running_max, slugs = string.match(key.rates,
    '^|(%d*)|(%d*)|(%d*)|(.*)$')
  if slugs ~= '' and not string.find(',' .. slugs .. ',', ',' .. slug .. ',', 1, true) then
    return {'DENIED', 'model'}
  end
  requests_max, tokens_max = tonumber(requests_max), tonumber(tokens_max)
  running_max = tonumber(running_max)
end
local before = hold_of(rid)
if before then return {'OK', digits(before.held), digits(available), key.id} end
if tonumber(part[4]) - tonumber(part[5]) > lag then return {'BACKPRESSURE'} end
local paced = requests_max or tokens_max
local began, requests, tokens, running
if paced then
  began, requests, tokens = minute_of(key.id, now_ms)
  local rest_ms = digits(began + 60000 - now_ms)
  if requests_max and requests >= requests_max then
    return {'LIMITED', 'rate', rest_ms, digits(requests_max), digits(requests)}
  end
  if tokens_max and tokens + asked > tokens_max then
    -- What is more than a whole minute's has no use in waiting.
    return {'LIMITED', 'tokens', asked > tokens_max and '0' or rest_ms, digits(tokens_max),
      digits(tokens)}
  end
end
if running_max then
  running = running_of(key.id, running_max)
  if #running >= running_max then
    return {'LIMITED', 'concurrency', '1000', digits(running_max), digits(#running)}
  end
end
if key.cap and left < low then
  local retry_ms = ends > 0 and ends * 1000 - now_ms or 0
  return {'LIMITED', 'cap', digits(retry_ms), digits(key.cap), digits(spent), digits(key.held),
    digits(ends * 1000)}
end
if available < low then return {'POOR', digits(available), digits(hld)} end
-- A stream takes its slice; a whole answer at most half of the free balance while that is enough.
local grant = math.min(high, available)
if floor > 0 then
  grant = math.min(high, math.max(low, math.min(available, floor), math.floor(available / 2)))
end
redis.call('HSET', h, rid, table.concat({wallet, digits(grant), '0', '0', owner, price, key.id,
  slug, ''}, '|'))
redis.call('HSET', w, 'hld', digits(hld + grant), 'h:' .. key.id, digits(key.held + grant))
if mark then redis.call('HSET', w, 'b:' .. key.id, mark) end
if running then
  running[#running + 1] = rid
  redis.call('HSET', w, 'a:' .. key.id, table.concat(running, ','))
end
if paced then
  requests, tokens = requests + 1, tokens + asked
  redis.call('HSET', w, 'q:' .. key.id, table.concat({digits(began), digits(requests),
    digits(tokens)}, '|'))
  return {'OK', digits(grant), digits(available - grant), key.id,
    requests_max and digits(requests_max) or '',
    requests_max and digits(requests_max - requests) or '',
    tokens_max and digits(tokens_max) or '', tokens_max and digits(tokens_max - tokens) or '',
    digits(began), digits(began + 60000 - now_ms)}
end
return {'OK', digits(grant), digits(available - grant), key.id}
