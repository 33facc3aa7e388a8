-- Ends a deployment's lead in a pull, and has those that wait for it look again.
-- KEYS: the pull, those that wait for it.
-- ARGV: key prefix, id, fence, seconds that it is remembered what came of it, digest or '', 1 if it was downloaded,
--       error or ''; neither where that is only the leader's own.
-- Returns 0 if somebody else leads by now.
local pull = redis.call('HMGET', KEYS[1], 'leader', 'fence', 'began')
if pull[1] ~= ARGV[2] or pull[2] ~= ARGV[3] then
  return 0
end
if ARGV[5] ~= '' or ARGV[7] ~= '' then
  redis.call('HSET', KEYS[1], 'of', pull[3], 'digest', ARGV[5], 'downloaded', ARGV[6], 'error', ARGV[7])
end
redis.call('HDEL', KEYS[1], 'leader', 'fence', 'began')
redis.call('EXPIRE', KEYS[1], ARGV[4])
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  -- The driver sends them.
  look_again(ARGV[1], id, 'pull', 0)
end
redis.call('DEL', KEYS[2])
return 1
