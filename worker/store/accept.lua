-- Records a deployment, or an order to its stage, and takes the stage for it, or queues it there in place of an older
-- one that waits.
-- KEYS: the record, the stage, the host's alarms, the deployment's order, the orders' counter,
--       the mark of a deployment that was cancelled before it came, the set of all stages.
-- ARGV: key prefix, id, host, stage, what is asked for, seconds to the deadline, first step, report step,
--       seconds until a sent step counts as lost, what is found already, the deployment that it goes back to or ''.
-- Returns {what became of it: known, cancelled, running, waiting or superseded; the id whose step is due, the step, its host}.
local prefix, id, host, stage = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local first, report, patience = ARGV[7], ARGV[8], ARGV[9]
local known = redis.call('HMGET', KEYS[1], 'step', 'attempt', 'host')
if known[1] then
  -- The answer to the first run may have been lost, and with it the word to send the first step.
  local is_new = known[1] == first and known[2] == '0'
  return {'known', is_new and id or '', is_new and first or '', known[3]}
end

local time = now()
local order = tonumber(redis.call('GET', KEYS[4]) or redis.call('INCR', KEYS[5]))
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[1], 'spec', ARGV[5], 'host', host, 'stage', stage, 'order', order, 'first', first, 'step', first,
  'found', ARGV[10], 'error', '', 'attempt', 0, 'fence', 0, 'due', time, 'since', time, 'copies', 0, 'created', time,
  'deadline', time + ARGV[6])
if ARGV[11] ~= '' then
  redis.call('HSET', KEYS[1], 'rollback_to', ARGV[11])
end
redis.call('SADD', KEYS[7], stage)
if redis.call('DEL', KEYS[6]) == 1 then
  -- Neither the one that waits nor the stage is any business of one that ends before it begins.
  redis.call('HSET', KEYS[1], 'cancel', 1)
  return {'cancelled', id, 'expire', make_due(prefix, id, 'expire', patience)}
end

local running = redis.call('HGET', KEYS[2], 'running')
if running and not is_under_way(prefix, running) then
  running = hand_over(prefix, KEYS[2], 0)
end
local waiting = redis.call('HGET', KEYS[2], 'waiting')
if waiting and not is_waiting(prefix, waiting) then
  waiting = false
end

-- One that was asked for later may have come first, and may even have ended. No restart does in place of a deployment,
-- but a deployment that is still to begin does in place of any restart.
local is_deployment, is_restart = first == 'pull', first == 'restart'
local function first_of(other)
  return redis.call('HGET', record_of(prefix, other), 'first')
end
local function is_newer(other)
  return other and other ~= '' and tonumber(redis.call('HGET', record_of(prefix, other), 'order') or 0) > order
    and not (is_deployment and first_of(other) == 'restart')
end
local function ended(newest)
  return tonumber(redis.call('HGET', KEYS[2], newest .. '_order') or 0) > order and redis.call('HGET', KEYS[2], newest)
end
local newer = is_newer(waiting) and waiting or is_newer(running) and running
  or ended('newest') or not is_deployment and ended('newest_restart')
  or is_restart and waiting and first_of(waiting) == 'pull' and waiting
if newer then
  redis.call('HSET', KEYS[1], 'superseded_by', newer)
  make_due(prefix, id, report, patience)
  return {'superseded', id, report, host}
end

if not running or running == '' then
  redis.call('HSET', KEYS[2], 'running', id)
  make_due(prefix, id, first, patience)
  return {'running', id, first, host}
end

redis.call('HSET', KEYS[2], 'waiting', id)
redis.call('HSET', KEYS[1], 'step', 'expire', 'due', time + ARGV[6])
redis.call('ZADD', KEYS[3], time + ARGV[6], id)
if not waiting then
  return {'waiting', '', '', ''}
end
redis.call('HSET', record_of(prefix, waiting), 'superseded_by', id)
return {'waiting', waiting, report, make_due(prefix, waiting, report, patience)}
