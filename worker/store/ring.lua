-- Takes the alarms that have gone off, and sets each anew in case what is sent now is lost.
-- The pause until then doubles with each copy: behind a long queue there are few of them.
-- KEYS: the host's alarms.
-- ARGV: key prefix, how many at the most, seconds until the next alarm of each.
-- Returns {seconds until the next alarm of the host or '', id, step, id, step, …}.
local time = now()
local rung = {''}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', time, 'LIMIT', 0, ARGV[2])) do
  if is_under_way(ARGV[1], id) then
    local copies = redis.call('HINCRBY', record_of(ARGV[1], id), 'copies', 1)
    redis.call('ZADD', KEYS[1], time + ARGV[3] * 2 ^ math.min(copies - 1, 6), id)
    table.insert(rung, id)
    table.insert(rung, redis.call('HGET', record_of(ARGV[1], id), 'step'))
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if next[2] then
  rung[1] = string.format('%.6f', next[2] - time)
end
return rung
