#!lua flags=no-writes
-- Tells a key's standing without touching anything.
--
-- KEYS   m w
-- ARGV   epoch digest
-- REPLY  OK key_id status balance held wallet_spent key_spent | DENIED reason | NOKEY |
--        FENCED epoch state
local m, w = unpack(KEYS)
local epoch, digest = unpack(ARGV)
local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local part = redis.call('HMGET', m, 'ep', 'rs', 'st', 'sq', 'cs')
if part[1] ~= epoch or part[2] ~= me or part[3] ~= 'OPEN' then
  return {'FENCED', part[1] or '', part[3] or ''}
end
-- The key that this secret opens; else why it opens none.
local function key_of(digest)
  local entry = redis.call('HGET', w, 'd:' .. digest)
  if not entry then return nil, 'secret' end
  local id, until_ms = string.match(entry, '^([^|]*)|(%d+)$')
  if until_ms ~= '0' then
    local now = redis.call('TIME')
    if tonumber(until_ms) < now[1] * 1000 + math.floor(now[2] / 1000) then
      return nil, 'expired'
    end
  end
  return {id = id, status = redis.call('HGET', w, 'k:' .. id) or '2'}
end
local WORDS = {['0'] = 'frozen', ['2'] = 'closed'}
local KEY_WORDS = {['0'] = 'frozen', ['2'] = 'revoked'}

local found = redis.call('HMGET', w, 'bal', 'hld', 'st', 'spt')
if not found[1] then return {'NOKEY'} end
local key, reason = key_of(digest)
if not key then return {'DENIED', reason} end
local status = 'active'
if key.status ~= '1' then status = KEY_WORDS[key.status] or 'revoked' end
if found[3] ~= '1' then status = WORDS[found[3]] or 'closed' end
return {'OK', key.id, status, found[1], found[2], found[4] or '0',
  redis.call('HGET', w, 's:' .. key.id) or '0'}
