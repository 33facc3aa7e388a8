-- Records a deployment, or an order to its stage, and takes the stage for it, or queues it there in place of an older
-- one that waits.
-- KEYS: the record, the stage, the deployment's order, the orders' counter,
--       the mark of a deployment that was cancelled before it came, what is known of the stage's containers.
-- ARGV: key prefix, id, the host of who accepts it, stage, what is asked for, seconds to the deadline, first step, report
--       step, seconds until a sent step counts as lost, what is found already, the deployment that it goes back to or '',
--       the host that is asked for or '', seconds without a word after which a host is away,
--       what a worker must be able to read for it, the producer's trace or ''.
-- Returns {what became of it: nowhere, known, cancelled, running, waiting or superseded; the id whose step is due, the
--         step, who is to do it; the host that it was given to where that is away}.

-- Where a stage is: of what is under way or live there, the host of what was asked for last; without any, where a
-- container of it was seen.
local function home_of(prefix, stage, listed)
  for _, field in ipairs({'waiting', 'running', 'live'}) do
    local id = redis.call('HGET', stage, field)
    if id and (field == 'live' or is_under_way(prefix, id)) then
      local host = redis.call('HGET', record_of(prefix, id), 'host')
      if host then
        return host
      end
    end
  end
  local told = redis.call('HVALS', listed)[1]
  return told and string.match(told, '^%S+')
end

-- The host that has least to do. One that is away loses its place until it announces itself again.
local function least_loaded(prefix, silence)
  local load = prefix .. 'hosts:load'
  while true do
    local host = redis.call('ZRANGE', load, 0, 0)[1]
    if not host or is_there(prefix, host, silence) then
      return host
    end
    redis.call('ZREM', load, host)
  end
end

-- The host that is to do what is asked for; none where all that are there are drained.
local function place(prefix, stage, listed, mine, asked, is_order, silence)
  if asked ~= '' then
    return asked
  end
  local drained = prefix .. 'hosts:drained'
  local home = home_of(prefix, stage, listed)
  if home and (is_order or redis.call('SISMEMBER', drained, home) == 0) then
    return home
  end
  if is_order then
    return mine
  end
  local host = least_loaded(prefix, silence)
  if host then
    redis.call('ZINCRBY', prefix .. 'hosts:load', 1 / (redis.call('HGET', prefix .. 'hosts:cpus', host) or 1), host)
    return host
  end
  -- This one is there, and may not have announced itself yet.
  return redis.call('SISMEMBER', drained, mine) == 0 and mine
end

local prefix, id, mine, stage = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local first, report, patience, silence = ARGV[7], ARGV[8], ARGV[9], ARGV[13]
local known = redis.call('HMGET', KEYS[1], 'step', 'attempt')
if known[1] then
  -- The answer to the first run may have been lost, and with it the word to send the first step.
  local is_new = known[1] == first and known[2] == '0'
  return {'known', is_new and id or '', is_new and first or '', place_of(KEYS[1]), ''}
end

local running = redis.call('HGET', KEYS[2], 'running')
if running and not is_under_way(prefix, running) then
  running = hand_over(prefix, KEYS[2], 0)
end
local waiting = redis.call('HGET', KEYS[2], 'waiting')
if waiting and not is_waiting(prefix, waiting) then
  waiting = false
end

local host = place(prefix, KEYS[2], KEYS[6], mine, ARGV[12], first ~= 'pull', silence)
if not host then
  return {'nowhere', '', '', '', ''}
end
local away = host ~= mine and not is_there(prefix, host, silence) and host or ''

local time = now()
local order = tonumber(redis.call('GET', KEYS[3]) or redis.call('INCR', KEYS[4]))
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[1], 'spec', ARGV[5], 'host', host, 'stage', stage, 'order', order, 'first', first, 'step', first,
  'found', ARGV[10], 'error', '', 'attempt', 0, 'fence', 0, 'due', time, 'since', time, 'copies', 0, 'created', time,
  'deadline', time + ARGV[6])
if tonumber(ARGV[14]) > 1 then
  redis.call('HSET', KEYS[1], 'needs', ARGV[14])
end
if ARGV[15] ~= '' then
  redis.call('HSET', KEYS[1], 'traceparent', ARGV[15])
end
if ARGV[11] ~= '' then
  redis.call('HSET', KEYS[1], 'rollback_to', ARGV[11])
end
redis.call('SADD', prefix .. 'stages:' .. host, stage)
if redis.call('DEL', KEYS[5]) == 1 then
  -- Neither the one that waits nor the stage is any business of one that ends before it begins.
  redis.call('HSET', KEYS[1], 'cancel', 1)
  move_to(prefix, id, mine)
  return {'cancelled', id, 'expire', make_due(prefix, id, 'expire', patience), ''}
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
  move_to(prefix, id, mine)
  return {'superseded', id, report, make_due(prefix, id, report, patience), ''}
end

if not running or running == '' then
  redis.call('HSET', KEYS[2], 'running', id)
  return {'running', id, first, make_due(prefix, id, first, patience), away}
end

redis.call('HSET', KEYS[2], 'waiting', id)
redis.call('HSET', KEYS[1], 'step', 'expire', 'due', time + ARGV[6])
set_alarm(prefix, host, time + ARGV[6], id)
if not waiting then
  return {'waiting', '', '', '', away}
end
redis.call('HSET', record_of(prefix, waiting), 'superseded_by', id)
-- Its own host may be away.
move_to(prefix, waiting, mine)
return {'waiting', waiting, report, make_due(prefix, waiting, report, patience), away}
