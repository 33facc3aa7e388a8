-- Ends a claim: records what was found, and which step is due when.
-- KEYS: the record, the host's alarms, those of the host that goes on, when each host was heard of.
-- ARGV: id, fence, next step, seconds until it is due, found, error, attempts so far,
--       seconds until the alarm (later than due where the committer sends the step itself),
--       the error that is the reason for a further attempt, 1 if a cancelled deployment must not go on to this,
--       the host that goes on, or '' where this one does; what a worker must be able to read for it.
-- Returns committed, lost if somebody else has claimed the step since, or cancelled.
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[2] then
  return 'lost'
end
local goes_on = redis.call('HGET', KEYS[1], 'step') ~= ARGV[3]
local delay, alarm = ARGV[4], ARGV[8]
if ARGV[10] == '1' and redis.call('HEXISTS', KEYS[1], 'cancel') == 1 then
  if goes_on then
    return 'cancelled'
  end
  delay, alarm = 0, 0
end
if not goes_on and ARGV[9] == '' and redis.call('HGET', KEYS[1], 'heard') == ARGV[2] then
  delay, alarm = 0, 0
end
local time = now()
if goes_on then
  redis.call('HSET', KEYS[1], 'since', time)
end
redis.call('HSET', KEYS[1], 'step', ARGV[3], 'due', time + delay, 'found', ARGV[5], 'error', ARGV[6],
  'attempt', ARGV[7], 'trouble', ARGV[9], 'copies', 0)
if is_for_newer(KEYS[1], 1) or tonumber(ARGV[12]) > 1 then
  redis.call('HSET', KEYS[1], 'needs', math.max(ARGV[12], redis.call('HGET', KEYS[1], 'needs') or 1))
end
redis.call('HDEL', KEYS[1], 'holder')
if ARGV[9] ~= '' then
  redis.call('HSET', KEYS[1], 'troubled', time)
end
if ARGV[11] ~= '' then
  redis.call('HSET', KEYS[1], 'at', ARGV[11])
  redis.call('ZADD', KEYS[4], 'NX', time, ARGV[11])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
redis.call('ZADD', KEYS[3], time + alarm, ARGV[1])
return 'committed'
