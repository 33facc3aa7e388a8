-- Notes the host ports that the container of an ended deployment has now.
-- KEYS: the record. ARGV: what was found until now, the same with those ports.
-- Returns 0 if the deployment is under way, as it notes its own, or if what was found has changed meanwhile.
local record = redis.call('HMGET', KEYS[1], 'step', 'found')
if record[1] ~= 'ended' or record[2] ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'found', ARGV[2])
return 1
