-- Lets go of a stage whose holder has ended or has no record, and sets alarms that are missing.
-- KEYS: the stage. ARGV: key prefix.
-- Returns {the id that had the stage wrongly or '', the ids that have an alarm again …}.
local prefix, mended = ARGV[1], {''}
local stage = redis.call('HMGET', KEYS[1], 'running', 'waiting')
if (stage[1] and not is_under_way(prefix, stage[1])) or (stage[2] and not stage[1]) then
  mended[1] = stage[1] or stage[2]
  hand_over(prefix, KEYS[1], 0)
elseif stage[2] and not is_under_way(prefix, stage[2]) then
  mended[1] = stage[2]
  redis.call('HDEL', KEYS[1], 'waiting')
end
for _, id in ipairs(redis.call('HMGET', KEYS[1], 'running', 'waiting')) do
  local record = id and redis.call('HMGET', record_of(prefix, id), 'host', 'due')
  if record and not redis.call('ZSCORE', prefix .. 'alarms:' .. record[1], id) then
    redis.call('ZADD', prefix .. 'alarms:' .. record[1], record[2], id)
    table.insert(mended, id)
  end
end
return mended
