-- Notes that a deployment is to end, and makes its step due where nobody is at it.
-- KEYS: the record, the mark of a deployment that was cancelled before it came.
-- ARGV: key prefix, id, seconds to remember the mark, seconds until a sent step counts as lost,
--       what this worker can read, the steps that can be cancelled …
-- Returns {what became of it: unknown, ended, late or cancelling; the step to send or '', its host}.
local record = redis.call('HMGET', KEYS[1], 'step', 'due', 'holder')
local step, host = record[1], place_of(KEYS[1])
if not step then
  redis.call('SET', KEYS[2], 1, 'EX', ARGV[3])
  return {'unknown', '', ''}
end
if step == 'ended' then
  return {'ended', '', ''}
end
-- Whether it still can be, only a worker knows that knows its step.
local can_be = is_for_newer(KEYS[1], ARGV[5])
for index = 6, #ARGV do
  can_be = can_be or ARGV[index] == step
end
if not can_be then
  return {'late', '', ''}
end
redis.call('HSET', KEYS[1], 'cancel', 1)
local time = now()
if record[3] and tonumber(record[2]) > time then
  return {'cancelling', '', ''}
end
redis.call('HSET', KEYS[1], 'due', time, 'copies', 0)
redis.call('ZADD', ARGV[1] .. 'alarms:' .. host, time + ARGV[4], ARGV[2])
return {'cancelling', step, host}
