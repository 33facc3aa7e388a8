-- Notes that a container which had to make room for a deployment was made anew under another id.
-- KEYS: the deployment's record, that of the container's own deployment.
-- ARGV: fence; what was found by the first, with that id; what was found by the second until now, the same with that id.
-- Returns 0 if somebody else has claimed the step since, or if what was found by the second has changed meanwhile.
local own = redis.call('HGET', KEYS[2], 'found')
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] or (own and own ~= ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], 'found', ARGV[2])
if own then
  redis.call('HSET', KEYS[2], 'found', ARGV[4])
end
return 1
