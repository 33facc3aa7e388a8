-- Has a version be live again in a stage that is live nowhere and that nobody is at: its host was given up, and is back.
-- KEYS: the stage, the host's stages. ARGV: key prefix, id, stage.
-- Returns 1 if it is; 0 also where the stage was removed while that host was away.
local stage = redis.call('HMGET', KEYS[1], 'running', 'live', 'newest')
if stage[1] or stage[2] or (stage[3] and redis.call('HGET', record_of(ARGV[1], stage[3]), 'first') == 'remove') then
  return 0
end
redis.call('HSET', KEYS[1], 'live', ARGV[2])
redis.call('SADD', KEYS[2], ARGV[3])
return 1
