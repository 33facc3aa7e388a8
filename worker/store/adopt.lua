-- Records a container that serves and that no record knows, as the live one of its stage.
-- KEYS: the record, the stage, the set of all stages, the stage's live ones.
-- ARGV: key prefix, id, host, stage, spec, found, when it was made, how many deployments are history.
-- Returns 0 if there is a record of it, or the stage has a live one.
local live = redis.call('HGET', KEYS[2], 'live')
if redis.call('EXISTS', KEYS[1]) == 1 or (live and redis.call('EXISTS', record_of(ARGV[1], live)) == 1) then
  return 0
end
redis.call('HSET', KEYS[1], 'spec', ARGV[5], 'host', ARGV[3], 'stage', ARGV[4], 'order', 0, 'step', 'ended',
  'found', ARGV[6], 'error', '', 'attempt', 0, 'fence', 0, 'since', ARGV[7], 'created', ARGV[7], 'ended', now(),
  'deadline', ARGV[7], 'outcome', 'adopted')
redis.call('HSET', KEYS[2], 'live', ARGV[2])
redis.call('SADD', KEYS[3], ARGV[4])
redis.call('LPUSH', KEYS[4], ARGV[2])
redis.call('LTRIM', KEYS[4], 0, ARGV[8] - 1)
return 1
