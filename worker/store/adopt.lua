-- Records a container that serves and that no record knows, as the live one of its stage, and the version before it.
-- KEYS: the record, the stage, the stage's live ones, its history.
-- ARGV: key prefix, host, stage, how many deployments are history, seconds that a record stays once it is no longer
--       history; id, spec, found, when it was made; and the same of the version before, if that is known.
-- Returns 0 if there is a record of it, or the stage has a live one that isn't older, as in a restored backup.
local prefix = ARGV[1]
local live = redis.call('HGET', KEYS[2], 'live')
local live_since = live and redis.call('HGET', record_of(prefix, live), 'created')
if redis.call('EXISTS', KEYS[1]) == 1 or (live_since and tonumber(live_since) >= tonumber(ARGV[9])) then
  return 0
end
local function adopt(id, spec, found, created)
  redis.call('HSET', record_of(prefix, id), 'spec', spec, 'host', ARGV[2], 'stage', ARGV[3], 'order', 0,
    'step', 'ended', 'found', found, 'error', '', 'attempt', 0, 'fence', 0, 'since', created, 'created', created,
    'ended', now(), 'deadline', created, 'outcome', 'adopted')
  keep(prefix, KEYS[3], KEYS[4], id, ARGV[4], ARGV[5])
end
if ARGV[10] and redis.call('EXISTS', record_of(prefix, ARGV[10])) == 0 then
  adopt(ARGV[10], ARGV[11], ARGV[12], ARGV[13])
end
adopt(ARGV[6], ARGV[7], ARGV[8], ARGV[9])
redis.call('HSET', KEYS[2], 'live', ARGV[6])
redis.call('SADD', prefix .. 'stages:' .. ARGV[2], ARGV[3])
return 1
