-- Records a deployment and takes the stage for it, or queues it there in place of the one that waits.
-- KEYS: the record, the stage, the host's alarms.
-- ARGV: key prefix, id, host, stage, spec, seconds to the deadline, first step, waiting step,
--       report step, the error of a superseded one, seconds until a sent step counts as lost.
-- Returns {what became of it: known, running, waiting; the id that was superseded or '', and its host}.
local prefix, id, host, stage, spec = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000

if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'known', '', ''}
end

local deadline = now + ARGV[6]
local running = redis.call('HGET', KEYS[2], 'running')
local step, due = ARGV[7], now
if running then
  step, due = ARGV[8], deadline
end
redis.call('HSET', KEYS[1], 'spec', spec, 'host', host, 'stage', stage, 'step', step, 'found', '{}', 'error', '',
  'attempt', 0, 'fence', 0, 'due', due, 'since', now, 'created', now, 'deadline', deadline)

if not running then
  redis.call('HSET', KEYS[2], 'running', id)
  redis.call('ZADD', KEYS[3], now + ARGV[11], id)
  return {'running', '', ''}
end

redis.call('ZADD', KEYS[3], due, id)
local waiting = redis.call('HGET', KEYS[2], 'waiting')
redis.call('HSET', KEYS[2], 'waiting', id)
if not waiting then
  return {'waiting', '', ''}
end
local record = prefix .. 'deployment:' .. waiting
redis.call('HSET', record, 'step', ARGV[9], 'error', ARGV[10], 'attempt', 0, 'due', now, 'since', now)
redis.call('HINCRBY', record, 'fence', 1)
local its_host = redis.call('HGET', record, 'host')
redis.call('ZADD', prefix .. 'alarms:' .. its_host, now + ARGV[11], waiting)
return {'waiting', waiting, its_host}
