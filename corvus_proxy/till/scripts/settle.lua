#!lua flags=allow-oom
-- Ends a hold with its charge; a charge of zero releases it. `minute` and `tokens` are of a key
-- with a limit of tokens alone: the minute that the request was admitted in, and what it has taken
-- more than it was admitted with; else empty and 0.
--
-- KEYS   m w h d dz l c
-- ARGV   epoch rid actual outcome meta minute tokens
-- REPLY  OK charged short balance seq epoch | DUP tombstone | UNKNOWN | FENCED epoch state | BAD
local m, w, h, d, dz, l, c = unpack(KEYS)
local epoch, rid, actual, outcome, meta, minute, tokens = unpack(ARGV)
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
-- Totals that only grow may pass 2^53: they are added in two halves.
local function plus(total, number)
  local low = tonumber(string.sub(total, -9)) + number % 1e9
  local high = (tonumber(string.sub(total, 1, -10)) or 0) + math.floor(number / 1e9)
  if low >= 1e9 then low, high = low - 1e9, high + 1 end
  return high > 0 and string.format('%.0f%09.0f', high, low) or digits(low)
end
local function hold_of(id)
  local text = redis.call('HGET', h, id)
  if not text then return nil end
  local wallet, held, checkpoint, renewals, owner, price, key, slug, meta = string.match(text,
    '^([^|]*)|(%d+)|(%d+)|(%d+)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
  return {wallet = wallet, held = tonumber(held), checkpoint = tonumber(checkpoint),
    renewals = tonumber(renewals), owner = owner, price = price, key = key, slug = slug,
    meta = meta}
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
-- Charges what the hold and the free balance cover, never another request's hold (T1, T3).
local function finish(kind, hold, actual, outcome, meta)
  local found = redis.call('HMGET', w, 'bal', 'hld', 'ws', 'spt', 's:' .. hold.key,
    'h:' .. hold.key)
  local bal, hld, ws = tonumber(found[1]), tonumber(found[2]), tonumber(found[3])
  local charged = math.min(actual, bal - hld + hold.held)
  local short = actual - charged
  local spent, key_spent = plus(found[4] or '0', charged), plus(found[5] or '0', charged)
  local seq, after = digits(tonumber(part[4]) + 1), digits(bal - charged)
  local key_held = math.max(0, tonumber(found[6] or '0') - hold.held)
  redis.call('HLEN', h) -- a wrong type has to fail before the first write
  redis.call('ZCARD', dz)
  redis.call('XADD', l, epoch .. '-' .. seq, 't', kind, 'id', rid, 'w', hold.wallet, 'k', hold.key,
    'g', hold.slug, 'd', digits(0 - charged), 'b', after, 'ws', digits(ws + 1), 'a', digits(actual),
    's', digits(short), 'o', outcome, 'sw', spent, 'sk', key_spent, 'u', meta)
  redis.call('HSET', m, 'sq', seq)
  redis.call('HSET', w, 'bal', after, 'hld', digits(hld - hold.held), 'ws', digits(ws + 1),
    'spt', spent, 's:' .. hold.key, key_spent, 'h:' .. hold.key, digits(key_held))
  redis.call('HDEL', h, rid)
  redis.call('HSET', d, rid, table.concat({kind, digits(charged), digits(short), seq, epoch}, '|'))
  redis.call('ZADD', dz, seq, rid)
  return {'OK', digits(charged), digits(short), after, seq, epoch}
end
-- Corrects the tokens of a key's minute. What was more counts in the minute in which it is known,
-- what was less only in its own: that of another was never taken from it.
local function recount(id, more)
  local now = redis.call('TIME')
  local began, requests, counted = minute_of(id, now[1] * 1000 + math.floor(now[2] / 1000))
  if more < 0 and minute ~= digits(began) then return end
  redis.call('HSET', w, 'q:' .. id, table.concat({digits(began), digits(requests),
    digits(math.max(0, counted + more))}, '|'))
end

local charge = amount_of(actual)
if not charge or not string.match(tokens, '^-?%d+$') or #tokens > 16 then return {'BAD'} end
local ended = redis.call('HGET', d, rid)
if ended then return {'DUP', ended} end
local hold = hold_of(rid)
if not hold then return {'UNKNOWN'} end
if hold.wallet ~= string.match(w, ':w:(.*)$') then return {'BAD'} end -- nobody pays for another
local answer = finish('S', hold, charge, outcome, meta)
if tokens ~= '0' then recount(hold.key, tonumber(tokens)) end
return answer
