#!lua flags=allow-oom
-- Begins a partition anew under a higher epoch, empty, at the event that the books end with.
--
-- KEYS   m h d dz c l j
-- ARGV   epoch seq base_epoch replid partitions
-- REPLY  OK epoch | MOVED epoch state
local m, h, d, dz, c, l, j = unpack(KEYS)
local epoch, seq, base_epoch, replid, partitions = unpack(ARGV)
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local part = redis.call('HMGET', m, 'ep', 'st')
if me ~= replid or (part[1] and tonumber(part[1]) >= tonumber(epoch)) then
  return {'MOVED', part[1] or '', part[2] or ''}
end
redis.call('UNLINK', h, d, dz, c, l, j)
redis.call('HSET', m, 'ep', epoch, 'rs', me, 'st', 'REBUILD', 'sq', seq, 'cs', seq,
  'be', base_epoch, 'np', partitions)
return {'OK', epoch}
