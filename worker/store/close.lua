-- Ends a deployment, keeps its record for history, and gives its stage to the one that waits.
-- KEYS: the record, the host's alarms, the stage, the stage's history, the stage's live ones.
-- ARGV: key prefix, id, fence, seconds that a record stays once it is no longer history,
--       seconds until a sent step counts as lost, how many deployments are history,
--       how it ended: live, unchanged, done or failed; the error.
-- Returns {1 if it was closed, the id that has the stage now or '', its first step, its host}.
local prefix, id, outcome = ARGV[1], ARGV[2], ARGV[7]
local record = redis.call('HMGET', KEYS[1], 'fence', 'step', 'first')
if record[1] ~= ARGV[3] or record[2] == 'ended' then
  return {0, '', '', ''}
end
redis.call('HSET', KEYS[1], 'step', 'ended', 'ended', now(), 'outcome', outcome, 'error', ARGV[8])
redis.call('HDEL', KEYS[1], 'holder', 'due')
redis.call('ZREM', KEYS[2], id)

if outcome == 'live' then
  keep(prefix, KEYS[5], KEYS[4], id, ARGV[6], ARGV[4])
  redis.call('HSET', KEYS[3], 'live', id)
end
if record[3] == 'remove' and outcome == 'done' then
  redis.call('HDEL', KEYS[3], 'live')
end
keep(prefix, KEYS[4], KEYS[5], id, ARGV[6], ARGV[4])

-- A restart by itself: an older deployment whose message comes late is not done with by it.
local newest = record[3] == 'restart' and 'newest_restart' or 'newest'
local order = tonumber(redis.call('HGET', KEYS[1], 'order') or 0)
if outcome ~= 'failed' and order > tonumber(redis.call('HGET', KEYS[3], newest .. '_order') or 0) then
  redis.call('HSET', KEYS[3], newest, id, newest .. '_order', order)
end

local stage = redis.call('HMGET', KEYS[3], 'running', 'waiting')
if stage[2] == id then
  redis.call('HDEL', KEYS[3], 'waiting')
end
if stage[1] ~= id then
  return {1, '', '', ''}
end
return {1, hand_over(prefix, KEYS[3], ARGV[5])}
