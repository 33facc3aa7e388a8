-- Has a version be live again in a stage that is live nowhere and that nobody is at: its host was given up, and is back.
-- KEYS: the stage, the host's stages. ARGV: id, stage.
-- Returns 1 if it is.
local stage = redis.call('HMGET', KEYS[1], 'running', 'live')
if stage[1] or stage[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'live', ARGV[1])
redis.call('SADD', KEYS[2], ARGV[2])
return 1
