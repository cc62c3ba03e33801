#!lua flags=allow-oom
-- Puts wallets as the books have them into a partition that is rebuilt. KEYS[2] and on are the
-- wallets of `rows`, in their order. `rows` is JSON, amounts as text:
-- [{"w":…,"b":balance,"ws":…,"sp":spent,"st":…,"v":version,
--   "k":[{"id":…,"st":…,"n":…,"sp":spent,"ds":[[digest,until_ms],…],"p":[end,spent]},…]},…]
--
-- KEYS   m
-- ARGV   epoch rows
-- REPLY  OK wallets | FENCED epoch state | BAD
local m = unpack(KEYS)
local epoch, rows = unpack(ARGV)
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local part = redis.call('HMGET', m, 'ep', 'rs', 'st', 'sq', 'cs')
if part[1] ~= epoch or part[2] ~= me or part[3] ~= 'REBUILD' then
  return {'FENCED', part[1] or '', part[3] or ''}
end
local found = cjson.decode(rows)
if #found ~= #KEYS - 1 then return {'BAD'} end
for at, row in ipairs(found) do
  local w = KEYS[at + 1]
  redis.call('UNLINK', w)
  redis.call('HSET', w, 'id', row.w, 'bal', row.b, 'hld', '0', 'ws', row.ws, 'spt', row.sp,
    'st', row.st, 'v', row.v)
  for _, key in ipairs(row.k) do
    redis.call('HSET', w, 'k:' .. key.id, key.st, 's:' .. key.id, key.sp)
    if key.n then redis.call('HSET', w, 'n:' .. key.id, key.n) end
    if key.p then
      redis.call('HSET', w, 'b:' .. key.id, table.concat({key.p[1], key.sp, key.p[2]}, '|'))
    end
    for _, digest in ipairs(key.ds) do
      local until_ms = string.format('%.0f', digest[2]) -- a Lua number would become 1e+14
      redis.call('HSET', w, 'd:' .. digest[1], key.id .. '|' .. until_ms)
    end
  end
end
return {'OK', tostring(#found)}
