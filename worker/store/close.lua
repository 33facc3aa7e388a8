-- Ends a deployment, and gives its stage to the one that waits.
-- KEYS: the record, the host's alarms, the stage.
-- ARGV: key prefix, id, fence, ended step, first step, seconds to keep the record,
--       seconds until a sent step counts as lost.
-- Returns {1 if it was closed, the id that has the stage now or '', and its host}.
local prefix, id = ARGV[1], ARGV[2]
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[3] then
  return {0, '', ''}
end
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
redis.call('HSET', KEYS[1], 'step', ARGV[4], 'ended', now)
redis.call('HDEL', KEYS[1], 'holder', 'due')
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('ZREM', KEYS[2], id)

local stage = redis.call('HMGET', KEYS[3], 'running', 'waiting')
if stage[2] == id then
  redis.call('HDEL', KEYS[3], 'waiting')
end
if stage[1] ~= id then
  return {1, '', ''}
end
if not stage[2] then
  redis.call('DEL', KEYS[3])
  return {1, '', ''}
end
local record = prefix .. 'deployment:' .. stage[2]
redis.call('HSET', KEYS[3], 'running', stage[2])
redis.call('HDEL', KEYS[3], 'waiting')
redis.call('HSET', record, 'step', ARGV[5], 'attempt', 0, 'due', now, 'since', now)
redis.call('HINCRBY', record, 'fence', 1)
local its_host = redis.call('HGET', record, 'host')
redis.call('ZADD', prefix .. 'alarms:' .. its_host, now + ARGV[7], stage[2])
return {1, stage[2], its_host}
