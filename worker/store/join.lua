-- Has a deployment share the pull of an image: take what came of it, wait for who is at it, or be that one.
-- KEYS: the pull, those that wait for it, the record.
-- ARGV: key prefix, id, fence, seconds that the pull and those who wait are remembered,
--       1 if it doesn't matter what the image's name means by now, 1 if what came of the last one doesn't do.
-- Returns {brought, digest, 1 if it was downloaded}, {failed, error}, {led, by whom, how many wait}, or {leads}.
local prefix, id, fence = ARGV[1], ARGV[2], ARGV[3]
local time = now()
local pull = redis.call('HMGET', KEYS[1], 'leader', 'fence', 'of', 'digest', 'downloaded', 'error')
local record = redis.call('HMGET', KEYS[3], 'created', 'troubled')
-- A pull that was begun later than this knows all that was pushed before the deployment was asked for, and is none that
-- it has heard of already.
local since = math.max(tonumber(record[1]) or time, tonumber(record[2]) or 0)
local is_late = tonumber(pull[3]) and tonumber(pull[3]) >= since
if ARGV[6] ~= '1' then
  if pull[4] and pull[4] ~= '' and (is_late or ARGV[5] == '1') then
    return {'brought', pull[4], pull[5]}
  end
  if pull[6] and pull[6] ~= '' and is_late then
    return {'failed', pull[6]}
  end
end

local leader = pull[1] and redis.call('HMGET', record_of(prefix, pull[1]), 'step', 'fence', 'holder', 'due')
if leader and leader[1] == 'pull' and leader[2] == pull[2] and leader[3] and tonumber(leader[4]) > time
  and pull[1] ~= id then
  redis.call('SADD', KEYS[2], id)
  redis.call('EXPIRE', KEYS[2], ARGV[4])
  return {'led', pull[1], redis.call('SCARD', KEYS[2])}
end
redis.call('HSET', KEYS[1], 'leader', id, 'fence', fence, 'began', time)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {'leads'}
