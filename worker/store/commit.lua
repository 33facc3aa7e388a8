-- Ends a claim: records what was found, and which step is due when.
-- KEYS: the record, the host's alarms.
-- ARGV: id, fence, next step, seconds until it is due, found, error, attempts so far,
--       seconds until the alarm (later than due where the committer sends the step itself).
-- Returns 0 if somebody else has claimed the step since.
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[2] then
  return 0
end
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
if redis.call('HGET', KEYS[1], 'step') ~= ARGV[3] then
  redis.call('HSET', KEYS[1], 'since', now)
end
redis.call('HSET', KEYS[1], 'step', ARGV[3], 'due', now + ARGV[4], 'found', ARGV[5], 'error', ARGV[6],
  'attempt', ARGV[7])
redis.call('HDEL', KEYS[1], 'holder')
redis.call('ZADD', KEYS[2], now + ARGV[8], ARGV[1])
return 1
