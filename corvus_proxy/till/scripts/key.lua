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
-- `keys` is JSON: [{"id":…,"st":…,"ds":[[digest,until_ms],…]},…]
local parsed, rows = pcall(cjson.decode, keys)
if not parsed or not string.match(version, '^%d+$') then return {'BAD'} end
local known = redis.call('HGET', w, 'v')
if known and tonumber(known) >= tonumber(version) then return {'OLD', known} end
local old = {}
local fields = redis.call('HKEYS', w)
for _, field in ipairs(fields) do
  local head = string.sub(field, 1, 2)
  if head == 'd:' or head == 'k:' then old[#old + 1] = field end
end
if #old > 0 then redis.call('HDEL', w, unpack(old)) end
if not known then redis.call('HSET', w, 'bal', '0', 'hld', '0', 'ws', '0', 'spt', '0') end
redis.call('HSET', w, 'st', status, 'v', version, 'id', wallet)
for _, row in ipairs(rows) do
  redis.call('HSET', w, 'k:' .. row.id, row.st)
  for _, digest in ipairs(row.ds) do
    redis.call('HSET', w, 'd:' .. digest[1], row.id .. '|' .. digest[2])
  end
end
return {'OK', version}
