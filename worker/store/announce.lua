-- Notes that a host's workers are there, and what it can take on.
-- KEYS: what hosts tell of themselves, when each did, their loads, their processors, those that are drained.
-- ARGV: key prefix, host, what it tells, processors, its containers or '' where its engine can't be had.
-- Returns nothing. The load is what is there and what is under way, for each processor; a host without an engine, and one
-- that is drained, has none, and so nothing is given to it.
local prefix, host, containers = ARGV[1], ARGV[2], ARGV[5]
redis.call('HSET', KEYS[1], host, ARGV[3])
redis.call('ZADD', KEYS[2], now(), host)
if containers == '' or redis.call('SISMEMBER', KEYS[5], host) == 1 then
  redis.call('ZREM', KEYS[3], host)
  return
end
redis.call('HSET', KEYS[4], host, ARGV[4])
redis.call('ZADD', KEYS[3], (containers + redis.call('ZCARD', prefix .. 'alarms:' .. host)) / ARGV[4], host)
