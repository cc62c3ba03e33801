#!lua flags=allow-oom
-- Moves a checked partition on and stamps it as belonging to this server: to OPEN, from REBUILD to
-- REPLAY, or to KEYS, in which only rows of keys are taken.
--
-- KEYS   m
-- ARGV   epoch state seq stamp replid to
-- REPLY  OK seq | MOVED epoch state seq stamp | FENCED epoch state
local m = unpack(KEYS)
local epoch, state, seq, stamp, replid, to = unpack(ARGV)
local part = redis.call('HMGET', m, 'ep', 'st', 'sq', 'rs')
if not part[1] then return {'FENCED', '', ''} end
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
-- What was checked must still stand: nobody opened, rebuilt or wrote to it meanwhile, and the
-- server that answers is the one that the processes have spoken about.
if part[1] ~= epoch or part[2] ~= state or part[3] ~= seq or part[4] ~= stamp or me ~= replid then
  return {'MOVED', part[1], part[2], part[3], part[4]}
end
redis.call('HSET', m, 'rs', me, 'st', to)
return {'OK', seq}
