#!lua flags=allow-oom
-- Stamps a checked partition as belonging to this server and opens it.
--
-- KEYS   m
-- ARGV   epoch state seq stamp
-- REPLY  OK seq | MOVED epoch state seq stamp | FENCED epoch state
local m = unpack(KEYS)
local epoch, state, seq, stamp = unpack(ARGV)
local part = redis.call('HMGET', m, 'ep', 'st', 'sq', 'rs')
if not part[1] then return {'FENCED', '', ''} end
-- What was checked must still stand: nobody opened, rebuilt or wrote to it meanwhile.
if part[1] ~= epoch or part[2] ~= state or part[3] ~= seq or part[4] ~= stamp then
  return {'MOVED', part[1], part[2], part[3], part[4]}
end
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
redis.call('HSET', m, 'rs', me, 'st', 'OPEN')
return {'OK', seq}
