#!lua flags=allow-oom
-- Takes free money from a wallet, once per id: all of it, or up to what is there.
--
-- KEYS   m w h d dz l c
-- ARGV   epoch id wallet amount up_to counter key reason
-- REPLY  OK taken short balance seq | POOR available held | DUP tombstone | NOKEY |
--        FENCED epoch state | BAD
local m, w, h, d, dz, l, c = unpack(KEYS)
local epoch, id, wallet, amount, up_to, counter, key, reason = unpack(ARGV)
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local part = redis.call('HMGET', m, 'ep', 'rs', 'st', 'sq', 'cs')
-- REPLAY too: what was paid comes back before what was charged.
if part[1] ~= epoch or part[2] ~= me or (part[3] ~= 'OPEN' and part[3] ~= 'REPLAY') then
  return {'FENCED', part[1] or '', part[3] or ''}
end
-- Lua numbers are doubles: amounts come as digits, at most 2^53 - 1, and leave by '%.0f'.
local function amount_of(text)
  if not string.match(text, '^%d+$') or #text > 16 then return nil end
  local number = tonumber(text)
  return number <= 9007199254740991 and number or nil
end
local function digits(number) return string.format('%.0f', number) end
local function post(kind, change, after, ws, asked, short)
  local seq = digits(tonumber(part[4]) + 1)
  redis.call('XADD', l, epoch .. '-' .. seq, 't', kind, 'id', id, 'w', wallet, 'k', key, 'g', '',
    'd', digits(change), 'b', digits(after), 'ws', digits(ws), 'a', digits(asked),
    's', digits(short), 'o', kind == 'C' and 'credit' or 'debit', 'n', counter, 'r', reason,
    'sw', redis.call('HGET', w, 'spt') or '0', 'sk', redis.call('HGET', w, 's:' .. key) or '0',
    'u', '')
  redis.call('HSET', m, 'sq', seq)
  redis.call('HSET', w, 'bal', digits(after), 'ws', digits(ws))
  local amount_moved = digits(math.abs(change))
  redis.call('HSET', c, id, table.concat({kind, amount_moved, digits(short), seq}, '|'))
  return seq
end

local asked = amount_of(amount)
if not asked or asked == 0 then return {'BAD'} end
local done = redis.call('HGET', c, id)
if done then return {'DUP', done} end
local found = redis.call('HMGET', w, 'bal', 'hld', 'ws')
if not found[1] then return {'NOKEY'} end
local free = tonumber(found[1]) - tonumber(found[2])
if asked > free and up_to ~= '1' then return {'POOR', digits(free), digits(tonumber(found[2]))} end
local taken = math.min(asked, free)
local after = tonumber(found[1]) - taken
local seq = post('D', 0 - taken, after, tonumber(found[3]) + 1, asked, asked - taken)
return {'OK', digits(taken), digits(asked - taken), digits(after), seq}
