-- Lengthens the lease of a claim.
-- KEYS: the record, the host's alarms. ARGV: id, fence, seconds of the lease.
-- Returns 0 if the claim has ended, or somebody else has claimed the step since.
local record = redis.call('HMGET', KEYS[1], 'fence', 'holder')
if record[1] ~= ARGV[2] or not record[2] then
  return 0
end
local due = now() + ARGV[3]
redis.call('HSET', KEYS[1], 'due', due)
redis.call('ZADD', KEYS[2], due, ARGV[1])
return 1
