-- Has a deployment that waits for its container look at it now, as something has happened to that.
-- KEYS: the record. ARGV: key prefix, id, the step that waits, seconds until a sent step counts as lost.
-- Returns the host to send the step to, or '' where nobody is to send it.
local record = redis.call('HMGET', KEYS[1], 'step', 'due', 'holder', 'fence')
if record[1] ~= ARGV[3] then
  return ''
end
if record[3] then
  -- Who holds it may have looked before: its commit, by its fencing number, finds that it is to look again.
  redis.call('HSET', KEYS[1], 'heard', record[4])
  return ''
end
local time = now()
if tonumber(record[2]) <= time then
  return ''
end
redis.call('HSET', KEYS[1], 'due', time, 'copies', 0)
local host = place_of(KEYS[1])
redis.call('ZADD', ARGV[1] .. 'alarms:' .. host, time + ARGV[4], ARGV[2])
return host
