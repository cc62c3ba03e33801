#!lua flags=allow-oom
-- Stops every other script of a partition that is to be rebuilt; its stream stays to be copied.
--
-- KEYS   m
-- ARGV   epoch
-- REPLY  OK seq | MOVED epoch state
local m = unpack(KEYS)
local epoch = unpack(ARGV)
local part = redis.call('HMGET', m, 'ep', 'st', 'sq')
local now = part[1] or ''
if now ~= epoch then return {'MOVED', now, part[2] or ''} end
redis.call('HSET', m, 'st', 'CLOSED')
return {'OK', part[3]}
