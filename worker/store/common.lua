-- What the scripts share; each begins with it. Times are seconds since 1970 by Redis' clock.
local function now()
  local clock = redis.call('TIME')
  return clock[1] + clock[2] / 1000000
end

local function record_of(prefix, id)
  return prefix .. 'deployment:' .. id
end

local function is_under_way(prefix, id)
  local step = redis.call('HGET', record_of(prefix, id), 'step')
  return step and step ~= 'ended'
end

-- One whose wait is over, for whatever reason, is on its way to its report, and still at its place until it is there.
local function is_waiting(prefix, id)
  return redis.call('HGET', record_of(prefix, id), 'step') == 'expire'
end

-- The host whose workers do what is due: the deployment's own, or another one that has a part in it for the time being.
local function place_of(record)
  local places = redis.call('HMGET', record, 'at', 'host')
  return places[1] or places[2]
end

-- Has a host's workers see to a deployment at a time. One that has never announced itself is known from now on, so that
-- others take over should it never do.
local function set_alarm(prefix, host, time, id)
  redis.call('ZADD', prefix .. 'alarms:' .. host, time, id)
  redis.call('ZADD', prefix .. 'hosts:seen', 'NX', now(), host)
end

local function move_to(prefix, id, host)
  local record = record_of(prefix, id)
  redis.call('ZREM', prefix .. 'alarms:' .. place_of(record), id)
  redis.call('HSET', record, 'at', host)
end

-- Makes a deployment's step due at once, and sets the alarm for the case that it isn't sent or is lost.
-- Returns the host whose workers are to do it.
local function make_due(prefix, id, step, patience)
  local record, time = record_of(prefix, id), now()
  redis.call('HSET', record, 'step', step, 'attempt', 0, 'due', time, 'since', time, 'copies', 0)
  redis.call('HINCRBY', record, 'fence', 1)
  redis.call('HDEL', record, 'holder')
  local host = place_of(record)
  set_alarm(prefix, host, time + patience, id)
  return host
end

-- Whether a host's workers have announced themselves of late (`announce.lua`).
local function is_there(prefix, host, patience)
  local seen = redis.call('ZSCORE', prefix .. 'hosts:seen', host)
  return seen and tonumber(seen) > now() - patience
end

-- Whether a record's steps take a newer version of this code than the one that asks.
local function is_for_newer(record, version)
  return tonumber(redis.call('HGET', record, 'needs') or 1) > tonumber(version)
end

-- Has a step that an older worker was sent be sent again soon, by one that knows it: its message is gone.
local function leave(prefix, id)
  redis.call('HSET', record_of(prefix, id), 'copies', 0)
  redis.call('ZADD', prefix .. 'alarms:' .. place_of(record_of(prefix, id)), now() + 1, id)
end

-- Has a deployment that waits in a step look now at what it waits for.
-- Returns the host to send the step to, or '' where nobody is to send it.
local function look_again(prefix, id, step, patience)
  local key, time = record_of(prefix, id), now()
  local record = redis.call('HMGET', key, 'step', 'due', 'holder', 'fence')
  if record[1] ~= step then
    return ''
  end
  if record[3] then
    -- Who holds it may have looked before: its commit, by its fencing number, finds that it is to look again.
    redis.call('HSET', key, 'heard', record[4])
    return ''
  end
  if tonumber(record[2]) <= time then
    return ''
  end
  redis.call('HSET', key, 'due', time, 'copies', 0)
  local host = place_of(key)
  redis.call('ZADD', prefix .. 'alarms:' .. host, time + patience, id)
  return host
end

-- Gives a stage that nobody runs on to the deployment that waits for it.
-- Returns its id, or '', its first step, and its host.
local function hand_over(prefix, stage, patience)
  local waiting = redis.call('HGET', stage, 'waiting')
  redis.call('HDEL', stage, 'running', 'waiting')
  if not waiting or not is_waiting(prefix, waiting) then
    return '', '', ''
  end
  redis.call('HSET', stage, 'running', waiting)
  -- A record of before there were orders has no first step but a deployment's.
  local step = redis.call('HGET', record_of(prefix, waiting), 'first') or 'pull'
  return waiting, step, make_due(prefix, waiting, step, patience)
end

-- Adds a deployment to one of its stage's two lists, the last that have ended and the last that were live, and lets
-- the records go that are in neither any more. However many have failed, the last that were live stay: they are what
-- can be gone back to.
local function keep(prefix, list, other, id, most, seconds)
  redis.call('LPUSH', list, id)
  while redis.call('LLEN', list) > tonumber(most) do
    local oldest = redis.call('RPOP', list)
    if not redis.call('LPOS', other, oldest) then
      redis.call('EXPIRE', record_of(prefix, oldest), seconds)
    end
  end
end
