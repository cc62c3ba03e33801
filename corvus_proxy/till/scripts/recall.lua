#!lua flags=allow-oom
-- Tells a partition that is rebuilt what has been done before: `credits` are ids of credits and
-- debits, `ended` requests that the books have. Both are JSON: [[id,tombstone],…].
--
-- KEYS   m d dz c
-- ARGV   epoch credits ended
-- REPLY  OK known | FENCED epoch state
local m, d, dz, c = unpack(KEYS)
local epoch, credits, ended = unpack(ARGV)
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local part = redis.call('HMGET', m, 'ep', 'rs', 'st', 'sq', 'cs')
if part[1] ~= epoch or part[2] ~= me or (part[3] ~= 'REBUILD' and part[3] ~= 'REPLAY') then
  return {'FENCED', part[1] or '', part[3] or ''}
end
local moved, charged, known = cjson.decode(credits), cjson.decode(ended), 0
-- A wrong type has to fail before the first write.
redis.call('HLEN', c)
redis.call('HLEN', d)
redis.call('ZCARD', dz)
for _, row in ipairs(moved) do
  redis.call('HSET', c, row[1], row[2])
  known = known + 1
end
for _, row in ipairs(charged) do
  redis.call('HSET', d, row[1], row[2])
  redis.call('ZADD', dz, part[4], row[1])
  known = known + 1
end
return {'OK', tostring(known)}
