#!lua flags=allow-oom
-- Sets a wallet's status and keys from one row of the books; never touches money.
--
-- KEYS   m w
-- ARGV   epoch wallet version status keys
-- REPLY  OK version | OLD version | FENCED epoch state | BAD
local m, w = unpack(KEYS)
local epoch, wallet, version, status, keys = unpack(ARGV)
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local part = redis.call('HMGET', m, 'ep', 'rs', 'st')
if part[1] ~= epoch or part[2] ~= me then return {'FENCED', part[1] or '', part[3] or ''} end
-- `keys` is JSON: [{"id":…,"st":status and limits,"n":"main|label","ds":[[digest,until_ms],…],
--   "p":[end of the cap's period,spent in it]},…]; `n` and `p` may be absent.
local parsed, rows = pcall(cjson.decode, keys)
if not parsed or not string.match(version, '^%d+$') then return {'BAD'} end
local known, bal = unpack(redis.call('HMGET', w, 'v', 'bal'))
if known and tonumber(known) >= tonumber(version) then return {'OLD', known} end
local fresh = {'st', status, 'v', version, 'id', wallet}
-- By the balance, not by the version: what has money is never set to zero.
if not bal then
  for _, field in ipairs({'bal', 'hld', 'ws', 'spt'}) do
    fresh[#fresh + 1], fresh[#fresh + 2] = field, '0'
  end
end
local limited = {}
for _, row in ipairs(rows) do
  if type(row.id) ~= 'string' or type(row.st) ~= 'string' then return {'BAD'} end
  fresh[#fresh + 1], fresh[#fresh + 2] = 'k:' .. row.id, row.st
  limited[row.id] = string.match(row.st, '^[01]|%d*|%a+|%d+|') ~= nil
  if row.n then fresh[#fresh + 1], fresh[#fresh + 2] = 'n:' .. row.id, row.n end
  if row.p then
    -- What Redis has counted in the same period is the better count: the books are behind.
    local total, mark = unpack(redis.call('HMGET', w, 's:' .. row.id, 'b:' .. row.id))
    if string.match(mark or '', '^%d+') ~= row.p[1] then
      fresh[#fresh + 1] = 'b:' .. row.id
      fresh[#fresh + 1] = table.concat({row.p[1], total or '0', row.p[2]}, '|')
    end
  end
  for _, digest in ipairs(row.ds) do
    local until_ms = string.format('%.0f', digest[2]) -- a Lua number would become 1e+14
    fresh[#fresh + 1], fresh[#fresh + 2] = 'd:' .. digest[1], row.id .. '|' .. until_ms
  end
end
local old = {}
for _, field in ipairs(redis.call('HKEYS', w)) do
  local head = string.sub(field, 1, 2)
  -- What a key without such limits has had in a minute, or runs at once, is of no more use.
  local counts = (head == 'q:' or head == 'a:') and not limited[string.sub(field, 3)]
  if head == 'd:' or head == 'k:' or head == 'n:' or counts then old[#old + 1] = field end
end
-- 1,000 fields a call: `unpack` of some thousands is an error of its own.
for at = 1, #old, 1000 do
  redis.call('HDEL', w, unpack(old, at, math.min(at + 999, #old)))
end
for at = 1, #fresh, 1000 do
  redis.call('HSET', w, unpack(fresh, at, math.min(at + 999, #fresh)))
end
return {'OK', version}
