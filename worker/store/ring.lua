-- Takes the alarms that have gone off, and sets each anew in case what is sent now is lost.
-- KEYS: the host's alarms.
-- ARGV: key prefix, how many at the most, seconds until the next alarm of each, ended step.
-- Returns {seconds until the next alarm of the host or '', id, step, id, step, …}.
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local rung = {''}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local step = redis.call('HGET', ARGV[1] .. 'deployment:' .. id, 'step')
  if step and step ~= ARGV[4] then
    redis.call('ZADD', KEYS[1], now + ARGV[3], id)
    table.insert(rung, id)
    table.insert(rung, step)
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if next[2] then
  rung[1] = string.format('%.6f', next[2] - now)
end
return rung
