#!lua flags=
-- Makes the meta record of a partition that has never existed, closed until `open`.
--
-- KEYS   m
-- ARGV   partitions
-- REPLY  OK epoch | EXISTS epoch state
local m = unpack(KEYS)
local partitions = unpack(ARGV)
local part = redis.call('HMGET', m, 'ep', 'st')
if part[1] then return {'EXISTS', part[1], part[2] or ''} end
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
redis.call('HSET', m, 'ep', '1', 'rs', me, 'st', 'REBUILD', 'sq', '0', 'cs', '0', 'np', partitions)
return {'OK', '1'}
