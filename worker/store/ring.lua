-- Takes the alarms that have gone off, and sets each anew in case what is sent now is lost.
-- The pause until then doubles with each copy: behind a long queue there are few of them.
-- KEYS: the host's alarms.
-- ARGV: key prefix, how many at the most, seconds until the next alarm of each, what this worker can read.
-- Returns {seconds until the next alarm of the host or '', id, step, id, step, …}.
local time, most = now(), tonumber(ARGV[2])
local rung, left = {''}, 0
repeat
  -- Those that are left to newer workers keep their alarms, for these to ring.
  local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', time, 'LIMIT', left, most)
  for _, id in ipairs(ids) do
    local record = record_of(ARGV[1], id)
    if not is_under_way(ARGV[1], id) then
      redis.call('ZREM', KEYS[1], id)
    elseif is_for_newer(record, ARGV[4]) then
      left = left + 1
    else
      local copies = redis.call('HINCRBY', record, 'copies', 1)
      redis.call('ZADD', KEYS[1], time + ARGV[3] * 2 ^ math.min(copies - 1, 6), id)
      table.insert(rung, id)
      table.insert(rung, redis.call('HGET', record, 'step'))
    end
  end
until #ids < most or #rung > 2 * most
if #rung > 2 * most then
  rung[1] = '0'
  return rung
end
local next = redis.call('ZRANGEBYSCORE', KEYS[1], time, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
if next[2] then
  rung[1] = string.format('%.6f', next[2] - time)
end
return rung
