-- Takes a step that is due, for the length of a lease.
-- KEYS: the record, the host's alarms. ARGV: id, step, holder, seconds of the lease, host,
--       key prefix, what this worker can read.
-- Returns {now, the record's fields and values …, when it was due}, or nothing if the step isn't due on this host.
local time = now()
local record = redis.call('HMGET', KEYS[1], 'step', 'due')
if record[1] ~= ARGV[2] or place_of(KEYS[1]) ~= ARGV[5] or tonumber(record[2]) > time then
  return {}
end
if is_for_newer(KEYS[1], ARGV[7]) then
  leave(ARGV[6], ARGV[1])
  return {}
end
redis.call('HINCRBY', KEYS[1], 'fence', 1)
redis.call('HINCRBY', KEYS[1], 'attempt', 1)
redis.call('HSET', KEYS[1], 'holder', ARGV[3], 'due', time + ARGV[4], 'copies', 0)
redis.call('ZADD', KEYS[2], time + ARGV[4], ARGV[1])
local claimed = redis.call('HGETALL', KEYS[1])
table.insert(claimed, 1, string.format('%.6f', time))
table.insert(claimed, 'was_due')
table.insert(claimed, record[2])
return claimed
